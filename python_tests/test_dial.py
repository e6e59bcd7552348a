"""The dial: what it makes of T and V over batches, held to a plain Python computation."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from mmr_kernels import MMRResult, SignalDial, mmr_advantages

Batch = list[tuple[float, float]]
NAN, INF = math.nan, math.inf


def defined(batches: list[Batch], threshold: float, weight: float) -> list[float]:
    """The dial after each batch, in Python's floats."""
    averages: tuple[float, float] | None = None
    values = []
    for batch in batches:
        sums = (sum(t for t, _ in batch), sum(v for _, v in batch))
        if all(map(math.isfinite, sums)):
            before = averages or sums
            averages = tuple(weight * new + (1 - weight) * old for new, old in zip(sums, before, strict=True))
        explained, variance = averages or (0.0, 0.0)
        values.append(min(max(1 - explained / variance / threshold, 0.0), 1.0) if variance > 0 else 0.0)
    return values


def run(batches: list[Batch], *arguments: float) -> list[float]:
    dial = SignalDial(*arguments)
    values = []
    for batch in batches:
        dial.update(torch.tensor(batch, dtype=torch.float64))
        values.append(dial.value.item())
    return values


EXPLAINED = st.floats(-10, 10) | st.sampled_from([0.0, NAN, INF])
VARIANCE = st.floats(1e-3, 10) | st.sampled_from([0.0, NAN, INF])


@given(
    batches=st.lists(st.lists(st.tuples(EXPLAINED, VARIANCE), min_size=1, max_size=3), min_size=1, max_size=6),
    threshold=st.floats(0.01, 2),
    weight=st.floats(0.01, 1),
)
@example([[(0.01, 1.0)], [(0.2, 1.0)], [(-5.0, 1.0)]], 0.1, 0.02)
@example([[(0.0, 0.0)], [(0.5, 10.0), (0.0, 0.0)]], 0.1, 0.02)
def test_the_dial_is_the_definition(batches: list[Batch], threshold: float, weight: float) -> None:
    assert run(batches, threshold, weight) == pytest.approx(defined(batches, threshold, weight), rel=1e-5, abs=1e-5)


def test_numbers_of_one_run() -> None:
    """By hand: e = 0.05; (0.02 · 0.2 + 0.98 · 0.05) / 1 = 0.053; a ratio of averages, and no average of ratios."""
    assert run([[(0.05, 1.0)], [(0.2, 1.0)], [(0.0, 9.0)]]) == pytest.approx(
        [0.5, 0.47, 1 - 0.98 * 0.053 / (0.98 + 0.18) / 0.1]
    )
    assert run([[(0.3, 1.0)], [(-1.0, 1.0)]], 0.1, 1.0) == [0.0, 1.0]


def test_before_any_variance_it_is_shut() -> None:
    dial = SignalDial()
    assert (dial.value.item(), dial.value.dtype, dial.value.shape) == (0.0, torch.float32, ())
    for nothing in ([NAN, NAN], [0.0, 0.0], [0.0, INF], [NAN, 1.0]):
        dial.update(torch.tensor(nothing))
        assert dial.value.item() == 0
    dial.update(torch.tensor([0.0, 1.0]))
    assert dial.value.item() == 1


