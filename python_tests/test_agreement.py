"""The backends that can run here agree on the same random cases.

`make test-emulator` runs this with Triton's interpreter and the CUDA emulator both switched on, so that all four take
part; on a machine with a GPU they run there, all but "cpu", whose copy is compared.
"""

from __future__ import annotations

import os
from itertools import product

import pytest
import torch
from oracle import Case
from replay import check

from mmr_kernels import MMRResult, available_backends

CASES = list(product([(3, 6, 33), (2, 17, 64), (2, 40, 16)], ["mmr", "smi"], ["group", "batch"], ["group", "none"]))


def test_all_four_take_part_when_the_machine_is_set_up_for_them() -> None:
    if os.environ.get("TRITON_INTERPRET") == "1" and os.environ.get("MMR_KERNELS_CUDA_EMULATE") == "1":
        assert available_backends() == ["triton", "cuda", "cpu", "torch"]


@pytest.mark.parametrize(("sizes", "method", "scope", "scale"), CASES)
def test_backends_agree(sizes: tuple[int, int, int], method: str, scope: str, scale: str) -> None:
    generator = torch.Generator().manual_seed(sum(sizes))
    rewards = torch.rand(sizes[:2], generator=generator)
    # All similarities are positive, so that SMI's divisor is far from 0, and no two picks are closer than rounding.
    embeddings = torch.randn(sizes, generator=generator) + 1
    case = Case.uniform(rewards, embeddings, method=method, scope=scope, scale=scale)
    gpu = "cuda" if torch.cuda.is_available() else "cpu"
    on_device = {name: case.run(name, "cpu" if name == "cpu" else gpu) for name in available_backends()}
    results = {name: MMRResult(*(field.cpu() for field in result)) for name, result in on_device.items()}
    for result in results.values():
        check(case, result)
        assert torch.equal(result.selection_rank, results["torch"].selection_rank)
        torch.testing.assert_close(result.reweighted_rewards, results["torch"].reweighted_rewards, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(result.advantages, results["torch"].advantages, rtol=1e-4, atol=1e-4)
