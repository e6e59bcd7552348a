"""Shown by Triton's interpreter: bytes moved, independence of order and of memory, safety.

The suite itself runs there too: ``TRITON_INTERPRET=1 pytest --backend=triton --hypothesis-profile=slow``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

from mmr_kernels import mmr_advantages
from mmr_kernels.backends import this_host, triton
from mmr_kernels.backends.triton import configurations
from mmr_kernels.options import Options, completed
from mmr_kernels.problem import MMRResult, Problem, allocate_outputs

INTERPRETED = triton.why_not_here(this_host()) is None and this_host().interpreter is None
pytestmark = pytest.mark.skipif(not INTERPRETED, reason="needs Triton's interpreter: run with TRITON_INTERPRET=1")

LAYOUTS: list[dict[str, Any]] = [
    {},
    {"scale": "batch"},
    {"method": "smi"},
    {"method": "share", "sharpness": 2.5},
    {"method": "unique", "threshold": 0.1},
    {"method": "dpp"},
    {"scope": "batch"},
    {"method": "share", "scope": "batch", "scale": "batch"},
]


def problem(groups: int, size: int, dim: int = 24, dtype: torch.dtype = torch.float32, **options: Any) -> Problem:
    generator = torch.Generator().manual_seed(size)
    rewards = torch.rand(groups, size, generator=generator)
    embeddings = torch.randn(groups, size, dim, generator=generator).to(dtype)
    group_of = torch.arange(groups * size) // size if options.get("scope") == "batch" else None
    chosen = completed(Options(**{"outputs": "details", **options}))
    return Problem(rewards, embeddings, groups, size, chosen, group_of=group_of)


def filled(outputs: MMRResult) -> list[torch.Tensor]:
    return [output for output in outputs if output is not None]


def builder() -> Any:
    from triton.runtime.interpreter import interpreter_builder

    return interpreter_builder


class Traffic:
    """How often each byte's address was loaded and stored."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loads: Counter[int] = Counter()
        self.stores: Counter[int] = Counter()
        load, store = builder().create_masked_load, builder().create_masked_store

        def counted_load(pointers: Any, mask: Any, *rest: Any) -> Any:
            self.loads.update(pointers.data[np.broadcast_to(mask.data, pointers.data.shape)].ravel().tolist())
            return load(pointers, mask, *rest)

        def counted_store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
            self.stores.update(pointers.data[np.broadcast_to(mask.data, pointers.data.shape)].ravel().tolist())
            return store(pointers, value, mask, *rest)

        monkeypatch.setattr(builder(), "create_masked_load", counted_load)
        monkeypatch.setattr(builder(), "create_masked_store", counted_store)

    def of(self, counted: Counter[int], tensor: torch.Tensor) -> list[int]:
        """One count per element."""
        step = tensor.element_size()
        return [counted.pop(tensor.data_ptr() + step * i, 0) for i in range(tensor.numel())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("size", [5, 8, 16, 20, 32, 48, 64, 100, 128])
def test_each_embedding_is_read_once_per_tile_and_each_output_written_once(
    monkeypatch: pytest.MonkeyPatch, size: int, dtype: torch.dtype
) -> None:
    call = problem(2, size, dtype=dtype)
    outputs = allocate_outputs(call)
    monkeypatch.setattr(triton, "allocate_outputs", lambda _: outputs)
    buffers = triton.buffers(call, outputs)
    monkeypatch.setattr(triton, "buffers", lambda *_: buffers)
    traffic = Traffic(monkeypatch)
    triton.run(call)
    assert call.embeddings is not None
    # One tile holds all; but in float32 beyond 32 members, where each tile meets all others.
    row = configurations.configuration(call)
    assert set(traffic.of(traffic.loads, call.embeddings)) == {1 if row.tile >= size else -(-size // row.tile)}
    assert row.tile >= size or (dtype is torch.float32 and size > 32)
    for output in filled(outputs):
        assert set(traffic.of(traffic.stores, output)) == {1}
    # Each copy of the selection loads once; the hardware makes one load of them where they meet in a cache.
    assert len(set(traffic.of(traffic.loads, call.rewards))) == 1
    if size <= 32:
        assert buffers[0] is None
        assert not traffic.loads
        assert not traffic.stores
    else:
        # Nothing else but scratch: similarities written once, then all read once, then one row per pick; factors.
        assert buffers[0] is not None
        written, read = traffic.of(traffic.stores, buffers[0]), traffic.of(traffic.loads, buffers[0])
        assert set(written) <= {0, 1, 2}
        assert not traffic.loads
        assert not traffic.stores
        members, copies = configurations.configuration(call).members, max(read)
        assert sum(written) <= 2 * size * (members + 2)
        assert sum(read) <= (copies * 2 + 1) * size * (members + 4)


@contextmanager
def shuffled_programs(seed: int, programs: int) -> Iterator[None]:
    """The interpreter runs programs in order of their number; here they take each other's."""
    order = np.random.default_rng(seed).permutation(programs)
    place = builder().set_grid_idx
    builder().set_grid_idx = lambda x, y, z: place(int(order[x]) if x < programs else x, y, z)
    try:
        yield
    finally:
        builder().set_grid_idx = place


@contextmanager
def poisoned_memory(value: float) -> Iterator[None]:
    """What is allocated holds ``value`` (integers: its bits) before anybody writes it."""
    like, new = torch.empty_like, torch.Tensor.new_empty

    def poison(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.fill_(value if tensor.dtype.is_floating_point else 77)

    torch.empty_like = lambda *a, **k: poison(like(*a, **k))  # type: ignore[assignment]
    torch.Tensor.new_empty = lambda self, *a, **k: poison(new(self, *a, **k))  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        torch.empty_like, torch.Tensor.new_empty = like, new  # type: ignore[method-assign]


@pytest.mark.parametrize("options", LAYOUTS, ids=str)
@pytest.mark.parametrize("size", [6, 40])
def test_bits_depend_neither_on_program_order_nor_on_old_memory(size: int, options: dict[str, Any]) -> None:
    call = problem(5, size, **options)
    plain = triton.run(call)
    for seed, value in enumerate((float("nan"), float("-inf"))):
        # With one program per call, or 200 completions in the second launch's one, there is nothing to shuffle.
        with (
            shuffled_programs(seed, 5 if call.num_scopes == 5 and call.options.scale != "batch" else 1),
            poisoned_memory(value),
        ):
            again = triton.run(call)
        for one, other in zip(filled(plain), filled(again), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("bound", [0, 5, 20, 36])
@pytest.mark.parametrize("offsets", [[0, -5, 3, 9999, 4], [7, 7, 2, 2**40, -(2**40)], [40, 30, 20, 10, 0]])
def test_wrong_offsets_stay_in_bounds(monkeypatch: pytest.MonkeyPatch, offsets: list[int], bound: int) -> None:
    """A device's offsets and their bound are nobody's to check; they cause a wrong result, never a wrong address."""
    call = problem(1, 40)
    call = call._replace(
        rewards=call.rewards.reshape(-1), group_size=0, num_groups=len(offsets) - 1,
        group_offsets=torch.tensor(offsets), max_group_size=bound,
    )  # fmt: skip
    outputs = allocate_outputs(call)
    buffers = triton.buffers(call, outputs)
    monkeypatch.setattr(triton, "allocate_outputs", lambda _: outputs)
    monkeypatch.setattr(triton, "buffers", lambda *_: buffers)
    traffic = Traffic(monkeypatch)
    triton.run(call)
    for tensor in filter(
        lambda each: each is not None, (call.rewards, call.embeddings, call.group_offsets, buffers[0], *filled(outputs))
    ):
        traffic.of(traffic.loads, tensor)
        traffic.of(traffic.stores, tensor)
    assert not traffic.loads
    assert not traffic.stores


def test_similarities_formed_apart_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a launch per kind of tile, over all multiprocessors."""
    monkeypatch.setitem(configurations.CONFIGURATIONS, (64, 4), configurations.CONFIGURATIONS[64, 4]._replace(tile=16))
    call = problem(2, 37)
    together = triton.run(call)
    monkeypatch.setattr(triton, "LARGEST_TOGETHER", 32)
    for one, other in zip(filled(together), filled(triton.run(call)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    "options", [{}, {"method": "share", "sharpness": 2.5}, {"method": "smi", "scope": "batch"}], ids=str
)
def test_members_counted_in_parts_count_the_same(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    """Of two parts here; only the signal's sums are then taken in another order."""
    from triton.language import constexpr

    from mmr_kernels.backends.triton import advantages, counts

    call = problem(4, 10, **options) if "scope" in options else problem(2, 40, **options)
    whole = triton.run(call)
    monkeypatch.setattr(triton, "LARGEST_PART", 32)
    for module in (advantages, counts):
        monkeypatch.setattr(module, "LARGEST_PART", constexpr(32))
    with poisoned_memory(float("nan")):
        in_parts = triton.run(call)
    torch.testing.assert_close(in_parts.signal, whole.signal, rtol=1e-5, atol=1e-6)
    for one, other in zip(filled(whole._replace(signal=None)), filled(in_parts._replace(signal=None)), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("size", [33, 130, 257])
@pytest.mark.parametrize("scope", ["group", "batch"])
def test_sizes_of_several_tiles(size: int, scope: Any) -> None:
    generator = torch.Generator().manual_seed(size)
    rewards = torch.rand(1, size, generator=generator)
    embeddings = torch.randn(1, size, 9, generator=generator)
    ours = mmr_advantages(rewards, embeddings, scope=scope, backend="triton", return_details=True)
    reference = mmr_advantages(rewards, embeddings, scope=scope, backend="torch", return_details=True)
    torch.testing.assert_close(ours, reference, rtol=1e-5, atol=2e-5)
