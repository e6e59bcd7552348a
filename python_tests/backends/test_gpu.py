"""Both GPU kernels on a device; run by ``make test-gpu``, together with the op's whole suite on either."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from oracle import Case
from replay import check

from mmr_kernels import mmr_advantages
from mmr_kernels.backends import BACKENDS, this_host

pytestmark = pytest.mark.gpu

SIZES = [2, 5, 8, 16, 24, 32, 33, 64, 100, 128, 200, 256, 512, 1024]


@pytest.fixture(params=["triton", "cuda"])
def kernel(request: pytest.FixtureRequest) -> str:
    """The name of a backend; skips without a device, in the backend's own words where it can't use the one there is."""
    reason = BACKENDS[request.param].why_not_here(this_host()) if torch.cuda.is_available() else "no GPU"
    if reason is not None:
        pytest.skip(f"backend {request.param!r} {reason}")
    return str(request.param)


def inputs(
    groups: int, size: int, dim: int = 72, dtype: torch.dtype = torch.float32, device: str = "cuda"
) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(size)
    rewards = torch.rand(groups, size, generator=generator)
    return rewards.to(device), torch.randn(groups, size, dim, generator=generator).to(device, dtype)


def same_bits(one: Any, other: Any) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", SIZES)
def test_every_size_and_dtype_stands_a_float64_replay(kernel: str, size: int, dtype: torch.dtype) -> None:
    """Not the reference's arrays: of 1,024 scores two may lie closer than rounding, and both picks be right."""
    case = Case.uniform(*inputs(3, size, dtype=dtype, device="cpu"), scale="none")
    check(case, case.run(kernel, "cuda"))


@pytest.mark.parametrize("size", SIZES)
def test_runs_repeat_bit_for_bit(kernel: str, size: int) -> None:
    rewards, embeddings = inputs(7, size)
    first = mmr_advantages(rewards, embeddings, backend=kernel, return_details=True)
    for _ in range(20):
        same_bits(first, mmr_advantages(rewards, embeddings, backend=kernel, return_details=True))


@pytest.mark.parametrize("options", [{}, {"scale": "batch"}, {"scope": "batch"}], ids=str)
def test_no_call_waits_for_the_device(kernel: str, options: dict[str, Any]) -> None:
    rewards, embeddings = inputs(4, 16)
    mmr_advantages(rewards, embeddings, backend=kernel, **options)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        mmr_advantages(rewards, embeddings, backend=kernel, **options)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("options", [{}, {"scale": "batch"}, {"scope": "batch"}], ids=str)
@pytest.mark.parametrize("size", [8, 64])
def test_a_captured_graph_replays_on_new_values(kernel: str, size: int, options: dict[str, Any]) -> None:
    rewards, embeddings = inputs(4, size)
    mmr_advantages(rewards, embeddings, backend=kernel, **options)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = mmr_advantages(rewards, embeddings, backend=kernel, **options)
    rewards.copy_(rewards.flip(0))
    embeddings.mul_(-2).add_(0.5)
    graph.replay()
    same_bits(captured, mmr_advantages(rewards, embeddings, backend=kernel, **options))


def test_torch_compile_traces_it_whole(kernel: str) -> None:
    rewards, embeddings = inputs(4, 16)
    compiled = torch.compile(lambda r, e: mmr_advantages(r * 2, e, backend=kernel), fullgraph=True)
    same_bits(compiled(rewards, embeddings), mmr_advantages(rewards * 2, embeddings, backend=kernel))


