"""A server that speaks OpenAI's chat completions, such as ``vllm serve`` and ``sglang``."""

from __future__ import annotations

import itertools
import logging
import os
from collections import deque
from typing import Any

import aiohttp
from lm_eval.models.openai_completions import LocalChatCompletion

PART = 1024
#: Requests under way at a time.
CONCURRENT = 64
#: Seconds that an answer may take.
TIMEOUT = 24 * 3600


def why_not() -> str | None:
    """What is missing."""
    if not os.environ.get("OPENAI_BASE_URL"):
        return "takes the server's address from OPENAI_BASE_URL, such as http://127.0.0.1:8000/v1; it is not set"
    return None


def make(name: str, length: int | None) -> Server:
    """The model as the server calls it; OPENAI_API_KEY is sent along."""
    url = os.environ["OPENAI_BASE_URL"].rstrip("/") + "/chat/completions"
    return Server(model=name, base_url=url, num_concurrent=CONCURRENT, timeout=TIMEOUT)


class Server(LocalChatCompletion):
    """See the package."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.truncated: deque[bool] = deque()
        self.seeds = itertools.count()

    def start(self, seed: int) -> None:
        """The requests that follow have seeds counted from this one."""
        self.seeds = itertools.count(seed)

    def request_seed(self, seed: int) -> dict[str, int]:
        """None of its own: lm-eval sends requests with other options one after the other."""
        return {}

    def generate_until(self, *args: Any, **options: Any) -> Any:
        try:
            return super().generate_until(*args, **options)
        except aiohttp.ClientError as error:
            # The other requests under way fail too, and asyncio would print each one's traceback.
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
            raise OSError(f"{self.base_url}: {error}; the samples so far are kept, so run it again") from error

    def _create_payload(self, *args: Any, **options: Any) -> dict[str, Any]:
        # lm-eval sends one seed with every request, and with it a server gives every sample the same text.
        payload: dict[str, Any] = super()._create_payload(*args, **options | {"seed": next(self.seeds)})
        return payload

    def parse_generations(self, outputs: Any, **options: Any) -> list[str]:
        (choice,) = outputs["choices"]
        self.truncated.append(choice["finish_reason"] == "length")
        return [choice["message"]["content"] or ""]
