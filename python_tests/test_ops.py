"""The op as torch.library and torch.compile see it."""

from __future__ import annotations

import inspect
import shutil
from typing import Any

import pytest
import torch
from oracle import Case

from mmr_kernels import MMRResult, mmr_advantages, mmr_reweight, ops
from mmr_kernels.options import Options

B, G, D = 3, 5, 8
generator = torch.Generator().manual_seed(0)
REWARDS = torch.rand(B, G, generator=generator)
EMBEDDINGS = torch.randn(B, G, D, generator=generator)
VALID = torch.rand(B, G, generator=generator) < 0.8
SIMILARITY = torch.rand(B, G, G, generator=generator)
OFFSETS = torch.tensor([0, 4, 4, 15])
IDS = torch.randint(0, 4, (B * G,), generator=generator)

FLAT: dict[str, Any] = {"rewards": REWARDS.flatten(), "embeddings": EMBEDDINGS.flatten(0, 1)}
CALLS: dict[str, dict[str, Any]] = {
    "2d": {"rewards": REWARDS, "embeddings": EMBEDDINGS},
    "group_size": {**FLAT, "group_size": G},
    "offsets": {**FLAT, "group_offsets": OFFSETS},
    "int32 offsets": {**FLAT, "group_offsets": OFFSETS.int()},
    "list of offsets": {**FLAT, "group_offsets": [0, 4, 15]},
    "ids": {**FLAT, "group_ids": IDS},
    "ids, λ each": {**FLAT, "group_ids": IDS, "lam": torch.linspace(0, 1, 4)[IDS]},
    "similarity": {"rewards": REWARDS, "similarity": SIMILARITY, "valid": VALID},
    "bfloat16": {"rewards": REWARDS.bfloat16(), "embeddings": EMBEDDINGS.bfloat16(), "valid": VALID},
    "λ tensor": {"rewards": REWARDS, "embeddings": EMBEDDINGS, "lam": torch.tensor([0.1, 0.5, 0.9])},
    "λ float": {"rewards": REWARDS, "embeddings": EMBEDDINGS, "lam": 0.3, "diversity": 0.5},
    "batch scope": {"rewards": REWARDS, "embeddings": EMBEDDINGS, "scope": "batch", "lam": torch.tensor(0.5)},
    "batch scale": {"rewards": REWARDS, "embeddings": EMBEDDINGS, "scale": "batch", "degenerate": "zero"},
    "smi": {"rewards": REWARDS, "embeddings": EMBEDDINGS, "method": "smi", "match_scale": True},
    "none": {"rewards": REWARDS, "method": "none"},
    "integer rewards": {"rewards": torch.arange(B * G).reshape(B, G), "embeddings": EMBEDDINGS},
    "not contiguous": {"rewards": REWARDS.T.contiguous().T, "embeddings": EMBEDDINGS.mT.contiguous().mT},
    "empty": {"rewards": torch.empty(0, G), "embeddings": torch.empty(0, G, D)},
}
every_call = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())


def moved(call: dict[str, Any], device: torch.device) -> dict[str, Any]:
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in call.items()}


