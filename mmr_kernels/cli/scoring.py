"""From ``Rollouts`` to ``Scores``: embed, reweight and compare with plain GRPO, part by part."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from mmr_kernels.cli.files import InputError, Row
from mmr_kernels.cli.rollouts import Rollouts

if TYPE_CHECKING:
    import numpy as np

#: Completions that are embedded and scored at a time, where the options let groups be scored apart.
PART = 512


class Scores(NamedTuple):
    """What the op gave, one value a completion in the order of ``Rollouts``; and what plain GRPO gives."""

    reweighted_rewards: np.ndarray  # float32, NaN where no reward is known
    selection_rank: np.ndarray  # int64
    max_similarity: np.ndarray  # float32
    advantages: np.ndarray  # float32
    plain_advantages: np.ndarray  # float32: of method "none", all else the same
    lam: np.ndarray  # float32, one a group; NaN where the method has none


def score_rollouts(rollouts: Rollouts, options: dict[str, Any]) -> Scores:
    """Embed and score the groups, part by part, under a progress bar.

    Raises:
        InputError: the op refuses an option; the message is the op's.
    """
    import numpy as np
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from mmr_kernels import MMRResult, mmr_advantages
    from mmr_kernels.embedders import LexicalEmbedder

    embedder = LexicalEmbedder()
    apart = "batch" not in (options["scope"], options["scale"])
    parts: list[Scores] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=len(rollouts.texts))
        for groups in _parts(rollouts.offsets, PART if apart else len(rollouts.texts)):
            start, stop = groups[0], groups[-1]
            rewards = torch.tensor(rollouts.rewards[start:stop], dtype=torch.float32)
            embeddings = embedder.embed_texts(rollouts.texts[start:stop])
            offsets = [offset - start for offset in groups]
            try:
                result = mmr_advantages(rewards, embeddings, group_offsets=offsets, return_details=True, **options)
                plain = mmr_advantages(rewards, group_offsets=offsets, **(options | {"method": "none"}))
            except (TypeError, ValueError) as error:
                raise InputError(str(error)) from error
            assert isinstance(result, MMRResult)
            assert isinstance(result.advantages, torch.Tensor)
            assert isinstance(plain, torch.Tensor)
            parts.append(
                Scores(
                    result.reweighted_rewards.numpy(),
                    result.selection_rank.numpy(),
                    result.max_similarity.numpy(),
                    result.advantages.numpy(),
                    plain.numpy(),
                    result.lam.expand(len(offsets) - 1).numpy(),
                )
            )
            progress.advance(task, stop - start)
    return Scores(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def output_rows(rollouts: Rollouts, scores: Scores) -> list[Row]:
    """The rows as read, in the file's order, with their scores; a field of the same name is replaced.

    NaN, which JSON doesn't have, becomes null.
    """
    import numpy as np

    added = {
        "reward": np.asarray(rollouts.rewards),
        "reweighted_reward": scores.reweighted_rewards,
        "selection_rank": scores.selection_rank,
        "max_similarity": scores.max_similarity,
        "advantage": scores.advantages,
    }
    columns = {
        name: [value if math.isfinite(value) else None for value in values.tolist()] for name, values in added.items()
    }
    rows = [row | {name: values[i] for name, values in columns.items()} for i, row in enumerate(rollouts.rows)]
    return [row for _, row in sorted(zip(rollouts.positions, rows, strict=True), key=lambda pair: pair[0])]


def _parts(offsets: list[int], size: int) -> list[list[int]]:
    """The offsets cut into runs of whole groups, of ``size`` completions or just above; bounds are shared."""
    parts, first = [], 0
    for last in range(1, len(offsets)):
        if offsets[last] - offsets[first] >= size or last == len(offsets) - 1:
            parts.append(offsets[first : last + 1])
            first = last
    return parts
