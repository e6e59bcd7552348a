"""The compiled look at the two tensors of the plain call never lets through what the checks in Python refuse."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from mmr_kernels import checks
from mmr_kernels.backends import cpu, this_host
from mmr_kernels.options import Options

REASON = cpu.why_not_here(this_host())
needs_module = pytest.mark.skipif(REASON is not None, reason=f"backend 'cpu' {REASON}")

R, E = torch.rand(2, 3), torch.randn(2, 3, 4)


class Subclass(torch.Tensor):
    """May stand for something else than its memory."""


def nested(*shapes: tuple[int, ...], layout: torch.layout = torch.strided) -> torch.Tensor:
    return torch.nested.nested_tensor([torch.rand(shape) for shape in shapes], layout=layout)


FINE: dict[str, tuple[Any, Any]] = {
    "float32": (R, E),
    "bfloat16": (R, E.bfloat16()),
    "float16": (R, E.half()),
    "with gradients": (R.clone().requires_grad_(), E.clone().requires_grad_()),
    "not contiguous": (R.T.contiguous().T, E.mT.contiguous().mT),
    "expanded": (torch.rand(1, 1).expand(2, 3), E),
    "flat": (R.flatten(), E.flatten(0, 1)),
    "no groups": (R[:0], E[:0]),
    "no members": (R[:, :0], E[:, :0]),
    "no dimensions": (R, E[..., :0]),
}
LOOK_CLOSER: dict[str, tuple[Any, Any]] = {
    "no embeddings": (R, None),
    "no tensors": (5, "embeddings"),
    "NumPy": (R.numpy(), E.numpy()),
    "swapped": (E, R),
    "scalar": (R[0, 0], E[0, 0]),
    "fewer groups": (R, E[:1]),
    "fewer members": (R, E[:, :2]),
    "embeddings without D": (R, E[..., 0]),
    "a dimension more": (R, E[..., None]),
    "three dimensions of rewards": (R[..., None], E[..., None]),
    "rewards of float64": (R.double(), E),
    "rewards of bool": (R > 0.5, E),
    "complex rewards": (R + 1j, E),
    "embeddings of float64": (R, E.double()),
    "embeddings of float8": (R, E.to(torch.float8_e4m3fn)),
    "integer embeddings": (R, E.int()),
    "on meta": (R.to("meta"), E.to("meta")),
    "embeddings on meta": (R, E.to("meta")),
    "sparse rewards": (R.to_sparse(), E),
    "sparse embeddings": (R, E.to_sparse()),
    "compressed sparse rewards": (R.to_sparse_csr(), E),
    "nested rewards": (nested((3,), (3,)), E),
    "nested embeddings": (R, nested((3, 4), (3, 4))),
    "jagged embeddings": (R, nested((3, 4), (2, 4), layout=torch.jagged)),
    "a subclass": (R.as_subclass(Subclass), E),
    "a parameter": (R, torch.nn.Parameter(E)),
}


def named(pairs: dict[str, tuple[Any, Any]]) -> Any:
    return pytest.mark.parametrize(("rewards", "embeddings"), pairs.values(), ids=pairs.keys())


@needs_module
@named(FINE)
def test_what_needs_no_check_is_known(rewards: Any, embeddings: Any) -> None:
    assert checks.look(rewards, embeddings) == rewards.dim()
    checks.check_rewards(rewards)
    checks.check_embeddings(embeddings, rewards)


@named(LOOK_CLOSER)
def test_all_else_is_looked_at_closer(rewards: Any, embeddings: Any) -> None:
    """Without an exception left behind."""
    assert not checks.look(rewards, embeddings)


def test_fake_tensors_and_those_of_function_transforms_have_no_memory_to_look_at() -> None:
    with FakeTensorMode() as mode:
        assert not checks.look(mode.from_tensor(R), mode.from_tensor(E))
    seen = []
    torch.func.vmap(lambda rewards, embeddings: seen.append(checks.look(rewards, embeddings)) or rewards)(
        R[None], E[None]
    )
    assert seen == [0]


@needs_module
def test_a_torch_without_the_exchange_api_is_told_apart() -> None:
    """As torch before 2.10: the package works all the same, and says what it lacks."""
    code = """
import torch
del torch.Tensor.__dlpack_c_exchange_api__
import mmr_kernels
mmr_kernels.mmr_advantages(torch.rand(2, 3), torch.randn(2, 3, 4))
print(mmr_kernels.available_backends())
mmr_kernels.mmr_advantages(torch.rand(2, 3), torch.randn(2, 3, 4), backend="cpu")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "torch" in done.stdout
    assert "cpu" not in done.stdout
    assert "found: torch older than 2.10" in done.stderr


@needs_module
@pytest.mark.parametrize(
    ("change", "shapes"),
    [
        ("embeddings of fewer groups", ((2, 3), (1, 3, 4))),
        ("flat rewards of no group size", ((6,), (6, 4))),
        ("groups of nobody", ((2, 0), (2, 0, 4))),
    ],
)
def test_the_kernel_refuses_what_it_would_read_past(change: str, shapes: tuple[tuple[int, ...], ...]) -> None:
    """Whoever calls the op by its name in torch.ops has passed no check."""
    rewards, embeddings = map(torch.rand, shapes)
    assert cpu.run_plain(Options())(rewards, embeddings, 0) is None
