"""The baselines compute what the op computes, so that the benchmark compares like with like."""

from __future__ import annotations

import pytest
import torch

import mmr_kernels
from bench import baselines


@pytest.mark.parametrize("baseline", [baselines.loop, baselines.batched])
def test_baseline_agrees_with_the_op(baseline: object) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, embeddings = torch.rand(4, 9, generator=generator), torch.randn(4, 9, 33, generator=generator)
    assert callable(baseline)
    torch.testing.assert_close(
        baseline(rewards, embeddings), mmr_kernels.mmr_advantages(rewards, embeddings), rtol=1e-4, atol=1e-4
    )
