"""The statements of study/published.md, recomputed from the table's own lines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from study import published

#: Average, peak step and hours of the README's eighteen lines, in order: plain, MMR, plain, MMR, ...
LINES = """
.547 100 4.08   .549 100 4.13
.549 150 6.11   .549 100 4.13
.556 110 25.53  .548 170 7.72
.700 350 28.28  .700 150 12.22
.702 300 24.30  .699 50 4.11
.700 90 33.15   .703 100 8.52
.646 350 32.22  .645 50 4.62
.649 300 27.72  .648 100 9.36
.653 160 93.75  .646 180 17.40
"""
TABLE = [tuple(map(float, line.split())) for line in LINES.strip().splitlines()]


def test_the_data_are_the_tables() -> None:
    pairs = published.load()
    assert [(p.plain.score, p.plain.peak_step, p.plain.hours, p.mmr.score, p.mmr.peak_step, p.mmr.hours)
            for p in pairs] == TABLE  # fmt: skip
    assert [(p.size, p.method) for p in pairs] == [
        (size, method) for size in ("1.5B", "7B", "8B") for method in ("GRPO", "DR-GRPO", "DAPO")
    ]


def test_steps_and_hours() -> None:
    found = published.findings(published.load())
    steps, hours = [(row[1], row[4]) for row in TABLE], [(row[2], row[5]) for row in TABLE]
    for quantity, both in (("peak_step", steps), ("hours", hours)):
        one = found[quantity]
        assert one["fell"] == sum(mmr < plain for plain, mmr in both)
        assert one["rose"] == sum(mmr > plain for plain, mmr in both)
        assert one["mean_of_reductions"] == pytest.approx(sum((plain - mmr) / plain for plain, mmr in both) / 9)
        plain, mmr = map(sum, zip(*both, strict=True))
        assert one["reduction_of_totals"] == pytest.approx((plain - mmr) / plain)
    assert (found["peak_step"]["fell"], found["peak_step"]["stayed"], found["peak_step"]["rose"]) == (5, 1, 3)
    assert found["peak_step"]["saved"] == 1910 - 1000


def test_no_average_is_the_headline() -> None:
    """47.9 % and 70.2 %: the nearest are off by more than the table's rounding explains."""
    pairs = published.load()
    assert min(abs(value - 0.479) for value in published.averages(pairs, "peak_step").values()) > 0.002
    assert min(abs(value - 0.702) for value in published.averages(pairs, "hours").values()) > 0.002


def test_share_of_dapo() -> None:
    groups = published.groups(published.load())
    saved = {name: published.findings(some)["hours"]["saved"] for name, some in groups.items()}
    assert saved["DAPO"] == pytest.approx((25.53 - 7.72) + (33.15 - 8.52) + (93.75 - 17.40))
    assert saved["DAPO"] + saved["without DAPO"] == pytest.approx(saved["all nine"])
    assert all(p.mmr.peak_step > p.plain.peak_step for p in groups["DAPO"])


def test_swap_test_counts_all_ways() -> None:
    """Six pairs, of which one is a tie: only all five falls together save as much, and the tie counts double."""
    some = published.groups(published.load())["without DAPO"]
    assert published.swap_test(some) == pytest.approx(2 / 64)
    turned = [replace(p, plain=p.mmr, mmr=p.plain) for p in some]
    assert published.swap_test(turned) == 1


def test_a_swapped_pair_is_noticed() -> None:
    pairs = published.load()
    wrong = [replace(pairs[3], plain=pairs[3].mmr, mmr=pairs[3].plain), *pairs[:3], *pairs[4:]]
    assert published.findings(wrong)["peak_step"] != published.findings(pairs)["peak_step"]
