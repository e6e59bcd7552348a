"""A tiny untrained model that writes digits, right now and then: something to evaluate where nothing can be downloaded.

python -m examples.eval.model FOLDER [HIDDEN_SIZE]
"""

from __future__ import annotations

import sys
from pathlib import Path

from examples.demo import policy

#: All that the model can write, and "." for each letter that it reads.
WORDS = [".", " 2", " 3", " 4", " 5", " 6", " 7", " 8", " 9"]
CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def save(folder: Path, hidden_size: int = 64) -> None:
    """Write model and tokenizer; models of other sizes write other texts."""
    tokenizer = policy.tokenizer(WORDS, unknown=".", chat_template=CHAT)
    model = policy.untrained(
        tokenizer,
        hidden_size=hidden_size,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=1024,
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    save(Path(sys.argv[1]), *map(int, sys.argv[2:]))
