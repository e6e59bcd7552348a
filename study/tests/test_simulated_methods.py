"""The arms of every method, the dials, both optimisers, first tokens that ways share, and the tables of their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from mmr_kernels import SignalDial, mmr_advantages
from study.simulation import intervals, methods, methods_page, policy, random_settings, rules, summaries
from study.simulation.arms import METHODS, REMEDIES, Arm, advantages, similarity_of
from study.simulation.cases import Case, Cases
from study.simulation.dials import Dials
from study.simulation.families import FAMILIES, PLACED, SHARED_TOKENS, Family, Setting
from study.simulation.optimisers import Adam
from study.simulation.plain_run import looks
from study.simulation.points import wider_at_random
from study.simulation.running import seen_by, steps_of, steps_to_target

PLAIN = Setting()


def drawn(runs: int = 5) -> tuple[Tensor, Tensor]:
    """Ways and binary rewards, (runs, 64)."""
    generator = torch.Generator().manual_seed(1)
    ways = torch.randint(0, 8, (runs, 64), generator=generator)
    return ways, torch.randint(0, 2, (runs, 64), generator=generator).float()


def mistaken(chance: float, runs: int = 1) -> Cases:
    """Eight ways, and an embedder that makes mistakes."""
    return Cases.of([Case(FAMILIES["one-way"], replace(PLAIN, mistaken=chance))], runs)


def test_dials_are_the_packages() -> None:
    """Each run's as a ``SignalDial`` of its own has it: no variance, numbers that are not finite, signals below 0."""
    signals = torch.randn(30, 4, 2, generator=torch.Generator().manual_seed(0)).mul(0.05).add(torch.tensor([0.02, 0.5]))
    signals[0, 0], signals[:3, 1], signals[5, 2] = 0.0, torch.nan, torch.inf
    dials, alone = Dials(4), [SignalDial() for _ in range(4)]
    seen = set()
    for signal in signals:
        dials.update(signal, torch.zeros(4))
        for one, row in zip(alone, signal, strict=True):
            one.update(row)
        assert dials.value().tolist() == [float(one.value) for one in alone]
        seen.update(dials.value().tolist())
    assert len(seen) > 20


@pytest.mark.parametrize(("name", "fixed"), [("share, dial", {"method": "share"}),
                                             ("score, dial", {"method": "mmr", "first_pick": "score"})])  # fmt: skip
def test_the_dial_is_the_diversity_of_its_run(name: str, fixed: dict[str, str]) -> None:
    ways, rewards = drawn(2)
    dials = Dials(2)
    dials.averages = torch.tensor([[0.0, 1.0], [0.05, 1.0]], dtype=torch.float64)
    found = advantages(METHODS[name], PLAIN, ways, rewards, 0.0, dials=dials)
    for run, diversity in enumerate((1.0, 0.5)):
        groups = ways[run].view(8, 8)
        similarity = torch.where(groups.unsqueeze(1) == groups.unsqueeze(2), 0.8, 0.3)
        wanted = mmr_advantages(rewards[run].view(8, 8), similarity=similarity, diversity=diversity, **fixed)  # type: ignore[arg-type]
        assert isinstance(wanted, Tensor)
        torch.testing.assert_close(found[run].view(8, 8), wanted)
    assert (dials.averages[:, 1] != 1).all()  # the step's own signal was taken in


def test_clusters_by_label_are_those_of_an_embedder_without_mistakes() -> None:
    ways, rewards = drawn()
    seen = seen_by(mistaken(0.5, 5), ways, torch.rand(ways.shape))
    by_label, by_threshold = (
        [advantages(METHODS[f"partition, {by}"], PLAIN, ways, rewards, 0.0, seen=each) for each in (None, seen)]
        for by in ("labels", "threshold")
    )
    torch.testing.assert_close(by_label[0], by_threshold[0])
    torch.testing.assert_close(by_label[0], by_label[1])
    assert not torch.allclose(by_threshold[0], by_threshold[1])


def test_mistakes_are_as_frequent_as_said() -> None:
    ways = torch.zeros(1, 100_000, dtype=torch.int64)
    seen = seen_by(mistaken(0.4), ways, torch.rand(1, 100_000, generator=torch.Generator().manual_seed(0)))
    counts = torch.bincount(seen[0], minlength=8) / 100_000
    torch.testing.assert_close(counts, torch.tensor([0.65, *[0.05] * 7]), atol=0.005, rtol=0)


