"""Reading rollouts: what makes a group, a text and a reward, and how a bad row is named."""

from __future__ import annotations

import decimal
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmr_kernels.cli.files import InputError, opened
from mmr_kernels.cli.rollouts import Fields
from mmr_kernels.cli.rollouts import read_rollouts as read_opened
from mmr_kernels.cli.rows import DEEPEST

GOOD = {"group": "a", "completion": "one", "reward": 1.0}


class Read(NamedTuple):
    """``Rollouts`` as lists."""

    positions: list[int]
    texts: list[str]
    rewards: list[float]
    offsets: list[int]
    names: list[str]


def read_rollouts(path: Path, rewards: dict[str, float], **fields: Any) -> Read:
    with opened(path) as source:
        found = read_opened(source, Fields(rewards, **fields))
    positions, rewards_found, offsets = (each.tolist() for each in (found.positions, found.rewards, found.offsets))
    return Read(positions, found.texts(), rewards_found, offsets, list(found.names))


def read(path: Path, lines: list[Any], rewards: dict[str, float] | None = None) -> Read:
    file = path / "rollouts.jsonl"
    file.write_bytes(
        b"".join(
            (line if isinstance(line, bytes) else json.dumps(line, ensure_ascii=False).encode()) + b"\n"
            for line in lines
        )
    )
    return read_rollouts(file, rewards or {"reward": 1.0})


def test_groups_may_be_scattered_and_keep_their_members_together(tmp_path: Path) -> None:
    rows = [GOOD | {"group": group, "reward": float(i)} for i, group in enumerate(["b", 1, "b", "1", 1])]
    rollouts = read(tmp_path, rows)
    assert rollouts.offsets == [0, 2, 4, 5]
    assert rollouts.positions == [0, 2, 1, 4, 3]
    assert rollouts.rewards == [0.0, 2.0, 1.0, 4.0, 3.0]
    assert rollouts.names == ["b", "1", "1"]


@pytest.mark.parametrize("key", ["group", "step"])
def test_a_whole_number_is_one_group_however_it_is_spelled(tmp_path: Path, key: str) -> None:
    values = [b"1", b"1.0", b"1e0", b"1.5", b'"1"', b"true"]
    lines = [b'{"%s": %s, "prompt": "p", "completion": "x", "reward": 1}' % (key.encode(), v) for v in values]
    assert read(tmp_path, lines).offsets == [0, 3, 4, 5, 6]


def test_without_group_equal_prompts_are_one(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Add  them."}]
    rows = [{"prompt": prompt, "completion": "x", "reward": 1} for prompt in ("p", talk, "p", talk)]
    rollouts = read(tmp_path, rows)
    assert rollouts.offsets == [0, 2, 4]
    assert rollouts.names == ["p", "Add them."]


def test_steps_keep_equal_prompts_apart(tmp_path: Path) -> None:
    rows = [{"step": step, "prompt": "p", "completion": "x", "reward": 1} for step in (1, 2, 1, 2)]
    assert read(tmp_path, rows).offsets == [0, 2, 4]


def test_of_a_conversation_counts_what_the_policy_wrote(tmp_path: Path) -> None:
    """As in training: its words and its calls, and not what a tool answered."""
    messages = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "7", "function": {"name": "add"}}]},
        {"role": "tool", "content": "42"},
        {"role": "assistant", "content": [{"type": "text", "text": "It is 42."}, {"type": "image"}]},
    ]
    assert read(tmp_path, [GOOD | {"completion": messages}]).texts == ['{"name": "add"}\nIt is 42.']


@pytest.mark.parametrize(
    ("values", "expected"),
    [((1.0, 2.0), 5.0), ((None, 2.0), 4.0), ((1, None), 1.0), ((True, False), 1.0), ((math.nan, 1), 2.0)],
)
def test_rewards_are_the_weighted_sum_of_those_given(
    tmp_path: Path, values: tuple[float | None, ...], expected: float
) -> None:
    row = {"group": 0, "completion": "x", "right": values[0], "tidy": values[1]}
    assert read(tmp_path, [row], {"right": 1.0, "tidy": 2.0}).rewards == [expected]


