"""Rows from and to JSONL and Parquet files; whatever is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FORMATS = (".jsonl", ".parquet")


class InputError(Exception):
    """What the user gave can't be used; the message says where, what was found and what it takes."""


def check_format(path: Path, takes: tuple[str, ...] = FORMATS) -> None:
    """The file's name ends in one of ``takes``."""
    if path.suffix not in takes:
        raise InputError(f"{path}: the name must end in {' or '.join(takes)}")


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row and the place to name in errors: "file:line", in Parquet "file: row n"; both count from 1."""
    check_format(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def write_rows(path: Path, rows: list[Row]) -> None:
    """Write all rows, replacing the file."""
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            _write_parquet(temporary, path, rows)
            return
        with temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path`` that becomes ``path``, or is removed when the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:  # of JSON and of UTF-8
                raise InputError(f"{place}: not JSON ({error}); a line takes one JSON object") from error
            if not isinstance(row, dict):
                raise InputError(f"{place}: a line takes one JSON object, got {type(row).__name__}")
            yield place, row


def _read_parquet(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches():
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}: row {number}", row
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not readable as Parquet ({error})") from error


def _write_parquet(temporary: Path, path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise InputError(f"{path}: column {name!r} has no one type ({error}); write .jsonl") from error
    pq.write_table(pa.table(columns), temporary)
