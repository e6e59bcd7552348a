"""Embedder "sentence-transformers": a sentence model of the library of that name."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def why_not() -> str | None:
    """Needs the library."""
    if importlib.util.find_spec("sentence_transformers") is not None:
        return None
    return "needs the package sentence-transformers; pip install '.[sentence-transformers]'"


def make(model: str, *, batch_size: int, max_tokens: int, policy: object) -> SentenceTransformersEmbedder:
    """The embedder of that model."""
    return SentenceTransformersEmbedder(model, batch_size=batch_size, max_tokens=max_tokens)


def is_model(choice: Any) -> TypeGuard[SentenceTransformer]:
    """Whether it is a sentence model; where nobody imported the library, nothing is."""
    library = sys.modules.get("sentence_transformers")
    return library is not None and isinstance(choice, library.SentenceTransformer)


class SentenceTransformersEmbedder:
    """Loads the model when it is made, from a folder or the Hugging Face hub; it moves to where it is used.

    Args:
        model: a folder, a name on the hub, or a ``SentenceTransformer``, whose own limit of tokens stays.
        batch_size: texts at a time.
        max_tokens: tokens of a text that are read; a model that reads fewer keeps its own limit.
        trust_remote_code: run code that the model brings. Not settable from a config, only here.

    Raises:
        ImportError: sentence-transformers is not installed.
    """

    def __init__(
        self,
        model: str | SentenceTransformer,
        *,
        batch_size: int = 32,
        max_tokens: int = 3584,
        trust_remote_code: bool = False,
    ) -> None:
        from sentence_transformers import SentenceTransformer

        if isinstance(model, str):
            model = SentenceTransformer(model, device="cpu", trust_remote_code=trust_remote_code)
            model.max_seq_length = min(model.max_seq_length or max_tokens, max_tokens)
        self.model = model
        self.max_tokens = model.max_seq_length
        self.batch_size = batch_size

    def embed_texts(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """(N, D) float32 on ``device``."""
        self.model.to(device)
        vectors = self.model.encode(
            list(texts), batch_size=self.batch_size, convert_to_tensor=True, show_progress_bar=False
        )
        # encode works in inference mode, whose tensors no later operation may save.
        return torch.as_tensor(vectors).to(torch.float32).clone()
