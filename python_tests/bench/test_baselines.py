"""The baselines compute what the op computes, so that the benchmark compares like with like."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import mmr_kernels
from mmr_kernels.bench import baselines


@pytest.mark.parametrize("scope", ["group", "batch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("baseline", [baselines.loop, baselines.batched])
def test_baseline_agrees_with_the_op(baseline: Any, dtype: torch.dtype, scope: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, embeddings = torch.rand(4, 9, generator=generator), torch.randn(4, 9, 33, generator=generator)
    details = mmr_kernels.mmr_advantages(rewards, embeddings.to(dtype), scope=scope, return_details=True)
    advantages, reweighted = baseline(rewards, embeddings.to(dtype), scope)
    torch.testing.assert_close(reweighted, details.reweighted_rewards, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(advantages, details.advantages, rtol=1e-4, atol=1e-4)