def test_gradient_of_a_shared_token_is_autograds() -> None:
    cases = Cases.of([Case(SHARED_TOKENS, PLAIN)], 5)
    parameters = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    ways, paid = drawn()
    tokens = torch.tensor(SHARED_TOKENS.first_tokens)
    chosen = (parameters[:, :8] + parameters[:, 8:][:, tokens]).log_softmax(1).gather(1, ways)
    (wanted,) = torch.autograd.grad((chosen * paid).mean(1).sum(), parameters)
    found = cases.by_parameters(policy.policy_gradient(cases.logits(parameters.detach()), ways, paid))
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(cases.logits(cases.parameters)[0], SHARED_TOKENS.logits())


def test_length_makes_the_trap_and_shared_tokens_deepen_it() -> None:
    """Plain GRPO arrives without division by length alone; to MMR shared tokens cost steps besides."""
    run = {"seeds": [0, 1, 2, 3], "steps": 300, "rate": 1.0}
    short, apart = replace(SHARED_TOKENS, lengths=()), replace(SHARED_TOKENS, first_tokens=())
    found = {
        (name, family): steps_to_target(family, METHODS[name], PLAIN, **run)  # type: ignore[arg-type]
        for name in ("grpo", "mmr")
        for family in (SHARED_TOKENS, short, apart)
    }
    assert np.isinf(found["grpo", SHARED_TOKENS]).all()
    assert np.isfinite(found["grpo", short]).all()
    assert (found["mmr", SHARED_TOKENS] > found["mmr", apart]).all()


def test_adam_is_torchs() -> None:
    """With a run dropped on the way, the others go on with their moments."""
    start, gradients = torch.randn(3, 4, dtype=torch.float64), torch.randn(6, 3, 4, dtype=torch.float64)
    alone = torch.nn.Parameter(start[2].clone())
    optimiser = torch.optim.Adam([alone], lr=0.03, maximize=True)
    following = Adam(start, 0.03)
    for step, gradient in enumerate(gradients):
        if step == 3:
            following.keep(torch.tensor([0, 2]))
        following.step(gradient if step < 3 else gradient[[0, 2]])
        alone.grad = gradient[2].clone()
        optimiser.step()
    torch.testing.assert_close(following.parameters[1], alone.detach())
    assert len(following.optimiser.state) == 1


@pytest.mark.parametrize("optimiser", ["ascent", "adam"])
@pytest.mark.parametrize("name", ["share, dial", "score, dial", "partition, labels", "dpp"])
def test_a_run_depends_on_its_own_seed_alone(name: str, optimiser: str) -> None:
    family, setting = PLACED["crowded"]
    odd = replace(setting, mistaken=0.2, noise=0.1)
    run = {"parts": (0.5, 0.9), "rate": 1.0 if optimiser == "ascent" else 0.1, "optimiser": optimiser}
    together = steps_of([Case(family, odd)], METHODS[name], range(5), **run)[0]  # type: ignore[arg-type]
    alone = steps_of([Case(family, odd)], METHODS[name], [3], **run)[0]  # type: ignore[arg-type]
    assert together[:, 3].tolist() == alone[:, 0].tolist()
    assert (together[0] < together[1]).all()
    assert len(set(together[1])) > 1


@pytest.mark.parametrize("optimiser", ["ascent", "adam"])
@pytest.mark.parametrize("name", ["mmr", "share, dial, patience", "entropy 0.1"])
def test_a_run_does_not_depend_on_the_cases_beside_it(name: str, optimiser: str) -> None:
    """Families with more and fewer ways and tokens, other similarities, noise, grades and mistakes."""
    cases = [
        Case(SHARED_TOKENS, PLAIN),
        Case(PLACED["hidden"][0], replace(PLAIN, mistaken=0.2, within=0.9)),
        Case(FAMILIES["graded"], replace(PLAIN, graded=True, noise=0.1)),
        Case(*PLACED["crowded"]),
    ]
    run = {"parts": (0.5, 0.8), "rate": 1.0 if optimiser == "ascent" else 0.1, "optimiser": optimiser, "steps": 100}
    arm = (METHODS | REMEDIES)[name]
    together = steps_of(cases, arm, range(3), **run)  # type: ignore[arg-type]
    for case, found in zip(cases, together, strict=True):
        assert found.tolist() == steps_of([case], arm, range(3), **run)[0].tolist()  # type: ignore[arg-type]
    assert len(set(together[:, 1].flatten())) > 4


