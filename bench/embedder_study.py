"""How well cosine tells solutions of one answer from solutions of two, embedder by embedder.

    python bench/embedder_study.py ROLLOUTS.jsonl [--groups N] [--model PATH] [--json FILE]

Pairs are the solutions of one group that both end in a final answer, "A: number" on the last line; the
label is whether the numbers are equal. AUC: the probability that a pair of one answer has the higher
cosine, over all pairs of all groups, with a 95 % interval from resampling groups. "No answer line": the same
with that line cut off before embedding, since it gives the label away. Cost: warm, over all completions; the
median of five runs, of the sentence model one. ``--model`` is a folder with a sentence-transformers model;
the token ids are its tokenizer's, whose own time isn't counted.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import timeit
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import roc_auc_score
from torch import Tensor

from mmr_kernels.embedders import LexicalEmbedder

ANSWER_LINE = re.compile(r"\nA: *(-?[\d.,]*\d)\.?\s*$")
RESAMPLES = 400

Embed = Callable[[Sequence[str]], Tensor]


class Pairs(NamedTuple):
    """P pairs of completions of one group each."""

    first: np.ndarray  # (P,) index of a completion
    second: np.ndarray
    same: np.ndarray  # (P,) bool: equal final answers
    group: np.ndarray  # (P,) which group, counted from 0


def read_groups(path: Path, limit: int | None) -> list[list[str]]:
    """Completions of the first ``limit`` groups."""
    groups: dict[object, list[str]] = {}
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            groups.setdefault(row["group"], []).append(row["completion"])
    return list(groups.values())[:limit]


def final_answer(completion: str) -> float | None:
    """The number on the last line, or None."""
    found = ANSWER_LINE.search(completion)
    if found is None:
        return None
    try:
        return round(float(found[1].replace(",", "")), 6)
    except ValueError:
        return None


def make_pairs(groups: list[list[str]]) -> Pairs:
    """All pairs within groups whose two completions have a final answer."""
    rows, start = [], 0
    for number, group in enumerate(groups):
        answers = [final_answer(completion) for completion in group]
        known = [i for i, answer in enumerate(answers) if answer is not None]
        rows += [(start + i, start + j, answers[i] == answers[j], number) for i, j in combinations(known, 2)]
        start += len(group)
    first, second, same, group_of = zip(*rows, strict=True)
    return Pairs(np.array(first), np.array(second), np.array(same), np.array(group_of))


def auc_with_interval(pairs: Pairs, cosine: np.ndarray) -> tuple[float, float, float]:
    """AUC and its 95 % percentile interval, groups drawn with replacement."""
    generator = np.random.default_rng(0)
    count = pairs.group.max() + 1
    drawn = []
    for _ in range(RESAMPLES):
        weight = np.bincount(generator.integers(0, count, count), minlength=count)[pairs.group]
        drawn.append(roc_auc_score(pairs.same, cosine, sample_weight=weight))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(roc_auc_score(pairs.same, cosine)), float(low), float(high)


def cosines(embed: Embed, texts: list[str], pairs: Pairs) -> np.ndarray:
    """Cosine of each pair."""
    rows = torch.nn.functional.normalize(embed(texts))
    result: np.ndarray = torch.linalg.vecdot(rows[pairs.first], rows[pairs.second]).numpy()
    return result


def seconds(embed: Callable[[Any], Tensor], argument: object, runs: int = 5) -> float:
    """Median time of a call, after the warm-up that measuring the AUC was."""
    return statistics.median(timeit.repeat(lambda: embed(argument), number=1, repeat=runs))


def measure(name: str, embed: Embed, texts: list[str], pairs: Pairs, timed: Callable[[], float]) -> dict[str, Any]:
    """One row of the table."""
    auc, low, high = auc_with_interval(pairs, cosines(embed, texts, pairs))
    cut = [ANSWER_LINE.sub("", text) for text in texts]
    return {
        "embedder": name,
        "auc": auc,
        "low": low,
        "high": high,
        "auc_no_answer_line": float(roc_auc_score(pairs.same, cosines(embed, cut, pairs))),
        "microseconds": timed() / len(texts) * 1e6,
    }


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description="AUC of same-answer pairs, and cost, by embedder.")
    parser.add_argument("rollouts", type=Path)
    parser.add_argument("--groups", type=int, help="only the first so many groups")
    parser.add_argument("--model", type=Path, help="folder of a sentence-transformers model")
    parser.add_argument("--json", type=Path, help="write the rows here too")
    options = parser.parse_args()
    groups = read_groups(options.rollouts, options.groups)
    texts = [completion for group in groups for completion in group]
    pairs = make_pairs(groups)

    sizes = [(dimensions, 2) for dimensions in (256, 512, 1024, 2048, 4096, 2**14)] + [(2048, 1), (2048, 3)]
    rows = [text_row(dimensions, longest, texts, pairs) for dimensions, longest in sizes]
    rows.append(default_words_row(texts, pairs))
    if options.model:
        rows += model_rows(str(options.model), texts, pairs)

    print(f"{len(groups):,} groups, {len(texts):,} completions, {len(pairs.same):,} pairs of which", end=" ")
    print(f"{pairs.same.mean():.1%} have one answer; {RESAMPLES} resamples")
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "scikit-learn", "numpy"))
    print(f"{platform.platform()}, {torch.get_num_threads()} threads,", end=" ")
    print(f"Python {platform.python_version()}, {versions}\n")
    print("| embedder | AUC | 95 % interval | AUC, no answer line | µs per completion |")
    print("| --- | --- | --- | --- | --- |")
    for row in rows:
        print(
            f"| {row['embedder']} | {row['auc']:.3f} | {row['low']:.3f} to {row['high']:.3f}"
            f" | {row['auc_no_answer_line']:.3f} | {row['microseconds']:,.0f} |"
        )
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


def text_row(dimensions: int, longest: int, texts: list[str], pairs: Pairs) -> dict[str, Any]:
    """The lexical embedder from text."""
    embed = LexicalEmbedder(dimensions, longest).embed_texts
    return measure(ngrams("text", longest, dimensions), embed, texts, pairs, lambda: seconds(embed, texts))


def default_words_row(texts: list[str], pairs: Pairs) -> dict[str, Any]:
    """As the lexical embedder, but with scikit-learn's own idea of a word: two characters or more."""
    vectorizer = HashingVectorizer(n_features=2048, ngram_range=(1, 2), dtype=np.float32)

    def embed(texts: Sequence[str]) -> Tensor:
        return torch.from_numpy(vectorizer.transform(texts).toarray())

    name = "text without single characters, 1–2-grams, D = 2048"
    return measure(name, embed, texts, pairs, lambda: seconds(embed, texts))


