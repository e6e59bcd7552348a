"""The CUDA kernel on the emulator: agreement, memory traffic, the greedy loop's events, independence of the schedule.

``make test-emulator`` builds the emulator and runs this file with MMR_KERNELS_CUDA_EMULATE=1.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from mmr_kernels import MMRResult, mmr_advantages
from mmr_kernels.backends import cuda, this_host
from mmr_kernels.backends.extension import arguments
from mmr_kernels.options import Options, completed
from mmr_kernels.problem import Problem, allocate_outputs

REASON = this_host().emulator
pytestmark = pytest.mark.skipif(
    REASON is not None, reason=f"no emulator of the CUDA kernel: {REASON}; run `make test-emulator`"
)

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
TARGETS = [750, 900]
#: One, two and four members per lane, their limits, and more than registers hold.
SIZES = [1, 2, 8, 16, 31, 32, 33, 64, 65, 100, 128, 129, 150]
#: Each method, and each way of counting.
METHODS: dict[str, dict[str, Any]] = {
    "mmr": {},
    "smi": {},
    "smi, strength": {"strength": 0.5, "sharpness": 2.5},
    "share": {"diversity": 0.5},
    "unique, threshold": {"threshold": 0.6},
    "partition": {"threshold": 0.6},
    "dpp": {},
    "dpp, quality": {"quality": True},
    "none": {},
}


def named(method: str) -> dict[str, Any]:
    """The options of a row of ``METHODS``."""
    return {"method": method.partition(",")[0], **METHODS[method]}


@pytest.fixture
def emulator() -> Iterator[Any]:
    """The emulator's module, back at its defaults afterwards."""
    module = importlib.import_module("mmr_kernels._emulator")
    yield module
    module.emulate()


