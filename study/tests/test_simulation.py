"""Gradients, arms, independent seeds, the closed form, and the files of rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmr_kernels import mmr_advantages
from study.simulation import intervals, map, policy, table, theory
from study.simulation.arms import ABLATIONS, ARMS, Arm, advantages, similarity_of
from study.simulation.families import FAMILIES, Family, Setting, beside
from study.simulation.logs import batch_metrics
from study.simulation.points import Point, at_random, points
from study.simulation.running import steps_to_target

PLAIN = Setting()


def drawn(runs: int = 5, setting: Setting = PLAIN) -> tuple[Tensor, Tensor]:
    """Ways and binary rewards, (runs, n)."""
    generator = torch.Generator().manual_seed(1)
    shape = (runs, setting.prompts * setting.group_size)
    ways = torch.randint(0, 8, shape, generator=generator)
    return ways, torch.randint(0, 2, shape, generator=generator).float()


def test_policy_gradient_is_autograds() -> None:
    ways, paid = drawn()
    paid = paid + 0.3
    logits = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    objective = (logits.log_softmax(1).gather(1, ways) * paid).mean(1).sum()
    (wanted,) = torch.autograd.grad(objective, logits)
    torch.testing.assert_close(policy.policy_gradient(logits.detach(), ways, paid), wanted)


def test_entropy_gradient_is_autograds() -> None:
    logits = torch.randn(5, 8, dtype=torch.float64, requires_grad=True)
    p = logits.softmax(1)
    (wanted,) = torch.autograd.grad(-(p * p.log()).sum(), logits)
    torch.testing.assert_close(policy.entropy_gradient(logits.detach()), wanted)


def test_samples_have_the_policys_shares() -> None:
    shares = torch.tensor(beside((0.02, 0.6)), dtype=torch.float64)
    ways = policy.sample(shares.log().unsqueeze(0), torch.rand(1, 200_000, generator=torch.Generator().manual_seed(0)))
    counts = torch.bincount(ways[0], minlength=8)
    chi_squared = ((counts - 200_000 * shares) ** 2 / (200_000 * shares)).sum()
    assert chi_squared < 24  # 7 degrees of freedom: one in a thousand is above


def test_method_none_is_grpo() -> None:
    ways, rewards = drawn()
    groups = rewards.view(-1, 8)
    wanted = (groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-4)
    found = advantages(ARMS["grpo"], PLAIN, ways, rewards, 0.0)
    torch.testing.assert_close(found.view(-1, 8), wanted)


def test_no_diversity_is_grpo() -> None:
    ways, rewards = drawn()
    wanted = advantages(ARMS["grpo"], PLAIN, ways, rewards, 0.0)
    for first_pick in ("reward", "score"):
        found = advantages(Arm(first_pick=first_pick, diversity=0.0), PLAIN, ways, rewards, 0.0)
        torch.testing.assert_close(found, wanted)
    faded = advantages(ARMS["score, fading"], PLAIN, ways, rewards, 0.6)
    torch.testing.assert_close(faded, wanted)
    assert not torch.allclose(advantages(ARMS["score, fading"], PLAIN, ways, rewards, 0.5), wanted)


@pytest.mark.parametrize("name", ["mmr batch", "mmr batch, prompts apart"])
def test_scope_batch_is_the_ops_own(name: str) -> None:
    """Rows of a reweighting stand for batches: as one call with ``scope="batch"`` for each run."""
    ways, rewards = drawn()
    found = advantages(ARMS[name], PLAIN, ways, rewards, 0.0)
    prompt = torch.arange(64) // 8
    for run in range(len(ways)):
        similarity = similarity_of(ways[run].view(1, 1, -1), PLAIN)[0]
        if "apart" in name:
            similarity = similarity * (prompt.unsqueeze(0) == prompt.unsqueeze(1))
        wanted = mmr_advantages(rewards[run].view(8, 8), similarity=similarity, scope="batch")
        assert isinstance(wanted, Tensor)
        torch.testing.assert_close(found[run].view(8, 8), wanted)


def test_random_similarity_keeps_its_values() -> None:
    """Shuffled with uniforms already in order it is plain MMR; otherwise the rewards of copies move."""
    ways, rewards = drawn()
    ordered = torch.linspace(0, 0.9, 64).expand(5, -1)
    plain = advantages(ARMS["mmr"], PLAIN, ways, rewards, 0.0)
    torch.testing.assert_close(advantages(ARMS["random"], PLAIN, ways, rewards, 0.0, ordered), plain)
    assert not torch.allclose(advantages(ARMS["random"], PLAIN, ways, rewards, 0.0, ordered.flip(1)), plain)


@pytest.mark.parametrize("name", ["grpo", "mmr", "mmr batch", "smi", "random", "entropy"])
def test_a_run_depends_on_its_own_seed_alone(name: str) -> None:
    noisy = replace(PLAIN, noise=0.1)
    together = steps_to_target(FAMILIES["one-way"], ARMS[name], noisy, list(range(6)))
    alone = [steps_to_target(FAMILIES["one-way"], ARMS[name], noisy, [seed])[0] for seed in (4, 1)]
    assert [together[4], together[1]] == alone
    assert len(set(together)) > 1


def test_runs_stop_at_the_target_and_are_cut_off() -> None:
    sure = Family(beside((0.95,)), (0.9, *[0.0] * 7))
    assert steps_to_target(sure, ARMS["grpo"], PLAIN, [0, 1]).tolist() == [0, 0]
    hopeless = steps_to_target(FAMILIES["rare-best"], ARMS["grpo"], PLAIN, [0, 1], steps=5)
    assert np.isinf(hopeless).all()


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("name", ["grpo", "mmr", "score", "Dr. GRPO, mmr", "Dr. GRPO, score", "lambda 0.7"])
def test_closed_form_agrees_with_sampling(family: str, name: str) -> None:
    """Exact without division by the deviation; with it, expected counts stand for drawn ones: within 0.008."""
    arm = (ARMS | ABLATIONS)[name]
    p, success = FAMILIES[family].logits().exp(), torch.tensor(FAMILIES[family].success, dtype=torch.float64)
    mean, error = theory.sampled_drift(p, success, arm, PLAIN, 20_000)
    off = (theory.drift(p, success, arm, PLAIN) - mean).abs()
    assert (off < 4.5 * error + (0.0 if arm.scale == "none" or arm.method == "none" else 0.008)).all()


@pytest.mark.parametrize(
    "wrong",
    [Setting(within=0.9), Setting(across=0.0), Setting(group_size=6), "score", "lambda 0.5"],
    ids=str,
)
def test_a_wrong_closed_form_is_noticed(wrong: Setting | str) -> None:
    """The comparison above, with another similarity, group size, first pick or λ in the closed form."""
    family = FAMILIES["rare-best"]
    p, success = family.logits().exp(), torch.tensor(family.success, dtype=torch.float64)
    arm = ABLATIONS["Dr. GRPO, mmr"]
    mean, error = theory.sampled_drift(p, success, arm, PLAIN, 40_000)
    if isinstance(wrong, str):
        arm, wrong = replace((ARMS | ABLATIONS)[wrong], scale="none"), PLAIN
    assert ((theory.drift(p, success, arm, wrong) - mean).abs() > 4.5 * error).any()


@pytest.mark.parametrize("family", list(FAMILIES))
@pytest.mark.parametrize("name", ["grpo", "mmr"])
def test_predicted_steps(family: str, name: str) -> None:
    """The expected gradient followed without noise takes as long as the median run, within a tenth."""
    run = {"rate": 1.0, "length": 120}
    predicted = theory.predicted_steps(FAMILIES[family], ARMS[name], PLAIN, **run)
    steps = steps_to_target(FAMILIES[family], ARMS[name], PLAIN, list(range(64)), **run)
    assert np.median(steps) == pytest.approx(predicted, rel=0.1)


def test_crowding_payoff_is_one_over_copies() -> None:
    """f(p) = E[1 / (1 + others of the way)]."""
    others = torch.arange(8, dtype=torch.float64)
    chances = torch.distributions.Binomial(7, torch.tensor(0.3, dtype=torch.float64)).log_prob(others).exp()
    wanted = (chances / (1 + others)).sum()
    torch.testing.assert_close(theory.crowding_payoff(torch.tensor(0.3, dtype=torch.float64), 8), wanted)


@pytest.mark.parametrize("arm", [ARMS["smi"], ARMS["mmr batch"], ARMS["random"]])
def test_closed_form_refuses_what_it_does_not_know(arm: Arm) -> None:
    p = torch.full((8,), 1 / 8, dtype=torch.float64)
    with pytest.raises(ValueError, match="binary rewards"):
        theory.drift(p, p, arm, PLAIN)


def test_metrics_of_a_batch_are_those_of_the_batch_alone() -> None:
    ways, rewards = drawn()
    found = batch_metrics(ways, rewards, PLAIN)
    torch.testing.assert_close(found["reward_before"], rewards.mean(1))
    for run in range(len(rewards)):
        alone = batch_metrics(ways[run : run + 1], rewards[run : run + 1], PLAIN)
        torch.testing.assert_close({name: value[run] for name, value in found.items()},
                                   {name: value[0] for name, value in alone.items()})  # fmt: skip


def test_intervals_count_runs_cut_off() -> None:
    steps = np.array([10.0, 20.0, 30.0, np.inf, np.inf, np.inf])
    found = intervals.of_median(steps, 100)
    assert (found.median, found.cut_off, str(found)) == (65.0, 3, "> 65")
    assert intervals.of_ratio(steps[:3], steps[:3] * 2, 100) == (0.5, 0.5, 0.5)


def test_best_rates_leave_out_lost_runs() -> None:
    base = {"family": "one-way", "arm": "mmr", "seeds": 100}
    rows = [base | {"section": "table", "rate": 0.3, "median": 70, "cut_off": 5},
            base | {"section": "rates", "rate": 3.0, "median": 7, "cut_off": 6}]  # fmt: skip
    assert [row["rate"] for row in table.best_rates(rows)] == [0.3]


def test_rows() -> None:
    """One row per case, the first arm the base of the ratios."""
    rows = list(table.results(table.Block("table", "one-way", FAMILIES["one-way"], ("grpo", "mmr")), 8))
    assert [(row["arm"], row["ratio"] > 1) for row in rows] == [("grpo", False), ("mmr", True)]


def test_earlier_rows_are_kept_if_they_were_made_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, row = tmp_path / "rows.jsonl", {"point": {}, "grpo": {}}
    map.rows_file(path, 8).append(row)
    assert map.rows_file(path, 8).rows() == [row]
    assert [each.name for each in tmp_path.iterdir()] == ["rows.jsonl"]
    assert map.rows_file(path, 9).rows() == []
    monkeypatch.setattr(map, "CUT_OFF", map.CUT_OFF + 1)
    assert map.rows_file(path, 8).rows() == []
    map.rows_file(path, 8).append(row)  # starts anew
    assert map.rows_file(path, 8).rows() == [row]


def test_points() -> None:
    """All can be made, and the base of the map is the table's first family but for the success of the other ways."""
    assert len(points()) == len(set(points())) == 150
    for point in (*points(), *(at_random(number) for number in range(50))):
        assert point.family().success[0] == max(point.family().success)
        assert point.setting().prompts * point.setting().group_size == 64
    assert Point().family().shares[0] == 0.02


@pytest.mark.parametrize(("shares", "success"), [((0.5, 0.4), (1.0, 0.0)), ((1.0, 0.0), (1.0, 0.0)),
                                                 ((0.5, 0.5), (1.1, 0.0)), ((0.5, 0.5), (1.0,))])  # fmt: skip
def test_impossible_families(shares: tuple[float, ...], success: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"shares|success"):
        Family(shares, success)
