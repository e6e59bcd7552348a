"""A call that can't be computed raises an error that names the argument; checked before any backend sees it."""

from __future__ import annotations

import decimal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch

from mmr_kernels import LambdaEMA, mmr_advantages, mmr_reweight

REWARDS = torch.rand(6)
EMBEDDINGS = torch.randn(6, 4)
BLOCKS = torch.rand(2, 3, 3)
FLAT: dict[str, Any] = {"rewards": REWARDS, "embeddings": EMBEDDINGS, "group_size": 3}
SQUARE: dict[str, Any] = {"rewards": REWARDS.reshape(2, 3), "embeddings": EMBEDDINGS.reshape(2, 3, 4)}
META = {"device": "meta"}
TWO = torch.tensor([0, 0, 1, 1, 1, 1])
OFFSETS: dict[str, Any] = {"group_size": None, "group_offsets": torch.tensor([0, 2, 6])}
IDS: dict[str, Any] = {"group_size": None, "group_ids": TWO.tolist()}
with warnings.catch_warnings(action="ignore"):
    QUANTISED = torch.quantize_per_tensor(REWARDS, 0.1, 0, torch.quint8)


def masked(values: torch.Tensor) -> torch.Tensor:
    """Torch's own kind, which warns that it's a prototype."""
    with warnings.catch_warnings(action="ignore"):
        masked_tensor: torch.Tensor = torch.masked.masked_tensor(values, values >= 0)
    return masked_tensor