@pytest.mark.parametrize("value", [None, math.nan])
def test_no_reward_at_all_is_nan(tmp_path: Path, value: float | None) -> None:
    assert math.isnan(read(tmp_path, [GOOD | {"reward": value}]).rewards[0])


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"{not json", "not JSON .* takes one JSON object"),
        (b'{"a": 1, oops}', r"not JSON \([A-Za-z ]+, at character 10\); a line takes"),
        ({"messages": "talk"}, "'messages' takes a list of messages, got str"),
        ({"messages": [{"role": "user", "content": "p"}]}, "'messages' takes an answer after the last message of"),
        (b'{"group": "\xff"}', "not JSON .* takes one JSON object"),
        ([1, 2], "takes one JSON object, got list"),
        ({"group": "a", "reward": 1.0}, "takes 'completion', found only 'group', 'reward'"),
        ({"completion": "x", "reward": 1.0}, "takes 'group', found only 'completion', 'reward'"),
        (GOOD | {"group": None}, "'group' is null"),
        ({"group": "a", "completion": "x"}, "takes 'reward', found only .*--reward NAME"),
        (GOOD | {"reward": "high"}, "'reward' takes a number or null, got str 'high'"),
        (GOOD | {"reward": [1.0]}, "'reward' takes a number or null, got list"),
        (GOOD | {"reward": 10**400}, "'reward' takes null or a number that float32 can hold, got 1000"),
        (GOOD | {"reward": -math.inf}, "'reward' takes null or a number that float32 can hold, got -inf"),
        (b'{"group": 1, "completion": "x", "reward": 1e400}', "number that float32 can hold, got inf"),
        (GOOD | {"reward": 1e39}, r"number that float32 can hold, got 1e\+39"),
        (b'{"group": 1, "completion": "x \\ud800", "reward": 1}', "got half of a surrogate pair"),
        (b'{"group": 1, "completion": "x", "reward": 1, "note": [{"\\udc00": 1}]}', "got half of a surrogate pair"),
        (b"[" * 100_000, "takes at most 100 levels"),
        (b'{"group": ' + b"[" * DEEPEST + b"]" * DEEPEST + b"}", "takes at most 100 levels"),
        (GOOD | {"completion": 3}, "'completion' takes a text or a list of messages, got int"),
        (GOOD | {"completion": ["x"]}, "'completion' takes a text or a list of messages, got list"),
        (GOOD | {"completion": None}, "'completion' is null"),
        (GOOD | {"completion": [{"content": 3}]}, "'content' takes a text, a list of parts .* or null, got int"),
        (GOOD | {"completion": [{"content": [{"text": 3}]}]}, "'content' takes a text, a list of parts"),
        (GOOD | {"completion": [{"thinking": ["hm"]}]}, "'thinking' takes a text, a list of parts"),
        (GOOD | {"completion": [{"reasoning_content": 5}]}, "'reasoning_content' takes a text, a list of parts"),
        (GOOD | {"completion": [{"tool_calls": ["add"]}]}, "'tool_calls' takes a list of objects or null"),
        (GOOD | {"completion": [{"tool_calls": {"name": "add"}}]}, "'tool_calls' takes a list of objects or null"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: Any, words: str) -> None:
    with pytest.raises(InputError, match=rf"rollouts\.jsonl:4: .*{words}"):
        read(tmp_path, [GOOD, b"", GOOD, line])


def test_a_whole_surrogate_pair_and_the_deepest_row_are_read(tmp_path: Path) -> None:
    nested = b"[" * (DEEPEST - 1) + b"]" * (DEEPEST - 1)
    line = b'{"group": ' + nested + b', "completion": "\\ud83d\\ude00", "reward": 1}'
    assert read(tmp_path, [line]).texts == ["\U0001f600"]


