"""Numbers on the pages of the study, and on docs/when.md, are those of the rows and of the tables made of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from study.results_file import Row
from study.simulation import advice, intervals, map
from study.simulation.families import FAMILIES

ROOT = Path(__file__).parents[2]
#: 1.00 (0.99–1.01), 9 % (6 %–13 %) and 300 / 44 % / 1.20: what a table of the study holds.
FIGURE = re.compile(r"\d+\.\d{2,3} \(\d+\.\d{2,3}–\d+\.\d{2,3}\)|\d+ % \(\d+ %–\d+ %\)|\d+ % / \d+ % / \d+\.\d\d")


def page(name: str) -> str:
    """A page, its lines joined."""
    return " ".join((ROOT / name).read_text(encoding="utf-8").split())


def rows(name: str) -> list[Row]:
    """Committed rows."""
    return [json.loads(line) for line in (ROOT / "study/results" / f"{name}.jsonl").open(encoding="utf-8")][1:]


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/when.md", "docs/methods.md", "study/README.md", "study/simulation.md", "study/pretrained.md"],
)
def test_figures_with_intervals_stand_in_the_tables(name: str) -> None:
    tables = "".join(page(f"study/{each}.md") for each in ("methods", "tables", "confirmation", "pretrained-results"))
    found = FIGURE.findall(page(name))
    assert found
    assert [figure for figure in found if figure not in tables] == []


def ratios(some: list[Row], arm: str, section: str, **fields: object) -> list[str]:
    """Of an arm, family by family, to two digits."""
    wanted = fields | {"arm": arm, "section": section}
    return [f"{row['ratio']:.2f}" for row in some if all(row.get(name) == value for name, value in wanted.items())]


def of_the_table() -> Iterator[str]:
    """Whole lines of the first table, and what the list below it says."""
    some = rows("simulation")
    arms = {
        "GRPO": "grpo", "MMR as published": "mmr", "MMR, scope batch": "mmr batch",
        "the same, other prompts not alike": "mmr batch, prompts apart", 'MMR, first_pick="score"': "score",
        "the same, diversity 1 → 0": "score, fading", "SMI": "smi", "GRPO + entropy bonus 0.1": "entropy",
        "MMR, random similarity": "random",
    }  # fmt: skip
    of_table = {(row["arm"], row["family"]): row for row in some if row["section"] == "table"}
    for name, arm in arms.items():
        cells = []
        for family in FAMILIES:
            row = of_table[arm, family]
            steps = f"{row['median']:.0f} ({row['low']:.0f}–{row['high']:.0f})"
            cells.append(steps if arm == "grpo" else f"{steps}, ×{row['ratio']:.2f}")
        yield " | ".join([name, *cells])
    for name, arm in {"GRPO": "grpo", "MMR": "mmr", '`"score"`': "score", "fading": "score, fading"}.items():
        yield " | ".join(
            [f"*predicted*, {name}", *(f"{of_table[arm, family]['predicted']:.0f}" for family in FAMILIES)]
        )
    for lam in ("0.7", "0.9"):
        yield ", ".join(ratios(some, f"lambda {lam}", "ablations"))
    yield ", ".join(ratios(some, "lambda 0.3", "ablations")[:3])
    for family in ("rare-best", "one-way"):
        found = ratios(some, "mmr", "table", family=family) + ratios(some, "mmr", "rates", family=family)
        yield ", ".join(found[:3])
    yield "{}, {}, {} and {}".format(*ratios(some, "mmr", "rates", rate=10.0))
    yield "at most {} (510 of GRPO's 512 runs never arrive), {}, {}, {} and {}".format(*ratios(some, "mmr", "others"))
    yield "{}, {}, {}; {}".format(*ratios(some, "mmr", "graded rewards")[:4])


def of_the_map() -> Iterator[str]:
    """How often each arm helps and hurts over the map, and how often theory says so."""
    mmr, score, fading = (map.counts(rows("map"), arm) for arm in map.MAPPED)
    yield f"MMR as published takes fewer steps at {mmr.fewer} points and more at {mmr.more}"
    yield f'`"score"` at {score.fewer} and {score.more}; with diversity fading at {fading.fewer} and {fading.more}'
    yield f"happens at {mmr.headline} of {mmr.points} points"
    yield f"{mmr.agree} of {mmr.clear} clear points of the map for MMR, at {score.agree} of {score.clear} for"
    yield f"and at {fading.agree} of {fading.clear} with fading"


def of_random_settings() -> Iterator[str]:
    """Frequencies over the settings that the rules on logs were fitted on."""
    mmr, score, fading = (advice.shares(rows("advice"), arm) for arm in map.MAPPED)
    yield f"happens in {mmr[2]}; MMR helps in {mmr[0]} and hurts in {mmr[1]}"
    yield f"hurts in {score[1]} of the settings, where MMR as published hurts in {mmr[1]}, and helps in {score[0]}"
    yield f"hurts in {fading[1]} and helps in {fading[0]}"


@pytest.mark.parametrize(
    ("feature", "at_most", "on_the_page"),
    [
        (advice.OF_PLAIN, "0.21", "(r − r₀)/(1 − r₀), at most {} → helps | **{:.0%}**"),
        (advice.OF_COMPLETIONS, "0.09", "in the completions table, at most {} → helps | {:.0%}"),
    ],
)
def test_rules_on_logs(feature: str, at_most: str, on_the_page: str) -> None:
    some = rows("advice")
    found = on_the_page.format(at_most, advice.held_out(some, "mmr", feature)).replace("%", " %")
    assert found in page("study/simulation.md")
    assert f"<= {at_most}" in advice.threshold(some, "mmr", feature)


@pytest.mark.parametrize("claim", [*of_the_table(), *of_the_map(), *of_random_settings()])
def test_the_page_of_the_simulation_says_what_the_rows_say(claim: str) -> None:
    assert claim in page("study/simulation.md")


def lines_of(title: str) -> dict[str, list[str]]:
    """A table of study/methods.md: its lines' cells by the first of them, columns too."""
    text = (ROOT / "study/methods.md").read_text(encoding="utf-8")
    table = text[text.index(f"**{title}") :].split("\n\n")[1]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {first: rest for first, *rest in cells}