# (what is wrong, the argument named, the call changed)
WRONG_VALUES: list[tuple[str, str, dict[str, Any]]] = [
    ("rewards of three dimensions", "rewards", {"rewards": torch.rand(2, 3, 1)}),
    ("a single reward", "rewards", {"rewards": torch.tensor(1.0)}),
    ("embeddings of fewer completions", "embeddings", {"embeddings": EMBEDDINGS[:5]}),
    ("one-dimensional embeddings", "embeddings", {"embeddings": EMBEDDINGS[:, 0]}),
    ("embeddings in groups, rewards flat", "embeddings", {"embeddings": EMBEDDINGS.reshape(2, 3, 4)}),
    ("embeddings elsewhere", "embeddings", {"embeddings": torch.empty(6, 4, **META)}),
    ("valid of another shape", "valid", {"valid": torch.ones(2, 3, dtype=torch.bool)}),
    ("valid elsewhere", "valid", {"valid": torch.ones(6, dtype=torch.bool, **META)}),
    ("no layout", "group_size", {"group_size": None}),
    ("temperature beyond float32", "temperature", {"lam": "relative_std", "temperature": 1e39}),
    ("no offsets", "group_offsets", {"group_size": None, "group_offsets": []}),
    ("two layouts", "group_size", {"group_ids": [0] * 6}),
    ("three layouts", "group_offsets", {"group_ids": [0] * 6, "group_offsets": [0, 6]}),
    ("group_size that doesn't divide", "group_size", {"group_size": 4}),
    ("group_size 0", "group_size", {"group_size": 0}),
    ("negative group_size", "group_size", {"group_size": -3}),
    ("a bound below group_size", "max_group_size", {"max_group_size": 2}),
    ("a bound below the offsets' groups", "max_group_size", {**OFFSETS, "max_group_size": 3}),
    ("a bound below a list's groups", "max_group_size", {**OFFSETS, "group_offsets": [0, 2, 6], "max_group_size": 3}),
    ("a bound below labelled groups", "max_group_size", {**IDS, "max_group_size": 3}),
    ("a bound below groups of a tensor's labels", "max_group_size", {**IDS, "group_ids": TWO, "max_group_size": 3}),
    ("a bound of 0", "max_group_size", {**OFFSETS, "max_group_size": 0}),
    ("offsets that descend", "group_offsets", {"group_size": None, "group_offsets": [0, 4, 2, 6]}),
    ("offsets that start late", "group_offsets", {"group_size": None, "group_offsets": [1, 6]}),
    ("offsets that start below 0", "group_offsets", {"group_size": None, "group_offsets": [-1, 6]}),
    ("offsets that end early", "group_offsets", {"group_size": None, "group_offsets": [0, 3, 5]}),
    ("offsets that end late", "group_offsets", {"group_size": None, "group_offsets": [0, 3, 7]}),
    ("no offsets at all", "group_offsets", {"group_size": None, "group_offsets": torch.tensor([], dtype=torch.int64)}),
    ("two-dimensional offsets", "group_offsets", {"group_size": None, "group_offsets": torch.tensor([[0, 6]])}),
    (
        "offsets elsewhere",
        "group_offsets",
        {"group_size": None, "group_offsets": torch.empty(2, dtype=torch.int64, **META)},
    ),
    ("too few labels", "group_ids", {"group_size": None, "group_ids": [0, 0, 1]}),
    ("too many labels", "group_ids", {"group_size": None, "group_ids": torch.zeros(7, dtype=torch.int64)}),
    ("labels in two dimensions", "group_ids", {"group_size": None, "group_ids": torch.zeros(2, 3, dtype=torch.int64)}),
    ("labels elsewhere", "group_ids", {"group_size": None, "group_ids": torch.empty(6, dtype=torch.int64, **META)}),
    ("no vectors", "embeddings", {"embeddings": None}),
    ("no vectors for smi", "embeddings", {"embeddings": None, "method": "smi"}),
    ("two kinds of vectors", "similarity", {"similarity": BLOCKS}),
    ("blocks of another size", "similarity", {"embeddings": None, "similarity": torch.rand(2, 4, 4)}),
    ("blocks not square", "similarity", {"embeddings": None, "similarity": torch.rand(2, 3, 4)}),
    ("one block too many", "similarity", {"embeddings": None, "similarity": torch.rand(3, 3, 3)}),
    ("group blocks for batch scope", "similarity", {"embeddings": None, "similarity": BLOCKS, "scope": "batch"}),
    ("similarity elsewhere", "similarity", {"embeddings": None, "similarity": torch.empty(2, 3, 3, **META)}),
    (
        "similarity of ragged groups",
        "similarity",
        {"embeddings": None, "similarity": BLOCKS, "group_size": None, "group_offsets": [0, 3, 6]},
    ),
    ("unknown method", "method", {"method": "grpo"}),
    ("strength beyond 1 for unique", "strength", {"method": "unique", "strength": 1.5}),
    ("negative strength", "strength", {"method": "smi", "strength": -1.0}),
    ("sharpness that isn't a number", "sharpness", {"method": "share", "sharpness": float("nan")}),
    ("clusters of nothing", "threshold", {"method": "partition"}),
    ("two kinds of clusters", "threshold", {"method": "unique", "threshold": 0.5, "labels": [0] * 6}),
    ("too few labels of clusters", "labels", {"method": "unique", "labels": [0, 1]}),
    ("labels of clusters in other groups", "labels", {"method": "unique", "labels": torch.zeros(2, 3).long()}),
    ("a label that isn't there", "labels", {"method": "unique", "labels": ["a", None, "b", "a", "a", "a"]}),
    (
        "offsets without a dimension, beside labels",
        "group_offsets",
        {
            "group_size": None,
            "group_offsets": torch.tensor(6),
            "labels": [0] * 6,
            "method": "smi",
            "scope": "batch",
        },
    ),
    ("labels of clusters elsewhere", "labels", {"method": "unique", "labels": torch.empty(6, **META).long()}),
    ("diversity beyond 1", "diversity", {"diversity": 1.5}),
    ("a tensor of diversity beyond 1", "diversity", {"diversity": torch.tensor(1.5)}),
    ("diversity of another shape", "diversity", {"diversity": torch.rand(5)}),
    ("no vectors for counts", "embeddings", {"embeddings": None, "method": "share"}),
    ("no vectors for dpp, though labels", "embeddings", {"embeddings": None, "method": "dpp", "labels": [0] * 6}),
    ("unknown first_pick", "first_pick", {"first_pick": "best"}),
    ("unknown scope", "scope", {"scope": "world"}),
    ("unknown scale", "scale", {"scale": "std"}),
    ("unknown degenerate", "degenerate", {"degenerate": "skip"}),
    ("unknown backend", "backend", {"backend": "numpy"}),
    ("unknown λ mode", "lam", {"lam": "cosine"}),
    ("λ above 1", "lam", {"lam": 1.0001}),
    ("λ below 0", "lam", {"lam": -0.1}),
    ("λ NaN", "lam", {"lam": float("nan")}),
    ("a tensor λ above 1", "lam", {"lam": torch.tensor([0.5, 1.5])}),
    ("a tensor λ below 0", "lam", {"lam": torch.tensor(-0.5)}),
    ("a tensor λ NaN", "lam", {"lam": torch.tensor([0.5, float("nan")])}),
    ("λs of no shape known", "lam", {"lam": torch.full((3,), 0.5)}),
    ("a λ per completion without labels", "lam", {"lam": torch.full((6,), 0.5)}),
    ("a λ per group for batch scope", "lam", {"lam": torch.full((2,), 0.5), "scope": "batch"}),
    ("λ elsewhere", "lam", {"lam": torch.empty(1, **META)}),
    ("negative temperature", "temperature", {"temperature": -1.0}),
    ("infinite temperature", "temperature", {"temperature": float("inf")}),
    ("diversity above 1", "diversity", {"diversity": 1.5}),
    ("diversity NaN", "diversity", {"diversity": float("nan")}),
    ("negative eps", "eps", {"eps": -1e-4}),
]
WRONG_TYPES: list[tuple[str, str, dict[str, Any]]] = [
    ("sparse embeddings", "embeddings", {"embeddings": EMBEDDINGS.to_sparse()}),
    ("return_details in words", "return_details", {"return_details": "no"}),
    ("rewards as a list", "rewards", {"rewards": [1.0] * 6}),
    ("complex rewards", "rewards", {"rewards": REWARDS.to(torch.complex64)}),
    ("quantised rewards", "rewards", {"rewards": QUANTISED}),
    ("masked rewards", "rewards", {"rewards": masked(REWARDS)}),
    ("masked embeddings", "embeddings", {"embeddings": masked(EMBEDDINGS)}),
    ("masked λ", "lam", {"lam": masked(torch.full((2,), 0.5))}),
    ("sparse λ", "lam", {"lam": torch.full((2,), 0.5).to_sparse()}),
    ("embeddings as an array", "embeddings", {"embeddings": EMBEDDINGS.numpy()}),
    ("float64 embeddings", "embeddings", {"embeddings": EMBEDDINGS.double()}),
    ("complex embeddings", "embeddings", {"embeddings": EMBEDDINGS.to(torch.complex64)}),
    ("integer embeddings", "embeddings", {"embeddings": EMBEDDINGS.int()}),
    ("float64 similarity", "similarity", {"embeddings": None, "similarity": BLOCKS.double()}),
    ("similarity as an array", "similarity", {"embeddings": None, "similarity": BLOCKS.numpy()}),
    ("integer valid", "valid", {"valid": torch.ones(6, dtype=torch.int64)}),
    ("valid as a list", "valid", {"valid": [True] * 6}),
    ("bool group_size", "group_size", {"group_size": True}),
    ("a bound of floats", "max_group_size", {**OFFSETS, "max_group_size": 4.0}),
    ("float group_size", "group_size", {"group_size": 3.0}),
    ("float offsets", "group_offsets", {"group_size": None, "group_offsets": torch.tensor([0.0, 6.0])}),
    ("a list of float offsets", "group_offsets", {"group_size": None, "group_offsets": [0.0, 6.0]}),
    ("offsets that are no numbers", "group_offsets", {"group_size": None, "group_offsets": ["a", "b"]}),
    ("no offset among them", "group_offsets", {"group_size": None, "group_offsets": [0, None, 6]}),
    ("a masked offset", "group_offsets", {"group_size": None, "group_offsets": np.ma.array([0, 3, 6], mask=[0, 1, 0])}),
    ("offsets in a set", "group_offsets", {"group_size": None, "group_offsets": {0, 6}}),
    ("offsets in a dict", "group_offsets", {"group_size": None, "group_offsets": {0: 0, 6: 6}}),
    ("an offset beyond int64", "group_offsets", {"group_size": None, "group_offsets": [0, 2**70]}),
    ("a number for offsets", "group_offsets", {"group_size": None, "group_offsets": 6}),
    ("offsets in two dimensions", "group_offsets", {"group_size": None, "group_offsets": [[0, 3], [3, 6]]}),
    ("complex offsets", "group_offsets", {"group_size": None, "group_offsets": [0, 6j]}),
    ("an empty list of offsets", "group_offsets", {"group_size": None, "group_offsets": []}),
    ("array labels in two dimensions", "group_ids", {"group_size": None, "group_ids": np.zeros((2, 3), dtype=int)}),
    ("float labels", "group_ids", {"group_size": None, "group_ids": torch.zeros(6)}),
    ("a number for labels", "group_ids", {"group_size": None, "group_ids": 6}),
    ("labels in a dict", "group_ids", {"group_size": None, "group_ids": dict.fromkeys(range(6), 0)}),
    ("labels in a set", "group_ids", {"group_size": None, "group_ids": set(range(6))}),
    ("labels in a text", "group_ids", {"group_size": None, "group_ids": "aaabbb"}),
    ("labels of tensors and names", "group_ids", {"group_size": None, "group_ids": [torch.tensor(0), *"aabbb"]}),
    ("labels of float tensors", "group_ids", {"group_size": None, "group_ids": [torch.tensor(0.5)] * 6}),
    ("tensors of one label", "group_ids", {"group_size": None, "group_ids": [torch.tensor([0])] * 6}),
    ("labels of clusters in rows, rewards flat", "labels", {"method": "smi", "labels": [[0, 0, 0], [1, 1, 1]]}),
    ("an array of rows of labels, rewards flat", "labels", {"method": "smi", "labels": np.zeros((2, 3), dtype=int)}),
    ("labels that can't be hashed", "group_ids", {"group_size": None, "group_ids": [[0]] * 6}),
    ("integer tensor λ", "lam", {"lam": torch.ones(1, dtype=torch.int64)}),
    ("bool λ", "lam", {"lam": True}),
    ("no λ", "lam", {"lam": None}),
    ("λ as a list", "lam", {"lam": [0.5, 0.5]}),
    ("temperature as a string", "temperature", {"temperature": "1"}),
    ("bool diversity", "diversity", {"diversity": True}),
    ("eps as a tensor", "eps", {"eps": torch.tensor([1e-4])}),
    ("no eps", "eps", {"eps": None}),
    ("match_scale as an int", "match_scale", {"match_scale": 1}),
    ("normalize as a string", "normalize", {"normalize": "yes"}),
    ("match_scale as NumPy's int", "match_scale", {"match_scale": np.int64(1)}),
    ("eps as NumPy's bool", "eps", {"eps": np.True_}),
    ("eps as an array", "eps", {"eps": np.array([1e-4])}),
    ("method as an array", "method", {"method": np.array(["mmr"])}),
    ("method as a list", "method", {"method": ["mmr"]}),
    ("backend as a number", "backend", {"backend": 3}),
]