@pytest.mark.parametrize("values", [(3e38, 3e38), (3e38, -3e38)])
def test_a_weighted_sum_beyond_float32_is_a_bad_row(tmp_path: Path, values: tuple[float, float]) -> None:
    row = {"group": 0, "completion": "x", "right": values[0], "tidy": values[1]}
    with pytest.raises(InputError, match=r"rollouts\.jsonl:1: the weighted sum of rewards is (inf|nan), which float32"):
        read(tmp_path, [row], {"right": 1e300, "tidy": 1e300})
    with pytest.raises(InputError, match=r"the weighted sum of rewards is 1.2e\+39, which float32"):
        read(tmp_path, [row], {"right": 2.0, "tidy": math.copysign(2.0, values[1])})


def test_the_first_row_needs_a_group_or_a_prompt(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"rollouts\.jsonl:1: takes 'group' or 'prompt', found only 'reward'"):
        read(tmp_path, [{"reward": 1.0}])


@pytest.mark.parametrize("lines", [[], [b"", b"  "]])
def test_an_empty_file_is_an_error(tmp_path: Path, lines: list[bytes]) -> None:
    with pytest.raises(InputError, match="holds no rollouts"):
        read(tmp_path, lines)


def test_a_bad_parquet_row_is_named_by_its_number(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.parquet"
    pq.write_table(pa.table({"group": [1, 1, None], "completion": ["x"] * 3, "reward": [1.0] * 3}), path)
    with pytest.raises(InputError, match=r"rollouts\.parquet: row 3: 'group' is null"):
        read_rollouts(path, {"reward": 1.0})
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=r"rollouts\.parquet: not readable as Parquet"):
        read_rollouts(path, {"reward": 1.0})


def test_a_decimal_is_a_number_and_a_message_without_a_role_the_assistants(tmp_path: Path) -> None:
    """As tables have them that other tools wrote."""
    path = tmp_path / "rollouts.parquet"
    messages = [[{"role": role, "content": text}] for role, text in ((None, "x"), ("assistant", "y"))]
    rewards = [decimal.Decimal("1.5"), None]
    pq.write_table(pa.table({"group": [1, 1], "completion": messages, "reward": rewards}), path)
    rollouts = read_rollouts(path, {"reward": 2.0})
    assert (rollouts.texts, rollouts.rewards[0]) == (["x", "y"], 3.0)


def test_parquet_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rollouts.parquet"
    text = pa.array([b"x", b"\xff"]).view(pa.string())
    pq.write_table(pa.table({"group": [1, 1], "completion": text, "reward": [1.0] * 2}), path)
    with pytest.raises(InputError, match=r"rollouts\.parquet: not readable as Parquet \(.*utf-8"):
        read_rollouts(path, {"reward": 1.0})


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rollouts.txt").touch()
    with pytest.raises(InputError, match=r"must end in \.jsonl or \.parquet"):
        read_rollouts(tmp_path / "rollouts.txt", {"reward": 1.0})
    with pytest.raises(InputError, match="No such file"):
        read_rollouts(tmp_path / "rollouts.jsonl", {"reward": 1.0})


def test_a_completions_table_of_trl(tmp_path: Path) -> None:
    """TRL 1.16 saves step, prompt, completion, one column a reward function, extras, advantage."""
    path = tmp_path / "completions_00007.parquet"
    prompts = [[{"role": "user", "content": text}] for text in ("p", "p", "q", "q")]
    completions = [[{"role": "assistant", "content": text}] for text in "abcd"]
    table = {
        "step": [7] * 4,
        "prompt": prompts,
        "completion": completions,
        "accuracy_reward": [1.0, 0.0, None, None],
        "think_format_reward": [0.5, 0.5, 1.0, None],
        "advantage": [0.7, -0.7, 0.0, 0.0],
    }
    pq.write_table(pa.table(table), path)
    rollouts = read_rollouts(path, {"accuracy_reward": 1.0, "think_format_reward": 2.0})
    assert rollouts.offsets == [0, 2, 4]
    assert rollouts.texts == ["a", "b", "c", "d"]
    assert rollouts.rewards[:3] == [2.0, 1.0, 2.0]
    assert math.isnan(rollouts.rewards[3])
    assert rollouts.names == ["7 · p", "7 · q"]
    with pytest.raises(InputError, match=r"row 1: takes 'reward'.*'accuracy_reward'.*--reward NAME"):
        read_rollouts(path, {"reward": 1.0})