@pytest.mark.parametrize("method", ["share", "mmr", "none"])
@pytest.mark.parametrize("scope", ["group", "batch"])
def test_it_takes_the_details_of_the_op_and_goes_in_as_diversity(method: Any, scope: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    rewards, embeddings = torch.rand(3, 6, generator=generator), torch.randn(3, 6, 4, generator=generator)
    options: dict[str, Any] = {"method": method, "scope": scope}
    dial = SignalDial(threshold=1.0)
    first = mmr_advantages(rewards, embeddings, diversity=dial.value, return_details=True, **options)
    assert isinstance(first, MMRResult)
    dial.update(first)
    explained, variance = first.signal.double().sum(0).tolist()
    assert dial.value.item() == pytest.approx(1 - explained / variance)
    assert 0 < dial.value.item() < 1
    given = mmr_advantages(rewards, embeddings, diversity=dial.value, **options)
    as_float = mmr_advantages(rewards, embeddings, diversity=dial.value.item(), **options)
    torch.testing.assert_close(given, as_float)
    assert (given.tolist() == first.advantages.tolist()) == (method == "none")


def test_a_call_without_similarities_moves_nothing() -> None:
    dial = SignalDial()
    dial.update(torch.tensor([0.05, 1.0]))
    dial.update(mmr_advantages(torch.rand(2, 3), method="none", return_details=True))  # type: ignore[arg-type]
    assert dial.value.item() == pytest.approx(0.5)


def test_nothing_is_read_on_the_host() -> None:
    """On a device without values, where reading one is an error."""
    dial = SignalDial(device="meta")
    dial.update(torch.zeros(4, 2, device="meta"))
    assert dial.value.is_meta


def test_the_state_stays_where_it_is() -> None:
    """As a CUDA graph needs, which replays on the same memory."""
    dial = SignalDial()
    place = dial._averages.data_ptr()
    dial.update(torch.tensor([0.05, 1.0]))
    dial.load_state_dict(dial.state_dict())
    assert dial._averages.data_ptr() == place


def test_a_checkpoint_goes_on_from_there() -> None:
    first, second = SignalDial(0.2, 0.5), SignalDial()
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for batch in ([0.02, 1.0], [0.04, 3.0], [0.1, 1.0]):
        state = json.loads(json.dumps(first.state_dict()))
        second = SignalDial()
        second.load_state_dict(state)
        for dial in (first, second):
            dial.update(torch.tensor(batch))
        assert torch.equal(first.value, second.value)
    assert first.state_dict() == second.state_dict()
    assert first.state_dict()["threshold"] == 0.2


def test_no_memory_is_shared() -> None:
    dial, signal = SignalDial(), torch.tensor([0.05, 1.0])
    dial.update(signal)
    state = dial.state_dict()
    signal.fill_(9.0)
    dial.value.fill_(9.0)
    state["averages"][:] = [9.0, 9.0]
    assert dial.value.item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    "signal",
    [
        None,
        [0.1, 1.0],
        0.1,
        torch.tensor(0.1),
        torch.zeros(3),
        torch.zeros(2, 3),
        torch.zeros(2, dtype=torch.int64),
        torch.tensor([0.1, -1.0]),
        torch.zeros(2, device="meta"),
    ],
    ids=str,
)
def test_a_bad_signal_is_named_and_moves_nothing(signal: Any) -> None:
    dial = SignalDial()
    dial.update(torch.tensor([0.05, 1.0]))
    with pytest.raises((TypeError, ValueError), match=r"^signal must"):
        dial.update(signal)
    assert dial.value.item() == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["threshold", "weight"])
@pytest.mark.parametrize("value", ["0.5", True, None, 0.0, -1.0, INF, NAN])
def test_a_bad_argument_is_named(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=f"^{name} must"):
        SignalDial(**{name: value})


STATE: dict[str, Any] = {"threshold": 0.2, "weight": 0.5, "averages": [0.1, 1.0]}


@pytest.mark.parametrize(
    "state",
    [
        None,
        {},
        {"alpha": 0.5, "value": 0.5},
        STATE | {"n": 1},
        STATE | {"threshold": 0.0},
        STATE | {"weight": 2.0},
        *(
            STATE | {"averages": averages}
            for averages in (0.5, [0.5], ["0.5", 1.0], [True, 1.0], [NAN, 1.0], [0.1, -1.0], torch.zeros(2))
        ),
    ],
    ids=str,
)
def test_it_loads_its_own_state_alone(state: Any) -> None:
    dial = SignalDial(0.3)
    dial.update(torch.tensor([0.15, 1.0]))
    before = dial.state_dict()
    with pytest.raises((TypeError, ValueError), match=r"^(state|threshold|weight|averages) must"):
        dial.load_state_dict(state)
    assert dial.state_dict() == before
