"""The front door: check the arguments, lay out the groups, call the op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmr_kernels import ops
from mmr_kernels.checks import check_device, check_flag, check_rewards, check_tensor
from mmr_kernels.groups import Groups, Labels, lay_out
from mmr_kernels.options import check_and_pack, lambda_options, pack
from mmr_kernels.problem import MMRResult


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
        embeddings: (N, D) or (B, G, D), float32, bfloat16 or float16, one vector per completion, of any length: rows
            are normalised here. A row with a non-finite entry or of zero norm is similar to nothing. Not needed for
            ``method="none"``.
        similarity: instead of embeddings: one square block per scope, (B, G, G) of floats; for ``scope="batch"``
            (1, N, N). The diagonal plays no part in MMR; a non-finite entry counts as 0.
        group_size: for flat rewards: groups of this many, one after the other.
        group_offsets: for flat rewards: group g is completions [offsets[g], offsets[g+1]). A tensor's values are
            checked on the CPU; on another device the caller promises that they are right.
        group_ids: for flat rewards: one label per completion, in any order: an integer tensor, or a sequence or array
            of anything hashable (verl's ``uid``) but None and NaN.
        valid: bool, like ``rewards``: completions that take part; the others get advantage 0.
        method: "mmr"; "smi": r / Σ_j S_ij (DRA-GRPO, arXiv 2505.09655); "none": plain GRPO.
        lam: λ in [0, 1]: 1 looks at rewards alone, 0 at diversity alone. A float; a tensor of one λ or one per scope
            (one per completion with ``group_ids``); "sigmoid": 1 / (1 + exp(−std r)); "relative_std": τρ / (1 + τρ),
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
        "advantages", return_details, rewards, embeddings, similarity, group_size, group_offsets, group_ids, valid, lam,
        method=method, temperature=temperature, first_pick=first_pick, diversity=diversity, match_scale=match_scale,
        scope=scope, scale=scale, eps=eps, degenerate=degenerate, normalize=normalize, backend=backend,
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
        "reweighted", return_details, rewards, embeddings, similarity, group_size, group_offsets, group_ids, valid, lam,
        method=method, temperature=temperature, first_pick=first_pick, diversity=diversity, match_scale=match_scale,
        scope=scope, scale="none", normalize=normalize, backend=backend,
    )  # fmt: skip
    return MMRResult(None, *result[1:]) if isinstance(result, MMRResult) else result


def _call(
    only: str,
    return_details: bool,
    rewards: Tensor,
    embeddings: Tensor | None,
    similarity: Tensor | None,
    group_size: int | None,
    group_offsets: Tensor | Sequence[int] | None,
    group_ids: Labels | None,
    valid: Tensor | None,
    lam: float | Tensor | str,
    **options: object,
) -> Tensor | MMRResult:
    """``only``: the one output without details. What the op checks, for whoever calls it, is not checked here."""
    return_details = check_flag("return_details", return_details)
    check_rewards(rewards)
    if embeddings is not None:
        check_tensor("embeddings", embeddings)
    if similarity is not None:
        check_tensor("similarity", similarity)
    if valid is not None:
        check_tensor("valid", valid)
    options["lam_mode"], options["lam_value"] = lambda_options(lam)
    options["outputs"] = "details" if return_details else only
    packed = check_and_pack(**options) if torch.compiler.is_dynamo_compiling() else pack(options)
    groups = lay_out(rewards, group_size, group_offsets, group_ids)
    size, offsets, order, group_of = groups
    lam_tensor = _per_scope(lam, rewards, groups) if isinstance(lam, Tensor) else None
    if not return_details:
        return ops.mmr(rewards, embeddings, packed, size, similarity, valid, offsets, order, lam_tensor)
    advantages, reweighted, rank, max_similarity, lam_used = ops.mmr_details(
        rewards, embeddings, packed, size, similarity, valid, offsets, order, lam_tensor
    )
    if group_of is not None and options["scope"] == "group":
        lam_used = lam_used[group_of]
    return MMRResult(advantages, reweighted, rank, max_similarity, lam_used)


def _per_scope(lam: Tensor, rewards: Tensor, groups: Groups) -> Tensor:
    """A tensor of λ as the op takes it: of one, or of one per scope."""
    check_tensor("lam", lam)
    if not lam.dtype.is_floating_point:
        raise TypeError(f"lam must be a tensor of floats, got {lam.dtype}")
    if lam.numel() == 1:
        return lam.reshape(1)
    if groups.group_of is None or lam.shape != rewards.shape:
        return lam
    check_device("lam", lam, rewards)
    # One per completion: group k takes that of its first member; empty groups, at the end, any.
    assert groups.group_offsets is not None
    assert groups.order is not None
    first = groups.group_offsets[:-1].clamp(max=max(rewards.numel() - 1, 0))
    return lam[groups.order[first]]
