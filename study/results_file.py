"""Files of results, as JSON Lines: the first line says how the rows were made, every other line is one row."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.progress import Progress

from mmr_kernels.bench.record import record, write_text

Row = dict[str, Any]
Key = TypeVar("Key", bound=Hashable)
#: An option of every command that makes rows.
ResultsPath = Annotated[Path | None, typer.Option("--results", help="JSON Lines: rows are written to this file.")]


class ResultsFile:
    """A file to which a long command adds its rows, so that it can go on where it was interrupted.

    Args:
        path: None keeps nothing.
        fields: names that every row must have.
        packages: those whose versions the first line states besides.
        facts: more that the first line says. Rows that were made with other facts are not kept.
    """

    def __init__(
        self, path: Path | None, fields: tuple[str, ...] = (), packages: tuple[str, ...] = ("scipy",), **facts: Any
    ) -> None:
        self.path, self.fields, self.packages, self.facts = path, set(fields), packages, facts

    def rows(self) -> list[Row]:
        """The rows so far. A last line that a killed process left half written is not one.

        Raises:
            ValueError: a line is no row, or the first does not say how the rows were made.
        """
        head, *rows = self._lines() or [{}]
        return rows if self._is_ours(head) else []

    def write(self, rows: list[Row]) -> None:
        """These rows and no others; written beside and then moved, so that nothing half written is left."""
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_text(self.path, "".join(_line(row) for row in [record(*self.packages, **self.facts), *rows]))

    def append(self, row: Row) -> None:
        """Add one row; a file whose rows are not kept starts anew."""
        if self.path is None:
            return
        if not self.path.exists() or not self._is_ours(json.loads(self.path.open().readline())):
            self.write([])
        with self.path.open("rb+") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, 2)
            file.write(_line(row).encode())

    def completed(
        self, keys: Sequence[Key], key_of: Callable[[Row], Key], make: Callable[[Key], Row], description: str
    ) -> list[Row]:
        """All rows, those of the file first; what is missing is made, with a bar, and added as it comes.

        Args:
            keys: of the rows that are wanted.
            key_of: a row's key.
            make: the row of a key.
            description: beside the bar.
        """
        return self.completed_batches([[key] for key in keys], key_of, lambda batch: map(make, batch), description)

    def completed_batches(
        self,
        batches: Sequence[Sequence[Key]],
        key_of: Callable[[Row], Key],
        make: Callable[[Sequence[Key]], Iterable[Row]],
        description: str,
    ) -> list[Row]:
        """``completed`` for rows that are made together: what is missing of a batch is made at once."""
        rows = self.rows()
        done = {key_of(row) for row in rows}
        with Progress(console=Console(stderr=True)) as progress:
            for batch in progress.track(batches, description=description):
                missing = [key for key in batch if key not in done]
                for row in make(missing) if missing else ():
                    rows.append(row)
                    self.append(row)
        return rows

    def _is_ours(self, head: Row) -> bool:
        return all(head.get(name) == value for name, value in self.facts.items())

    def _lines(self) -> list[Row]:
        lines = []
        text = self.path.read_text() if self.path is not None and self.path.exists() else ""
        for number, line in enumerate(text.splitlines(keepends=True), start=1):
            if not line.endswith("\n"):
                break
            needed = {"command"} if number == 1 else self.fields
            try:
                lines.append(json.loads(line))
                missing = needed - set(lines[-1])
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}, line {number} is no JSON object: {error}") from error
            if missing:
                raise ValueError(f"{self.path}, line {number} must have {sorted(needed)}; it lacks {sorted(missing)}")
        return lines


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"
