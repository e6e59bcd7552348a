"""The arms of every method, the dials, both optimisers, first tokens that ways share, and the tables of their rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mmr_kernels import SignalDial, mmr_advantages
from study.simulation import methods, methods_page, policy, random_settings
from study.simulation.arms import METHODS, Dials, advantages
from study.simulation.families import FAMILIES, PLACED, SHARED_TOKENS, Family, Setting
from study.simulation.optimisers import Adam
from study.simulation.points import Point
from study.simulation.running import seen_by, steps_to_parts, steps_to_target

PLAIN = Setting()


def drawn(runs: int = 5) -> tuple[Tensor, Tensor]:
    """Ways and binary rewards, (runs, 64)."""
    generator = torch.Generator().manual_seed(1)
    ways = torch.randint(0, 8, (runs, 64), generator=generator)
    return ways, torch.randint(0, 2, (runs, 64), generator=generator).float()


def test_dials_are_the_packages() -> None:
    """Each run's as a ``SignalDial`` of its own has it: no variance, numbers that are not finite, signals below 0."""
    signals = torch.randn(30, 4, 2, generator=torch.Generator().manual_seed(0)).mul(0.05).add(torch.tensor([0.02, 0.5]))
    signals[0, 0], signals[:3, 1], signals[5, 2] = 0.0, torch.nan, torch.inf
    dials, alone = Dials(4), [SignalDial() for _ in range(4)]
    seen = set()
    for signal in signals:
        dials.update(signal)
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
    seen = seen_by(replace(PLAIN, mistaken=0.5), ways, torch.rand(ways.shape), 8)
    by_label, by_threshold = (
        [advantages(METHODS[f"partition, {by}"], PLAIN, ways, rewards, 0.0, seen=each) for each in (None, seen)]
        for by in ("labels", "threshold")
    )
    torch.testing.assert_close(by_label[0], by_threshold[0])
    torch.testing.assert_close(by_label[0], by_label[1])
    assert not torch.allclose(by_threshold[0], by_threshold[1])


def test_mistakes_are_as_frequent_as_said() -> None:
    ways = torch.zeros(1, 100_000, dtype=torch.int64)
    seen = seen_by(Setting(mistaken=0.4), ways, torch.rand(1, 100_000, generator=torch.Generator().manual_seed(0)), 8)
    counts = torch.bincount(seen[0], minlength=8) / 100_000
    torch.testing.assert_close(counts, torch.tensor([0.65, *[0.05] * 7]), atol=0.005, rtol=0)


def test_gradient_of_a_shared_token_is_autograds() -> None:
    family = SHARED_TOKENS.ways()
    parameters = torch.randn(5, 12, dtype=torch.float64, requires_grad=True)
    ways, paid = drawn()
    chosen = policy.logits_of(parameters, family.tokens).log_softmax(1).gather(1, ways)
    (wanted,) = torch.autograd.grad((chosen * paid).mean(1).sum(), parameters)
    logits = policy.logits_of(parameters.detach(), family.tokens)
    found = policy.of_parameters(policy.policy_gradient(logits, ways, paid), family.tokens)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(policy.logits_of(SHARED_TOKENS.parameters(), family.tokens), SHARED_TOKENS.logits())


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
    together = steps_to_parts(family, METHODS[name], odd, list(range(5)), **run)  # type: ignore[arg-type]
    alone = steps_to_parts(family, METHODS[name], odd, [3], **run)  # type: ignore[arg-type]
    assert together[:, 3].tolist() == alone[:, 0].tolist()
    assert (together[0] < together[1]).all()
    assert len(set(together[1])) > 1


@pytest.mark.parametrize("field", ["first_tokens", "lengths"])
def test_impossible_tokens(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        Family((0.5, 0.5), (1.0, 0.0), **{field: (1, 2, 3)})  # type: ignore[arg-type]


def few_rows(path: Path | None, monkeypatch: pytest.MonkeyPatch) -> list[methods.Row]:
    """Three arms on two families, eight seeds."""
    monkeypatch.setattr(methods, "PLACED", {name: PLACED[name] for name in ("one-way", "shared tokens")})
    monkeypatch.setattr(methods, "METHODS", {name: METHODS[name] for name in ("grpo", "share", "entropy 0.1")})
    monkeypatch.setattr(methods, "VARIANTS", {methods.BASE: {}, "groups of 4": methods.VARIANTS["groups of 4"]})
    return methods.run(path, [((methods.BASE,), (0, 4)), (("groups of 4",), (0, 2)), ((methods.BASE,), (4, 8))], 120)


def test_rows_are_kept_and_make_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "methods.jsonl"
    rows = few_rows(path, monkeypatch)
    kept = path.read_text().splitlines()
    assert len(kept) == 1 + 12
    path.write_text("\n".join(kept[:4]) + "\n" + kept[4][:30])  # killed while it wrote
    assert few_rows(path, monkeypatch) == rows
    assert path.read_text().splitlines()[1:] == kept[1:]
    family = steps_to_target(FAMILIES["one-way"], METHODS["share"], PLAIN, list(range(8)), steps=120)
    assert methods_page.merged(rows)[0]["steps"]["share"]["0.9"] == family.tolist()
    assert len(methods_page.merged(rows[:-1])[0]["steps"]["share"]["0.9"]) == 4  # a block that one family lacks

    monkeypatch.setattr(random_settings, "METHODS", methods.METHODS)
    settings = [{"number": 0, "point": {}, **random_settings.measure(Point(share=0.2), 8)}]
    page = methods_page.page(rows, settings, 120)
    assert "| share |" in page
    primary = methods_page.geometric_mean(
        methods_page.chosen(methods_page.merged(rows), methods.BASE), "share", "0.9", 120
    )
    by_hand = [
        np.median(np.array(row["steps"]["share"]["0.9"], float))
        / np.median(np.array(row["steps"]["grpo"]["0.9"], float))
        for row in methods_page.merged(rows)
        if row["variant"] == methods.BASE and row["family"] == "one-way"
    ]
    assert primary.value == pytest.approx(
        np.prod(by_hand) ** (1 / 4)
    )  # on shared tokens both were cut off: a ratio of 1
    assert primary.low <= primary.value <= primary.high


def test_helps_and_hurts() -> None:
    """Intervals clear of 1, on either side."""

    def row(low: float, high: float) -> dict[str, object]:
        return {"ascent": {"share": {"ratio": (low * high) ** 0.5, "low": low, "high": high, "cut_off": 0}}}

    found = methods_page.frequency([row(0.5, 0.9), row(0.8, 0.99), row(0.9, 1.1), row(1.1, 3.0)], "ascent", "share")
    assert (found.helps, found.hurts, found.settings) == (2, 1, 4)
    assert found.worst == pytest.approx(3.3**0.5)
