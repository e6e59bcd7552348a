"""Any function as an embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class FunctionEmbedder:
    """Calls a function, which takes a list of texts and returns a tensor with a row for each, without gradient."""

    def __init__(self, function: Callable[[list[str]], Tensor]) -> None:
        self.function = function

    def embed_texts(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """(N, D), as the function returned it; the caller checks and moves it."""
        with torch.no_grad():
            return self.function(list(texts))
