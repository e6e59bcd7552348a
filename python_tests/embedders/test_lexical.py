"""The lexical embedder: what its vectors promise, from text and from token ids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr_kernels.embedders import LexicalEmbedder, TextEmbedder, TokenEmbedder

embedder = LexicalEmbedder()
completions = st.lists(st.lists(st.integers(0, 150_000), max_size=40), min_size=1, max_size=6)


def mixed(value: int) -> int:
    """The hash in Python's own integers, as unsigned 64-bit arithmetic."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = ((value ^ (value >> 33)) * factor) % 2**64
    return value ^ (value >> 33)


def expected_row(ids: list[int], dimensions: int, longest: int) -> torch.Tensor:
    row = torch.zeros(dimensions, dtype=torch.float64)
    for start in range(len(ids)):
        value = 0
        for token in ids[start : start + longest]:
            value = mixed((value * 0x9E3779B97F4A7C15 + token + 1) % 2**64)
            signed = value - 2**64 if value >= 2**63 else value
            row[signed % dimensions] += -1 if signed < 0 else 1
    return torch.nn.functional.normalize(row, dim=0)


def test_it_is_both_kinds_of_embedder() -> None:
    assert isinstance(embedder, TextEmbedder)
    assert isinstance(embedder, TokenEmbedder)


def test_texts_give_unit_rows_of_float32() -> None:
    rows = embedder.embed_texts(["Two and two make 4.", "Four", "4"])
    assert rows.shape == (3, embedder.dimensions)
    assert rows.dtype is torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


@pytest.mark.parametrize("blank", ["", "   ", "?! …"])
def test_a_text_without_words_is_a_zero_row(blank: str) -> None:
    assert not embedder.embed_texts([blank, "words"])[0].any()


def test_single_digits_are_words() -> None:
    three, four = embedder.embed_texts(["3", "4"])
    assert three.any()
    assert three @ four == 0


def test_shared_wording_is_nearer_than_a_shared_topic() -> None:
    base, reworded, other = embedder.embed_texts(
        [
            "She sells 9 eggs for 2 dollars each, so 18 dollars.",
            "She sells 9 eggs for 2 dollars each, which makes 18 dollars.",
            "Multiply the number of eggs by the price: the total is 16.",
        ]
    )
    assert base @ reworded > 0.6 > 0.4 > base @ other


def test_word_order_counts() -> None:
    one, other = embedder.embed_texts(["subtract five from nine", "subtract nine from five"])
    assert one @ other < 0.99


@given(completions, st.sampled_from([7, 64, 2048]), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_token_rows_are_the_signed_counts_of_hashed_ngrams(ids: list[list[int]], dimensions: int, longest: int) -> None:
    rows = LexicalEmbedder(dimensions, longest).embed_tokens(ids)
    expected = torch.stack([expected_row(each, dimensions, longest) for each in ids])
    torch.testing.assert_close(rows, expected.float())


@given(completions, st.integers(0, 5), st.integers(0, 5), st.integers(0, 150_000))
@settings(max_examples=60, deadline=None)
def test_padding_changes_no_bit(ids: list[list[int]], left: int, right: int, filler: int) -> None:
    length = max(len(each) for each in ids)
    padded = torch.full((len(ids), left + length + right), filler)
    mask = torch.zeros_like(padded)
    for row, each in enumerate(ids):
        padded[row, left : left + len(each)] = torch.tensor(each, dtype=torch.int64)
        mask[row, left : left + len(each)] = 1
    assert torch.equal(embedder.embed_tokens(padded, mask), embedder.embed_tokens(ids))
    assert torch.equal(embedder.embed_tokens(padded.int(), mask.bool()), embedder.embed_tokens(ids))


def test_a_row_does_not_depend_on_its_batch() -> None:
    ids = torch.randint(0, 30_000, (8, 50), generator=torch.Generator().manual_seed(0))
    together = embedder.embed_tokens(ids)
    assert torch.equal(torch.cat([embedder.embed_tokens(row[None]) for row in ids]), together)
    texts = ["one two three", "two three four", ""]
    alone = torch.cat([embedder.embed_texts([text]) for text in texts])
    assert torch.equal(alone, embedder.embed_texts(texts))


def test_no_ngram_reaches_across_a_gap() -> None:
    ids = torch.tensor([[5, 6, 7, 8]])
    holed = embedder.embed_tokens(ids, torch.tensor([[1, 0, 0, 1]]))
    apart = LexicalEmbedder(longest_ngram=1).embed_tokens([[5, 8]])
    assert torch.equal(holed, apart)


def test_token_order_counts() -> None:
    one, other = embedder.embed_tokens([[1, 2, 3], [3, 2, 1]])
    assert 0.3 < one @ other < 0.9


@pytest.mark.parametrize("ids", [torch.zeros(0, 5, dtype=torch.int64), torch.zeros(3, 0, dtype=torch.int64), [[], []]])
def test_nothing_to_count_is_zero_rows(ids: torch.Tensor | list[list[int]]) -> None:
    rows = embedder.embed_tokens(ids)
    assert rows.shape == (len(ids), embedder.dimensions)
    assert not rows.any()
    assert embedder.embed_tokens([]).shape == embedder.embed_texts([]).shape == (0, embedder.dimensions)


def test_no_value_of_the_ids_is_read() -> None:
    """Runs on the meta device, which has no values to read."""
    rows = embedder.embed_tokens(torch.zeros(4, 9, dtype=torch.int64, device="meta"))
    assert rows.shape == (4, embedder.dimensions)
    assert rows.device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((torch.zeros(3).long(),), ValueError, r"token_ids .*\(N, L\).*\(3,\)"),
        ((torch.zeros(3, 2),), TypeError, "token_ids must be integers, got torch.float32"),
        (
            (torch.zeros(3, 2).long(), torch.ones(3, 1)),
            ValueError,
            r"mask .*\(3, 2\); got \(3, 1\)",
        ),
        (([[1]], torch.ones(1, 1)), ValueError, "mask goes with token_ids as a tensor"),
    ],
)
def test_bad_tokens_are_named(arguments: tuple[object, ...], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        embedder.embed_tokens(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [{"dimensions": 0}, {"longest_ngram": 0}])
def test_bad_sizes_are_named(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least 1, got 0"):
        LexicalEmbedder(**arguments)
