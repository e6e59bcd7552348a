"""The study of real training: its problems, its checker, its figures, and that a run repeats."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from scipy.stats import norm

pytest.importorskip("trl", reason="trl is not installed: pip install '.[trl]'")

from study.pretrained import report
from study.pretrained import train as pretrained
from study.results_file import ResultsFile, Row
from study.training import comparisons, confirmation, confirmed, plan, policy
from study.training.checker import Checker
from study.training.evaluation import Evaluation
from study.training.problems import FAMILIES, HELD_OUT, LONGEST_ANSWER, Problem, problems
from study.training.rows import RESULTS, Run, results_file, steps_to
from study.training.run import train
from study.training.statistics import holm, log_rank_p, paired_p, pairs_needed
from study.training.train import runs_of

PROBLEM = Problem(37, 48)


def row(arm: str, seed: int, curve: list[float], rate: float = 1e-4, family: str = "single") -> dict[str, Any]:
    steps = [10 * place for place in range(len(curve))]
    return {
        "family": family, "loss": "GRPO", "arm": arm, "learning_rate": rate, "seed": seed, "steps": steps[-1],
        "prompts_per_step": 8, "processor_seconds": 2.0, "curves": {"step": steps, "accuracy": curve},
    }  # fmt: skip


def test_ways_of_a_problem() -> None:
    texts = {way.name: way.text(PROBLEM) for family in FAMILIES.values() for way in family.ways}
    assert texts == {
        "direct": "85", "worked": "(70+15)=85", "rounded": "~90", "joined": "3748", "copied": "37+48",
    }  # fmt: skip


def test_every_text_has_its_form_and_fits_and_paid_ways_are_right() -> None:
    training, held_out = problems()
    assert len(held_out) == HELD_OUT
    assert not set(training) & set(held_out)
    for family in FAMILIES.values():
        for problem in random.Random(0).sample(training, 200):
            texts = family.answers(problem)
            assert len(set(texts)) == len(texts)  # no way's text is another's
            for way, text in zip(family.ways, texts, strict=True):
                assert way.form.fullmatch(text)
                assert len(text) < LONGEST_ANSWER
                if way.pays:
                    assert text == str(problem.total) or text.endswith(f"={problem.total}")


def test_evaluation_is_the_chance_of_sampling_the_text() -> None:
    family, names = FAMILIES["hidden"], policy.tokenizer()
    model = policy.start(family)
    held_out = problems()[1][:3]
    expected = []
    for way in (way for way in family.ways if way.pays):
        chances = []
        for problem in held_out:
            ids = names(f"{problem.prompt}{way.text(problem)}<eos>", return_tensors="pt")["input_ids"][0]
            chance = 1.0
            for place in range(len(problem.prompt), len(ids)):  # a token at a time, as sampling would
                chance *= model(ids[None, :place]).logits[0, -1].softmax(-1)[ids[place]].item()
            chances.append(chance)
        expected.append(np.mean(chances))
    evaluation = Evaluation(family, held_out, names)
    torch.testing.assert_close(evaluation.shares(model).tolist(), expected, rtol=1e-4, atol=1e-7)
    assert evaluation.reward(torch.tensor([0.5, 0.25], dtype=torch.float64)) == 0.5 * 0.4 + 0.25


def test_checker_pays_by_way_and_draws_the_same_luck_for_every_arm() -> None:
    def paid(text: str, seed: int) -> list[float]:
        checker = Checker(FAMILIES["hidden"], "binary", seed, group_size=8)
        return checker([text] * 1000, first=[37] * 1000, second=[48] * 1000)

    assert np.mean(paid("85", 0)) == pytest.approx(0.4, abs=0.05)
    assert paid("85", 0) == paid("85", 0) != paid("85", 1)
    assert set(paid("(70+15)=85", 0)) == {1.0}
    assert set(paid("(70+15)=86", 0)) == set(paid("~90", 0)) == {0.0}


def test_graded_reward_is_format_and_a_cosine_of_length() -> None:
    checker = Checker(FAMILIES["single"], "graded", 0, group_size=8)
    assert 2.9 < checker.reward("85", PROBLEM) < 3.0
    assert -1.0 < checker.reward("3748", PROBLEM) < checker.reward("37+48", PROBLEM) < 0.0  # longer errors cost less
    assert checker.reward("=" * LONGEST_ANSWER, PROBLEM) == -1.0  # no form


def test_checker_counts_distinct_texts_a_group() -> None:
    checker = Checker(FAMILIES["single"], "binary", 0, group_size=2)
    checker(["85", "85", "85", "~90"], first=[37] * 4, second=[48] * 4)
    assert checker.distinct == [1.5]


def test_steps_are_read_off_between_evaluations() -> None:
    curve = row("plain", 0, [0.0, 0.2, 0.6, 0.4])
    assert steps_to(curve, 0.4) == 15.0
    assert steps_to(curve, 0.0) == 0.0
    assert steps_to(curve, 0.7) == float("inf")


def test_a_half_written_row_is_dropped(tmp_path: Path) -> None:
    file = results_file(tmp_path / "runs.jsonl")
    rows = [row(f"MMR, λ 0.{place}", 0, [0.0, 1.0]) for place in (3, 5, 7)]
    file.append(rows[0])
    with file.path.open("a") as opened:
        opened.write('{"arm": "λ')  # a process killed while it wrote
    assert file.rows() == rows[:1]
    file.append(rows[1])
    file.append(rows[2])
    assert file.rows() == rows


def test_a_line_that_is_no_row_is_named(tmp_path: Path) -> None:
    file = results_file(tmp_path / "runs.jsonl")
    file.append(row("plain", 0, [0.0, 1.0]))
    file.append({"arm": "plain"})
    with pytest.raises(ValueError, match=r"runs\.jsonl, line 3 .* lacks .*'family'"):
        file.rows()


@pytest.mark.parametrize("path", sorted(RESULTS.parent.glob("*.jsonl")), ids=lambda path: path.stem)
def test_writing_the_committed_rows_again_gives_the_same_bytes(path: Path, tmp_path: Path) -> None:
    head, *lines = path.read_text().splitlines(keepends=True)
    again = ResultsFile(tmp_path / path.name)
    again.write(ResultsFile(path).rows())
    assert again.path.read_text().splitlines(keepends=True)[1:] == lines
    assert json.dumps(json.loads(head), ensure_ascii=False) + "\n" == head


def test_the_study_waits_for_its_pilots() -> None:
    with pytest.raises(typer.BadParameter, match="pilots"):
        runs_of("study", [row("plain", seed, [0.0, 1.0]) for seed in plan.PILOT_SEEDS])


def test_each_arm_gets_the_rate_that_was_fastest_in_its_own_pilots() -> None:
    fast, slow, never = [0.0, 1.0, 1.0], [0.0, 0.5, 1.0], [0.0, 0.1, 0.1]
    rows = [
        *(row("plain", seed, slow, 1e-4) for seed in plan.PILOT_SEEDS),
        *(row("plain", seed, fast, 2e-4) for seed in plan.PILOT_SEEDS),
        *(row("MMR", seed, slow, 1e-4) for seed in plan.PILOT_SEEDS),
        *(row("MMR", seed, never, 2e-4) for seed in plan.PILOT_SEEDS),
        *(row("MMR", seed, fast, 4e-4) for seed in plan.SEEDS),  # no pilot
    ]
    chosen = plan.chosen_rates(rows)
    assert chosen["single", "plain"] == 2e-4
    assert chosen["single", "MMR"] == chosen["single", "MMR, λ 0.5"] == 1e-4  # which borrows it
    assert not set(plan.PILOT_SEEDS) & set(plan.SEEDS)


def test_comparison_is_paired_by_seed() -> None:
    plain, half = [0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 0.5, 1.0, 1.0, 1.0]
    rows = [row(arm, seed, plain) for arm in ("plain", "MMR") for seed in plan.PILOT_SEEDS]
    for seed in (0, 1, 2):
        stretch = 1 + seed  # seeds differ by far more than arms do
        rows += [row("plain", seed, np.interp(np.arange(4 * stretch + 1) / stretch, range(5), plain).tolist())]
        rows += [row("MMR", seed, np.interp(np.arange(4 * stretch + 1) / stretch, range(5), half).tolist())]
    found = comparisons.compare(plan.of_study(rows), "single", "GRPO", "MMR")
    assert found is not None
    assert (found.seeds, found.reached) == (3, 3)
    assert found.steps_ratio == pytest.approx((0.5, 0.5, 0.5))
    assert found.peak_difference == (0.0, 0.0, 0.0)


def test_a_run_that_never_came_there_counts_with_its_length_and_is_not_called_reached() -> None:
    rows = [row(arm, seed, [0.0, 1.0]) for arm in ("plain", "MMR") for seed in plan.PILOT_SEEDS]
    rows += [row("plain", 0, [0.0, 0.5, 1.0]), row("MMR", 0, [0.0, 0.1, 0.1])]
    found = comparisons.compare(plan.of_study(rows), "single", "GRPO", "MMR")
    assert found is not None
    assert found.reached == 0
    assert found.steps[0] == 20.0


@pytest.mark.parametrize(
    ("page", "results", "made"),
    [
        ("tables.md", RESULTS, comparisons.page),
        ("confirmation.md", confirmation.RESULTS, confirmed.page),
        ("pretrained-results.md", pretrained.RESULTS, report.page),
    ],
)
def test_the_pages_are_those_of_the_committed_rows(page: str, results: Path, made: Callable[[list[Row]], str]) -> None:
    assert RESULTS.parents[1].joinpath(page).read_text() == made(results_file(results).rows()) + "\n"


def test_a_run_repeats_and_mmr_trains_otherwise_than_plain() -> None:
    plain = Run("single", "GRPO", "plain", 1e-3, 0, 2, 2)
    once, again, other = train(plain), train(plain), train(plain._replace(arm="MMR"))
    timed = ("processor_seconds", "wall_seconds_with_evaluation")
    assert {key: once[key] for key in once if key not in timed} == {
        key: again[key] for key in again if key not in timed
    }
    assert once["curves"]["step"][0] == 0
    assert once["curves"]["accuracy"][0] == other["curves"]["accuracy"][0]
    assert once["curves"]["accuracy"][-1] != other["curves"]["accuracy"][-1]


def test_a_run_ends_where_it_has_arrived() -> None:
    assert train(Run("single", "GRPO", "plain", 1e-3, 0, 3, 2, until=0.0))["curves"]["step"] == [0, 1]


def test_ratios_are_geometric_means_with_real_intervals_and_graded_arms_meet_graded_plain() -> None:
    rows = [
        row(arm, seed, [0.0, 1.0]) for arm in ("plain", "plain, graded", "MMR, graded") for seed in plan.PILOT_SEEDS
    ]
    for seed, (fast, seconds) in enumerate([(2, 1.0), (4, 4.0), (8, 2.0)]):
        rows.append(row("plain", seed, [0.0, 0.0, 1.0]))  # another level, with which graded arms are not compared
        rows.append(row("plain, graded", seed, np.interp(np.arange(9), [0, 8], [0, 1]).tolist()))
        rows.append(row("MMR, graded", seed, np.interp(np.arange(9), [0, fast, 8], [0, 1, 1]).tolist()))
        rows[-1]["processor_seconds"] = seconds
    found = comparisons.compare(plan.of_study(rows), "single", "GRPO", "MMR, graded")
    assert found is not None
    assert found.steps_ratio[0] == pytest.approx((2 * 4 * 8) ** (1 / 3) / 8)
    assert found.steps_ratio[1] < 0.4 < 0.6 < found.steps_ratio[2]
    assert found.time_ratio[0] == pytest.approx(found.steps_ratio[0])  # seconds 1, 4, 2 against 2, 2, 2


def test_exact_p_counts_the_exchanges_that_are_as_extreme() -> None:
    ones = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert paired_p(ones, 2 * ones) == 2 / 2**5  # all pairs on one side
    assert paired_p(ones, ones * [2, 2, 2, 2, 0.9]) == 4 / 2**5  # or all but the one that differs least
    assert paired_p(ones, ones) == 1.0


def test_log_rank_is_the_one_by_hand() -> None:
    ones, others = np.array([1.0, np.inf]), np.array([2.0, np.inf])
    # At 1 one of 4 has its event, 2 of them of the first sample; at 2 one of 3, 1 of them of the first.
    by_hand = 2 * norm.sf((1 - 1 / 2 - 1 / 3) / np.sqrt(1 / 4 + 2 / 9))
    assert log_rank_p(ones, others, 3) == pytest.approx(by_hand)
    never = np.full(2, np.inf)
    assert log_rank_p(never, never, 3) == 1.0


def test_holm_multiplies_the_smallest_by_the_number_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def test_pairs_needed_is_the_normal_formula() -> None:
    ones = np.exp([-0.1, 0.1])  # a variance of 0.02
    assert pairs_needed(ones, np.ones(2), 0.1) == pytest.approx(
        (1.95996 + 0.84162) ** 2 * 0.02 / np.log(0.9) ** 2, rel=1e-4
    )


def confirmed_row(run: Run, arrival: float) -> Row:
    """A run whose accuracy rises in a straight line, and comes to 0.5 at a step."""
    steps = list(range(0, run.steps + 1, run.steps // 10))
    curve = [0.24 + 0.26 * step / arrival for step in steps]
    return {**run._asdict(), "curves": {"step": steps, "accuracy": curve}}


def test_the_confirmation_is_the_plan() -> None:
    bonus, slow = "plain, entropy bonus 0.05", {4e-4: 1.0, 8e-4: 0.5, 1.6e-3: 2.0}
    pilots = confirmation.pilots()
    rows = [confirmed_row(run, slow[run.learning_rate] * (150 if run.arm == bonus else 200)) for run in pilots]
    assert confirmation.control(rows) == bonus
    lacking = [row for row in rows if (row["arm"], row["learning_rate"]) != (bonus, 8e-4) or row["seed"] == 1000]
    assert confirmation.tuned(lacking)[bonus][1] == 4e-4  # one pilot of the fastest rate is no choice
    runs = confirmation.study(rows)
    assert not {run.seed for run in runs} & {*plan.PILOT_SEEDS, *plan.SEEDS}
    assert {run.learning_rate for run in confirmation.runs_of(confirmation.CROWDED, confirmation.CORE, rows)} == {8e-4}
    assert {run.learning_rate for run in runs if run.family != "crowded"} == {confirmation.EARLIER_RATE}
    arrival = {"plain": 100.0, bonus: 80.0, "share, dial": 1000.0}
    first = range(confirmation.FIRST_SEED, confirmation.FIRST_SEED + 8)  # as far as an interrupted study came
    rows += [confirmed_row(run, arrival.get(run.arm, 50.0) + run.seed / 100) for run in runs if run.seed in first]
    found = {(each.arm, each.base): each for each in confirmed.compared(rows, confirmation.CROWDED)}
    assert len(found) == 3 + 2
    primary = [each for each in found.values() if each.is_primary]
    assert [(each.base, len(each.ones)) for each in primary] == [("plain", 8), (bonus, 8)]
    shown = zip(found.values(), confirmed.texts_of_p(list(found.values())), strict=True)
    primary_texts = [texts for each, texts in shown if each.is_primary]
    assert [exact for exact, _ in primary_texts] == ["**0.0078**"] * 2  # 2 in 256, not corrected
    assert not any("**" in log_rank for _, log_rank in primary_texts)
    page = confirmed.page(rows)
    smallest = min(p for each in found.values() for p in each.values())
    assert f" {smallest:.2g} ({(5 * 2 - 2) * smallest:.2g}) |" in page  # of eight secondary ones
    # Arms of a later stage are corrected among themselves, in a part that says that it was no plan.
    later = page[page.index("## Exploratory: crowded, DAPO, rate 0.0004") :]
    assert f"{smallest:.2g} ({5 * 2 * smallest:.2g}) |" in later
    assert np.isinf(found["share, dial", "plain"].ones).all()
    assert "| share, dial | 0/8 | ≥ 240 (240–240) | ≥ 2.3" in page
    # On other families the level is 95 % of what plain training comes to on the seed.
    assert confirmed.compared(rows, confirmation.SINGLE)[0].others == pytest.approx(0.95 * 80, abs=8)
