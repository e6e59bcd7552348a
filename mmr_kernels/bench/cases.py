"""The sizes that are measured, and their inputs."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

SEED = 0
#: λ of the selection alone.
SELECTION_LAMBDA = 0.5


class Case(NamedTuple):
    """One size. Task "advantages" is the whole op; "selection" picks all of one group, in the order of MMR, from
    embeddings and relevance, as the peers do."""

    groups: int
    group_size: int
    dim: int
    dtype: str = "float32"  # of the embeddings
    scope: str = "group"
    task: str = "advantages"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Scopes, members of each, dimensions: what the work grows with."""
        members = self.groups * self.group_size
        return (1, members, self.dim) if self.scope == "batch" else (self.groups, self.group_size, self.dim)

    @property
    def tasks(self) -> set[str]:
        """Whose providers take part: at the sizes of ``TABLE`` also those of the call that a trainer makes, and at
        ``BASE`` those of the other methods."""
        return {self.task, *["trainer"] * (self in TABLE), *["methods"] * (self == BASE)}

    def __str__(self) -> str:
        notes = [self.dtype] * (self.dtype != "float32") + ['scope "batch"'] * (self.scope == "batch")
        return ", ".join([f"{self.groups} × {self.group_size} × {self.dim}", *notes])


#: Fields of a row that say which case it is of; no two cases differ in their task alone.
KEY = Case._fields[:5]
BASE = Case(64, 16, 512)
#: The sizes that README quotes.
TABLE = [BASE, Case(512, 16, 512), Case(1, 6, 512), Case(1, 1024, 512, scope="batch"), Case(64, 8, 512)]
TABLE_QUICK = [BASE, Case(1, 6, 512)]


def case_of(row: dict[str, Any]) -> Case:
    """The case that a row is of, but for its task."""
    return Case(*(row[name] for name in KEY))


class Sweep(NamedTuple):
    """Cases of which one thing varies; ``variable`` is the size whose exponent can be fitted, or None."""

    cases: list[Case]
    variable: str | None = None


def sweeps(quick: bool = False) -> dict[str, Sweep]:
    """By name. ``quick`` has fewer and smaller cases, for a look."""
    groups = (1, 8, 64) if quick else (1, 4, 16, 64, 256, 1024)
    group_sizes = (4, 8, 16, 32) if quick else (4, 8, 16, 32, 64, 128)
    dims = (128, 512, 2048) if quick else (64, 128, 256, 512, 1024, 2048, 4096)
    candidates = (32, 64, 128) if quick else (64, 128, 256, 512, 1024)
    base = BASE._replace(groups=16) if quick else BASE
    return {
        "table": Sweep(TABLE_QUICK if quick else TABLE),
        "groups": Sweep([base._replace(groups=size) for size in groups], "groups"),
        "group_size": Sweep([base._replace(group_size=size) for size in group_sizes], "group_size"),
        "dim": Sweep([base._replace(dim=size) for size in dims], "dim"),
        "dtype": Sweep([base._replace(dtype=name) for name in ("float32", "bfloat16", "float16")]),
        "scope": Sweep([base, base._replace(scope="batch")]),
        "selection": Sweep([Case(1, size, 512, task="selection") for size in candidates], "group_size"),
    }


class Inputs(NamedTuple):
    """Inputs of a case, the same for every provider."""

    case: Case
    rewards: Tensor  # (B, G), float32
    embeddings: Tensor  # (B, G, D), of the case's dtype
    query: Tensor | None  # (D,), float32: for the selection, whose rewards are the cosines to it


def make_inputs(case: Case, device: str) -> Inputs:
    """The same numbers each time."""
    generator = torch.Generator().manual_seed(SEED)
    embeddings = torch.randn(case.groups, case.group_size, case.dim, generator=generator)
    rewards = torch.rand(case.groups, case.group_size, generator=generator)
    query = None
    if case.task == "selection":
        # No cosine is negative, or LangChain, which doesn't cut similarities off at 0, would pick otherwise.
        embeddings = embeddings.abs()
        query = torch.rand(case.dim, generator=generator)
        rewards = torch.nn.functional.cosine_similarity(embeddings, query, dim=-1)
        query = query.to(device)
    return Inputs(case, rewards.to(device), embeddings.to(getattr(torch, case.dtype)).to(device), query)
