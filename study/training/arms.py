"""The arms, each a plain run with a few changes."""

from __future__ import annotations

from typing import Any, NamedTuple

#: TRL's names for the three variants. DAPO is without dynamic sampling, which TRL lacks, in every arm alike.
LOSSES: dict[str, dict[str, Any]] = {
    "GRPO": {"loss_type": "grpo", "scale_rewards": "group"},
    "Dr. GRPO": {"loss_type": "dr_grpo", "scale_rewards": "none"},
    "DAPO": {"loss_type": "dapo", "scale_rewards": "group", "epsilon_high": 0.28},
}


class Arm(NamedTuple):
    """A name, the options that it sets in ``MMRGRPOConfig``, and its other changes."""

    name: str
    options: dict[str, Any] = {}  # noqa: RUF012 (never written)
    grade: str = "binary"
    shuffled: bool = False  # a control: embeddings are dealt out anew within each group
    rate_of: str = ""  # the arm whose learning rate it takes; its own if none is named


def plain_of(arm: str) -> str:
    """The arm that this one is compared with."""
    return "plain, graded" if ARMS[arm].grade == "graded" else "plain"


PLAIN = {"mmr_method": "none"}
SCORE = {"mmr_first_pick": "score"}

#: Each under all three losses.
MAIN = (
    Arm("plain", PLAIN),
    Arm("MMR"),
    Arm("MMR, scope batch", {"mmr_scope": "batch"}),
    Arm("SMI", {"mmr_method": "smi"}),
    Arm("MMR, first pick by score", SCORE),
    Arm("the same, diversity 1 to 0", {**SCORE, "mmr_diversity_end": 0.0, "mmr_diversity_steps": 0.6}),
)

#: Each under GRPO alone.
ABLATIONS = (
    Arm("plain, entropy bonus", {**PLAIN, "entropy_coef": 0.01}),
    Arm("plain, entropy bonus 0.05", {**PLAIN, "entropy_coef": 0.05}, rate_of="plain, entropy bonus"),
    Arm("MMR, shuffled embeddings", shuffled=True, rate_of="MMR"),
    Arm("MMR, λ 0.3", {"mmr_lam": 0.3}, rate_of="MMR"),
    Arm("MMR, λ 0.5", {"mmr_lam": 0.5}, rate_of="MMR"),
    Arm("MMR, λ 0.7", {"mmr_lam": 0.7}, rate_of="MMR"),
    Arm("MMR, λ 0.9", {"mmr_lam": 0.9}, rate_of="MMR"),
    Arm("MMR, equal groups get 0", {"mmr_degenerate": "zero"}, rate_of="MMR"),
    Arm("MMR, policy embedder", {"mmr_embedder": "policy"}, rate_of="MMR"),
    Arm("plain, graded", PLAIN, grade="graded"),
    Arm("MMR, graded", grade="graded"),
)

SIGNAL = {"mmr_diversity": "signal"}

#: The bonus at the coefficients among which the confirmation's pilots choose the control to beat.
ENTROPY = (
    Arm("plain, entropy bonus 0.02", {**PLAIN, "entropy_coef": 0.02}),
    next(arm for arm in ABLATIONS if arm.name == "plain, entropy bonus 0.05"),
    Arm("plain, entropy bonus 0.1", {**PLAIN, "entropy_coef": 0.1}),
)

#: The rules of docs/methods.md, with the signal's dial and without: the arms of the confirmation, besides plain ones.
METHODS = (
    *(arm for arm in MAIN if arm.name in ("MMR", "MMR, first pick by score", "SMI")),
    Arm("MMR, first pick by score, dial", {**SCORE, **SIGNAL}),
    Arm("share", {"mmr_method": "share"}),
    Arm("share, dial", {"mmr_method": "share", **SIGNAL}),
    Arm("dpp", {"mmr_method": "dpp"}),
    Arm("partition", {"mmr_method": "partition", "mmr_threshold": 0.5}),
)

ARMS = {arm.name: arm for arm in (*MAIN, *ABLATIONS, *ENTROPY, *METHODS)}