@pytest.mark.parametrize(("options", "launches"), [({}, 1), ({"scale": "none"}, 1), ({"scale": "batch"}, 2)], ids=str)
@pytest.mark.parametrize("size", [8, 32, 64, 256])
def test_launches(kernel: str, size: int, options: dict[str, Any], launches: int) -> None:
    rewards, embeddings = inputs(4, size)
    mmr_advantages(rewards, embeddings, backend=kernel, **options)
    activities = [torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        mmr_advantages(rewards, embeddings, backend=kernel, **options)
        torch.cuda.synchronize()
    on_device = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    # The CUDA kernel finishes scale="batch" in its one launch, after a memset of its counter. Triton forms the
    # similarities of more than 128 members in two launches of their own.
    apart = 2 if kernel == "triton" and size > 128 else 0
    assert len(on_device) == launches + apart, [event.name for event in on_device]


def test_it_runs_on_the_current_stream(kernel: str) -> None:
    rewards, embeddings = inputs(64, 128)
    expected = mmr_advantages(rewards, embeddings, backend=kernel)
    stream = torch.cuda.Stream()
    late = torch.zeros_like(embeddings)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(10_000_000)
        late.copy_(embeddings)
        result = mmr_advantages(rewards, late, backend=kernel)
    torch.cuda.current_stream().wait_stream(stream)
    same_bits(result, expected)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_it_runs_on_the_device_of_its_tensors(kernel: str) -> None:
    here, there = inputs(4, 40), inputs(4, 40, device="cuda:1")
    result = mmr_advantages(*there, backend=kernel)
    assert result.device == torch.device("cuda:1")
    torch.testing.assert_close(result.cpu(), mmr_advantages(*here, backend=kernel).cpu())


def test_alignment_is_not_assumed(kernel: str) -> None:
    """The same values, one element further on: another compiled kernel, or a wrong address."""
    rewards, embeddings = inputs(4, 16, dim=64, dtype=torch.bfloat16)
    room = torch.empty(embeddings.numel() + 1, device="cuda", dtype=torch.bfloat16)
    shifted = room[1:].view_as(embeddings).copy_(embeddings)
    first = mmr_advantages(rewards, embeddings, backend=kernel)
    torch.testing.assert_close(mmr_advantages(rewards, shifted, backend=kernel), first, rtol=1e-5, atol=1e-5)


BESIDE = [
    (512, 8, {}),
    (64, 33, {}),
    (32, 128, {}),
    (16, 200, {}),
    (2, 700, {}),
    (64, 16, {"scope": "batch"}),
    (8, 16, {"scope": "batch", "scale": "batch"}),
    (100, 64, {"scale": "batch"}),
]


@pytest.mark.parametrize(("groups", "size", "options"), BESIDE, ids=str)
def test_bits_do_not_depend_on_what_else_the_device_does(
    kernel: str, groups: int, size: int, options: dict[str, Any]
) -> None:
    """A hundred calls, while another stream multiplies matrices."""
    rewards, embeddings = inputs(groups, size, dim=256, dtype=torch.bfloat16)
    first = mmr_advantages(rewards, embeddings, backend=kernel, **options)
    busy, other = torch.randn(4096, 4096, device="cuda"), torch.cuda.Stream()
    for turn in range(100):
        if turn % 10 == 0:
            with torch.cuda.stream(other):
                _ = busy @ busy
        assert torch.equal(mmr_advantages(rewards, embeddings, backend=kernel, **options), first), f"turn {turn}"


@pytest.mark.parametrize("size", [5, 16, 24, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_groups_bits_do_not_depend_on_how_many_there_are(kernel: str, size: int, dtype: torch.dtype) -> None:
    """Of many, each has fewer warps."""
    rewards, embeddings = inputs(600, size, dim=1100, dtype=dtype)
    few, many = (
        mmr_advantages(rewards[:count], embeddings[:count], backend=kernel, return_details=True) for count in (4, 600)
    )
    same_bits([field[:4] for field in many], list(few))


def test_threads_with_streams_of_their_own(kernel: str) -> None:
    wrong: list[object] = []

    def work(seed: int) -> None:
        try:
            rewards, embeddings = inputs(16, 24 + seed)
            torch.cuda.synchronize()
            with torch.cuda.stream(torch.cuda.Stream()):
                first = mmr_advantages(rewards, embeddings, backend=kernel)
                calls = (mmr_advantages(rewards, embeddings, backend=kernel) for _ in range(100))
                wrong.extend(seed for result in calls if not torch.equal(first, result))
        except Exception as error:  # a thread's error would be printed and no more
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FIRST_CALL = """
import torch
from mmr_kernels import mmr_advantages
rewards, embeddings = torch.rand(4, 8, device="cuda"), torch.randn(4, 8, 64, device="cuda")
torch.cuda.synchronize()
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    captured = mmr_advantages(rewards, embeddings, backend="{kernel}")
graph.replay()
assert torch.equal(captured, mmr_advantages(rewards, embeddings, backend="{kernel}"))
"""


def test_the_first_call_of_a_process_may_lie_within_a_capture(kernel: str) -> None:
    program = [sys.executable, "-c", FIRST_CALL.format(kernel=kernel)]
    ended = subprocess.run(program, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_torch_compile_may_put_it_into_a_graph(kernel: str) -> None:
    rewards, embeddings = inputs(4, 16)
    expected = mmr_advantages(rewards * 2, embeddings, backend=kernel)

    @torch.compile(fullgraph=True, mode="reduce-overhead")
    def compiled(rewards: torch.Tensor, embeddings: torch.Tensor) -> Any:
        return mmr_advantages(rewards * 2, embeddings, backend=kernel) + 0

    for _ in range(4):
        assert torch.equal(compiled(rewards, embeddings).clone(), expected)


def test_offsets_out_of_range_do_no_harm(kernel: str) -> None:
    """On a device nobody reads them beforehand: a group is then some other group, and no access is out of bounds."""
    rewards, embeddings = (tensor.flatten(0, 1) for tensor in inputs(1, 10))
    offsets = torch.tensor([0, 90, 3, -7, 10], device="cuda")
    result = mmr_advantages(rewards, embeddings, group_offsets=offsets, backend=kernel)
    torch.cuda.synchronize()
    assert result.shape == rewards.shape