def by_what(wrong: list[tuple[str, str, dict[str, Any]]]) -> Any:
    return pytest.mark.parametrize(("argument", "changed"), [row[1:] for row in wrong], ids=[row[0] for row in wrong])


@by_what(WRONG_VALUES)
def test_a_wrong_value_is_named(argument: str, changed: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"\b{argument}\b"):
        mmr_advantages(**{**FLAT, **changed})


@by_what(WRONG_TYPES)
def test_a_wrong_type_is_named(argument: str, changed: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"\b{argument}\b"):
        mmr_advantages(**{**FLAT, **changed})


@pytest.mark.parametrize("layout", [{"group_size": 3}, {"group_offsets": [0, 3, 6]}, {"group_ids": [0] * 6}], ids=str)
def test_a_layout_beside_grouped_rewards_is_named(layout: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(layout))):
        mmr_advantages(**SQUARE, **layout)


MISSING: dict[str, Any] = {
    "one NaN": [0, 0, 1, float("nan"), 1, float("nan")],
    "NaNs of an array": np.array([0, 0, 1, np.nan, 1, np.nan]),
    "NumPy's NaN": [0, 0, 1, np.float32("nan"), 1, 0],
    "a decimal NaN": [0, 0, 1, decimal.Decimal("NaN"), 1, 0],
    "a NaN in a tuple": [(0, 0), (0, 0), (1, 1), (0, float("nan")), (0, 0), (1, 1)],
    "a NaN in a set": [0, 0, 1, frozenset([float("nan")]), 1, 0],
    "None": ["a", "a", "b", None, "b", None],
    "no time": np.array(["2026", "2026", "2025", "NaT", "2025", "NaT"], dtype="datetime64[ns]"),
    "null": pyarrow.chunked_array([[0, 0, 1, None, 1, None]]),
    "a masked cell": np.ma.array([0, 0, 1, 1, 1, 0], mask=[0, 0, 0, 1, 0, 0]),
    "masked cells in a list": [0, 0, 1, np.ma.masked, 1, 0],
}


