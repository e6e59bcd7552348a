"""The study from pretrained starts: its problems, its reward, its loop, its tables."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="trl is not installed: pip install '.[trl]'")

from study.pretrained import gpu, policy, report, train
from study.pretrained.problems import Chains, ExactAnswer, Sum, direct, worked
from study.training.rows import Run

PROBLEM = Sum("3+4-7+2")
torch.set_num_threads(1)


def test_ways_of_a_problem() -> None:
    assert (direct(PROBLEM), worked(PROBLEM)) == ("2", "3+4=7-7=0+2=2")
    assert worked(Sum("10-43")) == "10-43=-33"


def test_problems_are_those_of_reasoning_gym() -> None:
    chains = Chains("", terms=4, digits=1, worked_share=0.1)
    # reasoning_gym.create_dataset("chain_sum", seed=7, min_terms=4, max_terms=4, min_digits=1, max_digits=1), 0.1.25
    assert [problem.expression for problem in islice(chains.drawn(7), 3)] == ["6+0-1+8", "6+2+3+0", "4-2-2+0"]
    reasoning_gym = pytest.importorskip(
        "reasoning_gym", reason="reasoning-gym is not installed: pip install '.[study]'"
    )
    for terms, digits in ((2, 2), (4, 1), (5, 2)):
        limits = {"min_terms": terms, "max_terms": terms, "min_digits": digits, "max_digits": digits}
        theirs = reasoning_gym.create_dataset("chain_sum", seed=3, size=50, **limits)
        for ours, entry in zip(Chains("", terms, digits, 0.1).drawn(3), theirs, strict=False):
            assert ours.expression == entry["metadata"]["expression"].replace(" ", "")
            assert direct(ours) == entry["answer"]


@pytest.mark.parametrize("chains", [*policy.FAMILIES.values(), gpu.FULL.chains], ids=lambda chains: chains.name)
def test_parts_have_no_problem_in_common_and_every_answer_fits(chains: Chains) -> None:
    parts = chains.parts(100, 200, 50)
    assert [len(part) for part in parts] == [100, 200, 50]
    assert len({problem for part in parts for problem in part}) == 350
    assert max(len(worked(problem)) for part in parts for problem in part) < chains.longest_answer
    assert len({len(problem.prompt) for part in parts for problem in part}) == 1


def test_whatever_stands_before_the_answer_is_paid_alike() -> None:
    checker = ExactAnswer(group_size=5)
    texts = ["2", "3+4=7-7=0+2=2", "9=2", "3", "2=3"]
    assert checker(texts, [PROBLEM.expression] * 5) == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert checker.distinct == [5.0]


def test_worked_texts_become_as_rare_as_the_start_shall_have_them() -> None:
    chains = policy.FOUR
    batches = list(policy.texts({chains: chains.parts(0, 0, 50)[-1]}, steps=100, batch=200))
    shares = [sum(text.count("=") > 1 for text in batch) / len(batch) for batch in batches]
    assert shares[0] == pytest.approx(0.5, abs=0.15)
    assert sum(shares[80:]) / 20 == pytest.approx(chains.worked_share, abs=0.02)


def test_the_start_finds_worked_answers_rarely_and_has_them_right_more_often() -> None:
    chains = policy.THREE
    held_out = chains.parts(60)[0]
    model, names = policy.start(), policy.tokenizer()
    ids = names([problem.prompt for problem in held_out], return_tensors="pt")["input_ids"].repeat(4, 1)
    torch.manual_seed(0)
    tokens = gpu.Sampler(model, *ids.shape, chains.longest_answer)(ids)
    texts = names.batch_decode(tokens[:, ids.shape[1] :])
    texts = [text.split("<eos>")[0] for text in texts]
    rewards = ExactAnswer(1)(texts, [problem.expression for problem in held_out] * 4)
    rewards_of: dict[bool, list[float]] = {True: [], False: []}
    for text, reward in zip(texts, rewards, strict=True):
        rewards_of["=" in text].append(reward)
    assert 0.01 < len(rewards_of[True]) / len(texts) < 0.15
    assert np.mean(rewards_of[True]) > 1.5 * np.mean(rewards_of[False])


def test_sampling_draws_from_the_policy_and_needs_no_look_by_the_host() -> None:
    model = policy.untrained({**policy.SMALL, "hidden_size": 16, "num_hidden_layers": 1})
    prompts = torch.full((4000, 2), 5)
    torch.manual_seed(0)
    drawn = gpu.Sampler(model, 4000, 2, 1)(prompts)[:, 2].bincount(minlength=len(policy.tokenizer())) / 4000
    expected = model(input_ids=prompts[:1]).logits[0, -1].softmax(-1)
    torch.testing.assert_close(drawn, expected.detach(), atol=0.03, rtol=0)
    # A tensor without values can't be looked at: what runs there can be captured in a CUDA graph.
    gpu.Sampler(model.to("meta"), 8, 2, 3)(prompts[:8].to("meta"))


@pytest.fixture
def study(tmp_path: Path) -> gpu.Study:
    policy.policy.save(policy.untrained(gpu.DRY.size), tmp_path / "start.safetensors")
    return gpu.Study(gpu.DRY, tmp_path / "start.safetensors", torch.device("cpu"))


def test_the_loop_repeats_from_one_start(study: gpu.Study) -> None:
    plain, *others = study.runs()[: len(gpu.NAMES)]
    once, again = (study.train(plain)["curves"] for _ in range(2))
    assert once == again
    assert all(study.train(other)["curves"]["accuracy"][0] == once["accuracy"][0] for other in others)


def test_a_completion_ends_with_its_first_end(study: gpu.Study) -> None:
    tokens, own, _, _ = study.rollouts(list(range(study.sampler.tokens.shape[0])), ExactAnswer(8))
    for row, of_row in zip(tokens[:, study.prompt :].tolist(), own.tolist(), strict=True):
        end = study.names.eos_token_id
        length = row.index(end) + 1 if end in row else len(row)
        assert of_row == [place < length for place in range(len(row))]


def test_the_loop_learns_what_is_paid(study: gpu.Study, monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(ExactAnswer):
        def __call__(self, completions: Sequence[str], expression: Sequence[str], **kwargs: Any) -> list[float]:
            super().__call__(completions, expression)
            return [float(len(text) < 4) for text in completions]

    monkeypatch.setattr(gpu, "ExactAnswer", Short)
    rewards = study.train(study.runs()[0]._replace(steps=10, learning_rate=1e-2))["curves"]["reward"]
    assert rewards[1] < 0.5
    assert rewards[-1] > 0.9


def row(family: str, arm: str, seed: int, accuracy: list[float]) -> dict[str, Any]:
    shares = [[0.25 * value, 0.75 * value] for value in accuracy]
    curves = {
        "accuracy": accuracy,
        "shares": shares,
        **{name: [None, 0.5] for name in ("reward", "entropy", "distinct")},
    }
    return {**Run(family, "DAPO", arm, 1e-4, seed, 10, 2)._asdict(), "curves": curves}


@pytest.mark.parametrize(("family", "p"), [(report.PRIMARY_FAMILY, "0.5"), ("another", "0.5 (1)")])
def test_tables_pair_by_seed_what_two_arms_have_and_correct_all_but_the_primary_p(family: str, p: str) -> None:
    rows = []
    for seed, base in enumerate([0.1, 0.2, 0.4]):  # seeds differ by more than arms do
        for arm, factor in ((report.PLAIN, 2), (report.BONUS, 4), (report.PRIMARY, 3)):
            rows += [row(family, arm, seed, [base, factor * base])] if arm != report.PRIMARY or seed < 2 else []
    (line,) = (line for line in report.report(rows).splitlines() if line.startswith(f"| {report.PRIMARY} "))
    assert line.startswith("| share, dial | 2 | 0.300 (")
    assert f"| +0.150, ×2.00 | 1.333 (1.333–1.333) | {p} | 0.800 (0.800–0.800) | {p} |" in line


def test_where_plain_training_gains_nothing_there_is_no_part_of_it() -> None:
    flat, better = ({0: row("3 terms", arm, 0, curve)} for arm, curve in (("plain", [0.1, 0.1]), ("dpp", [0.1, 0.2])))
    assert (report.gain(flat, flat), report.gain(better, flat)) == ("+0.000", "+0.050")


def test_a_run_with_trl_writes_its_row() -> None:
    (run, *_) = train.runs(range(1), steps=1)
    found = train.train(run)
    assert found["curves"]["step"] == [0, 1]
    assert found["curves"]["accuracy"][0] == pytest.approx(sum(found["curves"]["shares"][0]), abs=1e-4)
