"""Room for similarities: M completions in one scope take M² float32, asked for before any other work."""

from __future__ import annotations

import os

import torch

from mmr_kernels.problem import Problem

#: Calls of so few completions are not asked about: 64 MiB of similarities.
SMALL = 4096


def check_room(problem: Problem, padded: bool = False) -> None:
    """For the largest scope; or, ``padded``, for all scopes at its size or one over all completions, what is less.

    Raises:
        MemoryError: as ``check_room_for``.
    """
    count = problem.num_completions
    if count <= SMALL or not problem.needs_similarity:
        return
    blocks, members = 1, problem.largest_scope
    if padded:
        blocks, members = min((problem.num_scopes, members), (1, count), key=lambda each: each[0] * each[1] ** 2)
    check_room_for(members, problem.rewards.device, blocks)


def check_room_for(members: int, device: torch.device, blocks: int = 1) -> None:
    """For so many square blocks of similarities among ``members`` completions.

    Raises:
        MemoryError: saying how many completions and bytes.
    """
    size = 4 * blocks * members**2
    try:
        if size <= _memory(device):
            if device.type == "cpu":  # a trial costs nothing there, and knows limits of the process too
                torch.empty(size, dtype=torch.uint8)
            return
    except RuntimeError:  # torch was refused the memory
        pass
    raise no_room(members, device, blocks)


def no_room(members: int, device: torch.device, blocks: int = 1) -> MemoryError:
    """The error, to raise."""
    return MemoryError(
        f"similarities among {members} completions of one scope take {4 * blocks * members**2} bytes"
        f" ({f'{blocks} · ' if blocks > 1 else ''}{members}² float32), which {device} can't give;"
        ' take smaller groups, or scope="group"'
    )


def _memory(device: torch.device) -> float:
    """Bytes: all of the machine's, or what is left of a CUDA device's; no bound is known for others."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    if device.type == "cpu" and hasattr(os, "sysconf"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return float("inf")
