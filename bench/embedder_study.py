"""How well cosine tells solutions of one answer from solutions of two, for each embedder.

    python -m bench.embedder_study ROLLOUTS.jsonl [--groups N] [--model FOLDER] [--json FILE]

Pairs are the solutions of one group that both end in a final answer, "A: number" on the last line; the
label is whether the numbers are equal. AUC: the probability that a pair of one answer has the higher
cosine, over all pairs of all groups, with a 95 % interval from resampling groups. "No answer line": the same
with that line cut off before embedding, since it gives the label away. Cost: processor time, of all threads,
warm, over all completions; the least of five runs, of the sentence model one. Token ids are the sentence model's
tokenizer's, whose own time isn't counted.
"""

from __future__ import annotations

import re
import time
import timeit
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import torch
import typer
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.metrics import roc_auc_score
from torch import Tensor

from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import Table
from mmr_kernels.cli.files import opened
from mmr_kernels.cli.rows import read_rows
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.embedders.lexical import TOKEN, WORD

ANSWER_LINE = re.compile(r"\nA: *(-?[\d.,]*\d)\.?\s*$")
RESAMPLES = 400

Embed = Callable[[Sequence[str]], Tensor]


class Embedder(NamedTuple):
    """A row of the table: ``embed`` is measured, ``timed`` with ``argument`` is what its cost is taken of."""

    name: str
    embed: Embed
    timed: Callable[[Any], Tensor]
    argument: Any
    runs: int = 5


class Pairs(NamedTuple):
    """P pairs of completions of one group each."""

    first: np.ndarray  # (P,) index of a completion
    second: np.ndarray
    same: np.ndarray  # (P,) bool: equal final answers
    group: np.ndarray  # (P,) which group, counted from 0


def read_groups(path: Path, limit: int | None) -> list[list[str]]:
    """Completions of the first ``limit`` groups."""
    groups: dict[object, list[str]] = {}
    with opened(path) as source:
        for _, row in read_rows(source, numbers=()):
            groups.setdefault(row["group"], []).append(row["completion"])
    return list(groups.values())[:limit]


def final_answer(completion: str) -> float | None:
    """The number on the last line, or None."""
    found = ANSWER_LINE.search(completion)
    try:
        return round(float(found[1].replace(",", "")), 6) if found else None
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
    return Pairs(*map(np.array, zip(*rows, strict=True)))


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


def measure(embedder: Embedder, texts: list[str], pairs: Pairs) -> dict[str, Any]:
    """One row of the table."""
    name, embed, timed, argument, runs = embedder
    auc, low, high = auc_with_interval(pairs, cosines(embed, texts, pairs))
    cut = [ANSWER_LINE.sub("", text) for text in texts]
    seconds = min(timeit.repeat(lambda: timed(argument), timer=time.process_time, number=1, repeat=runs))
    return {
        "embedder": name,
        "auc": auc,
        "low": low,
        "high": high,
        "auc_no_answer_line": float(roc_auc_score(pairs.same, cosines(embed, cut, pairs))),
        "microseconds": seconds / len(texts) * 1e6,
    }


def text_embedders(texts: list[str]) -> Iterator[Embedder]:
    """The lexical embedder from text, and plain counts of other tokens; scikit-learn's have two characters or more."""
    sizes = [(dimensions, 2) for dimensions in (256, 512, 1024, 2048, 4096, 2**14)] + [(2048, 1), (2048, 3)]
    for dimensions, longest in sizes:
        embed = LexicalEmbedder(dimensions, longest).embed_texts
        yield Embedder(f"text, {ngrams(longest)}, D = {dimensions}", embed, embed, texts)
    others = {"words": WORD.findall, "words and signs": TOKEN.findall, "scikit-learn's tokens": None}
    for name, tokenizer in others.items():
        vectorizer = HashingVectorizer(n_features=2048, ngram_range=(1, 2), tokenizer=tokenizer, dtype=np.float32)

        def counts(texts: Sequence[str], vectorizer: HashingVectorizer = vectorizer) -> Tensor:
            return torch.from_numpy(vectorizer.transform(texts).toarray())

        yield Embedder(f"plain counts of {name}, 1–2-grams, D = 2048", counts, counts, texts)


def model_embedders(path: str, texts: list[str]) -> Iterator[Embedder]:
    """The lexical embedder over the ids of the sentence model's tokenizer, and that model."""
    from sentence_transformers import SentenceTransformer
    from transformers import AutoTokenizer

    model = SentenceTransformer(path, device="cpu")
    tokenizer = AutoTokenizer.from_pretrained(path)

    def tokenized(texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def encode(texts: Sequence[str]) -> Tensor:
        return model.encode(list(texts), batch_size=64, convert_to_tensor=True)

    for longest in (1, 2, 3):
        embed = LexicalEmbedder(2048, longest).embed_tokens
        name = f"token ids, {ngrams(longest)}, D = 2048"
        yield Embedder(name, lambda texts, embed=embed: embed(tokenized(texts)), embed, tokenized(texts))  # type: ignore[misc]
    yield Embedder("sentence model", encode, encode, texts, runs=1)


def ngrams(longest: int) -> str:
    """Their name."""
    return "1-grams" if longest == 1 else f"1–{longest}-grams"


def main(
    rollouts: Annotated[Path, typer.Argument(help="JSONL with `group` and `completion`.")],
    groups: Annotated[int | None, typer.Option(help="Only the first so many groups.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of a sentence-transformers model.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the rows here.")] = None,
) -> None:
    """AUC of pairs of one answer, and cost, of each embedder."""
    chosen = read_groups(rollouts, groups)
    texts = [completion for group in chosen for completion in group]
    pairs = make_pairs(chosen)
    embedders = [*text_embedders(texts), *(model_embedders(str(model), texts) if model else ())]
    rows = [measure(embedder, texts, pairs) for embedder in embedders]
    sizes = {"groups": len(chosen), "completions": len(texts), "pairs": len(pairs.same), "resamples": RESAMPLES}
    content = record("scikit-learn", **sizes, one_answer=float(pairs.same.mean()), rows=rows)
    typer.echo(", ".join(f"{key} {value}" for key, value in (content["versions"] | sizes).items()) + "\n")
    table = [
        [
            row["embedder"],
            f"{row['auc']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
            f"{row['auc_no_answer_line']:.3f}",
            f"{row['microseconds']:,.0f}",
        ]
        for row in rows
    ]
    columns = ["embedder", "AUC", "95 % interval", "AUC, no answer line", "µs per completion"]
    typer.echo(Table("", columns, table).markdown())
    if json_path:
        write(json_path, content)


if __name__ == "__main__":
    typer.run(main)
