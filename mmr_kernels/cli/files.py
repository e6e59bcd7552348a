"""Rows from and to JSONL and Parquet files; whatever is written appears whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Row = dict[str, Any]

FORMATS = (".jsonl", ".parquet")
#: Levels of lists and objects that a JSON row may have: rollouts have far fewer, and code that walks them takes more.
DEEPEST = 100


class InputError(Exception):
    """A file or an option can't be used; the message says where, what was found and what it takes."""


def check_format(path: Path, takes: tuple[str, ...] = FORMATS) -> None:
    """The file's name ends in one of ``takes``."""
    if path.suffix not in takes:
        raise InputError(f"{path}: the name must end in {' or '.join(takes)}")


def check_outputs(*outputs: tuple[str, Path | None, tuple[str, ...]]) -> None:
    """Before any work: each option, its path and the endings it takes, names a file that can be written, and another
    than the others."""
    seen: dict[Path, str] = {}
    for option, path, takes in outputs:
        if path is None:
            continue
        if path.is_dir():
            raise InputError(f"{option} {path} is a folder; name a file")
        check_format(path, takes)
        folder = next(parent for parent in path.resolve().parents if parent.exists())
        try:  # a temporary file comes and goes there, or where the folder of the path will be made
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise InputError(f"{option} {path} can't be written: {error}") from error
        if (other := seen.setdefault(path.resolve(), option)) != option:
            raise InputError(f"{option} and {other} name the same file {path}; name two")


def read_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row and the place to name in errors: "file:line", in Parquet "file: row n"; both count from 1."""
    check_format(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    return _read_parquet(path) if path.suffix == ".parquet" else _read_jsonl(path)


def write_rows(path: Path, rows: list[Row], temporary: Path) -> None:
    """Write all rows to ``temporary``, in the format that the name of ``path`` tells; errors name ``path``."""
    if path.suffix == ".parquet":
        _write_parquet(temporary, path, rows)
        return
    with temporary.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


@contextlib.contextmanager
def replacing(paths: list[Path]) -> Iterator[dict[Path, Path]]:
    """For each path a temporary file beside it; they become the paths when the block ends, or are removed.

    Missing folders are made first, and stay.
    """
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    temporaries = {path: path.with_name(f".{path.name}.{os.getpid()}.tmp") for path in paths}
    try:
        yield temporaries
        for path, temporary in temporaries.items():
            os.replace(temporary, path)
    finally:
        for temporary in temporaries.values():
            temporary.unlink(missing_ok=True)


def _read_jsonl(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            place = f"{path}:{number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                _check_value(row, 1)
            except UnicodeEncodeError as error:
                raise InputError(f"{place}: a text takes Unicode, got half of a surrogate pair ({error})") from error
            except ValueError as error:  # of JSON and of UTF-8
                raise InputError(f"{place}: not JSON ({error}); a line takes one JSON object") from error
            except RecursionError as error:
                raise InputError(f"{place}: takes at most {DEEPEST} levels of lists and objects") from error
            if not isinstance(row, dict):
                raise InputError(f"{place}: a line takes one JSON object, got {type(row).__name__}")
            yield place, row


def _check_value(value: Any, level: int) -> None:
    """Refuse values that JSON can spell but that the later steps can't hold.

    Raises:
        UnicodeEncodeError: half of a surrogate pair.
        RecursionError: nesting beyond ``DEEPEST``.
    """
    if isinstance(value, str):
        value.encode()
    elif isinstance(value, dict | list):
        if level > DEEPEST:
            raise RecursionError
        for member in (*value, *value.values()) if isinstance(value, dict) else value:
            _check_value(member, level + 1)


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
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:  # of a file, or of one value in it
        raise InputError(f"{path}: not readable as Parquet ({error})") from error


def _write_parquet(temporary: Path, path: Path, rows: list[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(f"{path}: column {name!r} has no one type ({error}); write .jsonl") from error
        except UnicodeEncodeError as error:
            raise InputError(f"{path}: column {name!r} holds what is no text of Unicode ({error})") from error
    try:
        pq.write_table(pa.table(columns), temporary)
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise InputError(f"{path}: Parquet can't hold these rows ({error}); write .jsonl") from error
