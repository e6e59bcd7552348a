"""Completions to vectors: what MMR measures redundancy with."""

from mmr_kernels.embedders.choice import as_embedder
from mmr_kernels.embedders.distinct import embed_distinct
from mmr_kernels.embedders.function import FunctionEmbedder
from mmr_kernels.embedders.lexical import LexicalEmbedder
from mmr_kernels.embedders.policy import PolicyEmbedder
from mmr_kernels.embedders.protocol import Embedder, TextEmbedder, TokenEmbedder
from mmr_kernels.embedders.sentence_transformers import SentenceTransformersEmbedder
from mmr_kernels.embedders.vllm import VLLMEmbedder

__all__ = [
    "Embedder",
    "FunctionEmbedder",
    "LexicalEmbedder",
    "PolicyEmbedder",
    "SentenceTransformersEmbedder",
    "TextEmbedder",
    "TokenEmbedder",
    "VLLMEmbedder",
    "as_embedder",
    "embed_distinct",
]
