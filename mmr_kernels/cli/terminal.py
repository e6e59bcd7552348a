"""Text for the terminal: no bytes that steer it, no character that its encoding lacks, and errors in one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any, NoReturn

import typer


def printable(text: str) -> str:
    """The text in one line, without escape bytes and the like, which file names, prompts and rewards may hold."""
    return "".join(each if each.isprintable() else " " if each.isspace() else "\ufffd" for each in text)


def fail(error: Exception, status: int) -> NoReturn:
    """Say what is wrong in one line, and exit."""
    typer.echo(f"Error: {printable(str(error))}", err=True)
    raise typer.Exit(status) from error


def replace_what_it_lacks() -> None:
    """Print "?" for what the terminal's encoding lacks, like λ in ASCII, instead of failing."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


@contextmanager
def cleaning_up_when_stopped() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as an exception does, so that it removes its temporary files; not where they are
    ignored, as under nohup."""

    def stop(number: int, frame: Any) -> NoReturn:
        sys.exit(128 + number)

    heeded = [each for each in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(each) != signal.SIG_IGN]
    before = {each: signal.signal(each, stop) for each in heeded}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
