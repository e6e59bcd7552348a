"""What ``score`` prints: the groups that MMR changed most, and one paragraph about all of them."""

from __future__ import annotations

import textwrap

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmr_kernels.cli.rollouts import Rollouts
from mmr_kernels.cli.scoring import Scores

#: Members of a group that a row has room for.
MEMBERS_SHOWN = 8


def print_summary(rollouts: Rollouts, scores: Scores, show: int) -> None:
    """Print the ``show`` most changed groups and a summary of all."""
    console = Console()
    changes = group_changes(rollouts, scores)
    count = len(changes)
    shown = np.argsort(-changes, kind="stable")[:show]
    if len(shown):
        console.print(_groups_table(rollouts, scores, shown))
        which = "All" if len(shown) == count else f"The {len(shown):,} most changed of"
        console.print(f"{which} {count:,} groups shown; --show N shows N.\n")
    for name, value in summary(rollouts, scores).items():
        console.print(Text(f"{name:<28}{value}"))


def group_changes(rollouts: Rollouts, scores: Scores) -> np.ndarray:
    """How far MMR moved each group: the mean over its completions of |advantage − plain GRPO's advantage|."""
    moved = np.abs(scores.advantages - scores.plain_advantages)
    sizes = np.diff(rollouts.offsets)
    changes: np.ndarray = np.add.reduceat(moved, rollouts.offsets[:-1]) / sizes
    return changes


def summary(rollouts: Rollouts, scores: Scores) -> dict[str, str]:
    """The whole file in a few lines, name to text."""
    rewards = np.asarray(rollouts.rewards)
    valid = np.isfinite(rewards)
    later = valid & (scores.selection_rank > 0)
    groups = np.split(rewards, rollouts.offsets[1:-1])
    equal = sum(len(set(group[np.isfinite(group)].tolist())) == 1 and len(group) > 1 for group in groups)
    turned = valid & (np.sign(scores.advantages) * np.sign(scores.plain_advantages) < 0)
    lines = {
        "completions": f"{len(rewards):,} in {len(groups):,} groups",
        "without a reward": f"{np.count_nonzero(~valid):,} (advantage 0)",
        "groups of equal rewards": f"{equal:,} (plain GRPO learns nothing from them)",
        "advantage changed sign": f"{np.count_nonzero(turned):,} completions",
    }
    if valid.any():
        before, after = rewards[valid].mean(), scores.reweighted_rewards[valid].mean()
        lines["mean reward"] = f"{before:.3f} before, {after:.3f} after"
    if later.any():
        lowest, middle, highest = np.percentile(scores.max_similarity[later], [10, 50, 90])
        lines["similarity of later picks"] = f"median {middle:.2f}, from {lowest:.2f} to {highest:.2f} for 8 in 10"
    if np.isfinite(scores.lam).any():
        lines["λ"] = f"{np.nanmin(scores.lam):.3f} to {np.nanmax(scores.lam):.3f}"
    return lines


def _groups_table(rollouts: Rollouts, scores: Scores, shown: np.ndarray) -> Table:
    """One row a group, one line a member, in picking order."""
    table = Table(title="What MMR changed", caption="Members in picking order; similarity to those picked before.")
    table.add_column("group", ratio=1)
    for name in ("reward", "new reward", "similarity", "GRPO adv.", "MMR adv."):
        table.add_column(name, justify="right", min_width=6)
    for group in shown:
        start, stop = rollouts.offsets[group], rollouts.offsets[group + 1]
        ranks = scores.selection_rank[start:stop]
        order = start + np.argsort(np.where(ranks < 0, stop - start, ranks), kind="stable")
        lines = [_member_line(rollouts, scores, member) for member in order[:MEMBERS_SHOWN]]
        if len(order) > MEMBERS_SHOWN:
            lines.append((f"+ {len(order) - MEMBERS_SHOWN} more", "", "", "", ""))
        label = textwrap.shorten(rollouts.labels[group], 20 * len(lines), placeholder=" …")
        table.add_row(Text(label), *("\n".join(cells) for cells in zip(*lines, strict=True)), end_section=True)
    return table


def _member_line(rollouts: Rollouts, scores: Scores, member: int) -> tuple[str, ...]:
    reward = rollouts.rewards[member]
    if not np.isfinite(reward):
        return "none", "", "", "0.00", "0.00"
    return (
        f"{reward:.2f}",
        f"{scores.reweighted_rewards[member]:.2f}",
        f"{scores.max_similarity[member]:.2f}",
        f"{scores.plain_advantages[member]:+.2f}",
        f"{scores.advantages[member]:+.2f}",
    )
