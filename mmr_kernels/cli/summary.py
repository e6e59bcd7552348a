"""The text that ``score`` prints: the groups that changed most, and one paragraph about all of them."""

from __future__ import annotations

import math
import textwrap

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from scipy import stats
from torch import Tensor

from mmr_kernels.cli.rollouts import Rollouts
from mmr_kernels.dial import SignalDial, opening
from mmr_kernels.integrations.scored import Scored
from mmr_kernels.reference.advantages import all_equal

#: Resampled numbers that are held at a time.
ENTRIES = 2**17
#: Members of a group that a row has room for.
MEMBERS_SHOWN = 8


def print_summary(rollouts: Rollouts, scored: Scored, plain_advantages: Tensor, show: int) -> None:
    """Print the ``show`` most changed groups and a summary of all."""
    console = Console()
    offsets = torch.tensor(rollouts.offsets)
    # How far each group was moved: the mean over its completions of |advantage − plain GRPO's advantage|.
    changes = torch.segment_reduce((scored.advantages - plain_advantages).abs(), "mean", offsets=offsets)
    shown = changes.argsort(descending=True, stable=True)[:show].tolist()
    if shown:
        console.print(_groups_table(rollouts, scored, plain_advantages, shown))
        which = "All" if len(shown) == len(changes) else f"The {len(shown):,} most changed of"
        console.print(f"{which} {len(changes):,} groups shown; --show N shows N.\n")
    for name, value in summary(rollouts, scored, plain_advantages).items():
        first, later = f"{name:<28}", " " * 28
        console.print(Text(textwrap.fill(value, 80, initial_indent=first, subsequent_indent=later)))


def summary(rollouts: Rollouts, scored: Scored, plain_advantages: Tensor) -> dict[str, str]:
    """The whole file in a few lines, name to text."""
    rewards, valid = scored.rewards, scored.rewards.isfinite()
    similarity = scored.max_similarity[scored.selection_rank > 0]
    lam = scored.lam[scored.lam.isfinite()]
    lowest, highest = (
        torch.from_numpy(extreme.reduceat(rewards.where(valid, bound).numpy(), rollouts.offsets[:-1]))
        for extreme, bound in ((np.minimum, torch.inf), (np.maximum, -torch.inf))
    )
    several = torch.from_numpy(np.diff(rollouts.offsets) > 1)
    equal = int((several & (lowest <= highest) & all_equal(lowest, highest)).sum())
    turned = valid & (scored.advantages.sign() * plain_advantages.sign() < 0)
    lines = {
        "completions": f"{len(rewards):,} in {len(several):,} groups",
        "without a reward": f"{int((~valid).sum()):,} (advantage 0)",
        "groups of equal rewards": f"{equal:,} (plain GRPO learns nothing from them)",
        "unusable embeddings": f"{int(scored.unusable.sum()):,} (zero or not finite: similar to nothing)",
        "advantage changed sign": f"{int(turned.sum()):,} completions",
    }
    if valid.any():
        before, after = rewards[valid].mean(), scored.reweighted_rewards[valid].mean()
        lines["mean reward"] = f"{before:.3f} before, {after:.3f} after"
    if not math.isnan(scored.explained):
        lines["signal"] = _of_signal(scored)
    if len(similarity):
        lowest, middle, highest = np.percentile(similarity, [10, 50, 90])
        lines["similarity of later picks"] = f"median {middle:.2f}, from {lowest:.2f} to {highest:.2f} for 8 in 10"
    if len(lam):
        lines["λ"] = f"{lam.min():.3f} to {lam.max():.3f}"
    return lines


def _of_signal(scored: Scored) -> str:
    """e with its interval over groups, in a sentence that says what it means."""
    e, shut = scored.explained, SignalDial().threshold
    interval = signal_interval(scored.signal)
    low, high = interval or (e, e)
    over = f" ({low:.3f} to {high:.3f}, 95 % over groups)" if interval else ""
    if low >= shut:
        meaning = "likeness tells right from wrong, which plain GRPO goes by already, so SignalDial stays shut"
    elif high < shut:
        opened = opening(torch.tensor([e, 1.0], dtype=torch.float64), shut)
        meaning = f"likeness hardly tells right from wrong, so SignalDial opens diversity to {opened:.2f}"
    else:
        meaning = f"it may be above or below {shut:g}, where SignalDial shuts: more groups would tell"
    return f"{e:.3f}{over} of the rewards' variance is explained by likeness: {meaning}"


def signal_interval(signal: Tensor) -> tuple[float, float] | None:
    """A 95 % percentile-bootstrap interval of ΣT / ΣV over scopes whose rewards differ, (scopes, 2) T and V.

    None where fewer than two do, as with scope "batch".
    """
    known = signal.to("cpu", torch.float64).numpy()
    explained, variance = known[np.isfinite(known).all(1) & (known[:, 1] > 0)].T
    if len(variance) < 2:
        return None

    def statistic(explained: np.ndarray, variance: np.ndarray, axis: int) -> np.ndarray:
        ratio: np.ndarray = explained.sum(axis) / variance.sum(axis)
        return ratio

    found = stats.bootstrap(
        (explained, variance), statistic, paired=True, vectorized=True, n_resamples=1000, method="percentile",
        batch=max(1, ENTRIES // len(variance)), rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return float(found.low), float(found.high)


def _groups_table(rollouts: Rollouts, scored: Scored, plain_advantages: Tensor, shown: list[int]) -> Table:
    """One row per group, one line per member: in picking order, or where nothing is picked in that of the file."""
    columns = {"reward": scored.rewards, "new reward": scored.reweighted_rewards}
    caption = None
    if (scored.selection_rank >= 0).any():
        columns["similarity"] = scored.max_similarity
        caption = "Members in picking order; similarity to those picked before."
    columns |= {"GRPO adv.": plain_advantages, "new adv.": scored.advantages}
    table = Table(title="The groups that changed most", caption=caption)
    table.add_column("group", ratio=1)
    for name in columns:
        table.add_column(name, justify="right", min_width=6)
    members = torch.stack(list(columns.values()), dim=1)
    for group in shown:
        rows = slice(rollouts.offsets[group], rollouts.offsets[group + 1])
        ranks = scored.selection_rank[rows]
        order = ranks.where(ranks >= 0, len(ranks)).argsort(stable=True)
        lines = [_member_line(*member) for member in members[rows][order[:MEMBERS_SHOWN]].tolist()]
        if len(order) > MEMBERS_SHOWN:
            lines.append((f"+ {len(order) - MEMBERS_SHOWN} more", *[""] * (len(columns) - 1)))
        label = textwrap.shorten(rollouts.names[group], 20 * len(lines), placeholder=" …")
        table.add_row(Text(label), *("\n".join(cells) for cells in zip(*lines, strict=True)), end_section=True)
    return table


def _member_line(reward: float, *others: float) -> tuple[str, ...]:
    """Of its reward and the numbers of the other columns, of which the last two are advantages."""
    *numbers, plain, advantage = others
    if math.isnan(reward):
        return "none", *[""] * len(numbers), "0.00", "0.00"
    return f"{reward:.2f}", *(f"{number:.2f}" for number in numbers), f"{plain:+.2f}", f"{advantage:+.2f}"
