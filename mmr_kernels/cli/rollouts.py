"""From rows to the arguments of the op: the group, text and reward of each completion, in the order of groups."""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from mmr_kernels.cli.files import InputError, Source
from mmr_kernels.cli.rows import Row, read_rows
from mmr_kernels.cli.terminal import printable
from mmr_kernels.integrations.messages import WRITTEN, generated_text

if TYPE_CHECKING:
    import numpy as np

#: The op takes float32.
LARGEST_REWARD = (2 - 2.0**-23) * 2.0**127
#: Characters of a group's name that are kept.
NAME = 200
#: Roles of messages that ask; the others answer.
ASKING = ("system", "developer", "user")


class Fields(NamedTuple):
    """The names of the fields to read."""

    rewards: dict[str, float]  # and their weights
    completion: str = "completion"
    group: tuple[str, ...] = ()  # none: as the first row has them
    labels: str | None = None  # of clusters


class Texts:
    """Texts in one block of UTF-8: an object for each would take as much again, and as str, one emoji would make each
    character of its text four bytes."""

    def __init__(self) -> None:
        self._utf8, self._ends = bytearray(), array("q", [0])

    def append(self, text: str) -> None:
        """Put it behind the others."""
        self._utf8 += text.encode()
        self._ends.append(len(self._utf8))

    def __getitem__(self, place: int) -> str:
        return self._utf8[self._ends[place] : self._ends[place + 1]].decode()

    def __len__(self) -> int:
        return len(self._ends) - 1


class Rollouts(NamedTuple):
    """N completions, those of group g at offsets[g] to offsets[g + 1]; groups in the order of the file."""

    positions: np.ndarray  # (N,), of each row in the file, counted from 0
    completions: Texts  # in the order of the file
    rewards: np.ndarray  # (N,), float64; NaN: no reward function scored it, so it takes no part
    offsets: np.ndarray
    names: Texts  # of each group, to show
    clusters: np.ndarray | None  # (N,), of each completion, by its label; None where labels were not asked for

    def texts(self, rows: slice = slice(None)) -> list[str]:
        """The completions."""
        return [self.completions[place] for place in self.positions[rows]]


def read_rollouts(source: Source, fields: Fields) -> Rollouts:
    """Read a file of rollouts.

    A group is the rows of equal ``fields.group``; without those, of equal ``group``; in a file without that, of
    equal ``prompt``, and of equal ``step`` too where there are steps, as in the completions tables of TRL. The first
    row decides which it is.

    Raises:
        InputError: naming the file and the line or row.
    """
    import numpy as np

    keys = list(fields.group)
    numbers: dict[bytes, int] = {}  # of groups, by a digest of what they have in common, which may be long
    codes: dict[bytes, int] = {}  # of labels, by the same
    completions, names = Texts(), Texts()
    groups, clusters, rewards = array("q"), array("q"), array("d")
    for place, row in read_rows(source, fields.rewards):
        if fields.completion not in row and "messages" in row:
            row = _from_messages(place, row, fields.completion)
        keys = keys or _group_keys(place, row)
        digest = _digest(place, row, keys)
        if digest not in numbers:
            names.append(_name(row, keys))
        groups.append(numbers.setdefault(digest, len(numbers)))
        if fields.labels is not None:
            clusters.append(codes.setdefault(_digest(place, row, [fields.labels]), len(codes)))
        completions.append(_text(place, fields.completion, _field(place, row, fields.completion)))
        rewards.append(_weighted_sum(place, row, fields.rewards))
    if not groups:
        raise InputError(f"{source.name}: holds no rollouts")
    positions = np.argsort(groups, kind="stable")
    offsets = np.append(0, np.bincount(groups).cumsum())
    numbered = np.asarray(clusters)[positions] if clusters else None
    return Rollouts(positions, completions, np.asarray(rewards)[positions], offsets, names, numbered)


def _digest(place: str, row: Row, keys: list[str]) -> bytes:
    """Of the values of these fields: equal where they are."""
    values = [_comparable(_field(place, row, key)) for key in keys]
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).digest()


