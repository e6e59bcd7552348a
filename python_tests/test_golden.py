"""Every backend reproduces the vectors that the method's released code computed (contract, section 8)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from oracle import Case
from replay import check
from tolerance import GOLDEN, GOLDEN_ADVANTAGE, relative

from mmr_kernels import LambdaEMA
from mmr_kernels.schedule import raw_lambda

Golden = tuple[list[dict[str, Any]], dict[str, np.ndarray]]


def golden_case(entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Case:
    shape = (entry["num_groups"], entry["group_size"])
    name = entry["case"]
    options: dict[str, Any] = {"scope": entry["scope"], "match_scale": entry["match_scale"]}
    if entry["mode"] == "smi":
        options["method"] = "smi"
    else:
        options["lam"] = entry["lam"] if entry["mode"] == "fixed" else entry["mode"]
    if entry["temperature"] is not None:
        options["temperature"] = entry["temperature"]
    rewards = torch.from_numpy(arrays[f"{name}_rewards"]).reshape(shape)
    embeddings = torch.from_numpy(arrays[f"{name}_embeddings"]).reshape(*shape, -1)
    return Case.uniform(rewards, embeddings, **options)


def picking_order(case: Case, rank: np.ndarray) -> np.ndarray:
    """Scope after scope, the index within the scope."""
    return np.concatenate([np.argsort(rank[members]) for members in case.scopes])


def close(got: torch.Tensor, expected: np.ndarray, tolerance: float) -> float:
    """The largest error, in the contract's measure."""
    errors = np.abs(got.cpu().numpy().reshape(expected.shape) - expected)
    assert np.all(errors <= relative(tolerance, expected)), f"off by {errors.max()}"
    return float(np.max(errors / relative(1.0, expected)))


def check_vector(
    entry: dict[str, Any], arrays: dict[str, np.ndarray], backend: str, device: torch.device | str
) -> float:
    """The largest error of the reweighted rewards."""
    name, case = entry["case"], golden_case(entry, arrays)
    result = case.run(backend, device)
    error = close(result.reweighted_rewards, arrays[f"{name}_reweighted"], GOLDEN)
    close(result.advantages, arrays[f"{name}_adv_group"], GOLDEN_ADVANTAGE)
    close(case.run(backend, device, scale="none").advantages, arrays[f"{name}_adv_none"], GOLDEN)
    if entry["mode"] != "smi":
        close(result.lam, arrays[f"{name}_lam"], GOLDEN)
        order = picking_order(case, result.selection_rank.cpu().numpy().flatten())
        assert np.array_equal(order, arrays[f"{name}_order"]), f"{name}: picked {order}"
    check(case, result)
    return error


@pytest.mark.parametrize("kind", ["c", "t", "s"])
def test_golden_vectors(backend: str, device: torch.device, golden: Golden, kind: str) -> None:
    entries, arrays = golden
    of_kind = [entry for entry in entries if entry["case"].startswith(kind)]
    assert of_kind, f"no golden cases {kind}*"
    for entry in of_kind:
        check_vector(entry, arrays, backend, device)


def test_smoothed_lambda_sequence(backend: str, device: torch.device, golden: Golden) -> None:
    """Six batches in a row: relative_std at temperature 2, α = 0.2, match_scale on."""
    _, arrays = golden
    ema = LambdaEMA(0.2)
    for step in range(6):
        rewards = torch.from_numpy(arrays[f"e{step}_rewards"]).to(device)
        embeddings = torch.from_numpy(arrays[f"e{step}_embeddings"]).to(device)
        lam = ema.update(raw_lambda(rewards, mode="relative_std", temperature=2.0))
        close(torch.as_tensor(lam), arrays["ema_lams"][step : step + 1], GOLDEN)
        case = Case(
            rewards,
            [list(range(len(rewards)))],
            {"group_size": len(rewards)},
            embeddings,
            options={"lam": lam, "match_scale": True},
        )
        close(case.run(backend, device).reweighted_rewards, arrays[f"e{step}_reweighted"], GOLDEN)
