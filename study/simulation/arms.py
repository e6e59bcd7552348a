"""The arms: how one step's rewards become advantages, by the package's own op."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

import torch
from torch import Tensor

from mmr_kernels import mmr_advantages, mmr_reweight
from mmr_kernels.schedule import LinearSchedule
from study.simulation.cases import Cases
from study.simulation.dials import Dials
from study.simulation.families import Setting


@dataclass(frozen=True)
class Arm:
    """One training method; the fields are those of ``mmr_advantages`` but the last nine.

    Args:
        labels: clusters are the ways themselves, as a verifier that yields the answer gives them.
        dial: diversity is that of the package's ``SignalDial``, one for each run; with "none", which has no diversity,
            the dial is kept all the same.
        highest: the most that the dial opens.
        patience: batches without a rise of the reward after which the dial is shut, see ``Dials``; 0 for never.
        even_strength: strength is such that the count of a whole group weighs as in a group of 8 by default,
            G^strength = √8.
        shared_prompts: with scope "batch": completions of different prompts are as alike as those of one; else only
            completions of one prompt are alike at all.
        random_similarity: a control: ways are shuffled within the scope before similarity is taken, so that its values
            stay but tell nothing of the completions.
        entropy_bonus: times the entropy over ways, added to the objective.
        fade: diversity goes in a straight line from ``diversity`` to 0 over this share of the run; 0 keeps it.
    """

    method: Literal["mmr", "smi", "share", "unique", "partition", "dpp", "none"] = "mmr"
    lam: float | Literal["sigmoid"] = "sigmoid"
    first_pick: Literal["reward", "score"] = "reward"
    scope: Literal["group", "batch"] = "group"
    scale: Literal["group", "none"] = "group"
    degenerate: Literal["reweight", "zero"] = "reweight"
    diversity: float = 1.0
    threshold: float | None = None
    quality: bool = False
    labels: bool = False
    dial: bool = False
    highest: float = 1.0
    patience: int = 0
    even_strength: bool = False
    shared_prompts: bool = True
    random_similarity: bool = False
    entropy_bonus: float = 0.0
    fade: float = 0.0

    def __post_init__(self) -> None:
        if self.scope == "batch" and self.degenerate == "zero":
            raise ValueError("degenerate='zero' is simulated with scope='group' alone")
        if self.scope == "batch" and self.dial:
            raise ValueError("the dial is simulated with scope='group' alone")

    def diversity_at(self, progress: float) -> float:
        """The dial at a point of training, 0 at its start and 1 at its end."""
        return LinearSchedule(self.diversity, 0.0, self.fade)(progress) if self.fade else self.diversity


#: The columns of the table.
ARMS = {
    "grpo": Arm(method="none"),
    "mmr": Arm(),
    "mmr batch": Arm(scope="batch"),
    "mmr batch, prompts apart": Arm(scope="batch", shared_prompts=False),
    "score": Arm(first_pick="score"),
    "score, fading": Arm(first_pick="score", fade=0.6),
    "smi": Arm(method="smi"),
    "entropy": Arm(method="none", entropy_bonus=0.1),
    "random": Arm(random_similarity=True),
}

#: Every method of docs/methods.md, and the control to beat: the arms of ``methods.py``.
METHODS = {
    "grpo": ARMS["grpo"],
    "mmr": ARMS["mmr"],
    "mmr, dial": Arm(dial=True),
    "score": ARMS["score"],
    "score, dial": Arm(first_pick="score", dial=True),
    "share": Arm(method="share", diversity=0.0),
    "share, d = 1": Arm(method="share"),
    "share, dial": Arm(method="share", dial=True),
    "unique": Arm(method="unique"),
    "smi": ARMS["smi"],
    "partition, labels": Arm(method="partition", labels=True),
    "partition, threshold": Arm(method="partition", threshold=0.5),
    "dpp": Arm(method="dpp"),
    "dpp, quality": Arm(method="dpp", quality=True),
    **{f"entropy {bonus:g}": Arm(method="none", entropy_bonus=bonus) for bonus in (0.03, 0.1, 0.3)},
}

#: Remedies for "share, dial"; study/simulation.md says why these, and said so before any of them ran.
REMEDIES = {
    "share, dial, patience": Arm(method="share", dial=True, patience=100),
    "share, dial to 1/3": Arm(method="share", dial=True, highest=1 / 3),
    "share, dial, even strength": Arm(method="share", dial=True, even_strength=True),
}

#: Settings of MMR beside the published ones.
ABLATIONS = {
    **{f"lambda {lam:g}": Arm(lam=lam) for lam in (0.3, 0.5, 0.7, 0.9)},
    "degenerate zero": Arm(degenerate="zero"),
    "score, degenerate zero": Arm(first_pick="score", degenerate="zero"),
    "random score": Arm(first_pick="score", random_similarity=True),
    "fading": Arm(fade=0.6),
    "Dr. GRPO": Arm(method="none", scale="none"),
    "Dr. GRPO, mmr": Arm(scale="none"),
    "Dr. GRPO, score": Arm(first_pick="score", scale="none"),
}


def similarity_of(ways: Tensor, setting: Setting | Cases) -> Tensor:
    """(R, scopes, M) ways of R runs to (R, scopes, M, M) similarities, float32, with a diagonal of 1."""
    small = ways.to(torch.int8)
    within, across = (torch.as_tensor(each).view(-1, 1, 1, 1) for each in (setting.within, setting.across))
    same = small.unsqueeze(3) == small.unsqueeze(2)
    similarity = same.to(torch.float32).mul_(within - across).add_(across)
    similarity.diagonal(dim1=2, dim2=3).fill_(1.0)
    return similarity


def advantages(
    arm: Arm,
    setting: Setting | Cases,
    ways: Tensor,
    rewards: Tensor,
    progress: float,
    shuffle: Tensor | None = None,
    *,
    seen: Tensor | None = None,
    dials: Dials | None = None,
) -> Tensor:
    """Advantages of one step of many runs at once: the groups of all runs go into one call.

    Args:
        setting: of all runs, or of each.
        ways, rewards: (S, prompts · group_size), one row per run.
        progress: where in training the step is, from 0 to 1.
        shuffle: (S, prompts · group_size) uniforms, for ``random_similarity``.
        seen: like ``ways``: those that the embedder takes completions for; the ways themselves without it.
        dials: for ``dial``; they take in this step's signal.

    Returns:
        (S, prompts · group_size) float32.
    """
    groups = rewards.reshape(-1, setting.group_size)
    if arm.method == "none" and not arm.dial:
        return cast(Tensor, mmr_advantages(groups, method="none", scale=arm.scale)).view_as(rewards)
    diversity: float | Tensor = arm.diversity_at(progress)
    # Scope "batch" has one batch per run: that is the scope of a reweighting, and groups come after.
    scopes = (len(ways), -1, setting.group_size if arm.scope == "group" else ways.shape[1])
    rows = (ways if seen is None else seen).reshape(scopes)
    if arm.random_similarity:
        assert shuffle is not None
        rows = rows.gather(2, shuffle.reshape(scopes).argsort(2))
    similarity = similarity_of(rows, setting).flatten(0, 1)
    if arm.scope == "group":
        if arm.dial:
            assert dials is not None
            diversity = dials.value().repeat_interleave(setting.prompts)
        result = mmr_advantages(
            groups, similarity=similarity, labels=ways.view_as(groups) if arm.labels else None, method=arm.method,
            lam=arm.lam, first_pick=arm.first_pick, diversity=diversity, threshold=arm.threshold, scale=arm.scale,
            degenerate=arm.degenerate, quality=arm.quality, return_details=arm.dial,
            strength=0.5 * math.log(8) / math.log(setting.group_size) if arm.even_strength else None,
        )  # fmt: skip
        if isinstance(result, Tensor):
            return result.view_as(rewards)
        assert dials is not None
        assert result.advantages is not None
        assert result.signal is not None
        dials.update(result.signal.view(len(rewards), -1, 2).sum(1), rewards.mean(1))
        return result.advantages.view_as(rewards)
    if not arm.shared_prompts:
        prompt = torch.arange(setting.prompts).repeat_interleave(setting.group_size)
        similarity *= prompt.unsqueeze(0) == prompt.unsqueeze(1)
    reweighted = mmr_reweight(
        rewards, similarity=similarity, method=arm.method, lam=arm.lam, first_pick=arm.first_pick,
        diversity=diversity,
    )  # fmt: skip
    new = cast(Tensor, reweighted).view_as(groups)
    return cast(Tensor, mmr_advantages(new, method="none", scale=arm.scale)).view_as(rewards)
