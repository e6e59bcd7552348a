"""The policy: a Qwen2 of some 100,000 parameters over single characters, and its start, made by imitation.

python -m study.training.policy    # makes the starts, starts/FAMILY.safetensors, again
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import pad
from tqdm import trange
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from study.training.problems import FAMILIES, Family, problems

CHARACTERS = "0123456789+=~()"
STEPS, BATCH, PEAK_RATE = 2000, 128, 4e-3


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a character."""
    vocabulary = {token: index for index, token in enumerate(["<pad>", "<eos>", *CHARACTERS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", padding_side="left")


def untrained() -> Qwen2ForCausalLM:
    """The policy before it imitates anything."""
    names = tokenizer()
    torch.manual_seed(0)
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=len(names),
            hidden_size=64,
            intermediate_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=32,
            pad_token_id=names.pad_token_id,
            eos_token_id=names.eos_token_id,
            bos_token_id=None,
            tie_word_embeddings=False,
        )
    )


def start(family: Family) -> Qwen2ForCausalLM:
    """The policy that every arm and seed begins with."""
    model = untrained()
    model.load_state_dict({name: weight.float() for name, weight in load_file(start_file(family)).items()})
    return model


def start_file(family: Family) -> Path:
    """Where the family's start lies."""
    return Path(__file__).parent / "starts" / f"{family.name}.safetensors"


def imitate(model: Qwen2ForCausalLM, family: Family, steps: int = STEPS) -> None:
    """Train on the family's texts for the training problems."""
    rng = random.Random(0)
    train, _ = problems()
    names = tokenizer()
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=steps, pct_start=0.1)
    for _ in trange(steps, desc=family.name):
        chosen = rng.choices(train, k=BATCH)
        rows = [f"{problem.prompt}{family.imitated(problem, rng)}<eos>" for problem in chosen]
        batch = names(rows, padding=True, padding_side="right", return_tensors="pt")
        ids, mask = batch["input_ids"], batch["attention_mask"]
        answered = pad((ids == names.convert_tokens_to_ids("=")).cumsum(1)[:, :-1], (1, 0)).bool() & mask.bool()
        loss = model(input_ids=ids, attention_mask=mask, labels=ids.masked_fill(~answered, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def main() -> None:
    """Make the start of every family."""
    torch.set_num_threads(1)
    for family in FAMILIES.values():
        model = untrained()
        imitate(model, family)
        save_file({name: weight.half() for name, weight in model.state_dict().items()}, start_file(family))


if __name__ == "__main__":
    main()
