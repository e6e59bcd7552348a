"""The text of a completion as trainers hand it to reward functions: a string, or the messages that answer a prompt."""

from __future__ import annotations

import json
from typing import Any

#: The fields of a message that hold what was written, in the order in which it was.
WRITTEN = ("reasoning_content", "thinking", "content")


def generated_text(completion: Any) -> str:
    """The policy's text: of a conversation the assistant's messages and tool calls, without the answers of tools."""
    if isinstance(completion, str):
        return completion
    parts = []
    for message in completion:
        if (message.get("role") or "assistant") != "assistant":  # null where a table has roles of some rows alone
            continue
        for name in WRITTEN:
            content = message.get(name) or ""
            if not isinstance(content, str):  # a list of typed parts
                content = "".join(part.get("text") or "" for part in content)
            parts.append(content)
        calls = message.get("tool_calls") or []
        parts += [json.dumps(call.get("function", call), sort_keys=True) for call in calls]
    return "\n".join(filter(None, parts))


def answer(messages: list[dict[str, Any]]) -> str:
    """The policy's text after the last message of a user."""
    last = max((place for place, message in enumerate(messages) if message["role"] == "user"), default=-1)
    return generated_text(messages[last + 1 :])
