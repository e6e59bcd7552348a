"""A tiny policy: a Qwen2 over single characters, which learns its start by imitating texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_model, save_model
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import pad
from tqdm import trange
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM


def tokenizer(characters: Sequence[str], unknown: str = "<pad>", **options: Any) -> PreTrainedTokenizerFast:
    """One token per character; ``unknown`` stands for any other character."""
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", *characters])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=unknown))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left", **options
    )


def untrained(names: PreTrainedTokenizerFast, **sizes: Any) -> Qwen2ForCausalLM:
    """A policy with the same random weights at every call; ``sizes`` are fields of ``Qwen2Config``."""
    torch.manual_seed(0)
    special = {"pad_token_id": names.pad_token_id, "eos_token_id": names.eos_token_id, "bos_token_id": None}
    return Qwen2ForCausalLM(Qwen2Config(vocab_size=len(names), **special, **sizes))


def imitate(
    model: Qwen2ForCausalLM,
    names: PreTrainedTokenizerFast,
    texts: Callable[[], list[str]],
    steps: int,
    peak_rate: float,
    weight_decay: float,
) -> None:
    """Train on the part that follows the first "=" of each text; ``texts`` draws one batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=0.1)
    for _ in (bar := trange(steps)):
        batch = names([f"{text}<eos>" for text in texts()], padding=True, padding_side="right", return_tensors="pt")
        ids, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        answered = pad((ids == names.convert_tokens_to_ids("=")).cumsum(1)[:, :-1], (1, 0)).bool() & mask.bool()
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~answered, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item():.3f}")


def save(model: Qwen2ForCausalLM, path: Path) -> None:
    """Write the weights in half precision, tied ones once."""
    save_model(model.half(), str(path))


def load(model: Qwen2ForCausalLM, path: Path) -> Qwen2ForCausalLM:
    """The model with the weights of a file."""
    load_model(model, str(path))
    return model
