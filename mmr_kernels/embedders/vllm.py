"""Embedder "vllm": an embedding model served inside this process by vLLM's pooling runner."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def why_not() -> str | None:
    """Needs vLLM."""
    if importlib.util.find_spec("vllm") is not None:
        return None
    return "needs the package vllm; pip install vllm (docs/trl.md)"


def make(model: str, *, batch_size: int, max_tokens: int, policy: object) -> VLLMEmbedder:
    """The embedder of that model."""
    return VLLMEmbedder(model, max_tokens=max_tokens, max_num_seqs=batch_size)


class VLLMEmbedder:
    """Loads the model when it is made, from a folder or the Hugging Face hub.

    Args:
        model: a folder, or a name on the hub.
        max_tokens: tokens of a text that are read; a model that reads fewer keeps its own limit.
        trust_remote_code: run code that the model brings. Not settable from a config, only here.
        **engine: of ``vllm.LLM``. On a GPU that also trains, ``gpu_memory_utilization`` is the share of its memory
            that this model may take; unless given, a tenth.

    Raises:
        ImportError: vLLM is not installed.
    """

    def __init__(self, model: str, *, max_tokens: int = 3584, trust_remote_code: bool = False, **engine: Any) -> None:
        from vllm import LLM

        if torch.cuda.is_available():
            engine.setdefault("gpu_memory_utilization", 0.1)
        self.model = LLM(model, runner="pooling", trust_remote_code=trust_remote_code, **engine)
        self.max_tokens = min(max_tokens, self.model.llm_engine.model_config.max_model_len)

    def embed_texts(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """(N, D) float32 on ``device``."""
        outputs = self.model.embed(
            list(texts),
            use_tqdm=False,
            tokenization_kwargs={"truncation": True, "max_length": self.max_tokens},
        )
        rows = [output.outputs.embedding for output in outputs]
        return torch.tensor(rows, dtype=torch.float32, device=device)
