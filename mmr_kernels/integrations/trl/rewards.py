"""The reward functions that the recipes name and that TRL doesn't have as they are."""

from __future__ import annotations

from typing import Any

from trl.rewards import get_cosine_scaled_reward, think_format_reward

#: From 1 for a short right answer to 0.5 for one of 3,584 tokens; from -1 for a short wrong one to -0.5 for a long one
#: (arXiv 2502.03373, appendix C.1). Needs math-verify and a column "solution".
cosine_reward = get_cosine_scaled_reward(max_len=3584)


def format_reward(completions: list[list[dict[str, str]]], **kwargs: Any) -> list[float]:
    """1 for "<think>…</think>…", 0 for anything else. The chat templates of DeepSeek's distilled models write "<think>"
    into the prompt, or not, by their version; either way it counts as written."""
    texts = [completion[0]["content"] for completion in completions]
    whole = [text if text.startswith("<think>") else f"<think>\n{text}" for text in texts]
    rewards: list[float] = think_format_reward([[{"content": text}] for text in whole])
    return rewards
