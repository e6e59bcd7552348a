"""Embedder "lexical", which needs no model: hashed 1–2-grams of words and signs, counted and L2-normalised.

The hashing trick with signs (Weinberger et al. 2009, arXiv 0902.2206): each n-gram's hash names one of D
dimensions and a sign, so that collisions move a cosine up as often as down, by about 1/√D. The evidence for
the defaults is in docs/embedders.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mmr_kernels.embedders.protocol import padded

#: A character of a script that puts no spaces between words: Chinese, Japanese, Javanese, Balinese, and those of
#: Unicode's line-breaking classes SA, which are Thai, Lao, Khmer, Burmese and their kin, and ID, like Bopomofo and Yi.
_UNSPACED = (
    r"[\p{scx=Han}\p{scx=Hiragana}\p{scx=Katakana}\p{scx=Javanese}\p{scx=Balinese}\p{Line_Break=SA}"
    r"[\p{L}&&\p{Line_Break=ID}--\p{Latin}]]"
)

#: A word: such a character with its marks, or a run of other letters, marks, digits and "_". Words of one character
#: count too: solutions differ most by their digits.
WORD = regex.compile(rf"(?V1){_UNSPACED}\p{{M}}*|[\w--{_UNSPACED}]+")

#: A word or a sign: each operator, punctuation mark, symbol and emoji.
TOKEN = regex.compile(rf"{WORD.pattern}|\S")

#: What shows nothing, such as soft hyphens and joiners: it is left out first, or texts that look the same would differ.
HIDDEN = regex.compile(r"(?V1)[\p{Default_Ignorable_Code_Point}\p{Cc}\p{Cf}\p{Cs}--\s]+")

#: The finaliser of MurmurHash3 (Austin Appleby, public domain) as signed 64-bit integers, and an odd
#: multiplier that makes an n-gram's hash depend on the order of its tokens.
_MIX = (0xFF51AFD7ED558CCD - 2**64, 0xC4CEB9FE1A85EC53 - 2**64)
_STEP = 0x9E3779B97F4A7C15 - 2**64
_LOW_31_BITS = 2**31 - 1


def why_not() -> str | None:
    """Runs everywhere."""
    return None


def make(model: str, *, batch_size: int, max_tokens: int, policy: object) -> LexicalEmbedder:
    """The embedder with the defaults that docs/embedders.md measured."""
    return LexicalEmbedder()


class LexicalEmbedder:
    """Texts or token ids to hashed n-gram counts, each row of length 1, so that equal completions have a cosine of 1.

    Where there is nothing to count, a row is the first unit vector.

    The two ways hash differently: vectors of one are not to be compared with vectors of the other. Both are
    deterministic to the bit.

    Args:
        dimensions: D. The default loses nothing measurable against a million of them.
        longest_ngram: n-grams of 1 to this many words or tokens.
    """

    def __init__(self, dimensions: int = 2048, longest_ngram: int = 2) -> None:
        for name, value in (("dimensions", dimensions), ("longest_ngram", longest_ngram)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.dimensions = dimensions
        self.longest_ngram = longest_ngram

    def embed_texts(self, texts: Sequence[str], device: torch.device | str = "cpu") -> Tensor:
        """(N, D) float32 on ``device``: square roots of the counts of n-grams, whatever the case of letters.

        n-grams are counted over the words alone, so that "1" and "2" are neighbours in "{1}{2}" too, and over words
        and signs. Square roots keep the signs, which are many, from outweighing the words (docs/embedders.md).
        """
        from sklearn.feature_extraction.text import HashingVectorizer

        if not len(texts):
            return torch.zeros(0, self.dimensions, device=device)
        texts = [HIDDEN.sub("", text) for text in texts]
        words, tokens = (
            HashingVectorizer(
                n_features=self.dimensions,
                ngram_range=(1, self.longest_ngram),
                tokenizer=pattern.findall,
                token_pattern=None,
                norm=None,
                dtype=np.float32,
            ).transform(texts)
            for pattern in (WORD, TOKEN)
        )
        counts = torch.from_numpy((words + tokens).toarray())
        return _unit_rows(counts.sign() * counts.abs().sqrt()).to(device)

    def embed_tokens(self, token_ids: Tensor | Sequence[Sequence[int]], mask: Tensor | None = None) -> Tensor:
        """(N, D) float32 on the device of the ids, no value of which is read by the host.

        Args:
            token_ids: (N, L), integers, padded anywhere with anything; or a list of ids per completion.
            mask: (N, L), bool or integers, 0 where padded; None: nothing is. No n-gram spans a masked place.

        Raises:
            TypeError, ValueError: naming the argument, what it got and what it takes.
        """
        if not isinstance(token_ids, Tensor):
            if mask is not None:
                raise ValueError("mask goes with token_ids as a tensor; lists of ids have no padding")
            token_ids, mask = padded(token_ids)
        mask = _checked_mask(token_ids, mask)
        rows, length = token_ids.shape
        counts = torch.zeros(rows * self.dimensions, device=token_ids.device)
        first = torch.arange(rows, device=token_ids.device).unsqueeze(1) * self.dimensions
        hashes, whole = torch.zeros_like(token_ids, dtype=torch.int64), torch.ones_like(mask)
        for last in range(min(self.longest_ngram, length)):
            width = length - last
            hashes = _mixed(hashes[:, :width] * _STEP + token_ids[:, last:].to(torch.int64) + 1)
            whole = whole[:, :width] & mask[:, last:]
            signs = torch.where(hashes < 0, -1.0, 1.0).where(whole, 0.0)
            # Sums of ±1 are exact in float32, so the order in which a GPU's threads add them doesn't matter.
            counts.index_add_(0, (first + hashes % self.dimensions).reshape(-1), signs.reshape(-1))
        return _unit_rows(counts.reshape(rows, self.dimensions))


def _unit_rows(counts: Tensor) -> Tensor:
    """Each row at length 1. One without counts, or whose counts cancelled, becomes the first unit vector: a row of
    zeros would be similar to nothing, and equal empty completions would be rewarded as diverse."""
    counts[:, 0] += ~counts.any(dim=1)
    return normalize(counts)


def _mixed(values: Tensor) -> Tensor:
    """Each bit of the result depends on every bit of the int64 value; products wrap around."""
    for factor in _MIX:
        values = (values ^ (values >> 33 & _LOW_31_BITS)) * factor
    return values ^ (values >> 33 & _LOW_31_BITS)


def _checked_mask(token_ids: Tensor, mask: Tensor | None) -> Tensor:
    if token_ids.dim() != 2:
        raise ValueError(f"token_ids must have shape (N, L), got {tuple(token_ids.shape)}")
    if token_ids.is_floating_point() or token_ids.is_complex() or token_ids.dtype is torch.bool:
        raise TypeError(f"token_ids must be integers, got {token_ids.dtype}")
    if mask is None:
        return torch.ones_like(token_ids, dtype=torch.bool)
    if mask.shape != token_ids.shape:
        raise ValueError(f"mask must have the shape of token_ids, {tuple(token_ids.shape)}; got {tuple(mask.shape)}")
    if mask.device != token_ids.device:
        raise ValueError(f"mask must be on the device of token_ids, {token_ids.device}; got {mask.device}")
    return mask != 0
