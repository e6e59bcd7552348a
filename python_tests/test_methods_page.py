"""Every number of docs/methods.md, from the call that stands beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from mmr_kernels import mmr_advantages

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
REWARDS = torch.tensor([[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]])
NUMBER = re.compile(r"[+−][0-9]+\.[0-9]{2}")


def similarity() -> torch.Tensor:
    """Near copies 0.9, others of one kind 0.2, right and wrong 0.1."""
    block = torch.full((6, 6), 0.1)
    for kind in (0, 3):
        block[kind : kind + 3, kind : kind + 3] = 0.2
        block[kind, kind + 1] = block[kind + 1, kind] = 0.9
    return block.fill_diagonal_(1.0).unsqueeze(0)


def rows(numbers: int) -> list[tuple[str, list[float]]]:
    """The calls of the page with so many numbers after them."""
    found = []
    for line in PAGE.splitlines():
        cells = re.match(r"\| `(method=[^`]*)` \|(.*)", line)
        values = [float(number.replace("−", "-")) for number in NUMBER.findall(cells[2])] if cells else []
        if cells and len(values) == numbers:
            found.append((cells[1], values))
    return found


def computed(call: str, rewards: torch.Tensor, backend: str, device: torch.device) -> list[float]:
    result = mmr_advantages(
        rewards.to(device), similarity=similarity().to(device), backend=backend, **eval(f"dict({call})")
    )
    assert isinstance(result, torch.Tensor)
    return [float(value) for value in result.cpu()[0]]


def test_the_page_has_both_tables() -> None:
    assert [call for call, _ in rows(6)] == [call for call, _ in rows(12)]
    assert len(rows(6)) == 11


@pytest.mark.parametrize(("call", "expected"), rows(6))
def test_the_group_of_six(backend: str, device: torch.device, call: str, expected: list[float]) -> None:
    assert computed(call, REWARDS, backend, device) == pytest.approx(expected, abs=0.0051)


@pytest.mark.parametrize(("call", "expected"), rows(12))
def test_shifted_and_scaled(backend: str, device: torch.device, call: str, expected: list[float]) -> None:
    changed = [REWARDS + 10, REWARDS - 10, REWARDS * 10]
    got = [computed(call, rewards, backend, device) for rewards in changed]
    assert [values[i] for values in got for i in (0, 1, 2, 5)] == pytest.approx(expected, abs=0.0051)


def test_the_signal_of_the_six(backend: str, device: torch.device) -> None:
    result = mmr_advantages(
        REWARDS.to(device), similarity=similarity().to(device), backend=backend, return_details=True
    )
    written = re.search(r"T = ([0-9.]+),\s+V = ([0-9.]+)\.", PAGE)
    assert written is not None
    expected = [float(written[1]), float(written[2])]
    assert result.signal.cpu().flatten().tolist() == pytest.approx(expected, abs=0.0051)  # type: ignore[union-attr]
