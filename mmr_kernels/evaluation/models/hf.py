"""transformers, for machines without vLLM: slow."""

from __future__ import annotations

from collections import deque
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

#: Samples generated together, most of one problem; seeded together.
PART = 16


def why_not() -> str | None:
    """Runs everywhere."""
    return None


def make(name: str, length: int | None) -> HuggingFace:
    """The model, on a GPU if there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return HuggingFace(pretrained=name, device=device, dtype="bfloat16", max_length=length, batch_size=PART)


class HuggingFace(HFLM):
    """See the package."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.truncated: deque[bool] = deque()

    def start(self, seed: int) -> None:
        """A generator for the whole part is all that transformers has."""
        torch.manual_seed(seed)

    def request_seed(self, seed: int) -> dict[str, int]:
        """None of its own."""
        return {}

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **options: Any) -> Any:
        # transformers would take these two from the model's generation_config, which the other backends don't read.
        tokens = super()._model_generate(context, max_length, stop, top_k=0, repetition_penalty=1.0, **options)
        ends = torch.tensor(self.model.generation_config.eos_token_id, device=tokens.device)
        self.truncated.extend((~torch.isin(tokens[:, context.shape[1] :], ends).any(1)).tolist())
        return tokens