def rollouts(groups: int, size: int, dim: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(groups * 10_000 + size * 100 + dim)
    return torch.rand(groups, size, generator=generator), torch.randn(groups, size, dim, generator=generator).to(dtype)


def details(*arguments: torch.Tensor | None, backend: str = "cuda", **options: Any) -> MMRResult:
    result = mmr_advantages(*arguments, backend=backend, return_details=True, **options)  # type: ignore[arg-type]
    assert isinstance(result, MMRResult)
    return result


def same_bits(one: MMRResult, other: MMRResult) -> None:
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dim", [7, 40, 264])
def test_each_size_and_target_agrees_with_the_reference(
    emulator: Any, dim: int, size: int, dtype: torch.dtype, target: int
) -> None:
    emulator.emulate(target)
    rewards, embeddings = rollouts(1, size, dim, dtype)
    expected = details(rewards, embeddings, backend="torch", scale="none")
    torch.testing.assert_close(details(rewards, embeddings, scale="none"), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "options", [{}, {"match_scale": True, "scale": "batch"}, {"scope": "batch", "lam": "relative_std"}]
)
@pytest.mark.parametrize("shape", [(5, 6), (3, 60), (1, 140)])
def test_large_scopes_and_what_spans_groups(
    emulator: Any, shape: tuple[int, int], options: dict[str, Any], method: str
) -> None:
    rewards, embeddings = rollouts(*shape, 20)
    embeddings = embeddings.abs()  # or SMI would divide by a sum that is nearly 0
    valid = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.9
    arguments = {"valid": valid, "degenerate": "zero", **options, **named(method)}
    expected = details(rewards, embeddings, backend="torch", **arguments)
    torch.testing.assert_close(
        details(rewards, embeddings, **arguments), expected, rtol=1e-4, atol=1e-4, equal_nan=True
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("method", ["mmr", "share", "unique, threshold"])
def test_bits_do_not_depend_on_whether_similarities_are_stored(
    emulator: Any, method: str, dtype: torch.dtype, target: int
) -> None:
    """They are where a bound says that there is room. If not, of so many completions, columns are formed as picked."""
    emulator.emulate(target)
    count, members = 1 << 17, slice(300)
    rewards, embeddings = torch.zeros(count), torch.zeros(count, 120, dtype=dtype)
    rewards[members], embeddings[members] = (tensor.squeeze(0) for tensor in rollouts(1, 300, 120, dtype))
    valid = torch.arange(count) % 30 == 0
    options = completed(Options(outputs="details", **named(method)))
    problem = Problem(rewards, embeddings, 4, 0, options, None, valid, torch.tensor([0, 3, 153, 153, 300]))
    stored = cuda.run(problem._replace(max_group_size=150))
    assert emulator.traffic()["scratch"][1] > 0
    formed = cuda.run(problem)
    assert emulator.traffic()["scratch"] == (0, 0)
    for mine, theirs in zip(stored[:4], formed[:4], strict=True):
        torch.testing.assert_close(mine[members], theirs[members], rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(stored.signal, formed.signal, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_large_group_has_the_same_bits_ragged_and_as_a_batch(emulator: Any, dtype: torch.dtype) -> None:
    """One block forms all tiles of a group, and of a batch one block each."""
    rewards, embeddings = rollouts(1, 150, 24, dtype)
    uniform = details(rewards, embeddings)
    batch = details(rewards, embeddings, scope="batch")
    beside = torch.cat([embeddings, rollouts(1, 140, 24, dtype)[1]], 1).squeeze(0)
    ragged = details(torch.rand(290).index_copy(0, torch.arange(150), rewards[0]), beside, group_offsets=[0, 150, 290])
    for one, of_batch, of_ragged in zip(uniform[:4], batch[:4], ragged[:4], strict=True):
        assert torch.equal(of_batch, one)
        assert torch.equal(of_ragged[:150], one[0])


@pytest.mark.parametrize("scope", ["group", "batch"])
@pytest.mark.parametrize("size", [20, 60, 150])
def test_similarities_that_are_not_symmetric(emulator: Any, size: int, scope: str) -> None:
    """Either direction connects; "dpp" takes the mean of both."""
    generator = torch.Generator().manual_seed(size)
    rewards = torch.rand(1, size, generator=generator)
    similarity = torch.rand(1, size, size, generator=generator).square()
    counting = [{"method": "partition", "threshold": 1 - 1.2 / size}, {"method": "share"}]
    semidefinite = torch.eye(size) + torch.rand(1, size, size, generator=generator).triu(1) / size
    for blocks, options in [(similarity, each) for each in counting] + [(semidefinite, {"method": "dpp"})]:
        options = {"similarity": blocks, "scope": scope, **options}
        expected = details(rewards, None, backend="torch", **options)
        torch.testing.assert_close(details(rewards, None, **options), expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "options", [{}, {"scale": "batch"}, {"scope": "batch"}, {"method": "smi", "match_scale": True}]
    + [{"scope": "batch", **named(method)} for method in ("share", "unique, threshold", "dpp")],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("shape", [(4, 16), (2, 100)])
def test_bits_do_not_depend_on_the_order_of_blocks_and_threads(
    emulator: Any, shape: tuple[int, int], options: dict[str, Any], seed: int
) -> None:
    rewards, embeddings = rollouts(*shape, 48)
    ascending = details(rewards, embeddings, **options)
    emulator.emulate(seed=seed)
    same_bits(details(rewards, embeddings, **options), ascending)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [8, 16, 32, 50, 128])
def test_embeddings_are_read_once(emulator: Any, size: int, dtype: torch.dtype, target: int) -> None:
    if target < 800 and size > 64:
        pytest.skip("by tiles, which read rows anew")
    emulator.emulate(target)
    rewards, embeddings = rollouts(2, size, 512, dtype)
    mmr_advantages(rewards, embeddings, backend="cuda")
    assert emulator.traffic()["embeddings"] == (embeddings.nbytes, 0)
    assert emulator.traffic()["rewards"] == (rewards.nbytes, 0)
    assert emulator.traffic()["advantages"] == (0, rewards.nbytes)
    for method in METHODS:
        details(rewards, embeddings, **named(method))
        assert emulator.traffic()["embeddings"] == (embeddings.nbytes, 0), "with the signal, and whatever the method"


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("size", "dim"), [(1, 9000), (2, 9001), (3, 4608), (5, 4360), (11, 3001), (24, 1096), (33, 840), (100, 264)]
)
def test_rows_of_several_chunks(emulator: Any, size: int, dim: int, dtype: torch.dtype, target: int) -> None:
    """More than the ring holds at once: the last chunk is in part beyond the rows, and some threads bring nothing."""
    emulator.emulate(target)
    rewards, embeddings = rollouts(1, size, dim, dtype)
    expected = details(rewards, embeddings, backend="torch", scale="none")
    torch.testing.assert_close(details(rewards, embeddings, scale="none"), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [8, 16, 32, 33, 64, 100, 128])
def test_a_greedy_step_is_two_reductions_and_one_read(emulator: Any, size: int, target: int) -> None:
    """No barrier, no bank that two lanes want at once. Before 8.0 the room is for 64 members."""
    if target < 800 and size > 64:
        pytest.skip("not in shared memory")
    emulator.emulate(target)
    mmr_advantages(*rollouts(1, size, 64), backend="cuda")
    greedy = emulator.counts()["greedy"]
    assert greedy["barriers"] == greedy["warp_syncs"] == greedy["votes"] == 0
    assert greedy["reductions"] == (2 * size if target >= 800 else 0)
    assert greedy["shuffles"] == (0 if target >= 800 else 10 * size)
    assert greedy["shared_accesses"] == size
    assert greedy["worst_bank_conflict"] == 1


@pytest.mark.parametrize("size", [8, 32, 33, 100, 128])
def test_a_step_of_what_counts_is_one_read(emulator: Any, size: int) -> None:
    """Counts and the signal read a row per step; a component grows by a read and a vote a member of the lane."""
    rewards, embeddings = rollouts(1, size, 64)
    held = 1 if size <= 32 else 4
    details(rewards, embeddings, method="share")
    for phase in ("counts", "signal"):
        loop = emulator.counts()[phase]
        assert loop["shared_accesses"] == size
        assert loop["barriers"] == loop["warp_syncs"] == 0
    assert emulator.counts()["signal"]["worst_bank_conflict"] == 1
    details(rewards, embeddings, method="share", threshold=0.1)
    components = emulator.counts()["components"]
    assert components["votes"] == (size + 1) * held
    assert components["shared_accesses"] == size
    assert components["shuffles"] == 0
    assert components["worst_bank_conflict"] == 1


@pytest.mark.parametrize("size", [8, 33, 128])
def test_determinants_take_two_barriers_a_step(emulator: Any, size: int) -> None:
    details(*rollouts(1, size, 64), method="dpp")
    assert emulator.counts()["determinants"]["barriers"] == 2 * size + 2


def test_counts_wait_in_scratch_where_advantages_do(emulator: Any) -> None:
    rewards, embeddings = rollouts(3, 8, 16)
    mmr_advantages(rewards, embeddings, backend="cuda", method="share")
    assert emulator.traffic()["counts"] == (0, 0)
    mmr_advantages(rewards, embeddings, backend="cuda", method="share", scale="batch")
    assert emulator.traffic()["counts"][1] == rewards.nbytes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensor_cores_form_16_bit_products_where_there_are_some(emulator: Any, dtype: torch.dtype) -> None:
    rewards, embeddings = rollouts(1, 64, 512, dtype)
    mmr_advantages(rewards, embeddings, backend="cuda")
    assert emulator.counts()["products"]["tensor_products"] > 0
    emulator.emulate(750)
    mmr_advantages(rewards, embeddings, backend="cuda")
    assert emulator.counts()["products"]["tensor_products"] == 0


@pytest.mark.parametrize(
    ("size", "tiles"), [(1, 1), (15, 1), (16, 1), (17, 2), (32, 2), (33, 4), (50, 4), (64, 4), (65, 8), (128, 8)]
)
def test_tensor_products_of_a_group(emulator: Any, size: int, tiles: int) -> None:
    """Every two tiles of 16 rows meet once, in two halves, along 16 dimensions; loaded are for that both tiles of a
    pair and all columns. No bank is wanted twice, by what is loaded nor, of whole tiles, by what is stored."""
    dim = 512
    mmr_advantages(*rollouts(1, size, dim, torch.bfloat16), backend="cuda")
    products = emulator.counts()["products"]
    pairs = (tiles + 1) // 2
    assert products["tensor_products"] == 2 * tiles * (tiles + 1) // 2 * dim // 16
    assert products["matrix_loads"] == pairs * (min(tiles, 2) + tiles) * dim // 16
    assert products["worst_bank_conflict"] == 1
    if size % 16 == 0:
        assert emulator.counts()["sums"]["worst_bank_conflict"] == 1


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_products_of_a_large_scope(emulator: Any, dtype: torch.dtype, target: int) -> None:
    """Six tiles of 64 by 64, each of 128 rows, read once; on tensor cores 16 tiles of 16 by 16, and eight of norms."""
    emulator.emulate(target)
    size, dim, tiles = 192, 64, 6
    rewards, embeddings = rollouts(1, size, dim, dtype)
    mmr_advantages(rewards, embeddings, backend="cuda")
    products = emulator.counts()["products, large"]
    on_tensor_cores = dtype is not torch.float32 and target >= 800
    assert products["tensor_products"] == (tiles * (16 + 8) * 2 * dim // 16 if on_tensor_cores else 0)
    assert products["matrix_loads"] == (tiles * 8 * 4 * dim // 16 if on_tensor_cores else 0)
    assert products["worst_bank_conflict"] == 1
    assert emulator.traffic()["embeddings"] == (tiles * 128 * dim * embeddings.element_size(), 0)
    assert emulator.traffic()["scratch"][1] == size * size * 4


def launched(problem: Problem) -> tuple[MMRResult, torch.Tensor | None]:
    """The outputs and the scratch, behind its counter, as float32; a word written past its end is an error."""
    extension = importlib.import_module("mmr_kernels._emulator")
    outputs, scratch = allocate_outputs(problem), []

    def allocate(size: int) -> int:
        scratch.append(torch.full((size // 4 + 32,), torch.inf))
        return int(scratch[0].data_ptr())

    extension.mmr(*arguments(extension, problem, outputs), 0, 0, allocate)
    if not scratch:
        return outputs, None
    assert bool((scratch[0][-32:] == torch.inf).all())
    return outputs, scratch[0][4:-32]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_equal_rows_are_equally_similar_wherever_they_stand(emulator: Any, dtype: torch.dtype, target: int) -> None:
    emulator.emulate(target)
    size, equal = 200, [0, 5, 63, 64, 130, 199]
    rewards, embeddings = rollouts(1, size, 72, dtype)
    embeddings[0, equal] = embeddings[0, 5].clone()
    _, scratch = launched(Problem(rewards, embeddings, 1, size, Options()))
    assert scratch is not None
    similarity = scratch[3 * (size + 4) :].view(size, size)
    assert torch.equal(similarity, similarity.T)
    assert torch.equal(similarity[equal], similarity[[5] * len(equal)])
    torch.testing.assert_close(similarity.diagonal(), torch.ones(size))


@pytest.mark.parametrize(
    ("bound", "words"),
    [(32, 0), (128, 0), (198, 3 * 248 + 240 * 200), (240, 3 * 248 + 240 * 240), (0, 3 * 248 + 240 * 240)],
)
def test_scratch_follows_the_bound(bound: int, words: int) -> None:
    rewards, embeddings = (tensor.squeeze(0) for tensor in rollouts(1, 240, 8))
    problem = Problem(rewards, embeddings, 2, 0, Options(), group_offsets=torch.tensor([0, 8, 16]))
    _, scratch = launched(problem._replace(max_group_size=bound))
    assert (0 if scratch is None else scratch.numel()) == words


@pytest.mark.parametrize("method", ["mmr", "share"])
@pytest.mark.parametrize("bound", [8, 30, 100, 150])
def test_a_bound_that_is_too_small_leaves_members_out(bound: int, method: str) -> None:
    """On a device nobody compares it with the groups: each is then its first members."""
    rewards, embeddings = (tensor.squeeze(0) for tensor in rollouts(1, 240, 16))
    options = completed(Options(outputs="details", method=method))
    problem = Problem(rewards, embeddings, 2, 0, options, group_offsets=torch.tensor([0, 40, 240]))
    result, _ = launched(problem._replace(max_group_size=bound))
    for begin, size in ((0, min(40, bound)), (40, bound)):
        first = slice(begin, begin + size)
        alone = details(rewards[first], embeddings[first], group_offsets=[0, size], method=method)
        same_bits(MMRResult(*(field[first] for field in result[:4]), *alone[4:]), alone)


def test_offsets_out_of_range_do_no_harm() -> None:
    """On a device nobody reads them beforehand: a group is then some other group, and no access is out of bounds."""
    rewards, embeddings = (tensor.flatten(0, 1) for tensor in rollouts(2, 8, 16))
    extension = importlib.import_module("mmr_kernels._emulator")
    for offsets, order in (([-5, 3, 99], None), ([9, 2, 4], None), ([0, 8, 16], [10**9, -1] * 8)):
        problem = Problem(
            rewards,
            embeddings,
            num_groups=2,
            group_size=0,
            options=Options(scale="batch", outputs="details"),
            group_offsets=torch.tensor(offsets),
            order=None if order is None else torch.tensor(order),
        )
        scratch = torch.empty(1 << 16, dtype=torch.uint8)
        outputs = allocate_outputs(problem)
        extension.mmr(*arguments(extension, problem, outputs), 0, 0, lambda size, scratch=scratch: scratch.data_ptr())


@pytest.mark.parametrize("size", [31, 40, 130])
def test_by_a_lam_that_is_no_number_nobody_is_picked(size: int) -> None:
    """On a device it is nobody's to check. No harm is done, and what comes out can't be taken for a result."""
    rewards, embeddings = rollouts(1, size, 8)
    valid = torch.ones(1, size, dtype=torch.bool)
    valid[0, 3] = False
    call = Problem(
        rewards, embeddings, 1, size, completed(Options(outputs="details", lam_mode="tensor")), valid=valid,
        lam=torch.tensor([float("nan")]),
    )  # fmt: skip
    result = cuda.run(call)
    assert result.selection_rank.eq(-1).all()
    assert result.reweighted_rewards.isnan().all()
    assert torch.equal(result.advantages.isnan(), valid)


def test_limits_are_the_modules_own(emulator: Any) -> None:
    assert (emulator.largest_group, emulator.largest_batch) == (cuda.LARGEST_GROUP, cuda.LARGEST_BATCH)


FAULTS = {
    "race": "race: read of shared numbers[0], written by thread 0 with no barrier between (block 0, thread 32",
    "missing barrier": "read of shared numbers[32], which nobody wrote (block 0, thread 0",
    "missing __syncwarp": "read of shared pairs[1], which nobody wrote (block 0, thread 0",
    "copy not waited for": "read of shared copies[0], to which a copy is under way (block 0, thread 0",
    "uninitialised read": "read of shared numbers[5], which nobody wrote (block 0, thread 37",
    "out of bounds in shared memory": "out of bounds: shared numbers[64] of 64 (block 0, thread 63",
    "out of bounds in global memory": "out of bounds: global out[64] of 64 (block 0, thread 63",
    "row of a matrix not written": "read of shared rows[148], which nobody wrote (block 0, thread 37",
    "matrices of another thread": "race: read of shared rows[0], written by thread 0 with no barrier between",
    "misaligned row of a matrix": "misaligned: 16 bytes at shared rows[1] (block 0, thread 0",
    "matrices with missing lanes": "ldmatrix waits for lane 7, which has returned",
    "divergent barrier": "divergent __syncthreads: thread 0 waits at planted_faults.cpp",
    "barrier not reached": "__syncthreads waits for thread 40, which has returned",
    "shuffle with missing lanes": "waits for lane 7, which has returned",
    "shuffle against barrier": "which waits at __syncthreads",
    "lane left out of the mask": "by a lane that its mask leaves out (block 0, thread 16",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_caught_and_placed(emulator: Any, fault: str) -> None:
    with pytest.raises(RuntimeError) as caught:
        emulator.run_planted_fault(fault)
    assert FAULTS[fault] in str(caught.value)
    assert "planted_faults.cpp:" in str(caught.value)


def test_the_same_kernels_without_a_fault_run_through(emulator: Any) -> None:
    for seed in range(4):
        emulator.emulate(seed=seed)
        emulator.run_planted_fault("none")
