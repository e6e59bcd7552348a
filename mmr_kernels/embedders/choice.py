"""From what a user writes, a name, an object or a function, to an embedder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from mmr_kernels.embedders.function import FunctionEmbedder
from mmr_kernels.embedders.lexical import LexicalEmbedder
from mmr_kernels.embedders.policy import PolicyEmbedder
from mmr_kernels.embedders.protocol import Embedder, TextEmbedder, TokenEmbedder
from mmr_kernels.embedders.sentence_transformers import SentenceTransformersEmbedder
from mmr_kernels.embedders.vllm import VLLMEmbedder

NAMES = "'lexical', 'policy', 'sentence-transformers:MODEL' or 'vllm:MODEL'"


def as_embedder(
    choice: Any, *, batch_size: int = 32, max_tokens: int = 3584, policy: Callable[[], nn.Module] | None = None
) -> Embedder:
    """The embedder that ``choice`` names, or is, or that calls it.

    Args:
        choice: "lexical", "policy", "sentence-transformers:MODEL", "vllm:MODEL"; an object with ``embed_texts`` or
            ``embed_tokens``; or a function of a list of texts that returns a tensor of a row each.
        batch_size: completions that a model embeds at a time.
        max_tokens: tokens of a completion that a model reads.
        policy: returns the model being trained, for "policy".

    Raises:
        TypeError, ValueError: naming what it got and what it takes.
        ImportError: with the extra to install.
    """
    if isinstance(choice, str):
        return _named(choice, batch_size, max_tokens, policy)
    if isinstance(choice, type):
        raise TypeError(f"embedder must be an object, not its class: got {choice.__name__}, pass {choice.__name__}(…)")
    if isinstance(choice, TextEmbedder | TokenEmbedder):
        return choice
    if callable(choice):
        return FunctionEmbedder(choice)
    raise TypeError(
        f"embedder must be {NAMES}, an object with embed_texts or embed_tokens, or a function; got"
        f" {type(choice).__name__}"
    )


def _named(name: str, batch_size: int, max_tokens: int, policy: Callable[[], nn.Module] | None) -> Embedder:
    kind, _, model = name.partition(":")
    if kind == "sentence-transformers" and model:
        return SentenceTransformersEmbedder(model, batch_size=batch_size, max_tokens=max_tokens)
    if kind == "vllm" and model:
        return VLLMEmbedder(model, max_tokens=max_tokens, max_num_seqs=batch_size)
    if name == "lexical":
        return LexicalEmbedder()
    if name == "policy":
        if policy is None:
            raise ValueError("embedder 'policy' takes the policy, a function that returns the model being trained")
        return PolicyEmbedder(policy, batch_size=batch_size, max_tokens=max_tokens)
    raise ValueError(f"embedder must be {NAMES}; got {name!r}")