def op_call(
    call: dict[str, Any], backend: str, outputs: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[Any, tuple[Any, ...]]:
    """The op, and what the front door hands to it for this call."""
    seen: list[tuple[Any, tuple[Any, ...]]] = []
    with monkeypatch.context() as patch:
        for name in ("mmr", "mmr_details"):
            op = getattr(ops, name)
            patch.setattr(ops, name, lambda *arguments, op=op: seen.append((op, arguments)) or op(*arguments))
        if outputs == "reweighted":
            kept = {name: value for name, value in call.items() if name not in ("scale", "degenerate")}
            mmr_reweight(**kept, backend=backend)
        else:
            mmr_advantages(**call, backend=backend, return_details=outputs == "details")
    ((op, arguments),) = seen
    return op, arguments


def returned(op: Any, arguments: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
    result = op(*arguments)
    return (result,) if isinstance(result, torch.Tensor) else result


@every_call
@pytest.mark.parametrize("outputs", ["advantages", "reweighted", "details"])
def test_opcheck(
    backend: str, device: torch.device, call: dict[str, Any], outputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Schema, autograd registration, fake tensors and dynamic shapes, as torch itself checks them."""
    op, arguments = op_call(moved(call, device), backend, outputs, monkeypatch)
    checks = ["test_schema", "test_autograd_registration", "test_faketensor"]
    if not any(tensor.isnan().any() for tensor in returned(op, arguments)):
        checks.append("test_aot_dispatch_dynamic")  # which holds NaN to differ from NaN
    torch.library.opcheck(op, arguments, test_utils=checks)


@every_call
@pytest.mark.parametrize("outputs", ["advantages", "reweighted", "details"])
def test_fake_outputs_look_like_the_real_ones(
    backend: str, device: torch.device, call: dict[str, Any], outputs: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    op, arguments = op_call(moved(call, device), backend, outputs, monkeypatch)
    with torch._subclasses.FakeTensorMode() as mode:
        fake_arguments = [mode.from_tensor(value) if isinstance(value, torch.Tensor) else value for value in arguments]
        fakes = returned(op, tuple(fake_arguments))
    reals = returned(op, arguments)
    for fake, real in zip(fakes, reals, strict=True):
        assert (fake.shape, fake.stride(), fake.dtype, fake.device) == (
            real.shape,
            real.stride(),
            real.dtype,
            real.device,
        )


def nodes_of_the_op(graph: torch.fx.GraphModule) -> int:
    return sum(node.target in (ops.mmr, ops.mmr_details) for node in graph.graph.nodes)


@every_call
def test_compiled_without_a_graph_break_the_bits_are_the_same(
    backend: str, device: torch.device, call: dict[str, Any]
) -> None:
    torch._dynamo.reset()
    call = moved(call, device)
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    def step(**call: Any) -> MMRResult:
        return mmr_advantages(**call, backend=backend, return_details=True)  # type: ignore[return-value]

    compiled = torch.compile(step, fullgraph=True, backend=counting)(**call)
    for mine, theirs in zip(compiled, step(**call), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)
    assert [nodes_of_the_op(graph) for graph in graphs] == [1]


def test_compiled_with_dynamic_shapes(backend: str, device: torch.device) -> None:
    """One graph serves every number of groups, size of group and dimension."""
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    def step(rewards: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        return 2 * mmr_advantages(rewards, embeddings, backend=backend)  # type: ignore[operator]

    compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=counting)
    compiled(REWARDS.to(device), EMBEDDINGS.to(device))
    at_first = len(graphs)
    for shape in [(4, 6, 16), (7, 9, 33), (2, 12, 5)]:
        rewards = torch.rand(shape[:2], device=device)
        embeddings = torch.randn(shape, device=device)
        assert torch.equal(compiled(rewards, embeddings), step(rewards, embeddings))
    assert len(graphs) == at_first


def test_compiled_with_a_schedule(backend: str, device: torch.device) -> None:
    """A λ that changes every step: as a tensor one graph serves all; as a float torch may compile a graph a value."""
    torch._dynamo.reset()
    graphs: list[torch.fx.GraphModule] = []

    def counting(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    def step(lam: float | torch.Tensor, diversity: float) -> torch.Tensor:
        return mmr_advantages(rewards, embeddings, lam=lam, diversity=diversity, backend=backend)  # type: ignore[return-value]

    rewards, embeddings = REWARDS.to(device), EMBEDDINGS.to(device)
    compiled = torch.compile(step, fullgraph=True, backend=counting)
    for lam in torch.linspace(0, 1, 6, device=device):
        assert torch.equal(compiled(lam, 1.0), step(lam, 1.0))
    assert len(graphs) == 1
    for lam, diversity in [(0.9, 0.95), (0.8, 0.85), (0.7, 0.75)]:
        assert torch.equal(compiled(lam, diversity), step(lam, diversity))


def test_compiled_by_inductor(backend: str, device: torch.device) -> None:
    if device.type == "cpu" and not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("inductor on the CPU needs a C++ compiler, found neither g++ nor clang++")
    torch._dynamo.reset()

    def step(rewards: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        return mmr_advantages(rewards * 2, embeddings.mT.contiguous().mT, backend=backend) + 0.0  # type: ignore[operator]

    rewards, embeddings = REWARDS.to(device), EMBEDDINGS.to(device)
    assert torch.equal(torch.compile(step, fullgraph=True)(rewards, embeddings), step(rewards, embeddings))


def test_options_default_to_those_of_the_public_call() -> None:
    public = inspect.signature(mmr_advantages).parameters
    for name, default in Options._field_defaults.items():
        if name not in ("lam_mode", "lam_value", "outputs"):  # the op's own
            assert (name, default) == (name, public[name].default)
    assert Options().lam_mode == public["lam"].default


def test_the_public_call_is_one_op(backend: str, device: torch.device) -> None:
    """Counted by the profiler of torch itself: no second route past the registered op."""
    with torch.profiler.profile() as profile:
        Case.uniform(REWARDS, EMBEDDINGS).run(backend, device)
    assert [event.count for event in profile.key_averages() if event.key == "mmr_kernels::mmr"] == [1]
