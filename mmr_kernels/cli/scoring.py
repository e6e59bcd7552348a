"""From ``Rollouts`` to their scores: embed, reweight and compare with plain GRPO, part by part."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmr_kernels.cli.files import InputError, Source
from mmr_kernels.cli.rollouts import Fields, Rollouts
from mmr_kernels.cli.rows import Row, read_rows

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from mmr_kernels.integrations.scored import Scored

#: Completions that are embedded and scored at a time, where the options let groups be scored apart.
PART = 512


def score_rollouts(rollouts: Rollouts, options: dict[str, Any]) -> tuple[Scored, Tensor]:
    """Embed and score the groups, part by part, under a progress bar.

    Returns:
        The completions as scored, in the order of ``rollouts``, and the advantages under method "none".

    Raises:
        InputError: the op refuses an option; the message is the op's.
    """
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from mmr_kernels.embedders import LexicalEmbedder
    from mmr_kernels.integrations.scored import Scored, score

    _check_room(rollouts.offsets, options)
    embedder = LexicalEmbedder()
    apart = "batch" not in (options["scope"], options["scale"])
    columns: list[Tensor] = []
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("scoring", total=len(rollouts.rewards))
        for offsets in _parts(rollouts.offsets, PART if apart else len(rollouts.rewards)):
            rows = slice(offsets[0], offsets[-1])
            rewards = torch.tensor(rollouts.rewards[rows], dtype=torch.float32)
            embeddings = embedder.embed_texts(rollouts.texts(rows))
            groups = torch.arange(len(offsets) - 1).repeat_interleave(torch.from_numpy(offsets).diff())
            labels = None if rollouts.clusters is None else torch.tensor(rollouts.clusters[rows])
            try:
                scored = score(rewards, embeddings, group_ids=groups, labels=labels, **options)
                plain = score(rewards, None, group_ids=groups, **(options | {"method": "none"}))
            except (TypeError, ValueError) as error:
                raise InputError(str(error)) from error
            found = (*scored, plain.advantages)
            if not columns:  # whole: small tensors that stay, made between embeddings that go, would scatter the memory
                count = {len(rewards): len(rollouts.rewards)}
                columns = [each.new_empty(count.get(len(each), len(each)), *each.shape[1:]) for each in found]
            for column, part in zip(columns, found, strict=True):
                column[rows] = part
            progress.advance(task, len(rewards))
    *columns, plain_advantages = columns
    return Scored(*columns), plain_advantages


def _check_room(offsets: np.ndarray, options: dict[str, Any]) -> None:
    """Before anything is embedded: that the similarities of the largest scope can be had."""
    import torch

    from mmr_kernels.memory import check_room_for

    sizes = torch.from_numpy(offsets).diff()
    if len(sizes):
        members = sizes.sum() if options["scope"] == "batch" else sizes.max()
        try:
            check_room_for(int(members), sizes.device)
        except MemoryError as error:
            raise InputError(f"--scope {options['scope']}: {error}") from error


@dataclass
class ScoredRows:
    """The rows of the file, read once more each time that they are walked, with their scores; a field of the same
    name is replaced. NaN, which JSON doesn't have, becomes null.

    Raises:
        InputError: the file holds other rows than before.
    """

    source: Source
    fields: Fields
    rollouts: Rollouts
    scored: Scored

    def __iter__(self) -> Iterator[Row]:
        import torch

        from mmr_kernels.integrations.scored import Scored

        order = torch.from_numpy(self.rollouts.positions).argsort()
        rewards = torch.from_numpy(self.rollouts.rewards)[order]
        scored = Scored(*(*(column[order] for column in self.scored[:-1]), self.scored.signal))
        rows = read_rows(self.source, self.fields.rewards)
        for part in (slice(first, first + PART) for first in range(0, len(order), PART)):
            advantages = scored.advantages[part].tolist()
            columns = {"reward": rewards[part].tolist(), **scored.table(part), "advantage": advantages}
            for values in zip(*columns.values(), strict=True):
                _, row = next(rows, ("", None))
                if row is None:
                    raise self._changed()
                found = (value if math.isfinite(value) else None for value in values)
                yield row | dict(zip(columns, found, strict=True))
        if next(rows, None) is not None:
            raise self._changed()

    def _changed(self) -> InputError:
        return InputError(f"{self.source.name}: other rows came or went while it was scored")


def _parts(offsets: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The offsets cut into runs of whole groups, of ``size`` completions or just above; bounds are shared."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = min(bisect.bisect_left(offsets, offsets[first] + size), count)
        yield offsets[first : last + 1]
        first = last
