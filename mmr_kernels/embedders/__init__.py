"""Embedders turn completions into vectors, from which MMR knows what is redundant: their table, and the choice.

A row of the table is a module with ``why_not()`` (None, or one sentence on what this machine lacks) and
``make(model, batch_size, max_tokens, policy)``. That sentence is the error of an explicit choice, a row of
``mmr-kernels info`` and the reason of a skipped test.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import nn

from mmr_kernels.embedders import lexical, policy, sentence_transformers, vllm
from mmr_kernels.embedders.distinct import embed_distinct
from mmr_kernels.embedders.function import FunctionEmbedder
from mmr_kernels.embedders.lexical import LexicalEmbedder
from mmr_kernels.embedders.policy import PolicyEmbedder
from mmr_kernels.embedders.protocol import Embedder, TextEmbedder, TokenEmbedder
from mmr_kernels.embedders.sentence_transformers import SentenceTransformersEmbedder
from mmr_kernels.embedders.vllm import VLLMEmbedder
from mmr_kernels.options import quoted

__all__ = [
    "EMBEDDERS",
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
    "machine_reasons",
]

#: By the names that users write, where MODEL stands for a folder or a name on the Hugging Face hub.
EMBEDDERS: dict[str, ModuleType] = {
    "lexical": lexical,
    "policy": policy,
    "sentence-transformers:MODEL": sentence_transformers,
    "vllm:MODEL": vllm,
}


def machine_reasons() -> dict[str, str | None]:
    """For each embedder, why it can't run on this machine, or None."""
    return {name: module.why_not() for name, module in EMBEDDERS.items()}


def as_embedder(
    choice: Any, *, batch_size: int = 32, max_tokens: int = 3584, policy: Callable[[], nn.Module] | None = None
) -> Embedder:
    """The embedder that ``choice`` names, or is, or that calls it.

    Args:
        choice: a name of the table; an object with ``embed_texts`` or ``embed_tokens``; a ``SentenceTransformer`` or
            its ``encode``; or a function of a list of texts that returns a tensor or NumPy array with a row for each.
        batch_size: completions that a model embeds at a time.
        max_tokens: tokens of a completion that a model reads.
        policy: returns the model being trained, for "policy".

    Raises:
        TypeError, ValueError: naming what it got and what it takes.
        ImportError: with the extra to install.
    """
    if isinstance(choice, str):
        name, _, model = choice.partition(":")
        module = EMBEDDERS.get(f"{name}:MODEL" if model else choice)
        if module is None:
            raise ValueError(f"embedder must be {quoted(EMBEDDERS)}; got {choice!r}")
        if (reason := module.why_not()) is not None:
            raise ImportError(f"embedder {choice!r} {reason}")
        embedder: Embedder = module.make(model, batch_size=batch_size, max_tokens=max_tokens, policy=policy)
        return embedder
    if isinstance(choice, type):
        raise TypeError(f"embedder must be an object, not its class: got {choice.__name__}, pass {choice.__name__}(…)")
    if isinstance(choice, TextEmbedder | TokenEmbedder):
        return choice
    owner = getattr(choice, "__self__", choice)
    if sentence_transformers.is_model(owner) and choice in (owner, owner.encode):
        return SentenceTransformersEmbedder(owner, batch_size=batch_size)
    if callable(choice):
        return FunctionEmbedder(choice)
    raise TypeError(
        f"embedder must be {quoted(EMBEDDERS)}, an object with embed_texts or embed_tokens, or a function; got"
        f" {type(choice).__name__}"
    )
