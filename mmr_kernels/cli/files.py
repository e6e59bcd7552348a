"""The file of rollouts, opened so that it can be read twice; files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

WRITTEN = (".jsonl", ".parquet")
#: A compressed file has one of these endings more.
READ = (*WRITTEN, ".csv")
COMPRESSED = ".gz"


class InputError(Exception):
    """A file or an option can't be used; the message says where, what was found and what it takes."""


class Source(NamedTuple):
    """A file of rows."""

    name: str  # as the user knows it
    path: Path  # of a file on disk
    format: str  # of READ
    compressed: bool


@contextlib.contextmanager
def naming(path: object) -> Iterator[None]:
    """An error of the system becomes one that names the file and says why."""
    try:
        yield
    except BrokenPipeError:  # of a reader like head that has had enough
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The file, known by the end of its name. What can be read once only, "-" for stdin or a pipe, is copied to a
    temporary file; it is JSONL unless its name says something else."""
    once = str(path) == "-"
    if once and sys.stdin is None:
        raise InputError("-: stdin is closed")
    if not once:
        with naming(path):
            kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise InputError(f"{path} is a folder; name a file")
        once = not stat.S_ISREG(kind)
    compressed = path.suffix == COMPRESSED
    ending = Path(path.stem).suffix if compressed else path.suffix
    if ending not in READ or (compressed and ending == ".parquet"):
        if not once or compressed:
            raise InputError(f"{path}: the name must end in {' or '.join(READ)}, and .gz after .jsonl or .csv")
        ending = ".jsonl"
    if not once:
        yield Source(str(path), path, ending, compressed)
        return
    with tempfile.NamedTemporaryFile() as copy:
        with naming(path):
            with contextlib.nullcontext(sys.stdin.buffer) if str(path) == "-" else path.open("rb") as stream:
                shutil.copyfileobj(stream, copy)
            copy.flush()
        yield Source(str(path), Path(copy.name), ending, compressed)


def check_outputs(*outputs: tuple[str, Path | None, tuple[str, ...]]) -> None:
    """Each option, its path and the endings it takes, names a file, and another than the others."""
    seen: dict[str, str] = {}
    for option, path, takes in outputs:
        if path is None:
            continue
        with naming(f"{option} {path}"):
            if path.is_dir():
                raise InputError(f"{option} {path} is a folder; name a file")
            if path.exists() and not path.is_file():
                raise InputError(f"{option} {path} is a device or a pipe; name a file")
        if os.path.islink(os.path.realpath(path)):
            raise InputError(f"{option} {path} is a link that leads to itself; name a file")
        if path.suffix not in takes:
            raise InputError(f"{path}: the name must end in {' or '.join(takes)}")
        if (other := seen.setdefault(os.path.realpath(path), option)) != option:
            raise InputError(f"{option} and {other} name the same file {path}; name two")


@contextlib.contextmanager
def replacing(paths: list[Path]) -> Iterator[dict[Path, Path]]:
    """For each path a temporary file, made at once, in the folder of the file that the path leads to; they replace
    those files when the block ends, or are removed.

    Missing folders are made, and removed again unless a file comes there.

    Raises:
        InputError: a path can't be written.
    """
    targets = {path: Path(os.path.realpath(path)) for path in paths}
    temporaries = {}
    with contextlib.ExitStack() as undo:
        for path, target in targets.items():
            with naming(path):
                for folder in [each for each in target.parents if not each.exists()][::-1]:
                    folder.mkdir()
                    undo.callback(_try, folder.rmdir)  # of an empty one
                target.exists()  # which refuses a name that is too long
                temporary = target.with_name(f".mmr-kernels-{os.getpid()}{target.suffix}")
                undo.callback(_try, temporary.unlink)
                temporary.touch()
            temporaries[path] = temporary
        yield temporaries
        for path, target in targets.items():
            with naming(path):
                os.replace(temporaries[path], target)


def _try(remove: Callable[[], None]) -> None:
    with contextlib.suppress(OSError):
        remove()