@pytest.mark.parametrize("group_ids", MISSING.values(), ids=MISSING.keys())
def test_a_missing_label_is_named_by_its_position(group_ids: Any) -> None:
    """Whatever the container; they would be groups of their own, or one group of strangers."""
    with pytest.raises(ValueError, match=r"^group_ids .* at position 3$"):
        mmr_advantages(REWARDS, EMBEDDINGS, group_ids=group_ids)


def test_labels_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    expected = mmr_advantages(REWARDS, EMBEDDINGS, group_ids=[0, 0, 1, 1, 1, 0])
    labels = pandas.Series([0, 0, 1, 1, 1, 0], index=[5, 4, 3, 2, 1, 0], dtype="Int64")
    assert torch.equal(mmr_advantages(REWARDS, EMBEDDINGS, group_ids=labels), expected)
    labels.iloc[3] = None
    for given in (labels, list(labels)):
        with pytest.raises(ValueError, match=r"^group_ids .*; got <NA> at position 3$"):
            mmr_advantages(REWARDS, EMBEDDINGS, group_ids=given)
    with pytest.raises(TypeError, match=r"^group_ids must be an integer tensor or a sequence"):
        mmr_advantages(REWARDS, EMBEDDINGS, group_ids=pandas.DataFrame([range(6)]))


