"""Checks of what the caller passes: each error names the argument, what it got and what it takes.

Sizes, dtypes, devices and options only; what takes a look at values stands in ``ops.py``.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

try:
    from mmr_kernels._cpu import look as look
except ImportError:  # no compiler at installation, or an older torch: ``mmr-kernels info`` says which

    def look(rewards: object, embeddings: object) -> int:
        """As the compiled one (_cpu.pyi), which never saw them."""
        return 0


FLOAT_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
INTEGER_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)

CHOICES: dict[str, tuple[str, ...]] = {
    "method": ("mmr", "smi", "none"),
    "first_pick": ("reward", "score"),
    "scope": ("group", "batch"),
    "scale": ("group", "batch", "none"),
    "degenerate": ("reweight", "zero"),
    "backend": ("triton", "cuda", "cpu", "torch"),
}
LARGEST_FLOAT32 = torch.finfo(torch.float32).max
LAMBDA_MODES = ("sigmoid", "relative_std")


def quoted(names: tuple[str, ...]) -> str:
    """'a', 'b', 'c', as error messages list choices."""
    return ", ".join(repr(name) for name in names)


def check_choice(name: str, value: object) -> None:
    """One of ``CHOICES[name]``."""
    if value not in CHOICES[name]:
        raise ValueError(f"{name} must be one of {quoted(CHOICES[name])}; got {value!r}")


def check_number(name: str, value: object, highest: float = math.inf) -> None:
    """A finite number in [0, highest]."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a float, got {type(value).__name__}")
    # Comparisons alone, which torch.compile can also trace for a number that changes from call to call.
    if not (0 <= value <= highest and value < math.inf):
        takes = f"lie in [0, {highest:g}]" if math.isfinite(highest) else "be finite and at least 0"
        raise ValueError(f"{name} must {takes}, got {value}")


def check_flag(name: str, value: object) -> None:
    """A bool."""
    if not isinstance(value, bool):
        raise TypeError(f"{name} must be a bool, got {type(value).__name__}")


def check_tensor(name: str, value: object) -> None:
    """A torch tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if value.layout is not torch.strided or value.is_nested:
        raise TypeError(f"{name} must be a dense tensor, got {'a nested one' if value.is_nested else value.layout}")


def check_device(name: str, tensor: Tensor, rewards: Tensor) -> None:
    """On the device of the rewards."""
    if tensor.device != rewards.device:
        raise ValueError(f"{name} must be on the device of rewards, {rewards.device}; got {tensor.device}")


def check_dtype(name: str, tensor: Tensor, takes: tuple[torch.dtype, ...]) -> None:
    """One of the dtypes."""
    if tensor.dtype not in takes:
        raise TypeError(f"{name} must be {' or '.join(str(dtype) for dtype in takes)}, got {tensor.dtype}")


def check_rewards(rewards: Tensor) -> None:
    """(N,) or (B, G), real."""
    check_tensor("rewards", rewards)
    if rewards.dtype.is_complex:
        raise TypeError(f"rewards must be real, got {rewards.dtype}")
    if rewards.dim() not in (1, 2):
        raise ValueError(f"rewards must have shape (N,) or (groups, group size), got {tuple(rewards.shape)}")


def check_valid(valid: Tensor, rewards: Tensor) -> None:
    """Bool, like the rewards."""
    check_tensor("valid", valid)
    check_dtype("valid", valid, (torch.bool,))
    if valid.shape != rewards.shape:
        raise ValueError(f"valid must have the shape of rewards, {tuple(rewards.shape)}; got {tuple(valid.shape)}")
    check_device("valid", valid, rewards)


def check_embeddings(embeddings: Tensor, rewards: Tensor) -> None:
    """One vector a completion."""
    check_tensor("embeddings", embeddings)
    check_dtype("embeddings", embeddings, FLOAT_DTYPES)
    if embeddings.shape[:-1] != rewards.shape:
        takes = ", ".join(str(size) for size in rewards.shape)
        raise ValueError(
            f"embeddings must have shape ({takes}, D), one vector a completion; got {tuple(embeddings.shape)}"
        )
    check_device("embeddings", embeddings, rewards)


def check_similarity(similarity: Tensor, rewards: Tensor, group_size: int, num_groups: int, scope: str) -> None:
    """One square block a scope."""
    check_tensor("similarity", similarity)
    check_dtype("similarity", similarity, FLOAT_DTYPES)
    if scope == "group" and group_size == 0:
        raise ValueError(
            "similarity takes groups of one size, as (groups, group size, group size); for groups given by"
            " group_offsets or group_ids pass embeddings instead"
        )
    size = rewards.numel() if scope == "batch" else group_size
    takes = (1 if scope == "batch" else num_groups, size, size)
    if similarity.shape != takes:
        raise ValueError(
            f'similarity must have shape {takes}, one square block a scope for scope="{scope}";'
            f" got {tuple(similarity.shape)}"
        )
    check_device("similarity", similarity, rewards)
