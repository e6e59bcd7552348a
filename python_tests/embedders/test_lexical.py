"""The lexical embedder: what its vectors promise, from text and from token ids."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmr_kernels import MMRResult, mmr_advantages
from mmr_kernels.embedders import LexicalEmbedder, TextEmbedder, TokenEmbedder
from mmr_kernels.embedders.lexical import TOKEN

embedder = LexicalEmbedder()
completions = st.lists(st.lists(st.integers(0, 150_000), max_size=40), min_size=1, max_size=6)
any_text = st.text(st.characters(exclude_categories=()), max_size=12)  # halves of surrogate pairs too


def cosine(one: str, other: str) -> float:
    first, second = embedder.embed_texts([one, other])
    return (first @ second).item()


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
    if not row.any():
        row[0] = 1
    return torch.nn.functional.normalize(row, dim=0)


def test_it_is_both_kinds_of_embedder() -> None:
    assert isinstance(embedder, TextEmbedder)
    assert isinstance(embedder, TokenEmbedder)


def test_texts_give_unit_rows_of_float32() -> None:
    rows = embedder.embed_texts(["Two and two make 4.", "Four", "4"])
    assert rows.shape == (3, embedder.dimensions)
    assert rows.dtype is torch.float32
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


@given(st.lists(any_text, min_size=1, max_size=4), completions, st.sampled_from([1, 7, 2048]), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_whatever_is_equal_is_alike(texts: list[str], ids: list[list[int]], dimensions: int, longest: int) -> None:
    """A row of length 1 has a cosine of 1 with its like."""
    small = LexicalEmbedder(dimensions, longest)
    for rows in (small.embed_texts(texts), small.embed_tokens(ids)):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


@pytest.mark.parametrize("blank", ["", " \n", "\u200b\x00", "\ud800"])
def test_what_shows_nothing_is_alike_and_unlike_words(blank: str) -> None:
    empty, row, words = embedder.embed_texts(["", blank, "two words"])
    assert empty @ row == 1
    assert empty @ words == 0


@pytest.mark.parametrize("hidden", ["\xad", "\u200b", "\u2060", "\ufe0f", "\u034f", "\x00", "\U000e0041"])
def test_what_shows_nothing_tells_no_texts_apart(hidden: str) -> None:
    """Else a policy could make its completions unlike with it."""
    assert cosine("the answer is 12", f"the{hidden} ans{hidden}wer is 1{hidden}2{hidden}") == pytest.approx(1)


@pytest.mark.parametrize("way", ["texts", "token ids"])
def test_empty_answers_are_not_rewarded(way: str) -> None:
    """Three distinct wrong answers and three empty ones: an empty one is redundant once another was picked."""
    if way == "texts":
        rows = embedder.embed_texts([*(f"The answer is {n} because 3*4={n}" for n in (12, 13, 14)), "", "", ""])
    else:
        rows = embedder.embed_tokens([[1, 2, 3, 12], [1, 2, 3, 13], [1, 2, 3, 14], [], [], []])
    result = mmr_advantages(torch.zeros(6), rows, group_size=6, return_details=True)
    assert isinstance(result, MMRResult)
    assert result.advantages is not None
    torch.testing.assert_close(result.max_similarity[[0, 3, 4, 5]], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert result.selection_rank.tolist() == [0, 2, 3, 1, 4, 5]
    assert result.advantages[4] == result.advantages[5] == result.advantages.min() < result.advantages[1] - 0.3
    assert result.advantages[3:].sum() < 0


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("if x_1 <= -3.5e2:", ["if", "x_1", "<", "=", "-", "3", ".", "5e2", ":"]),
        (r"\frac{a}{b}²", ["\\", "frac", "{", "a", "}", "{", "b", "}", "²"]),
        ("l'été, naïve: 한국어는", ["l", "'", "été", ",", "naïve", ":", "한국어는"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("答案是6个。", ["答", "案", "是", "6", "个", "。"]),
        ("ラーメン食べた", ["ラ", "ー", "メ", "ン", "食", "べ", "た"]),
        ("ที่รัก ລາວ ខ្មែរ မြန်", ["ที่", "รั", "ก", "ລ", "າ", "ວ", "ខ្", "មែ", "រ", "မြ", "န်"]),
        ("🤖🤖 ∑∏", ["🤖", "🤖", "∑", "∏"]),
        ("ꆈꌠ ㄅㄆ ꦲꦏ꧀ꦱ ᬅᬓ᭄ ＡＢ", ["ꆈ", "ꌠ", "ㄅ", "ㄆ", "ꦲ", "ꦏ꧀", "ꦱ", "ᬅ", "ᬓ᭄", "ＡＢ"]),
    ],
)
def test_tokens(text: str, tokens: list[str]) -> None:
    assert TOKEN.findall(text) == tokens


@pytest.mark.parametrize(
    ("text", "one", "other"),
    [
        ("小明有三个苹果，又买了五个，然后送给{}两个，所以一共还剩下六个苹果。", "妹妹", "弟弟"),
        ("彼女は毎朝{}個の卵を食べ、残りを市場で売ります。", "三", "四"),
        ("เธอกินไข่{}ฟองทุกเช้าและขายที่เหลือในตลาด", "สาม", "สี่"),
        ("She sells 9 eggs for 2 dollars each, so 9*2 = {} dollars.", "18", "19"),
        ("for i in range(n): total += price[i] * {}[i]", "count", "number"),
    ],
)
def test_near_duplicates_are_alike_in_any_script(text: str, one: str, other: str) -> None:
    assert 0.8 < cosine(text.format(one), text.format(other)) < 0.99


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("7*6", "7+6", 5 / 8),  # 7, 6 and "7 6" of the words, 7 and 6 again; "*", "7 *" and "* 6" are not shared
        ("x = -3", "x = 3", 0.783),
        ("a <= b", "a >= b", 0.7),
        ("f(x)", "f[x]", 0.5),
        (r"\frac{1}{2}", r"\frac{2}{1}", 0.9),  # the same 1–2-grams, but for the words "1 2" and "2 1"
        (r"\sqrt{x}^2", r"\sqrt{x^2}", 0.889),
        ("if (a < b) return a;", "if (a > b) return a;", 0.885),
        ("🤖🤖🤖", "∑∏∫", 0.0),
        ("小明有三个苹果", "三个人去北京了", 0.231),
    ],
)
def test_signs_tell_texts_apart(one: str, other: str, expected: float) -> None:
    assert cosine(one, other) == pytest.approx(expected, abs=1e-3)


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
def test_nothing_to_count_is_one_row(ids: torch.Tensor | list[list[int]]) -> None:
    rows = embedder.embed_tokens(ids)
    assert torch.equal(rows, torch.eye(1, embedder.dimensions).expand(len(ids), -1))
    masked = embedder.embed_tokens(torch.ones(1, 4).long(), torch.zeros(1, 4))
    assert torch.equal(masked, torch.eye(1, embedder.dimensions))
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
