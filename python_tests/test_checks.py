"""The op's own checks: no kernel leaves its tensors, whoever calls. Exported programs and raw calls of the op pass no
check of the API."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from mmr_kernels import mmr_advantages, ops
from mmr_kernels.options import pack

R, E = torch.rand(2, 3), torch.randn(2, 3, 4)


class Step(torch.nn.Module):
    """As a program would be exported."""

    def __init__(self, backend: str) -> None:
        super().__init__()
        self.backend: Any = backend

    def forward(self, rewards: torch.Tensor, embeddings: torch.Tensor) -> torch.Tensor:
        """Advantages of groups of one size."""
        result = mmr_advantages(rewards, embeddings, backend=self.backend)
        assert isinstance(result, torch.Tensor)
        return result


def test_an_exported_program_refuses_another_dtype(backend: str, device: torch.device) -> None:
    """Its graph holds the op alone: the checks of the API were done when it was traced."""
    rewards, embeddings = R.to(device), E.to(device)
    program = torch.export.export(Step(backend), (rewards, embeddings)).module()
    assert torch.equal(program(rewards, embeddings), Step(backend)(rewards, embeddings))
    with pytest.raises(TypeError, match=r"embeddings must be torch\.float32 or"):
        program(rewards, embeddings.double())


def test_an_exported_program_holds_no_option_that_has_its_default(backend: str, device: torch.device) -> None:
    """So that it stays valid when the table gains an option."""
    graph = torch.export.export(Step(backend), (R.to(device), E.to(device))).graph
    (node,) = [node for node in graph.nodes if node.target is ops.mmr]
    assert node.args[2] == f"backend={backend}"


MANY, VECTORS = torch.rand(40_000, 16), torch.randn(40_000, 16, 8)
FLAT = (torch.rand(8), torch.randn(8, 4))
IDENTITY = torch.arange(8)
with warnings.catch_warnings(action="ignore"):
    QUANTISED = torch.quantize_per_tensor(R, 0.1, 0, torch.quint8)
RAW: dict[str, tuple[str, tuple[Any, ...], dict[str, Any], dict[str, Any]]] = {
    "no reward's shape": ("rewards", (R[None], E[None]), {}, {}),
    "complex rewards": ("rewards", (R + 1j, E), {}, {}),
    "fewer embeddings": ("embeddings", (MANY, VECTORS[:1]), {}, {}),
    "embeddings without a dimension": ("embeddings", (MANY, VECTORS[0]), {}, {}),
    "embeddings of int8": ("embeddings", (MANY, VECTORS.to(torch.int8)), {}, {}),
    "group_size that doesn't divide": ("group_size", FLAT, {"group_size": 3}, {}),
    "group_size 0": ("group_size", FLAT, {"group_size": 0}, {}),
    "negative group_size": ("group_size", FLAT, {"group_size": -2}, {}),
    "group_size beside offsets": ("group_size", FLAT, {"group_size": 8, "group_offsets": torch.tensor([0, 2, 8])}, {}),
    "a negative bound": ("max_group_size", FLAT, {"group_size": 4, "max_group_size": -1}, {}),
    "a bound below group_size": ("max_group_size", FLAT, {"group_size": 4, "max_group_size": 3}, {}),
    "no λ": ("lam", (R, E), {}, {"lam_mode": "tensor"}),
    "a λ without its mode": ("lam", (R, E), {"lam": torch.rand(1)}, {}),
    "λ for others": ("lam", (R, E), {"lam": torch.rand(5)}, {"lam_mode": "tensor"}),
    "short labels": ("labels", (R, E), {"labels": IDENTITY[:3]}, {"method": "share"}),
    "labels in groups": ("labels", (R, E), {"labels": IDENTITY[:6].reshape(2, 3)}, {"method": "share"}),
    "labels of floats": ("labels", (R, E), {"labels": torch.rand(6)}, {"method": "share"}),
    "a diversity for others": ("diversity", (R, E), {"diversity": torch.rand(5)}, {"method": "share"}),
    "neither embeddings nor similarity": ('method="mmr"', (R, None), {}, {}),
    "short similarity": ("similarity", (R, None), {"similarity": torch.rand(1, 3, 3)}, {}),
    "short mask": ("valid", (R, E), {"valid": torch.ones(1, dtype=torch.bool)}, {}),
    "mask of int8": ("valid", (R, E), {"valid": torch.ones(2, 3, dtype=torch.int8)}, {}),
    "short order": ("order", FLAT, {"group_offsets": torch.tensor([0, 8]), "order": IDENTITY[:3]}, {}),
    "order of int32": ("order", FLAT, {"group_offsets": torch.tensor([0, 8]), "order": IDENTITY.int()}, {}),
    "order without offsets": ("order", FLAT, {"group_size": 4, "order": IDENTITY}, {}),
    "order out of range": ("order", FLAT, {"group_offsets": torch.tensor([0, 8]), "order": IDENTITY + 1}, {}),
    "no offsets": ("group_offsets", FLAT, {"group_offsets": torch.tensor([], dtype=torch.int64)}, {}),
    "offsets of two dimensions": ("group_offsets", FLAT, {"group_offsets": torch.tensor([[0, 8]])}, {}),
    "offsets of floats": ("group_offsets", FLAT, {"group_offsets": torch.tensor([0.0, 8.0])}, {}),
    "offsets elsewhere": ("group_offsets", FLAT, {"group_offsets": torch.tensor([0, 8], device="meta")}, {}),
    "quantised rewards": ("rewards", (QUANTISED, E), {}, {}),
    "sparse embeddings": ("embeddings", (R, E.to_sparse()), {}, {}),
    "sparse mask": ("valid", (R, E), {"valid": (R > 0).to_sparse()}, {}),
    "offsets past the end": ("group_offsets", FLAT, {"group_offsets": torch.tensor([0, 9]), "order": IDENTITY}, {}),
}


@pytest.mark.parametrize(("argument", "given", "more", "options"), RAW.values(), ids=RAW.keys())
@pytest.mark.parametrize("details", [False, True])
def test_no_kernel_leaves_its_tensors(
    backend: str,
    argument: str,
    given: tuple[Any, ...],
    more: dict[str, Any],
    options: dict[str, Any],
    details: bool,
) -> None:
    """Whoever calls the op by its name, on every backend: an error that names the argument."""
    names = (
        "group_size", "similarity", "valid", "group_offsets", "order", "lam", "labels", "diversity", "max_group_size",
    )  # fmt: skip
    filled = {**dict.fromkeys(names), "group_size": 0, "max_group_size": 0, **more}
    packed = pack({"backend": backend, "outputs": "details" if details else "advantages", **options})
    with pytest.raises((TypeError, ValueError), match=f"^{argument} "):
        (ops.mmr_details if details else ops.mmr)(*given, packed, *[filled[name] for name in names])


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        ("method=dpp2", "method must be one of 'mmr', "),
        ("colour=red", "options must be name=value of method, "),
        ("eps=small", "eps must be a float, got 'small'"),
        ("eps=-1", "eps must lie in "),
        ("normalize=1", "normalize must be a bool, got '1'"),
    ],
)
def test_options_in_their_wire_form_are_checked(packed: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        ops.mmr(R, E, packed, 0, None, None, None, None, None)
