"""Completions to vectors: what MMR measures redundancy with."""

from mmr_kernels.embedders.lexical import LexicalEmbedder
from mmr_kernels.embedders.protocol import TextEmbedder, TokenEmbedder

__all__ = ["LexicalEmbedder", "TextEmbedder", "TokenEmbedder"]