def test_similarity_of_each_case() -> None:
    ways = torch.tensor([[[0, 0, 1]], [[2, 3, 2]]])
    found = similarity_of(ways, Cases.of([Case(FAMILIES["graded"], PLAIN), Case(*PLACED["hidden"])]))
    one, other = (torch.tensor(each) for each in ([[1, 0.8, 0.3], [0.8, 1, 0.3], [0.3, 0.3, 1]],
                                                  [[1, 0.71, 1], [0.71, 1, 0.71], [1, 0.71, 1]]))  # fmt: skip
    torch.testing.assert_close(found[:, 0], torch.stack([one, other]))


def test_cases_of_two_group_sizes() -> None:
    with pytest.raises(ValueError, match="groups of one size"):
        Cases.of([Case(SHARED_TOKENS, PLAIN), Case(SHARED_TOKENS, replace(PLAIN, group_size=4))])


def test_a_dial_is_shut_while_the_reward_does_not_rise() -> None:
    """After so many batches on a plateau, and opened again by a rise; never opened beyond its most."""
    flat = torch.tensor([[0.0, 1.0]])
    patient, shy = Dials(1, patience=3), Dials(1, highest=0.25)
    opened = []
    for reward in (0.5, 0.5, 0.5, 0.5, 0.5, 1.0, 1.0):
        patient.update(flat, torch.tensor([reward]))
        opened.append(float(patient.value()))
    assert opened == [1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    shy.update(flat, torch.zeros(1))
    assert float(shy.value()) == 0.25


@pytest.mark.parametrize("size", [4, 8, 16])
def test_even_strength_weighs_a_whole_group_as_one_of_eight(size: int) -> None:
    """All but one of one way: what a lone right one gets over another right one is a power of the copies."""
    ways, rewards = torch.zeros(1, size, dtype=torch.int64), torch.ones(1, size)
    ways[0, -1], rewards[0, 0] = 1, 0.0
    arm = Arm(method="share", diversity=0.0, even_strength=True)
    paid = advantages(arm, Setting(1, size, within=1.0, across=0.0), ways, rewards, 0.0)
    assert float(paid[0, -1] / paid[0, 1]) == pytest.approx((size - 1) ** (np.log(8**0.5) / np.log(size)))


@pytest.mark.parametrize("field", ["first_tokens", "lengths"])
def test_impossible_tokens(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Family((0.5, 0.5), (1.0, 0.0), **{field: (1, 2, 3)})  # type: ignore[arg-type]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few arms, families and variants."""
    arms = {name: METHODS[name] for name in ("grpo", "share", "entropy 0.1")}
    for module in (methods, summaries, random_settings):
        monkeypatch.setattr(module, "KNOWN", arms)
    for module in (intervals, summaries):
        monkeypatch.setattr(module, "RESAMPLES", 20)
    monkeypatch.setattr(methods_page, "METHODS", arms)
    monkeypatch.setattr(methods, "PLACED", {name: PLACED[name] for name in ("one-way", "shared tokens")})
    monkeypatch.setattr(methods, "VARIANTS", {methods.BASE: {}, "groups of 4": methods.VARIANTS["groups of 4"]})


@pytest.mark.usefixtures("few")
def test_rows_are_kept_and_make_the_page(tmp_path: Path) -> None:
    path, seeds = tmp_path / "methods.jsonl", {"base": 8, "variants": 2}
    rows = methods.run(path, seeds, 70)
    kept = path.read_text().splitlines()
    assert len(kept) == 1 + 12
    path.write_text("\n".join(kept[:4]) + "\n" + kept[4][:30])  # killed while it wrote
    assert methods.run(path, seeds, 70) == rows
    assert path.read_text().splitlines()[1:] == kept[1:]
    gathered = summaries.gathered(rows)
    one_way = steps_to_target(FAMILIES["one-way"], METHODS["share"], PLAIN, range(8), steps=70)
    assert gathered[0]["steps"]["share"]["0.9"] == one_way.tolist()
    assert len(summaries.gathered(rows[:-1])) == len(gathered) - 2  # both families lack an arm

    made = list(random_settings.measure([random_settings.Key("eight ways", 0)], 8))
    page = methods_page.Page(rows, made, 70)
    assert "| share |" in "\n".join([*page.short(), *page.means(), *page.families(), *page.variants(), *page.random()])
    base = summaries.chosen(gathered, methods.BASE)
    primary = summaries.geometric_mean(base, "share", "0.9", 70)
    by_hand = [
        np.median(np.array(row["steps"]["share"]["0.9"], float))
        / np.median(np.array(row["steps"]["grpo"]["0.9"], float))
        for row in base
        if row["family"] == "one-way"
    ]
    # On shared tokens both were cut off: a ratio of 1.
    assert primary.value == pytest.approx(np.prod(by_hand) ** (1 / 4))
    assert primary.low <= primary.value <= primary.high
    assert summaries.worst(base, "share", "0.9", 70).startswith(f"{max(1.0, *by_hand):.2f}, ")


def test_helps_and_hurts() -> None:
    """Intervals clear of 1, on either side."""

    def row(low: float, high: float) -> dict[str, object]:
        return {"ascent": {"share": [(low * high) ** 0.5, low, high, 0]}}

    found = summaries.frequency([row(0.5, 0.9), row(0.8, 0.99), row(0.9, 1.1), row(1.1, 3.0)], "ascent", "share")
    assert (found.helps, found.hurts, found.settings) == (2, 1, 4)
    assert found.worst == pytest.approx(3.3**0.5)
    assert found.in_short() == "50 % / 25 % / 1.82"


@pytest.mark.parametrize("optimiser", ["ascent", "adam"])
def test_the_look_at_a_plain_run(optimiser: Literal["ascent", "adam"]) -> None:
    """It is at the plain arm's own run; the signal is high where one way is right, and low where the best is rare."""
    rate = 1.0 if optimiser == "ascent" else 0.1
    cases = [Case(*PLACED[name]) for name in ("one-way", "rare-best")]
    clear, hidden = looks(cases, range(8), rate=rate, optimiser=optimiser)
    assert clear.signal > 0.1 > hidden.signal
    part = (clear.gained * (1 - 0.18) + 0.18) / 0.6  # of the best reachable reward
    steps = steps_of([cases[0]], METHODS["grpo"], range(8), parts=(part,), rate=rate, steps=80, optimiser=optimiser)
    assert np.median(steps) == pytest.approx(40, abs=6)


def test_rules_are_counted_where_the_effect_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """One setting where it helps, two where it hurts, one that is not clear; alone none tells of a rule."""
    monkeypatch.setattr(rules, "ARMS", ("mmr",))
    some = [([0.8, 0.7, 0.9, 0], [0.02, 0.5]), ([1.2, 1.1, 1.3, 0], [0.3, 0.4])]
    some += [([1.2, 1.1, 1.3, 0], [0.05, 0.1]), ([1.0, 0.9, 1.1, 0], [0.0, 0.0])]
    rows = [{"kind": "eight ways", "number": number,
             **{name: {"mmr": ratio, "plain run": look} for name in ("ascent", "adam")}}
            for number, (ratio, look) in enumerate(some)]  # fmt: skip
    found = rules.table(methods_page.Page([], rows, 100))
    assert "| *settings, those where it hurts* | 3, 2 | 3, 2 |" in found
    assert "| *always the more frequent answer* | 67 % (50 %) | 67 % (50 %) |" in found
    assert "| e below 0.1 | 67 % (75 %) | 67 % (75 %) |" in found
    assert "| at most 0.21 of the room gained | 33 % (25 %) | 33 % (25 %) |" in found
    for few in (rows[:1], [rows[3] | {"number": 0}]):
        assert "| e below 0.1 |  |  |" in rules.table(methods_page.Page([], few, 100))


def test_random_settings_of_either_kind() -> None:
    """All can be made and start below their target, and each is in one batch."""
    batches = random_settings.batches(30)
    assert sorted(key for batch in batches for key in batch) == sorted(
        random_settings.Key(kind, number) for kind in random_settings.KINDS for number in range(30)
    )
    some = [{"kind": "eight ways", "number": number} for number in (1, 0, 3)]
    assert random_settings.without_gaps(some) == [some[1], some[0]]
    wider = [wider_at_random(number) for number in range(60)]
    assert all(np.dot(family.shares, family.success) < family.target() for family, _ in wider)
    assert {len(family.shares) for family, _ in wider} >= {3, 16}
    assert 15 < sum(bool(family.first_tokens) for family, _ in wider) < 45
