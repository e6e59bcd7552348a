"""Files that ``mmr-kernels score`` reads and writes: each whole or not at all, and named where something is wrong."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from cli.scores import SAMPLE, rows_of, run, runner, written

from mmr_kernels.cli import app, rows
from mmr_kernels.cli.files import InputError, replacing
from mmr_kernels.cli.rows import write_rows
from mmr_kernels.cli.scoring import score_rollouts


@pytest.mark.parametrize("kind", [".jsonl", ".parquet"])
def test_a_bad_row_leaves_nothing_and_an_old_file_whole(tmp_path: Path, kind: str) -> None:
    source, out = tmp_path / "bad.jsonl", tmp_path / f"scores{kind}"
    source.write_text(SAMPLE.read_text() + '{"group": 9, "completion": "x", "reward": "good"}\n')
    result = run(source, "--out", out)
    assert result.exit_code == 1
    assert f"Error: {source}:49: 'reward' takes a number or null" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
    out.write_text("precious")
    assert run(source, "--out", out).exit_code == 1
    assert out.read_text() == "precious"


def test_a_failure_while_writing_leaves_nothing_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = itertools.count()

    def dumps(*arguments: Any, **options: Any) -> str:
        if next(count) == 20:
            raise OSError("disk full")
        return json.dumps(*arguments, **options)

    def write_table(self: pq.ParquetWriter, table: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(rows, "json", SimpleNamespace(dumps=dumps, loads=json.loads))
    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_table)
    for name in ("scores.jsonl", "scores.parquet"):
        out = tmp_path / name
        out.write_text("precious")
        result = run(SAMPLE, "--out", out)
        assert result.exit_code == 1
        assert result.stderr == f"Error: {out}: disk full\n"
        assert out.read_text() == "precious"
        out.unlink()
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("old", [None, "precious"])
@pytest.mark.parametrize("function", ["cli.score.write_rows", "integrations.plots.draw"])
def test_out_and_plot_are_both_written_or_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, old: str | None
) -> None:
    def fail(path: Path, **options: Any) -> None:
        path.write_bytes(b"half")
        raise InputError("disk full")

    failing = {"write_rows": lambda *arguments: fail(arguments[-1]), "draw": lambda *_: SimpleNamespace(savefig=fail)}
    module, _, name = f"mmr_kernels.{function}".rpartition(".")
    monkeypatch.setattr(importlib.import_module(module), name, failing[name])
    outputs = [tmp_path / "new" / "scores.jsonl", tmp_path / "new" / "plot.png"]
    if old is not None:
        outputs[0].parent.mkdir()
        for output in outputs:
            output.write_text(old)
    result = run(SAMPLE, "--out", outputs[0], "--plot", outputs[1])
    assert result.exit_code == 1
    assert result.stderr == "Error: disk full\n"
    left = {path: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == ({} if old is None else dict.fromkeys(outputs, old))


def test_nothing_to_draw_is_said_before_anything_is_written(tmp_path: Path) -> None:
    source = written(tmp_path / "none.jsonl", [{"group": 0, "completion": "x", "reward": None}])
    result = run(source, "--out", tmp_path / "new" / "scores.jsonl", "--plot", tmp_path / "plot.png")
    assert result.exit_code == 1
    assert "no completion has a reward, so there is nothing to draw" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["none.jsonl"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"meta": {}}], "Parquet can't hold these rows"),
        ([{"note": 2**70}], "column 'note' has no one type"),
        ([{"note": "x \ud800"}], "column 'note' holds what is no text of Unicode"),
        ([{"x \ud800": 1}], "Parquet can't hold these rows"),
    ],
)
def test_what_parquet_cannot_hold_is_named(tmp_path: Path, rows: list[dict[str, Any]], words: str) -> None:
    path = tmp_path / "scores.parquet"
    with pytest.raises(InputError, match=re.escape(f"{path}: {words}")), replacing([path]) as temporaries:
        write_rows(path, rows, temporaries[path])
    assert not list(tmp_path.iterdir())


def test_a_column_of_two_types_needs_jsonl(tmp_path: Path) -> None:
    rows = [{"group": 0, "completion": "x", "reward": 1.0, "note": note} for note in ("a", 1)]
    source = written(tmp_path / "mixed.jsonl", rows)
    result = run(source, "--out", tmp_path / "scores.parquet")
    assert result.exit_code == 1
    assert "column 'note' has no one type" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mixed.jsonl"]
    assert run(source, "--out", tmp_path / "scores.jsonl").exit_code == 0


@pytest.mark.parametrize(("option", "name"), [("--out", "folder.jsonl"), ("--plot", "folder.png")])
def test_a_folder_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    monkeypatch.setattr(importlib.import_module("mmr_kernels.cli.score"), "read_rollouts", None)
    result = run(SAMPLE, option, folder)
    assert result.exit_code == 1
    assert result.stderr == f"Error: {option} {folder} is a folder; name a file\n"


def test_stdin_is_read_as_a_file_is(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    done = runner.invoke(app, ["score", "-", "--out", str(out)], input=SAMPLE.read_bytes())
    assert done.exit_code == 0, done.output
    assert len(rows_of(out)) == 48
    bad = runner.invoke(app, ["score", "-"], input="[]")
    assert bad.stderr == "Error: -:1: a line takes one JSON object, got list\n"


def test_a_pipe_is_read_as_a_file_is(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(SAMPLE.read_bytes(),))
    writer.start()
    result = run(pipe, "--out", tmp_path / "scores.jsonl")
    writer.join()
    assert result.exit_code == 0, result.output
    assert len(rows_of(tmp_path / "scores.jsonl")) == 48


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    ("stream", "words"),
    [("> /dev/full", "standard output: No space left on device"), ("- <&-", "-: stdin is closed")],
)
def test_streams_that_cannot_be_used(tmp_path: Path, stream: str, words: str) -> None:
    rollouts = "" if stream.startswith("-") else str(SAMPLE)
    command = f"{sys.executable} -m mmr_kernels score --out {tmp_path}/s.jsonl {rollouts} {stream}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == f"Error: {words}\n"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link.jsonl").symlink_to("folder/scores.jsonl")
    assert run(SAMPLE, "--out", tmp_path / "link.jsonl").exit_code == 0
    assert (tmp_path / "link.jsonl").is_symlink()
    assert len(rows_of(tmp_path / "folder" / "scores.jsonl")) == 48


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("link.jsonl", "--out {} is a link that leads to itself"),
        ("pipe.jsonl", "--out {} is a device or a pipe"),
        ("x" * 250 + ".jsonl", "--out {}: File name too long"),
        ("new/" + "x" * 250 + ".jsonl", "{}: File name too long"),
        ("file/scores.jsonl", "{}: Not a directory"),
        ("link.jsonl/scores.jsonl", "{}: "),
        ("/proc/scores.jsonl", "{}: No such file or directory"),
    ],
)
def test_what_cannot_be_written_is_said_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, words: str
) -> None:
    (tmp_path / "link.jsonl").symlink_to("link.jsonl")
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.jsonl")
    monkeypatch.setattr(importlib.import_module("mmr_kernels.cli.score"), "read_rollouts", None)
    result = run(SAMPLE, "--out", tmp_path / name)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: " + words.format(tmp_path / name)), result.stderr
    assert result.stderr.count("\n") == 1
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    seen: list[Path] = []

    def read_rollouts(*_: Any) -> None:
        seen.extend(tmp_path.rglob(".mmr-kernels-*"))
        signal.raise_signal(number)
        raise InputError("went on")

    monkeypatch.setattr(importlib.import_module("mmr_kernels.cli.score"), "read_rollouts", read_rollouts)
    before = signal.signal(number, signal.SIG_DFL)
    try:
        assert run(SAMPLE, "--out", tmp_path / "new" / "scores.jsonl").exit_code == 128 + number
        assert len(seen) == 1
        assert not list(tmp_path.iterdir())
        assert signal.getsignal(number) == signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN)  # as nohup does
        assert run(SAMPLE).stderr == "Error: went on\n"
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize("rows", [96, 1])
def test_rows_that_come_or_go_while_it_works_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    source = tmp_path / "changing.jsonl"
    source.write_text(SAMPLE.read_text())

    def score_then_change(*given: Any) -> Any:
        source.write_text("".join((SAMPLE.read_text() * 2).splitlines(keepends=True)[:rows]))
        return score_rollouts(*given)

    monkeypatch.setattr(importlib.import_module("mmr_kernels.cli.score"), "score_rollouts", score_then_change)
    result = run(source, "--out", tmp_path / "scores.jsonl")
    assert result.stderr == f"Error: {source}: other rows came or went while it was scored\n"
    assert [path.name for path in tmp_path.iterdir()] == ["changing.jsonl"]


def test_types_are_those_of_the_whole_column(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "BATCH", 1)
    values: list[dict[str, Any]] = [{}, {"a": 1, "b": [None]}, {"a": 0.5, "b": ["x"]}, {"b": None, "c": "x"}]
    path = tmp_path / "scores.parquet"
    with replacing([path]) as temporaries:
        write_rows(path, values, temporaries[path])
    assert rows_of(path) == [{"a": None, "b": None, "c": None} | row for row in values]
    with pytest.raises(InputError, match=r"scores\.parquet: Parquet can't hold these rows"), replacing([path]) as again:
        write_rows(path, [{"a": 1}, {"a": "x"}], again[path])


def test_a_terminal_of_another_encoding_and_escape_bytes(tmp_path: Path) -> None:
    source = written(tmp_path / "r.jsonl", [{"prompt": "λ \x1b[31m", "completion": "x", "reward": 1.0}] * 2)
    words = [sys.executable, "-m", "mmr_kernels", "score", str(source)]
    done = subprocess.run(words, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True)
    assert b"? ?[31m" in done.stdout
    assert b"\x1b" not in done.stdout
    source.write_text('{"prompt": "p", "completion": "x", "\x1b[31m": 1}'.replace("\x1b", "\\u001b"))
    assert "\x1b" not in run(source).stderr
    assert "\x1b" not in run(tmp_path / "\x1b[31m.jsonl").stderr
