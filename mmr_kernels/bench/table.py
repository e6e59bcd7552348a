"""A table of text, once: on the screen by rich, in the docs as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text


class Table(NamedTuple):
    """Rows of cells under their headings; the first ``left`` columns are words, the others numbers."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: int = 1

    def print(self, console: Console | None = None) -> None:
        """Print it on the screen."""
        table = RichTable(title=self.title, title_justify="left")
        for place, heading in enumerate(self.columns):
            table.add_column(Text(heading), justify="left" if place < self.left else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*map(Text, row))
        (console or Console()).print(table)

    def markdown(self) -> str:
        """The same for a page, without the title."""
        rule = ["---"] * self.left + ["--:"] * (len(self.columns) - self.left)
        return "\n".join(f"| {' | '.join(line)} |" for line in (self.columns, rule, *self.rows))


def timings(title: str, figures: Sequence[dict[str, Any]]) -> Table:
    """Rows of ``name`` and what ``measure.summary`` gives."""
    return Table(title, ["", "µs", "20th–80th percentile"], [[row["name"], *microseconds(row)] for row in figures])


def microseconds(row: dict[str, Any]) -> list[str]:
    """Median and spread of a row, as two cells."""
    return [number(row["median_us"]), f"{number(row['p20_us'])}–{number(row['p80_us'])}"]


def number(value: float) -> str:
    """Three digits, or all before the point."""
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}"
