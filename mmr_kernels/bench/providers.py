"""The table of providers: backends as they stand in their own table, baselines, peers."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from mmr_kernels import MMRResult, mmr_advantages, mmr_reweight
from mmr_kernels.backends import machine_reasons
from mmr_kernels.backends.host import this_host, unasked
from mmr_kernels.bench import baselines, peers, rules
from mmr_kernels.bench.cases import SELECTION_LAMBDA, Case, Inputs
from mmr_kernels.bench.correctness import wrong_advantages, wrong_rule, wrong_selection
from mmr_kernels.bench.provider import Provider, Trial, takes_all

#: The compiler unrolls the baseline's loop, once per member, and takes longer than that.
LARGEST_COMPILED_SCOPE = 64


def providers(device: str) -> list[Provider]:
    """All there are, ours first; those that can't run on this machine's ``device`` ("cpu" or "cuda") say why."""
    found = []
    # As for backend=None: the time of an interpreter or an emulator says nothing of a kernel.
    for name, reason in machine_reasons(unasked(this_host())).items():
        if reason is None and name == "cpu" and device != "cpu":
            reason = "needs tensors on the CPU; --device cpu"
        elif reason is None and name in ("triton", "cuda") and device == "cpu":
            reason = "needs tensors on a GPU; --device cuda"
        captured = device == "cuda" and name in ("triton", "cuda")
        found += [
            Provider(name, "ours", "advantages", reason, _advantages(name), captured=captured),
            Provider(f"{name}, trainer", "ours", "trainer", reason, _trainer(name), option=name, captured=captured),
            Provider(f"{name}, selection", "ours", "selection", reason, _selection(name), option=name),
            *(
                Provider(f"{name}, {method}", "ours", "methods", reason, prepare, takes_all, name, captured, method)
                for method, prepare in _methods(name).items()
            ),
        ]
    return [
        *found,
        Provider("loop", "baseline", "advantages", None, _baseline(baselines.loop)),
        Provider("batched", "baseline", "advantages", None, _baseline(baselines.batched)),
        Provider(
            "batched+torch.compile", "baseline", "advantages", _why_no_compiler(device), _compiled, _too_long_to_compile
        ),
        *(
            Provider(
                f"{name}, {method}", "baseline", "methods", reason, _rule(function, method), option=name, method=method
            )
            for method in rules.RULES
            for name, function, reason in (
                ("loop", rules.loop, None),
                ("batched", rules.batched, None),
                ("batched+torch.compile", _compiled_rule, _why_no_compiler(device)),
            )
        ),
        *peers.peers(),
    ]


def _advantages(backend: Any) -> Callable[[Inputs], Trial]:
    """The whole op through the public API: groups in rows, one output."""

    def prepare(inputs: Inputs) -> Trial:
        case, rewards, embeddings, _ = inputs
        options: dict[str, Any] = {"scope": case.scope, "backend": backend}

        def wrong(advantages: Tensor) -> str | None:
            reweighted = mmr_reweight(rewards, embeddings, **options)
            assert isinstance(reweighted, Tensor)
            return wrong_advantages(inputs, advantages, reweighted)

        return Trial(lambda: mmr_advantages(rewards, embeddings, **options), wrong)

    return prepare


def _trainer(backend: Any) -> Callable[[Inputs], Trial]:
    """The call that a trainer makes: flat, with the size of a group, a mask and details.

    The mask is all true, so that the result is that of the other providers; what is in it doesn't change the work.
    """

    def prepare(inputs: Inputs) -> Trial:
        case, rewards, embeddings, _ = inputs
        flat, rows = rewards.flatten(), embeddings.flatten(0, 1)
        options: dict[str, Any] = {
            "group_size": case.group_size,
            "valid": torch.ones_like(flat, dtype=torch.bool),
            "scope": case.scope,
            "backend": backend,
            "return_details": True,
        }

        def wrong(result: MMRResult) -> str | None:
            assert result.advantages is not None
            both = result.advantages, result.reweighted_rewards
            return wrong_advantages(inputs, *(values.view_as(rewards) for values in both))

        return Trial(lambda: mmr_advantages(flat, rows, **options), wrong)

    return prepare


def _selection(backend: Any) -> Callable[[Inputs], Trial]:
    """Indices in the order of picking, from embeddings, as the peers return them."""

    def prepare(inputs: Inputs) -> Trial:
        _, rewards, embeddings, _ = inputs

        def call() -> Tensor:
            result = mmr_reweight(
                rewards, embeddings, lam=SELECTION_LAMBDA, first_pick="score", backend=backend, return_details=True
            )
            assert isinstance(result, MMRResult)
            return result.selection_rank.argsort()

        return Trial(call, lambda picks: wrong_selection(inputs, picks))

    return prepare


def _methods(backend: Any) -> dict[str, Callable[[Inputs], Trial]]:
    """The other methods, and MMR with details, of which the signal is one."""

    def details(inputs: Inputs) -> Trial:
        _, rewards, embeddings, _ = inputs

        def wrong(result: MMRResult) -> str | None:
            assert result.advantages is not None
            return wrong_advantages(inputs, result.advantages, result.reweighted_rewards)

        return Trial(lambda: mmr_advantages(rewards, embeddings, backend=backend, return_details=True), wrong)

    def of(method: Any) -> Callable[[Inputs], Trial]:
        def prepare(inputs: Inputs) -> Trial:
            rewards, embeddings = inputs.rewards, rules.alike(inputs.embeddings)
            options = rules.OPTIONS.get(method, {})

            def wrong(advantages: Tensor) -> str | None:
                return wrong_rule(advantages, rules.batched(method, rewards.cpu().double(), embeddings.cpu().double()))

            return Trial(lambda: mmr_advantages(rewards, embeddings, method=method, backend=backend, **options), wrong)

        return prepare

    return {"details": details} | {method: of(method) for method in rules.RULES}


def _rule(function: Callable[[str, Tensor, Tensor], Tensor], method: Any) -> Callable[[Inputs], Trial]:
    """A baseline of another method, checked against the op."""

    def prepare(inputs: Inputs) -> Trial:
        rewards, embeddings = inputs.rewards, rules.alike(inputs.embeddings)

        def wrong(advantages: Tensor) -> str | None:
            options = rules.OPTIONS.get(method, {})
            expected = mmr_advantages(rewards, embeddings, method=method, backend="torch", **options)
            assert isinstance(expected, Tensor)
            return wrong_rule(advantages, expected)

        return Trial(lambda: function(method, rewards, embeddings), wrong)

    return prepare


def _baseline(function: Callable[..., tuple[Tensor, Tensor]]) -> Callable[[Inputs], Trial]:
    def prepare(inputs: Inputs) -> Trial:
        case, rewards, embeddings, _ = inputs
        return Trial(
            lambda: function(rewards, embeddings, case.scope), lambda result: wrong_advantages(inputs, *result)
        )

    return prepare


_compiled_rule = torch.compile(rules.batched, fullgraph=True, dynamic=False)


def _compiled(inputs: Inputs) -> Trial:
    torch.compiler.reset()  # sizes are constants of the compiled code; torch keeps only some versions of a function
    return _baseline(torch.compile(baselines.batched, fullgraph=True, dynamic=False))(inputs)


def _too_long_to_compile(case: Case) -> str | None:
    members = case.sizes[1]
    if members <= LARGEST_COMPILED_SCOPE:
        return None
    return f"the compiler unrolls a step per member; not tried above {LARGEST_COMPILED_SCOPE}"


def _why_no_compiler(device: str) -> str | None:
    compiler = os.environ.get("CXX", "g++")
    if device == "cuda" or shutil.which(shlex.split(compiler)[0]):
        return None
    return f"needs a C++ compiler, found no {compiler}; set CXX"
