"""The rewards of recipes/grpo-1.5b.yaml for verl: format, and twice a cosine of length."""

from __future__ import annotations

import functools
import math
import re
from typing import Any

from math_verify import parse, verify

LONGEST = 3584
#: The reward of an answer of no tokens and of one of LONGEST (arXiv 2502.03373, appendix C.1), by whether it is right.
ENDS = {True: (1.0, 0.5), False: (-1.0, -0.5)}


@functools.cache
def _tokenizer(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)


def cosine(right: bool, length: int) -> float:
    """From the one end to the other as length grows, by half a period of a cosine."""
    short, long = ENDS[right]
    way = (1 - math.cos(math.pi * min(length, LONGEST) / LONGEST)) / 2
    return short + way * (long - short)


def compute_score(
    data_source: str, solution_str: str, ground_truth: str, extra_info: Any = None, *, tokenizer: str
) -> float:
    """The reward of one completion; ``tokenizer`` names the one that counts its tokens.

    The chat templates of DeepSeek's distilled models write "<think>" into the prompt, or not, by their version; either
    way it counts as written.
    """
    whole = solution_str if solution_str.startswith("<think>") else f"<think>\n{solution_str}"
    formatted = re.fullmatch(r"<think>(?!.*<think>)(.*?)</think>.*", whole, re.DOTALL) is not None
    # verl calls this in a thread, where math-verify's time limits, which are signals, can't be set.
    gold, found = (parse(text, parsing_timeout=None) for text in (ground_truth, solution_str))
    right = verify(gold, found, timeout_seconds=None)
    length = len(_tokenizer(tokenizer).encode(solution_str, add_special_tokens=False))
    return float(formatted) + 2.0 * cosine(right, length)
