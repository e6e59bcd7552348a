"""Memory: similarities that can't be had are one sentence, and threads hold no more of them than the call has."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from mmr_kernels import mmr_advantages
from mmr_kernels.backends import cpu, this_host

MANY = 10_000_000  # 400 TB of similarities


@pytest.mark.parametrize(
    "layout",
    [{"group_size": MANY}, {"group_size": 8, "scope": "batch"}, {"group_offsets": [0, 8, MANY]}],
    ids=["group", "batch", "ragged"],
)
def test_similarities_that_no_machine_holds(backend: str, device: torch.device, layout: dict[str, Any]) -> None:
    if backend == "cuda" and "group_offsets" in layout:
        pytest.skip("sizes of ragged groups are on the device, and similarities beyond 64 MB are formed anew, not held")
    rewards, embeddings = torch.rand(MANY, device=device), torch.rand(MANY, 1, device=device)
    count = "(10000000|9999992)"  # of all, or of the largest group
    with pytest.raises((MemoryError, ValueError), match=rf"among {count} .* bytes|at most .* {count}"):
        mmr_advantages(rewards, embeddings, backend=backend, **layout)


def test_only_what_a_method_needs_is_asked_for(backend: str, device: torch.device) -> None:
    rewards = torch.rand(100_000, device=device)
    if backend not in ("triton", "cuda"):  # which take no scope of that size
        assert mmr_advantages(rewards, group_size=8, scope="batch", method="none", backend=backend).isfinite().all()


ONE_GIANT_GROUP = """
import resource, sys, torch
from mmr_kernels import mmr_advantages
torch.set_num_threads(32)
offsets = [0, *range(8, 4001, 8), 10_000, *range(10_008, 12_001, 8)]
rewards, embeddings = torch.rand(12_000), torch.randn(12_000, 16)
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + int(sys.argv[1]), -1))
assert mmr_advantages(rewards, embeddings, group_offsets=offsets, backend="cpu").isfinite().all()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.skipif(cpu.why_not_here(this_host()) is not None, reason="no compiled module")
@pytest.mark.parametrize("limit", [3 * 2**29, 2**27])
def test_threads_share_a_giant_group(limit: int) -> None:
    """Its similarities, 144 MB, are held once and not by each thread; where there's no room for that, it is said."""
    program = [sys.executable, "-c", ONE_GIANT_GROUP, str(limit)]
    result = subprocess.run(program, capture_output=True, text=True)
    if limit > 2**29:
        assert result.returncode == 0, result.stderr
    else:
        assert "MemoryError: similarities among 6000 completions of one scope take 144000000 bytes" in result.stderr
