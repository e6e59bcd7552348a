"""Rows from JSONL, CSV and Parquet files, and to JSONL and Parquet files, a few at a time."""

from __future__ import annotations

import csv
import io
import itertools
import json
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmr_kernels.cli.files import InputError, Source, naming

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

#: Levels of lists and objects that a JSON row may have: rollouts have far fewer, and code that walks them takes more.
DEEPEST = 100
#: Rows of a Parquet file that are in memory at a time.
BATCH = 4096


def read_rows(source: Source, numbers: Collection[str]) -> Iterator[tuple[str, Row]]:
    """Each row and the place to name in errors: "file:line", in Parquet "file: row n"; both count from 1.

    ``numbers`` are the fields that hold numbers in formats that know only texts.
    """
    import pyarrow as pa

    with naming(source.name):
        if source.format == ".parquet":
            yield from _read_parquet(source)
            return
        stream = pa.input_stream(str(source.path), compression="gzip" if source.compressed else None)
        with io.BufferedReader(stream) as file:
            if source.format == ".csv":
                yield from _read_csv(source.name, file, numbers)
            else:
                yield from _read_jsonl(source.name, file)


def write_rows(path: Path, rows: Iterable[Row], temporary: Path) -> None:
    """Write all rows to ``temporary``, in the format that the name of ``path`` tells; errors name ``path``.

    ``rows`` are walked twice for Parquet, whose columns have one type each.
    """
    with naming(path):
        if path.suffix == ".parquet":
            _write_parquet(temporary, path, rows)
            return
        with temporary.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _read_jsonl(name: str, file: Iterable[bytes]) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(file, start=1):
        place = f"{name}:{number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            _check_value(row, 1)
        except UnicodeEncodeError as error:
            raise InputError(f"{place}: a text takes Unicode, got half of a surrogate pair ({error})") from error
        except json.JSONDecodeError as error:
            what = f"{error.msg}, at character {error.pos + 1}"
            raise InputError(f"{place}: not JSON ({what}); a line takes one JSON object") from error
        except ValueError as error:  # of UTF-8, and of integers too long
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


def _read_csv(name: str, file: io.BufferedReader, numbers: Collection[str]) -> Iterator[tuple[str, Row]]:
    """The first row names the fields. Python's reader, because pyarrow's tells no line and takes no long row."""
    csv.field_size_limit(sys.maxsize)
    reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
    try:
        names = list(reader.fieldnames or [])
        if twice := [each for each in dict.fromkeys(names) if names.count(each) > 1]:
            raise InputError(f"{name}:1: takes each field once, got {', '.join(map(repr, twice))} again")
        for row in reader:
            place = f"{name}:{reader.line_num}"
            if None in row or None in row.values():
                raise InputError(f"{place}: takes {len(names)} fields, as the first row has")
            yield place, row | {field: _number(row[field]) for field in numbers if field in row}
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{name}:{reader.line_num + 1}: not CSV ({error})") from error


def _number(text: str) -> Any:
    """What the text says, or the text itself where it is no number."""
    try:
        return {"": None, "True": True, "False": False}[text] if text in ("", "True", "False") else float(text)
    except ValueError:
        return text


def _read_parquet(source: Source) -> Iterator[tuple[str, Row]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(source.path) as file:
            for batch in file.iter_batches(BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{source.name}: row {number}", row
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:  # of a file, or of one value in it
        raise InputError(f"{source.name}: not readable as Parquet ({error})") from error


def _write_parquet(temporary: Path, path: Path, rows: Iterable[Row]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pa.schema([])
        for columns in _columns(path, rows):
            found = pa.schema([(name, column.type) for name, column in columns.items()])
            schema = pa.unify_schemas([schema, found], promote_options="permissive")
        with pq.ParquetWriter(temporary, schema) as file:
            for columns in _columns(path, rows, schema):
                file.write_table(pa.table(columns, schema))
    except (pa.ArrowException, UnicodeEncodeError) as error:
        raise InputError(f"{path}: Parquet can't hold these rows ({error}); write .jsonl") from error


def _columns(path: Path, rows: Iterable[Row], schema: pa.Schema | None = None) -> Iterator[dict[str, pa.Array]]:
    """Columns of some rows at a time: of those that the rows have, or of the schema."""
    import pyarrow as pa

    rest = iter(rows)
    while batch := list(itertools.islice(rest, BATCH)):
        columns = {}
        for name in schema.names if schema else dict.fromkeys(name for row in batch for name in row):
            kind = schema.field(name).type if schema else None
            try:
                columns[name] = pa.array([row.get(name) for row in batch], kind)
            except (pa.ArrowException, OverflowError) as error:
                raise InputError(f"{path}: column {name!r} has no one type ({error}); write .jsonl") from error
            except UnicodeEncodeError as error:
                raise InputError(f"{path}: column {name!r} holds what is no text of Unicode ({error})") from error
        yield columns
