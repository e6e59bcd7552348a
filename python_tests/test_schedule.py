"""λ over training: the raw λ of a batch, and its moving average."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from oracle import Case
from replay import ORACLE
from tolerance import CONTRACT

from mmr_kernels import LambdaEMA, mmr_advantages
from mmr_kernels.schedule import LinearSchedule, raw_lambda

R = torch.tensor([0.0, 1.0, 1.0])


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


def test_raw_lambda_of_no_rewards_is_none() -> None:
    rewards = torch.tensor([[0.0, 1.0, float("nan")], [float("nan")] * 3, [0.0, 1.0, 2.0]])
    lams = raw_lambda(rewards, valid=torch.tensor([[True], [True], [False]]).expand(3, 3))
    assert lams.isnan().tolist() == [False, True, True]
    assert raw_lambda(torch.empty(0)).isnan().tolist() == [True]


WRONG: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "a list": ("rewards", ([0.0, 1.0],), {}),
    "no dimension": ("rewards", (torch.tensor(1.0),), {}),
    "another mode": ("mode", (R,), {"mode": "std"}),
    "no temperature": ("temperature", (R,), {"temperature": None}),
    "negative temperature": ("temperature", (R,), {"temperature": -1.0}),
    "a mask in a list": ("valid", (R,), {"valid": [True] * 3}),
    "a mask of numbers": ("valid", (R,), {"valid": torch.ones(3)}),
    "a mask of another shape": ("valid", (R,), {"valid": torch.ones(2, dtype=torch.bool)}),
}


@pytest.mark.parametrize(("argument", "given", "more"), WRONG.values(), ids=WRONG.keys())
def test_raw_lambda_names_what_is_wrong(argument: str, given: tuple[Any, ...], more: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{argument} "):
        raw_lambda(*given, **more)


def test_smoothing_passes_over_a_batch_without_rewards() -> None:
    nan = float("nan")
    smooth, smooth_tensor = LambdaEMA(0.5), LambdaEMA(0.5)
    assert [smooth.update(lam) for lam in (nan, 0.5, nan, 1.0)] == [1.0, 0.5, 0.5, 0.75]
    rows = ([nan, 0.0], [0.5, nan], [1.0, 1.0])
    got = [torch.as_tensor(smooth_tensor.update(torch.tensor(row))).tolist() for row in rows]
    assert got == [[1.0, 0.0], [0.5, 0.0], [0.75, 0.5]]


def test_smoothing_shares_no_memory() -> None:
    """Not with the λ that came in, nor with what it gave out."""
    smooth, lam = LambdaEMA(0.5), torch.tensor([0.5])
    for tensor in (lam, smooth.update(lam), smooth.state_dict()["value"]):
        tensor.fill_(0.0)
    state = smooth.state_dict()
    other = LambdaEMA()
    other.load_state_dict(state)
    state["value"].fill_(0.0)
    for average in (smooth, other):
        assert torch.as_tensor(average.update(torch.tensor([0.5]))).tolist() == [0.5]


@pytest.mark.parametrize(
    "lam", [True, None, "0.5", [0.5], 1.5, float("inf"), torch.tensor([1.5]), torch.ones(1).int()], ids=str
)
def test_smoothing_takes_lambdas_alone(lam: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"^lam "):
        LambdaEMA().update(lam)


@pytest.mark.parametrize(("first", "then"), [((2,), (1,)), ((1,), (2,)), ((2,), (3,)), (None, (1,)), ((1,), None)])
def test_smoothing_takes_one_shape(first: Any, then: Any) -> None:
    """Nothing is broadcast in silence."""
    lams: Any = [0.5 if shape is None else torch.full(shape, 0.5) for shape in (first, then)]
    smooth = LambdaEMA()
    smooth.update(lams[0])
    with pytest.raises(ValueError, match=r"^lam must be of one shape"):
        smooth.update(lams[1])


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"alpha": 0.5},
        {"alpha": 0.5, "value": 0.5, "n": 1},
        {"alpha": 2.0, "value": 0.5},
        {"alpha": 0.5, "value": "0.5"},
        {"alpha": 0.5, "value": torch.tensor([2.0])},
    ],
    ids=str,
)
def test_smoothing_loads_its_own_state_alone(state: Any) -> None:
    smooth = LambdaEMA(0.3)
    smooth.update(0.5)
    with pytest.raises((TypeError, ValueError), match=r"^(state|alpha|value) "):
        smooth.load_state_dict(state)
    assert smooth.state_dict() == {"alpha": 0.3, "value": 0.5}


@pytest.mark.parametrize("share", ["0.5", True, None, 0.0, 1.5, float("nan")])
def test_a_share_is_checked(share: Any) -> None:
    for make in (LambdaEMA, lambda share: LinearSchedule(0.0, 1.0, share)):
        with pytest.raises((TypeError, ValueError), match=r"^(alpha|share) must"):
            make(share)
    assert LambdaEMA(np.float32(0.5)).alpha == 0.5