def test_other_names_as_verl_dumps_them(tmp_path: Path) -> None:
    path = tmp_path / "7.jsonl"
    rows = [{"input": text, "output": text * 2, "score": 1.0, "step": step} for text in "pq" for step in (1, 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rollouts = read_rollouts(path, {"score": 2.0}, completion="output", group=("input",))
    assert (rollouts.offsets, rollouts.rewards[0], rollouts.names) == ([0, 2, 4], 2.0, ["p", "q"])
    assert rollouts.texts == ["pp", "pp", "qq", "qq"]
    assert read_rollouts(path, {"score": 1.0}, completion="output", group=("step", "input")).offsets == [0, 1, 2, 3, 4]
    with pytest.raises(InputError, match=r"7\.jsonl:1: takes 'group' or 'prompt', found only 'input'.*--group NAME"):
        read_rollouts(path, {"score": 1.0}, completion="output")


def test_messages_of_openai_are_prompt_and_completion(tmp_path: Path) -> None:
    asked = [{"role": "system", "content": "s"}, {"role": "user", "content": "p"}]
    answers = [[{"role": "tool", "content": "t"}, {"role": "assistant", "content": text}] for text in "ab"]
    rows = [{"messages": [*asked, *answer], "reward": 1.0} for answer in answers]
    rows.append({"messages": [{"role": "user", "content": "q"}, *answers[0]], "reward": 0.0})
    rollouts = read(tmp_path, rows)
    assert (rollouts.offsets, rollouts.names) == ([0, 2, 3], ["p", "q"])
    assert rollouts.texts == ["a", "b", "a"]


def test_escape_bytes_of_prompts_are_not_shown(tmp_path: Path) -> None:
    row = {"prompt": "a\x1b]0;title\x07\x9b31m\u202eb\r\nc" + "x" * 1000, "completion": "x", "reward": 1.0}
    (name,) = read(tmp_path, [row]).names
    assert name.startswith("a\ufffd]0;title\ufffd\ufffd31m\ufffdb cxx")
    assert name.isprintable()


CSV = 'group,completion,reward,note\n1,"a ""b""\n, c",1,\n01,7,,x\n1,,True,\n'


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_csv_and_compressed_files(pack: Callable[[bytes], bytes], mark: str, tmp_path: Path) -> None:
    path = tmp_path / ("r.csv" if pack is bytes else "r.csv.gz")
    path.write_bytes(pack((mark + CSV).encode()))
    rollouts = read_rollouts(path, {"reward": 1.0})
    assert (rollouts.offsets, rollouts.texts) == ([0, 2, 3], ['a "b"\n, c', "", "7"])
    assert rollouts.rewards[:2] == [1.0, 1.0]
    assert math.isnan(rollouts.rewards[2])


def test_a_long_field_of_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("group,completion,reward\n1," + "x" * 3_000_000 + ",1\n")
    assert len(read_rollouts(path, {"reward": 1.0}).texts[0]) == 3_000_000


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("r.csv", CSV.encode() + b"1,x,high,\n", r"r\.csv:6: 'reward' takes a number or null, got str 'high'"),
        ("r.csv", CSV.encode() + b"1,x\n", r"r\.csv:6: takes 4 fields"),
        ("r.csv", CSV.encode() + b"1,x,1,,,\n", r"r\.csv:6: takes 4 fields"),
        ("r.csv", b"group,reward,completion,reward\na,1,x,2\n", r"r\.csv:1: takes each field once, got 'reward' again"),
        ("r.csv", b"\xff\n1", r"r\.csv:1: not CSV"),
        ("r.jsonl.gz", b"{}", r"r\.jsonl\.gz: .*header"),
        ("r.jsonl.gz", gzip.compress(b'{"group": 1}' * 99, mtime=0)[:-9], r"r\.jsonl\.gz: .*[Tt]runcated"),
        ("r.parquet.gz", b"", r"and \.gz after \.jsonl or \.csv"),
    ],
)
def test_bad_files_of_other_kinds_are_named(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_rollouts(tmp_path / name, {"reward": 1.0})
