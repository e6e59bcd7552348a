"""The front door: check the arguments, lay out the groups, call the op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from mmr_kernels import checks, ops
from mmr_kernels.groups import Groups, Labels, lay_out
from mmr_kernels.options import check_and_pack, pack


class MMRResult(NamedTuple):
    """All that one call computes; each field has the shape of ``rewards`` but ``lam``.

    ``lam`` is λ as used: one a group, ``(num_groups,)``; with ``scope="batch"`` one, ``(1,)``; with ``group_ids``,
    whose number of groups only the device knows, that of each completion's group, ``(N,)``. NaN where the method
    has no λ.
    """

    advantages: Tensor | None  #: float32; None from ``mmr_reweight``
    reweighted_rewards: Tensor  #: float32, NaN where not valid
    selection_rank: Tensor  #: int64; 0 = picked first in its scope, -1 = not valid, or a method that picks nothing
    max_similarity: Tensor  #: float32; largest similarity to those picked before (0 for the first, 0 where not valid)
    lam: Tensor  #: float32


def mmr_advantages(
    rewards: Tensor,
    embeddings: Tensor | None = None,
    *,
    similarity: Tensor | None = None,
    group_size: int | None = None,
    group_offsets: Tensor | Sequence[int] | None = None,
    group_ids: Labels | None = None,
    valid: Tensor | None = None,
    method: Literal["mmr", "smi", "none"] = "mmr",
    lam: float | Tensor | Literal["sigmoid", "relative_std"] = "sigmoid",
    temperature: float = 1.0,
    first_pick: Literal["reward", "score"] = "reward",
    diversity: float = 1.0,
    match_scale: bool = False,
    scope: Literal["group", "batch"] = "group",
    scale: Literal["group", "batch", "none"] = "group",
    eps: float = 1e-4,
    degenerate: Literal["reweight", "zero"] = "reweight",
    normalize: bool = True,
    backend: Literal["triton", "cuda", "cpu", "torch"] | None = None,
    return_details: bool = False,
) -> Tensor | MMRResult:
    """Group-relative advantages of MMR-reweighted rewards (MMR-GRPO, arXiv 2601.09085).

    Within each scope the completion of highest reward is picked first and keeps its reward. Then, until all are
    picked, the one with the highest score is, and its score becomes its reward (Carbonell & Goldstein 1998)::

        score_i = λ r_i − (1 − λ) max(0, max over picked j of cos(e_i, e_j))
        A_i     = (r'_i − mean r') / (std r' + eps)          over its group

    docs/contract.md states every option exactly. Nothing here reads a tensor's values on the host, so a call on a
    GPU never waits for it, can be captured in a CUDA graph and traces under ``torch.compile``. (Compiled, a number that
    changes makes a graph for each value: pass a scheduled λ as a tensor, with the diversity folded in.)

    Args:
        rewards: (N,) or (B, G), any real dtype, computed in float32. A non-finite reward takes no part.
        embeddings: (N, D) or (B, G, D), float32, bfloat16 or float16, one vector a completion, of any length: rows
            are normalised here. A row with a non-finite entry or of zero norm is similar to nothing. Not needed for
            ``method="none"``.
        similarity: instead of embeddings: one square block a scope, (B, G, G) of floats; for ``scope="batch"``
            (1, N, N). The diagonal plays no part in MMR; a non-finite entry counts as 0.
        group_size: for flat rewards: groups of this many, one after the other.
        group_offsets: for flat rewards: group g is completions [offsets[g], offsets[g+1]). A tensor's values are
            checked on the CPU; on another device they are the caller's promise.
        group_ids: for flat rewards: a label a completion, in any order: an integer tensor, or a sequence or NumPy
            array of anything hashable (verl's ``uid``).
        valid: bool, like ``rewards``: completions that take part; the others get advantage 0.
        method: "mmr"; "smi": r / Σ_j S_ij (DRA-GRPO, arXiv 2505.09655); "none": plain GRPO.
        lam: λ in [0, 1]: 1 looks at rewards alone, 0 at diversity alone. A float; a tensor of one λ or one a scope
            (one a completion with ``group_ids``); "sigmoid": 1 / (1 + exp(−std r)); "relative_std": τρ / (1 + τρ),
            ρ = std r / (abs(mean r) + 1e-8).
        temperature: τ of "relative_std", at least 0.
        first_pick: the first pick's new reward: "reward", r as published, or "score", λ·r.
        diversity: in [0, 1], a dial from plain GRPO (0) to MMR (1): the λ used is 1 − diversity·(1 − λ).
        match_scale: give the new rewards the mean and standard deviation that the scope's rewards had.
        scope: pick within each "group", or across the whole "batch" of the call.
        scale: divide by the std of the "group" (GRPO, DAPO), of the "batch", or by nothing, "none" (Dr. GRPO).
        eps: added to the std, at least 0.
        degenerate: "reweight" gives a group of equal rewards the advantages of its reweighted rewards, "zero" gives
            it 0, as plain GRPO does.
        normalize: divide each embedding by max(its norm, 1e-12).
        backend: "triton", "cuda", "cpu" or "torch"; None takes the first of them that can.
        return_details: return ``MMRResult`` instead of the advantages alone.

    Returns:
        Advantages, float32, on the device and in the shape of ``rewards``; or ``MMRResult``. Never requires grad.
        0 for a completion that is not valid and in a group with fewer than two valid ones.

    Raises:
        TypeError, ValueError: naming the argument, what it got and what it takes.
    """
    return _call(
        rewards, embeddings, similarity, group_size, group_offsets, group_ids, valid, method, lam, temperature,
        first_pick, diversity, match_scale, scope, scale, eps, degenerate, normalize, backend, return_details,
        "advantages",
    )  # fmt: skip


def mmr_reweight(
    rewards: Tensor,
    embeddings: Tensor | None = None,
    *,
    similarity: Tensor | None = None,
    group_size: int | None = None,
    group_offsets: Tensor | Sequence[int] | None = None,
    group_ids: Labels | None = None,
    valid: Tensor | None = None,
    method: Literal["mmr", "smi", "none"] = "mmr",
    lam: float | Tensor | Literal["sigmoid", "relative_std"] = "sigmoid",
    temperature: float = 1.0,
    first_pick: Literal["reward", "score"] = "reward",
    diversity: float = 1.0,
    match_scale: bool = False,
    scope: Literal["group", "batch"] = "group",
    normalize: bool = True,
    backend: Literal["triton", "cuda", "cpu", "torch"] | None = None,
    return_details: bool = False,
) -> Tensor | MMRResult:
    """The reweighted rewards of ``mmr_advantages``, before they become advantages; arguments as there.

    Returns:
        Reweighted rewards, float32, like ``rewards``, NaN where not valid; or ``MMRResult`` with ``advantages`` None.
    """
    result = _call(
        rewards, embeddings, similarity, group_size, group_offsets, group_ids, valid, method, lam, temperature,
        first_pick, diversity, match_scale, scope, "none", 0.0, "reweight", normalize, backend, return_details,
        "reweighted",
    )  # fmt: skip
    return result._replace(advantages=None) if isinstance(result, MMRResult) else result


def _call(
    rewards: Tensor,
    embeddings: Tensor | None,
    similarity: Tensor | None,
    group_size: int | None,
    group_offsets: Tensor | Sequence[int] | None,
    group_ids: Labels | None,
    valid: Tensor | None,
    method: str,
    lam: float | Tensor | str,
    temperature: float,
    first_pick: str,
    diversity: float,
    match_scale: bool,
    scope: str,
    scale: str,
    eps: float,
    degenerate: str,
    normalize: bool,
    backend: str | None,
    return_details: bool,
    only: str,
) -> Tensor | MMRResult:
    """``only``: the one output without details."""
    if return_details is not False:  # a frame less for most calls
        checks.check_flag("return_details", return_details)
    outputs = "details" if return_details else only
    lam_mode, lam_value = _lambda_mode(lam)
    tracing = torch.compiler.is_dynamo_compiling()
    options = (check_and_pack if tracing else pack)(
        method, lam_mode, lam_value, temperature, first_pick, diversity, match_scale, scope, scale, eps, degenerate,
        normalize, outputs, backend,
    )  # fmt: skip
    plain = not return_details and lam_mode != "tensor" and similarity is None and valid is None
    dimensions = 0 if tracing else checks.look(rewards, embeddings)
    if plain and dimensions == 2 and group_size is None and group_offsets is None and group_ids is None:
        return ops.mmr(rewards, embeddings, options)  # what most training loops ask for: nothing to lay out
    if not dimensions:
        checks.check_rewards(rewards)
        if embeddings is not None:
            checks.check_embeddings(embeddings, rewards)
    groups = lay_out(rewards, group_size, group_offsets, group_ids)
    if valid is not None:
        checks.check_valid(valid, rewards)
    if similarity is not None:
        checks.check_similarity(similarity, rewards, groups.group_size, groups.num_groups, scope)
    given = (embeddings is not None) + (similarity is not None)
    if given == 2 or (given == 0 and method != "none"):
        raise ValueError(f'method="{method}" takes embeddings or similarity, one of the two; got {given} of them')
    lam_tensor = _lambda_tensor(lam, rewards, groups, scope) if isinstance(lam, Tensor) else None
    _, size, offsets, order, group_of = groups
    if plain and embeddings is not None and offsets is None:
        return ops.mmr(rewards, embeddings, options, size)
    arguments = (rewards, embeddings, options, size, similarity, valid, offsets, order, lam_tensor)
    if not return_details:
        return ops.mmr_general(*arguments)
    advantages, reweighted, rank, max_similarity, lam_used = ops.mmr_details(*arguments)
    if group_of is not None and scope == "group":
        lam_used = lam_used[group_of]
    return MMRResult(advantages, reweighted, rank, max_similarity, lam_used)


def _lambda_mode(lam: float | Tensor | str) -> tuple[str, float]:
    """λ as the op's options take it: mode and value."""
    if isinstance(lam, str):
        if lam not in checks.LAMBDA_MODES:
            raise ValueError(
                f"lam must be a number, a tensor or one of {checks.quoted(checks.LAMBDA_MODES)}; got {lam!r}"
            )
        return lam, 0.0
    return ("tensor", 0.0) if isinstance(lam, Tensor) else ("fixed", lam)


def _lambda_tensor(lam: Tensor, rewards: Tensor, groups: Groups, scope: str) -> Tensor:
    """λ as a tensor of one, or of one a scope."""
    if not lam.dtype.is_floating_point:
        raise TypeError(f"lam must be a tensor of floats, got {lam.dtype}")
    checks.check_device("lam", lam, rewards)
    if lam.numel() == 1:
        return lam.reshape(1)
    if scope == "group" and lam.shape == (groups.num_groups,):
        if groups.group_of is None:
            return lam
        # One a completion: group k takes that of its first member; empty groups, at the end, any.
        assert groups.group_offsets is not None
        assert groups.order is not None
        first = groups.group_offsets[:-1].clamp(max=max(groups.num_groups - 1, 0))
        return lam[groups.order[first]]
    takes = "(1,)" if scope == "batch" else f"(1,) or ({groups.num_groups},)"
    raise ValueError(f'lam must have shape {takes} with scope="{scope}" and these groups; got {tuple(lam.shape)}')