def ngrams(source: str, longest: int, dimensions: int) -> str:
    """A row's name."""
    return f"{source}, {'1-grams' if longest == 1 else f'1–{longest}-grams'}, D = {dimensions}"


def model_rows(path: str, texts: list[str], pairs: Pairs) -> list[dict[str, Any]]:
    """The sentence model, and the lexical embedder over the ids of its tokenizer."""
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer

    model = SentenceTransformer(path, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(path)

    def tokenized(texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    rows = []
    ids = tokenized(texts)
    for longest in (1, 2, 3):
        embedder = LexicalEmbedder(2048, longest)

        def embed(texts: Sequence[str], embedder: LexicalEmbedder = embedder) -> Tensor:
            return embedder.embed_tokens(tokenized(texts))

        def timed(embedder: LexicalEmbedder = embedder) -> float:
            return seconds(embedder.embed_tokens, ids)

        rows.append(measure(ngrams("token ids", longest, 2048), embed, texts, pairs, timed))

    def encode(texts: Sequence[str]) -> Tensor:
        return model.encode(list(texts), batch_size=64, convert_to_tensor=True)

    rows.append(measure("sentence model", encode, texts, pairs, lambda: seconds(encode, texts, runs=1)))
    return rows


if __name__ == "__main__":
    main()
