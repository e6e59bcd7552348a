"""λ over training: the raw λ of a batch, and its moving average."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import Case
from replay import ORACLE
from tolerance import CONTRACT

from mmr_kernels import LambdaEMA, mmr_advantages
from mmr_kernels.schedule import raw_lambda


@pytest.mark.parametrize("mode", ["sigmoid", "relative_std"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 2.0])
def test_raw_lambda_is_that_of_the_op(mode: str, temperature: float) -> None:
    rewards = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    rewards[1, 2] = float("nan")
    valid = torch.rand(4, 7, generator=torch.Generator().manual_seed(1)) < 0.7
    options = {"lam": mode, "temperature": temperature}
    lams = raw_lambda(rewards, mode=mode, temperature=temperature, valid=valid)
    case = Case.uniform(rewards, torch.ones(4, 7, 2), valid=valid, **options)
    assert lams.shape == (4,)
    torch.testing.assert_close(lams.double(), torch.from_numpy(ORACLE.truth(case).lam), rtol=0, atol=CONTRACT)
    details = mmr_advantages(rewards, torch.ones(4, 7, 2), valid=valid, return_details=True, **options)  # type: ignore[arg-type]
    torch.testing.assert_close(lams, details.lam, rtol=0, atol=CONTRACT)  # type: ignore[union-attr]


def test_raw_lambda_of_flat_rewards_is_one() -> None:
    assert raw_lambda(torch.tensor([0.0, 1.0]), mode="sigmoid").tolist() == pytest.approx([0.6224593])


@given(lams=st.lists(st.floats(0, 1), min_size=1, max_size=8), alpha=st.floats(0.01, 1))
def test_smoothing_is_the_published_recurrence(lams: list[float], alpha: float) -> None:
    """λ_used = α·λ + (1 - α)·λ_prev, the first unsmoothed; floats and tensors alike."""
    smooth, smooth_tensor, expected = LambdaEMA(alpha), LambdaEMA(alpha), lams[0]
    for step, lam in enumerate(lams):
        expected = lam if step == 0 else alpha * lam + (1 - alpha) * expected
        assert smooth.update(lam) == pytest.approx(expected, abs=1e-12)
        got = smooth_tensor.update(torch.tensor([lam, 0.5], dtype=torch.float64))
        assert torch.as_tensor(got).tolist() == pytest.approx([expected, 0.5], abs=1e-12)
    assert 0 <= smooth.update(0.5) <= 1  # type: ignore[operator]


def test_smoothing_survives_a_checkpoint() -> None:
    first = LambdaEMA(0.3)
    first.update(0.9)
    second = LambdaEMA()
    second.load_state_dict(first.state_dict())
    assert second.update(0.1) == first.update(0.1) == pytest.approx(0.3 * 0.1 + 0.7 * 0.9)


def test_smoothing_keeps_no_graph() -> None:
    lam = torch.tensor([0.5], requires_grad=True)
    assert not torch.as_tensor(LambdaEMA().update(lam)).requires_grad
