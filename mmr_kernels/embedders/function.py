"""Any function as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor


class FunctionEmbedder:
    """Calls a function, which takes a list of texts and returns a tensor or NumPy array with a row for each."""

    def __init__(self, function: Callable[[list[str]], Any]) -> None:
        self.function = function

    def embed_texts(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """(N, D), without gradient, as the function returned it; the caller checks, converts and moves it."""
        with torch.no_grad():
            vectors: Tensor = self.function(list(texts))
        return vectors
