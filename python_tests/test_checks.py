"""What C++ looks at: it never lets through what the checks in Python refuse, and no kernel leaves its tensors."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

from mmr_kernels import checks, mmr_advantages, ops
from mmr_kernels.backends import cpu, this_host
from mmr_kernels.options import Options, check_and_pack

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
    assert "torch 2.10 or later" in done.stderr


class Step(torch.nn.Module):
    """As a program would be exported."""

    def forward(self, rewards: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """The plain call."""
        result = mmr_advantages(rewards, embeddings, backend="cpu")
        assert isinstance(result, torch.Tensor)
        return result


@needs_module
def test_an_exported_program_refuses_another_dtype() -> None:
    """Its graph holds the op alone: the checks in Python were done when it was traced."""
    program = torch.export.export(Step(), (R, E)).module()
    assert torch.equal(program(R, E), Step()(R, E))
    with pytest.raises(ValueError, match="embeddings must be contiguous float32, bfloat16 or float16"):
        program(R, E.double())


MANY, VECTORS = torch.rand(40_000, 16), torch.randn(40_000, 16, 8)
FLAT = (torch.rand(8), torch.randn(8, 4))
NOTHING = (None, None, None, None, None)
RAW: dict[str, tuple[str, Any, tuple[Any, ...], dict[str, Any]]] = {
    "fewer embeddings": ("embeddings", "mmr", (MANY, VECTORS[:1]), {}),
    "embeddings without a dimension": ("embeddings", "mmr", (MANY, VECTORS[0]), {}),
    "embeddings of int8": ("embeddings", "mmr", (MANY, VECTORS.to(torch.int8)), {}),
    "group_size that doesn't divide": ("group_size", "mmr", (*FLAT, 3), {}),
    "negative group_size": ("group_size", "mmr", (*FLAT, -2), {}),
    "no λ": ("lam", "mmr", (R, E), {"lam_mode": "tensor"}),
    "neither embeddings nor similarity": ("embeddings or similarity", "mmr_general", (R, None, 3, *NOTHING), {}),
    "short similarity": ("similarity", "mmr_general", (R, None, 3, torch.rand(1, 3, 3), *NOTHING[1:]), {}),
    "short mask": ("valid", "mmr_general", (R, E, 3, None, torch.ones(1, dtype=torch.bool), *NOTHING[2:]), {}),
    "short order": (
        "order",
        "mmr_general",
        (*FLAT, 0, None, None, torch.tensor([0, 8]), torch.arange(3), None),
        {},
    ),
    "λ for others": ("lam", "mmr_general", (R, E, 3, *NOTHING[:4], torch.rand(5)), {"lam_mode": "tensor"}),
}


@needs_module
@pytest.mark.parametrize(("argument", "op", "given", "options"), RAW.values(), ids=RAW.keys())
def test_the_kernel_never_leaves_its_tensors(
    argument: str, op: str, given: tuple[Any, ...], options: dict[str, Any]
) -> None:
    """Whoever calls the op by its name has passed no check of the API."""
    rewards, embeddings, *more = given
    packed = check_and_pack(*Options(backend="cpu", **options))
    with pytest.raises(ValueError, match=f"^{argument} must"):
        getattr(ops, op)(rewards, embeddings, packed, *more)
