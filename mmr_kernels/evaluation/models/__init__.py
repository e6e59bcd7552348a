"""Models to sample from: lm-eval's, taught which answers were cut off and a seed for each sample; one file each.

A module has ``make(name, max_new_tokens)``, which returns a model with, besides what lm-eval's have,

- ``truncated``, a deque into which the flags of a batch go in the order in which lm-eval then hands its texts to the
  cache hook;
- ``start(seed)``, called before each part of ``PART`` samples, and ``request_seed(seed)``, the options that a sample
  of this seed adds to its request.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

from mmr_kernels.evaluation.models import api, hf, vllm

BACKENDS: dict[str, ModuleType] = {"vllm": vllm, "hf": hf, "api": api}
#: Tokens of a prompt that there is room for beside the new ones.
PROMPT = 4096


def check(backend: str, name: str, max_new_tokens: int) -> int | None:
    """The tokens that the model is to read in all; None where only the server knows.

    Args:
        backend: of ``BACKENDS``.
        name: a folder, a name on the Hugging Face hub, or for "api" what the server calls it.

    Raises:
        ImportError, ValueError: a package is missing; no model has this name; it reads too few tokens.
    """
    if (reason := BACKENDS[backend].why_not()) is not None:
        raise ImportError(f"--backend {backend} {reason}")
    if backend == "api":
        return None
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        kind = "the folder has none" if Path(name).is_dir() else "no such folder, and none on the hub within reach"
        raise ValueError(f"{name} is no model: {kind} ({' '.join(str(error).split())[:200]})") from error
    length = int(getattr(config, "max_position_embeddings", None) or max_new_tokens + PROMPT)
    if length <= max_new_tokens:
        raise ValueError(f"--max-new-tokens {max_new_tokens} leaves no room for a prompt: {name} reads {length} in all")
    return min(length, max_new_tokens + PROMPT)


def make(backend: str, name: str, max_new_tokens: int) -> Any:
    """The model, loaded; raises as ``check`` does."""
    return BACKENDS[backend].make(name, check(backend, name, max_new_tokens))