NUMBERS: list[tuple[str, Any, Any]] = [
    ("lam", np.float32(0.25), 0.25),
    ("lam", np.array(0.25), 0.25),
    ("lam", np.int64(1), 1),
    ("eps", torch.tensor(0.5), 0.5),
    ("eps", np.float16(0.5), 0.5),
    ("diversity", np.float64(0.5), 0.5),
    ("match_scale", np.True_, True),
    ("normalize", torch.tensor(False), False),
    ("group_size", np.int32(2), 2),
    ("group_size", torch.tensor(2), 2),
    ("method", np.str_("smi"), "smi"),
]


@pytest.mark.parametrize(("argument", "given", "same"), NUMBERS, ids=str)
def test_scalars_of_other_libraries_are_numbers_and_flags(argument: str, given: Any, same: Any) -> None:
    expected = mmr_advantages(**FLAT | {argument: same})
    assert torch.equal(mmr_advantages(**FLAT | {argument: given}), expected)
    assert torch.equal(mmr_advantages(**FLAT | {argument: given}, return_details=np.True_)[0], expected)


def test_a_number_in_a_tensor_is_read_at_each_call() -> None:
    eps = torch.tensor(0.5)
    mmr_advantages(**FLAT, eps=eps)
    eps.fill_(4.0)
    assert torch.equal(mmr_advantages(**FLAT, eps=eps), mmr_advantages(**FLAT, eps=4.0))


def test_a_distributed_tensor_is_named(tmp_path: Path) -> None:
    """Its values aren't all here."""
    from torch.distributed.tensor import distribute_tensor

    torch.distributed.init_process_group("gloo", f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        for argument in ("rewards", "embeddings"):
            with pytest.raises(TypeError, match=f"^{argument} must be a plain tensor, got a DTensor"):
                mmr_advantages(**FLAT | {argument: distribute_tensor(FLAT[argument], mesh)})
    finally:
        torch.distributed.destroy_process_group()


def test_messages_say_what_was_got_and_what_is_taken() -> None:
    with pytest.raises(ValueError, match=r"lam must lie in \[0, 1\], got 1.5"):
        mmr_advantages(**FLAT, lam=1.5)
    with pytest.raises(ValueError, match=r"embeddings must have shape \(6, D\).*got \(5, 4\)"):
        mmr_advantages(REWARDS, EMBEDDINGS[:5], group_size=3)
    with pytest.raises(TypeError, match=r"embeddings must be torch.float32 or .*got torch.float64"):
        mmr_advantages(REWARDS, EMBEDDINGS.double(), group_size=3)
    with pytest.raises(ValueError, match=r"scope must be one of 'group', 'batch'; got 'world'"):
        mmr_advantages(**FLAT, scope="world")  # type: ignore[arg-type]


def test_reweight_checks_the_same() -> None:
    with pytest.raises(ValueError, match="lam"):
        mmr_reweight(**FLAT, lam=2.0)
    with pytest.raises(TypeError, match="scale"):
        mmr_reweight(**FLAT, scale="group")  # type: ignore[call-arg]


@pytest.mark.parametrize("alpha", [0.0, -0.2, 1.1, float("nan")])
def test_smoothing_weight_is_checked(alpha: float) -> None:
    with pytest.raises(ValueError, match="alpha"):
        LambdaEMA(alpha)
