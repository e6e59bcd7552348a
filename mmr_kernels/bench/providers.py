"""The table of providers: backends as they stand in their own table, baselines, peers."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable

import torch
from torch import Tensor

from mmr_kernels import mmr_advantages, mmr_reweight
from mmr_kernels.backends import machine_reasons
from mmr_kernels.backends.host import this_host, unasked
from mmr_kernels.bench import baselines, gpu, peers
from mmr_kernels.bench.cases import SELECTION_LAMBDA, Case, Inputs
from mmr_kernels.bench.correctness import wrong_advantages, wrong_selection
from mmr_kernels.bench.provider import Provider, Trial

#: The compiler unrolls the baseline's loop, a step a member, and takes longer than that.
LARGEST_COMPILED_SCOPE = 64


def providers(device: str) -> list[Provider]:
    """All there are, ours first; those that can't run on this machine's ``device`` ("cpu" or "cuda") say why."""
    found = []
    # As for backend=None: the time of an interpreter or an emulator says nothing of a kernel.
    reasons = machine_reasons(unasked(this_host()))
    for name, reason in reasons.items():
        if reason is None and name == "cpu" and device != "cpu":
            reason = "needs tensors on the CPU; --device cpu"
        elif reason is None and name in ("triton", "cuda") and device == "cpu":
            reason = "needs tensors on a GPU; --device cuda"
        found.append(Provider(name, "ours", "advantages", reason, _backend(name)))
        if device == "cuda" and name in ("triton", "cuda"):
            graph = gpu.replayed(_backend(name))
            found.append(Provider(f"{name}, graph replay", "ours", "advantages", reason, graph, option=name))
        found.append(Provider(f"{name}, selection", "ours", "selection", reason, _selection(name), option=name))
    return [
        *found,
        Provider("loop", "baseline", "advantages", None, _baseline(baselines.loop)),
        Provider("batched", "baseline", "advantages", None, _baseline(baselines.batched)),
        Provider(
            "batched+torch.compile", "baseline", "advantages", _why_no_compiler(device), _compiled, _too_long_to_compile
        ),
        *peers.peers(),
    ]


def _backend(name: str) -> Callable[[Inputs], Trial]:
    """The whole op through the public API."""

    def prepare(inputs: Inputs) -> Trial:
        _, rewards, embeddings, _ = inputs
        scope = inputs.case.scope

        def call() -> Tensor:
            return mmr_advantages(rewards, embeddings, scope=scope, backend=name)  # type: ignore[arg-type,return-value]

        def wrong() -> str | None:
            reweighted = mmr_reweight(rewards, embeddings, scope=scope, backend=name)  # type: ignore[arg-type]
            assert isinstance(reweighted, Tensor)
            return wrong_advantages(inputs, call(), reweighted)

        return Trial(call, wrong)

    return prepare


def _selection(name: str) -> Callable[[Inputs], Trial]:
    """Indices in the order of picking, from embeddings, as the peers return them."""

    def prepare(inputs: Inputs) -> Trial:
        _, rewards, embeddings, _ = inputs

        def call() -> Tensor:
            result = mmr_reweight(
                rewards, embeddings, lam=SELECTION_LAMBDA, first_pick="score", backend=name, return_details=True  # type: ignore[arg-type]
            )  # fmt: skip
            return result.selection_rank.argsort()  # type: ignore[union-attr]

        return Trial(call, lambda: wrong_selection(inputs, call()))

    return prepare


def _baseline(function: Callable[[Tensor, Tensor, str], tuple[Tensor, Tensor]]) -> Callable[[Inputs], Trial]:
    def prepare(inputs: Inputs) -> Trial:
        _, rewards, embeddings, _ = inputs

        def call() -> tuple[Tensor, Tensor]:
            return function(rewards, embeddings, inputs.case.scope)

        return Trial(call, lambda: wrong_advantages(inputs, *call()))

    return prepare


def _compiled(inputs: Inputs) -> Trial:
    torch.compiler.reset()  # sizes are constants of the compiled code; torch keeps only some versions of a function
    return _baseline(torch.compile(baselines.batched, fullgraph=True, dynamic=False))(inputs)


def _too_long_to_compile(case: Case) -> str | None:
    members = case.sizes[1]
    if members <= LARGEST_COMPILED_SCOPE:
        return None
    return f"the compiler unrolls a step a member; not tried above {LARGEST_COMPILED_SCOPE}"


def _why_no_compiler(device: str) -> str | None:
    compiler = os.environ.get("CXX", "g++")
    if device == "cuda" or shutil.which(shlex.split(compiler)[0]):
        return None
    return f"needs a C++ compiler, found no {compiler}; set CXX"
