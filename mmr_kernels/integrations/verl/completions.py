"""Where a batch of verl holds completions, and the order in which they were sampled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Completions(NamedTuple):
    """The n completions of a batch of N rows: one per session of an agent, whose last row has its score.

    A tie of rewards goes to the completion that stands first. verl reorders batches by length, so completions stand
    here as they were sampled where that is known: else the longer ones, or the shorter ones, would win ties.
    """

    scored_row: Tensor  #: (n,) int64: the row whose reward and text are the completion's
    of_row: Tensor  #: (N,) int64: the completion to which a row belongs; -1 for a row that is padding
    read: Callable[[], tuple[Tensor, Tensor]]  #: (n, T) token ids, and (n, T) bool, those that the policy wrote


def of_queue(queue: Any, batch: Any) -> Completions:
    """Those of a batch in the TransferQueue, of keys ``{uid}_{session}_{output}``; rows tagged as padding are none.

    Args:
        queue: the module ``transfer_queue``.
        batch: ``KVBatchMeta``.
    """
    sessions: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row, (key, tag) in enumerate(zip(batch.keys, batch.tags, strict=True)):
        if not tag.get("is_padding", False):
            uid, session, output = key.rsplit("_", 2)
            sessions.setdefault((uid, int(session)), []).append((int(output), row))
    of_row = torch.full((len(batch.keys),), -1)
    scored_row = torch.zeros(len(sessions), dtype=torch.int64)
    for completion, (_, outputs) in enumerate(sorted(sessions.items())):
        of_row[[row for _, row in outputs]] = completion
        scored_row[completion] = max(outputs)[1]

    def read() -> tuple[Tensor, Tensor]:
        keys = [batch.keys[row] for row in scored_row.tolist()]
        fields = ["responses", "response_mask"]
        data = queue.kv_batch_get(keys=keys, partition_id=batch.partition_id, select_fields=fields).to_padded_tensor()
        return data["responses"], data["response_mask"] != 0

    return Completions(scored_row, of_row, read)


def of_proto(data: Any) -> Completions:
    """Those of a ``DataProto``: each row is one. In which order they were sampled it does not say."""
    rows = torch.arange(len(data))
    return Completions(rows, rows, lambda: (data.batch["responses"], data.batch["response_mask"] != 0))
