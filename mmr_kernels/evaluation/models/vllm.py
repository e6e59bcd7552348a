"""vLLM: the fast way."""

from __future__ import annotations

import importlib.util
from typing import Any

#: Samples that vLLM is given at a time: what a kill loses.
PART = 1024


def why_not() -> str | None:
    """What this machine lacks."""
    if importlib.util.find_spec("vllm") is None:
        return "needs vLLM: pip install vllm; or take --backend hf, which is slow, or a server with --backend api"
    return None


def make(name: str, length: int | None) -> Any:
    """The model, on the first visible GPU."""
    from collections import deque

    from lm_eval.models.vllm_causallms import VLLM

    class SeededVLLM(VLLM):
        """See the package."""

        truncated: deque[bool]

        def start(self, seed: int) -> None:
            """Requests have seeds of their own."""

        def request_seed(self, seed: int) -> dict[str, int]:
            """An option of vLLM's SamplingParams."""
            return {"seed": seed}

        def _model_generate(self, *args: Any, **options: Any) -> Any:
            outputs = super()._model_generate(*args, **options)
            self.truncated.extend(output.outputs[0].finish_reason == "length" for output in outputs)
            return outputs

    model = SeededVLLM(pretrained=name, dtype="bfloat16", max_model_len=length, gpu_memory_utilization=0.8)
    model.truncated = deque()
    return model
