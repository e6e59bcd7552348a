"""``python -m study.simulation.entropy_bonus``: runs with the entropy bonus that MMR amounts to at the start."""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from study.simulation.arms import ARMS, Arm
from study.simulation.families import FAMILIES, Family, Setting
from study.simulation.intervals import of_median
from study.simulation.running import STEPS, steps_to_target
from study.simulation.theory import entropy_equivalent


def equivalent(family: Family, setting: Setting) -> float:
    """β that pushes the second way towards the first as hard as MMR does, in units of GRPO's advantages.

    Theory has it in units of reward; advantages are rewards over their standard deviation.
    """
    p, success = family.logits().exp(), torch.tensor(family.success, dtype=torch.float64)
    mean = float(p @ success)
    spread = (mean * (1 - mean)) ** 0.5
    lam = float(torch.sigmoid(torch.tensor(spread)))
    ways = (0, 1) if family.shares[0] != family.shares[1] else (0, -1)
    return float(entropy_equivalent(p, lam, setting)[ways]) / spread


def main(seeds: Annotated[int, typer.Option(min=8, help="Runs of each arm.")] = 256) -> None:
    """Steps with MMR, with the bonus it amounts to at the start, and with the table's bonus of 0.1."""
    torch.set_num_threads(1)
    columns = ("family", "β", "steps, MMR", "steps, entropy β", "steps, entropy 0.1")
    table = Table(*columns, title="entropy bonus as strong as MMR at the start")
    setting, numbers = Setting(), list(range(seeds))
    for name, family in FAMILIES.items():
        bonus = equivalent(family, setting)
        arms = (ARMS["mmr"], Arm(method="none", entropy_bonus=bonus), ARMS["entropy"])
        steps = [str(of_median(steps_to_target(family, arm, setting, numbers), STEPS)) for arm in arms]
        table.add_row(name, f"{bonus:.3f}", *steps)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
