"""From rows to the arguments of the op: the group, text and reward of each completion, in the order of groups."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mmr_kernels.cli.files import InputError, Row, read_rows

#: The op takes float32.
LARGEST_REWARD = (2 - 2.0**-23) * 2.0**127


class Rollouts(NamedTuple):
    """N completions, those of group g at offsets[g] to offsets[g + 1]; groups in the order of the file."""

    rows: list[Row]  # as read
    positions: list[int]  # of each row in the file, counted from 0
    texts: list[str]
    rewards: list[float]  # NaN: no reward function scored it, so it takes no part
    offsets: list[int]
    labels: list[str]  # of each group, to show


def read_rollouts(path: Path, reward_weights: dict[str, float]) -> Rollouts:
    """Read a file of rollouts.

    A group is the rows of equal ``group``; in a file without that, of equal ``prompt``, and of equal ``step``
    too where there are steps, as in the completions tables of TRL. The first row decides which it is.

    Raises:
        InputError: naming the file and the line or row.
    """
    groups: dict[str, list[tuple[int, Row, str, float]]] = {}
    keys: list[str] = []
    for position, (place, row) in enumerate(read_rows(path)):
        keys = keys or _group_keys(place, row)
        group = json.dumps([_group_value(_field(place, row, key)) for key in keys], sort_keys=True, default=str)
        text = _text(place, _field(place, row, "completion"))
        reward = _weighted_sum(place, row, reward_weights)
        groups.setdefault(group, []).append((position, row, text, reward))
    if not groups:
        raise InputError(f"{path}: holds no rollouts")
    members = [member for group in groups.values() for member in group]
    offsets = [0]
    for group_members in groups.values():
        offsets.append(offsets[-1] + len(group_members))
    labels = [_label(group_members[0][1], keys) for group_members in groups.values()]
    positions, rows, texts, rewards = (list(column) for column in zip(*members, strict=True))
    return Rollouts(rows, positions, texts, rewards, offsets, labels)


def _group_keys(place: str, row: Row) -> list[str]:
    if "group" in row:
        return ["group"]
    if "prompt" in row:
        return ["step", "prompt"] if "step" in row else ["prompt"]
    raise InputError(f"{place}: takes 'group' or 'prompt', found only {_names(row)}")


def _group_value(value: Any) -> Any:
    """1.0 is 1: of a column of numbers some tools write one, some the other."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _field(place: str, row: Row, name: str) -> Any:
    if name not in row:
        raise InputError(f"{place}: takes {name!r}, found only {_names(row)}")
    if row[name] is None:
        raise InputError(f"{place}: {name!r} is null")
    return row[name]


def _names(row: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in row) or "nothing"


def _text(place: str, completion: Any) -> str:
    """A completion's text; of a conversation the text of its messages, line by line."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, list) and all(isinstance(message, dict) for message in completion):
        return "\n".join(_message_text(place, message) for message in completion)
    raise InputError(f"{place}: 'completion' takes a text or a list of messages, got {type(completion).__name__}")


def _message_text(place: str, message: Row) -> str:
    """``content`` is a text, a list of parts of which some have a text, or nothing (a bare tool call)."""
    content = message.get("content")
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "\n".join(str(part["text"]) for part in content if part.get("text"))
    if isinstance(content, str):
        return content
    raise InputError(
        f"{place}: a message's 'content' takes a text, a list of parts or null, got {type(content).__name__}"
    )


def _weighted_sum(place: str, row: Row, weights: dict[str, float]) -> float:
    """Σ weight·reward over those that scored the completion, as TRL sums them; NaN where none did."""
    total, scored = 0.0, False
    for name, weight in weights.items():
        if name not in row:
            found = _names(row)
            raise InputError(
                f"{place}: takes {name!r}, found only {found}; --reward NAME says which fields are rewards"
            )
        value = row[name]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(value, bool | int | float):
            raise InputError(f"{place}: {name!r} takes a number or null, got {type(value).__name__} {value!r:.60}")
        if not -LARGEST_REWARD <= value <= LARGEST_REWARD:
            raise InputError(f"{place}: {name!r} takes null or a number that float32 can hold, got {value!r:.60}")
        total, scored = total + weight * value, True
    if not -LARGEST_REWARD <= total <= LARGEST_REWARD:  # NaN too, of ∞ − ∞
        raise InputError(f"{place}: the weighted sum of rewards is {total}, which float32 can't hold")
    return total if scored else math.nan


def _label(row: Row, keys: list[str]) -> str:
    """The name that a reader knows a group by: its label or step, and how its prompt begins."""
    parts = [str(row[key]) for key in keys if key != "prompt"]
    prompt = row.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict):
        prompt = prompt[-1].get("content")
    if prompt:
        parts.append(" ".join(str(prompt).split()))
    return " · ".join(parts)