def _from_messages(place: str, row: Row, completion: str) -> Row:
    """With a conversation, as OpenAI's API has it, cut into the prompt and the completion."""
    messages = row["messages"]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise InputError(f"{place}: 'messages' takes a list of messages, got {type(messages).__name__}")
    asked = max((i for i, message in enumerate(messages, start=1) if message.get("role") in ASKING), default=0)
    if asked == len(messages):
        raise InputError(f"{place}: 'messages' takes an answer after the last message of {', '.join(ASKING)}")
    return {"prompt": messages[:asked]} | row | {completion: messages[asked:]}


def _group_keys(place: str, row: Row) -> list[str]:
    if "group" in row:
        return ["group"]
    if "prompt" in row:
        return ["step", "prompt"] if "step" in row else ["prompt"]
    raise _missing(place, "'group' or 'prompt'", row)


def _comparable(value: Any) -> Any:
    """1.0 is 1: of a column of numbers some tools write one, some the other."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _field(place: str, row: Row, name: str) -> Any:
    if name not in row:
        raise _missing(place, repr(name), row)
    value = row[name]
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"{place}: {name!r} is {'null' if value is None else 'NaN'}")
    return value


def _missing(place: str, what: str, row: Row) -> InputError:
    found = ", ".join(repr(name) for name in row) or "nothing"
    options = "--group NAME, --completion NAME and --reward NAME say which fields to read"
    return InputError(f"{place}: takes {what}, found only {found}; {options}")


def _text(place: str, name: str, completion: Any) -> str:
    """A completion's text; of a conversation what the policy wrote, as the trainers' adapters read it."""
    if isinstance(completion, str):
        return completion
    if isinstance(completion, list) and all(isinstance(message, dict) for message in completion):
        for message in completion:
            _check_message(place, message)
        return generated_text(completion)
    raise InputError(f"{place}: {name!r} takes a text or a list of messages, got {type(completion).__name__}")


def _check_message(place: str, message: Row) -> None:
    """What it holds is a text, a list of parts of which some have a text, or nothing (a bare tool call)."""
    for name in WRITTEN:
        value = message.get(name)
        parts = value if isinstance(value, list) else [{"text": value}]
        if not all(isinstance(part, dict) and isinstance(part.get("text"), str | None) for part in parts):
            takes = f"{name!r} takes a text, a list of parts with a text or null"
            raise InputError(f"{place}: a message's {takes}, got {type(value).__name__} {value!r:.60}")
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise InputError(f"{place}: a message's 'tool_calls' takes a list of objects or null, got {calls!r:.60}")


def _weighted_sum(place: str, row: Row, weights: dict[str, float]) -> float:
    """Σ weight·reward over those that scored the completion, as TRL sums them; NaN where none did."""
    total, scored = 0.0, False
    for name, weight in weights.items():
        if name not in row:
            raise _missing(place, repr(name), row)
        value = row[name]
        if value is None or (isinstance(value, float) and math.isnan(value)):
            continue
        if not isinstance(value, bool | int | float | Decimal):
            raise InputError(f"{place}: {name!r} takes a number or null, got {type(value).__name__} {value!r:.60}")
        if not -LARGEST_REWARD <= value <= LARGEST_REWARD:
            raise InputError(f"{place}: {name!r} takes null or a number that float32 can hold, got {value!r:.60}")
        total, scored = total + weight * float(value), True
    if not -LARGEST_REWARD <= total <= LARGEST_REWARD:  # NaN too, of ∞ − ∞
        raise InputError(f"{place}: the weighted sum of rewards is {total}, which float32 can't hold")
    return total if scored else math.nan


def _name(row: Row, keys: list[str]) -> str:
    """The name that a reader knows a group by: its label or step, and how its prompt begins."""
    shown = [*(key for key in keys if key != "prompt"), "prompt"]
    parts = [_shown(row[key]) for key in shown if row.get(key) not in (None, "", [])]
    return printable(" · ".join(parts))[:NAME]


def _shown(value: Any) -> str:
    """The value in one line; of a conversation the last message's content."""
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = value[-1].get("content")
    return " ".join(str(value).split())