@pytest.mark.parametrize("name", ["docs/when.md", "study/simulation.md"])
def test_looks_at_a_plain_run_are_right_as_often_as_the_table_says(name: str) -> None:
    table = lines_of("Rules on the first 40 steps")
    columns = table.pop("rule: it helps if")

    def said(rule: str, arm: str, optimiser: str) -> str:
        return " and ".join(
            table[rule][columns.index(f"{arm}: {kind}, {optimiser}")] for kind in ("eight ways", "3 to 16 ways")
        )

    def majority(arm: str, optimiser: str) -> str:
        return re.sub(r" \(50 %\)", "", said("*always the more frequent answer*", arm, optimiser))

    curve, e = "at most 0.21 of the room gained", "e below 0.1"
    claims = [
        f"{said(rule, arm, optimiser)}, and the more frequent answer at {majority(arm, optimiser)}"
        for rule, arm in ((curve, "mmr"), (e, "share, dial"))
        for optimiser in ("ascent", "adam")
    ]
    few, hurt = table["*settings, those where it hurts*"][columns.index("share, dial: 3 to 16 ways, adam")].split(", ")
    claims.append(f"{few} settings, of which it hurts at {hurt}")
    assert [claim for claim in claims if claim not in page(name)] == []


def test_how_often_methods_hurt_at_random_settings() -> None:
    def between(arm: str, part: int) -> str:
        shares = [int(cell.split(" / ")[part].removesuffix(" %")) for cell in lines_of("In short")[arm][2:]]
        return f"{min(shares)} to {max(shares)} %"

    claim = (
        f"it costs steps at {between('share, dial', 1)}, where MMR does at {between('mmr', 1)} and the bonus at"
        f" {between('entropy 0.1', 1)}, and saves some at {between('share, dial', 0)}."
    )
    assert claim in page("docs/when.md")

    def at_worst(arm: str) -> float:
        return max(float(cell.split(" / ")[2]) for cell in lines_of("In short")[arm][2:])

    claim = (
        f"the bonus of 0.03 costs at {between('entropy 0.03', 1)}, saves at {between('entropy 0.03', 0)} and at the"
        f' worst takes {at_worst("entropy 0.03")} of GRPO\'s steps, `"share"` with d = 0 at {between("share", 1)},'
        f" {between('share', 0)} and {at_worst('share')}, where the dial's worst is {at_worst('share, dial')}."
    )
    assert claim in page("docs/when.md")


def test_an_arm_like_grpo_seldom_seems_to_help_or_to_hurt() -> None:
    rng = np.random.default_rng(0)
    found = [intervals.of_ratio(*rng.lognormal(3, 0.5, (2, 16)), cut_off=1000) for _ in range(200)]
    assert np.mean([high < 1 for _, _, high in found]) < 0.03
    assert np.mean([low > 1 for _, low, _ in found]) < 0.03


def test_pairs_that_the_comparisons_would_need() -> None:
    """The last column of the confirmation, of the lines that study/README.md names, in their order on the page."""
    text = (ROOT / "study/confirmation.md").read_text(encoding="utf-8")
    score = re.compile(r"^\| MMR, first pick by score \|.*\| (\d+) \|$", re.MULTILINE)
    of_part = {part.splitlines()[0].split(": steps")[0]: score.findall(part) for part in text.split("## ")[2:]}
    plain, bonus = of_part["crowded, DAPO, rates of the pilots"]
    plain_at_one, bonus_at_one = of_part["Exploratory: crowded, DAPO, rate 0.0004"]
    claim = (
        f"{bonus} pairs of `score` on `crowded` to show, and than plain training's {plain}, each arm at its own rate;"
    )
    claim += f" at one rate {bonus_at_one} and {plain_at_one}; on `single`"
    assert f"{claim} {of_part['single, DAPO, rate 0.0002'][0]} against plain" in page("study/README.md")
