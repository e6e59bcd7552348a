"""Hypothesis: calls of the op over every option, layout, dtype and awkward value that the contract allows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from oracle import Case

from mmr_kernels.options import OPTIONS, Option

LAYOUTS = ("2d", "group_size", "offsets", "offsets_list", "ids_int", "ids_numpy", "ids_str")
DIMENSIONS = (1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 64, 70)
#: Members of a scope of "dpp" that every backend takes.
LARGEST_DETERMINANT = 128
REWARD_DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64)
EMBEDDING_DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@st.composite
def generators(draw: st.DrawFn) -> np.random.Generator:
    """Numbers in bulk: hypothesis shrinks the sizes and options, not each entry of an array."""
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


@st.composite
def layouts(draw: st.DrawFn, rng: np.random.Generator, stretch: int) -> tuple[str, list[list[int]], dict[str, Any]]:
    """Kind, groups, and the arguments that say so."""
    kind = draw(st.sampled_from(LAYOUTS))
    if kind in ("2d", "group_size"):
        num_groups, size = draw(st.integers(1, 4)), draw(st.integers(1, 20) | st.sampled_from([31, 32, 33, 40]))
        size = size * stretch - int(rng.integers(stretch))
        groups = np.arange(num_groups * size).reshape(num_groups, size).tolist()
        return kind, groups, {} if kind == "2d" else {"group_size": size}
    sizes = [size * stretch for size in draw(st.lists(st.integers(0, 12), min_size=1, max_size=5))]
    bound = draw(st.sampled_from([None, 0, 30]))
    known = {} if bound is None else {"max_group_size": max(1, *sizes) + bound}
    offsets = np.cumsum([0, *sizes])
    groups = [list(range(start, stop)) for start, stop in itertools.pairwise(offsets)]
    if kind == "offsets":
        dtype = draw(st.sampled_from([torch.int64, torch.int32]))
        return kind, groups, {"group_offsets": torch.tensor(offsets, dtype=dtype), **known}
    if kind == "offsets_list":
        return kind, groups, {"group_offsets": offsets.tolist(), **known}
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    groups = [np.flatnonzero(labels == label).tolist() for label in range(len(sizes)) if sizes[label]]
    names = rng.permutation(50)[: len(sizes)] - 10
    ids: Any = names[labels]
    if kind == "ids_int":
        ids = torch.from_numpy(ids)
    elif kind == "ids_str":
        ids = [f"uid-{name}" for name in ids]
    return kind, groups, {"group_ids": ids, **known}


@st.composite
def reward_values(draw: st.DrawFn, rng: np.random.Generator, count: int) -> torch.Tensor:
    kind = draw(st.sampled_from(["normal", "binary", "equal", "negative", "quarters"]))
    values = {
        "normal": rng.normal(size=count),
        "binary": rng.integers(0, 2, count).astype(float),
        "equal": np.full(count, rng.choice([0.0, 1.0, -1.0, 0.1])),
        "negative": -rng.random(count) * 3,
        "quarters": rng.integers(-8, 9, count) / 4,
    }[kind]
    dtype = draw(st.sampled_from(REWARD_DTYPES))
    if dtype.is_floating_point and draw(st.booleans()):
        bad = rng.random(count) < 0.2
        values = np.where(bad, rng.choice([np.nan, np.inf, -np.inf], count), values)
    return torch.from_numpy(values).to(dtype)


@st.composite
def embedding_values(
    draw: st.DrawFn, rng: np.random.Generator, count: int, dimensions: tuple[int, ...]
) -> torch.Tensor:
    dim = draw(st.sampled_from(dimensions))
    kind = draw(st.sampled_from(["normal", "clusters", "one_hot"]))
    if kind == "normal":
        values = rng.normal(size=(count, dim))
    elif kind == "clusters":
        values = rng.normal(size=(3, dim))[rng.integers(0, 3, count)] + 0.05 * rng.normal(size=(count, dim))
    else:
        values = np.eye(dim)[rng.integers(0, dim, count)]
    if count and draw(st.booleans()):
        values = values[rng.integers(0, count, count)]  # duplicates
    awkward = draw(st.sampled_from([None, None, 0.0, np.nan, np.inf]))
    if awkward is not None:
        values[rng.random(count) < 0.2] = awkward
    return torch.from_numpy(values).to(draw(st.sampled_from(EMBEDDING_DTYPES)))


@st.composite
def similarity_values(
    draw: st.DrawFn, rng: np.random.Generator, scopes: int, size: int, semidefinite: bool
) -> torch.Tensor:
    """Any blocks at all: not symmetric, diagonal as it comes, and now and then not finite; or ``semidefinite`` ones."""
    if semidefinite:
        rows = rng.normal(size=(scopes, size, draw(st.integers(1, 6))))
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        return torch.from_numpy(rows @ rows.transpose(0, 2, 1)).float()
    values = rng.uniform(-1, 1, (scopes, size, size))
    if draw(st.booleans()):
        values = np.round(values * 4) / 4
    if draw(st.booleans()):
        values[rng.random(values.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
    return torch.from_numpy(values).to(draw(st.sampled_from(EMBEDDING_DTYPES)))


def _values(option: Option) -> list[Any]:
    """Every choice, the default of the method and the scope more often; numbers as the list says."""
    if option.choices:
        return [option.default] * (option.name in ("method", "scope")) + list(option.choices)
    return [False, True] if option.is_flag else NUMBERS[option.name]


NUMBERS: dict[str, list[Any]] = {
    "temperature": [1.0, 0.5, 2.0],
    "diversity": [None, 1.0, 0.5, 0.0],
    "strength": [None, None, 0.5, 1.0, 0.0],
    "sharpness": [None, None, 1.0, 2.5, 6.0],
    "threshold": [None, None, None, 0.3, 0.75],
    "eps": [1e-4, 1e-6, 1],
}
#: What the suite draws each option of the op from; ``lam`` is drawn with the layout, of which it depends.
OPTION_VALUES = {
    name: _values(option)
    for name, option in OPTIONS.items()
    if name not in ("lam_mode", "lam_value", "outputs", "backend")
}


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    return {name: draw(st.sampled_from(values)) for name, values in OPTION_VALUES.items()}


@st.composite
def cases(draw: st.DrawFn, stretch: int = 1, dimensions: tuple[int, ...] = DIMENSIONS, **fixed: Any) -> Case:
    """A call of the op, some options fixed; ``stretch``: how many times larger groups are than suits an interpreter."""
    rng = draw(generators())
    kind, groups, layout = draw(layouts(rng, stretch))
    count = sum(len(group) for group in groups)
    shape = (len(groups), len(groups[0])) if kind == "2d" else (count,)
    chosen = {**draw(options()), **fixed}
    if chosen["method"] == "dpp" and count > LARGEST_DETERMINANT:
        chosen["scope"] = "group"
    case = Case(draw(reward_values(rng, count)).reshape(shape), groups, layout, options=chosen)
    lam = draw(st.sampled_from(["sigmoid", "relative_std"]) | st.floats(0, 1) | st.sampled_from(["one", "each"]))
    if lam == "each":
        lams = count if "group_ids" in layout else len(groups)
        lam = "one" if chosen["scope"] == "batch" else torch.from_numpy(rng.random(lams)).float()
        if "group_ids" in layout and isinstance(lam, torch.Tensor):
            for group in groups:
                lam[group] = lam[group[0]].clone()
    chosen["lam"] = torch.tensor(rng.random(), dtype=torch.float32) if isinstance(lam, str) and lam == "one" else lam
    if draw(st.integers(0, 3)) == 0:
        chosen["diversity"] = torch.tensor(rng.random(), dtype=torch.float32)
    if draw(st.integers(0, 3)) == 0:
        case.labels, chosen["threshold"] = torch.from_numpy(rng.integers(-2, 3, shape)), None
    elif chosen["method"] == "partition":
        chosen["threshold"] = chosen["threshold"] or 0.5
    if draw(st.booleans()):
        case.valid = torch.from_numpy(rng.random(shape) < draw(st.sampled_from([0.8, 0.3, 0.0])))
    if (kind in ("2d", "group_size") or chosen["scope"] == "batch") and draw(st.booleans()):
        blocks = (1, count) if chosen["scope"] == "batch" else (len(groups), len(groups[0]))
        case.similarity = draw(similarity_values(rng, *blocks, semidefinite=chosen["method"] == "dpp"))
    else:
        embeddings = draw(embedding_values(rng, count, dimensions))
        case.embeddings = embeddings.reshape(*shape, embeddings.shape[-1])
    return case
