"""Records of measurements: one row per line, nothing lost; the page of results is that of the records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import results
from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import Table


def test_each_row_of_a_table_has_a_line(tmp_path: Path) -> None:
    content = record(rows=[{"µs": 1.5, "of": {"a": [1, 2]}}, {"µs": 2}], gpu={"copy": 1, "rows": [[1], [2]]}, none=[])
    write(tmp_path / "r.json", content)
    text = (tmp_path / "r.json").read_text()
    assert json.loads(text) == content
    assert {"command", "machine", "versions"} <= set(content)
    lines = [line.strip() for line in text.splitlines()]
    assert '{"µs": 1.5, "of": {"a": [1, 2]}},' in lines
    assert lines.count("[1],") == lines.count("[2]") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/usr/bin/python3", "-m", "bench.cpu_parts", "--json", "a b"], "python -m bench.cpu_parts --json 'a b'"),
        (["/usr/bin/python3", "/opt/bin/mmr-kernels", "bench"], "mmr-kernels bench"),
    ],
)
def test_a_record_has_the_command_as_it_was_typed(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.orig_argv", arguments)
    assert record()["command"] == said


def test_a_table_is_the_same_on_the_screen_and_on_a_page(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table("title", ["", "[us]"], [["cpu", "[red]"]])
    assert table.markdown() == "|  | [us] |\n| --- | --: |\n| cpu | [red] |"
    table.print()
    screen = capsys.readouterr().out
    assert all(word in screen for word in ("title", "[us]", "cpu", "[red]"))


def test_the_page_of_results_is_that_of_the_records() -> None:
    written = (results.DOCS / "results.md").read_text()
    assert written == results.page(), "run `python -m bench.results`"
