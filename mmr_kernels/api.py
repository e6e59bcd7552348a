"""The front door: check the arguments, lay out the groups, call the op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from mmr_kernels import ops
from mmr_kernels.checks import check_device, check_flag, check_rewards, check_tensor
from mmr_kernels.groups import Groups, Labels, clusters, lay_out
from mmr_kernels.options import METHODS_THAT_WEIGH, check_and_pack, lambda_options, pack
from mmr_kernels.problem import MMRResult


def mmr_advantages(
    rewards: Tensor,
    embeddings: Tensor | None = None,
    *,
    similarity: Tensor | None = None,
    group_size: int | None = None,
    group_offsets: Tensor | Sequence[int] | None = None,
    group_ids: Labels | None = None,
    max_group_size: int | None = None,
    valid: Tensor | None = None,
    labels: Labels | None = None,
    method: Literal["mmr", "smi", "share", "unique", "partition", "dpp", "none"] = "mmr",
    lam: float | Tensor | Literal["sigmoid", "relative_std"] = "sigmoid",
    temperature: float = 1.0,
    first_pick: Literal["reward", "score"] = "reward",
    diversity: float | Tensor | None = None,
    strength: float | None = None,
    sharpness: float | None = None,
    threshold: float | None = None,
    quality: bool = False,
    match_scale: bool = False,
    scope: Literal["group", "batch"] = "group",
    scale: Literal["group", "batch", "none"] = "group",
    eps: float = 1e-4,
    degenerate: Literal["reweight", "zero"] = "reweight",
    normalize: bool = True,
    backend: Literal["triton", "cuda", "cpu", "torch"] | None = None,
    return_details: bool = False,
) -> Tensor | MMRResult:
    """Group-relative advantages in which likeness counts: MMR-GRPO (arXiv 2601.09085), and other rules.

    ``method="mmr"``: within each scope the completion of highest reward is picked first and keeps its reward. Then,
    until all are picked, the one with the highest score is, and its score becomes its reward (Carbonell & Goldstein
    1998)::

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
            (1, N, N). The diagonal plays no part in MMR; a non-finite entry counts as 0. For "dpp" positive
            semidefinite.
        group_size: for flat rewards: groups of this many, one after the other.
        group_offsets: for flat rewards: group g is completions [offsets[g], offsets[g+1]). A tensor's values are
            checked on the CPU; on another device the caller promises that they are right.
        group_ids: for flat rewards: one label per completion, in any order: an integer tensor, or a sequence or array
            of anything hashable (verl's ``uid``) but None and NaN.
        max_group_size: no ragged or labelled group has more members. Give it for tensors of offsets or labels on a GPU:
            only the device knows their sizes, so each group gets room for N otherwise, and the call takes longer.
        valid: bool, like ``rewards``: completions that take part; the others get advantage 0.
        labels: one per completion: an integer tensor, or a sequence or array of anything hashable, such as final
            answers. Completions of one group with one label are a cluster, and methods that count take its members.
        method: docs/methods.md compares them. "mmr"; "smi": r / n^α, n = Σ_j S_ij (DRA-GRPO, arXiv 2505.09655);
            "share": advantages shared out by n^−a, within right and within wrong; "unique": advantages · n^−α
            (Rewarding the Rare, arXiv 2601.08763); "partition": r times the share of the group in other clusters
            (DARLING, arXiv 2509.02534); "dpp": r plus α times what it adds to log det(I + S) (DQO, arXiv 2509.04784);
            "none": plain GRPO.
        lam: λ in [0, 1]: 1 looks at rewards alone, 0 at diversity alone. A float; a tensor of one λ or one per scope
            (one per completion with ``group_ids``); "sigmoid": 1 / (1 + exp(−std r)); "relative_std": τρ / (1 + τρ),
            ρ = std r / (abs(mean r) + 1e-8).
        temperature: τ of "relative_std", at least 0.
        first_pick: the first pick's new reward: "reward", r as published, or "score", λ·r.
        diversity: in [0, 1], a float, or a tensor as ``lam`` may be. Of "mmr" a dial from plain GRPO (0) to MMR (1, the
            default): the λ used is 1 − diversity·(1 − λ). Of "share" (0 by default) how far likeness counts more among
            the right and less among the wrong.
        strength: α, at least 0: 0.5 by default for "share", 1 for "unique" (in [0, 1] there) and "smi", 0.1 for "dpp".
        sharpness: p of soft counts, n_i = 1 + Σ_j max(0, S_ij)^p over the others, and of the signal: 4 by default; for
            "smi" its count is the sum of similarities where no sharpness is given.
        threshold: count the members of clusters instead: those that similarities above this connect.
        quality: "dpp" of √r_i S_ij √r_j, whose bonus is the new reward (GCPO, arXiv 2605.11461).
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
        "advantages", return_details, rewards, embeddings, similarity, group_size, group_offsets, group_ids,
        max_group_size, valid, labels, lam, diversity, method=method, temperature=temperature,
        first_pick=first_pick, strength=strength, sharpness=sharpness, threshold=threshold, quality=quality,
        match_scale=match_scale, scope=scope, scale=scale, eps=eps, degenerate=degenerate, normalize=normalize,
        backend=backend,
    )  # fmt: skip


def mmr_reweight(
    rewards: Tensor,
    embeddings: Tensor | None = None,
    *,
    similarity: Tensor | None = None,
    group_size: int | None = None,
    group_offsets: Tensor | Sequence[int] | None = None,
    group_ids: Labels | None = None,
    max_group_size: int | None = None,
    valid: Tensor | None = None,
    labels: Labels | None = None,
    method: Literal["mmr", "smi", "share", "unique", "partition", "dpp", "none"] = "mmr",
    lam: float | Tensor | Literal["sigmoid", "relative_std"] = "sigmoid",
    temperature: float = 1.0,
    first_pick: Literal["reward", "score"] = "reward",
    diversity: float | Tensor | None = None,
    strength: float | None = None,
    sharpness: float | None = None,
    threshold: float | None = None,
    quality: bool = False,
    match_scale: bool = False,
    scope: Literal["group", "batch"] = "group",
    normalize: bool = True,
    backend: Literal["triton", "cuda", "cpu", "torch"] | None = None,
    return_details: bool = False,
) -> Tensor | MMRResult:
    """The reweighted rewards of ``mmr_advantages``, before they become advantages; arguments as there.

    Of "share" and "unique", which weigh advantages, there are none: that is an error.

    Returns:
        Reweighted rewards, float32, like ``rewards``, NaN where not valid; or ``MMRResult`` with ``advantages`` None.
    """
    if method in METHODS_THAT_WEIGH:
        raise ValueError(f"method={method!r} weighs advantages and makes no new rewards: call mmr_advantages")
    result = _call(
        "reweighted", return_details, rewards, embeddings, similarity, group_size, group_offsets, group_ids,
        max_group_size, valid, labels, lam, diversity, method=method, temperature=temperature,
        first_pick=first_pick, strength=strength, sharpness=sharpness, threshold=threshold, quality=quality,
        match_scale=match_scale, scope=scope, scale="none", normalize=normalize, backend=backend,
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
    max_group_size: int | None,
    valid: Tensor | None,
    labels: Labels | None,
    lam: float | Tensor | str,
    diversity: float | Tensor | None,
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
    options["diversity"] = None if isinstance(diversity, Tensor) else diversity
    options["outputs"] = "details" if return_details else only
    packed = check_and_pack(**options) if torch.compiler.is_dynamo_compiling() else pack(options)
    groups = lay_out(rewards, group_size, group_offsets, group_ids, max_group_size)
    size, offsets, order, group_of, largest = groups
    lams = _per_scope("lam", lam, rewards, groups) if isinstance(lam, Tensor) else None
    dials = _per_scope("diversity", diversity, rewards, groups) if isinstance(diversity, Tensor) else None
    numbers = None if labels is None else clusters(rewards, labels, groups, options["scope"] == "batch")
    if not return_details:
        return ops.mmr(
            rewards, embeddings, packed, size, similarity, valid, offsets, order, lams, numbers, dials, largest
        )
    advantages, reweighted, rank, max_similarity, lam_used, signal = ops.mmr_details(
        rewards, embeddings, packed, size, similarity, valid, offsets, order, lams, numbers, dials, largest
    )
    if group_of is not None and options["scope"] == "group":
        lam_used = lam_used[group_of]
    return MMRResult(advantages, reweighted, rank, max_similarity, lam_used, signal)


def _per_scope(name: str, numbers: Tensor, rewards: Tensor, groups: Groups) -> Tensor:
    """A tensor of λ or of the diversity as the op takes it: of one, or of one per scope."""
    check_tensor(name, numbers)
    if not numbers.dtype.is_floating_point:
        raise TypeError(f"{name} must be a tensor of floats, got {numbers.dtype}")
    if numbers.numel() == 1:
        return numbers.reshape(1)
    if groups.group_of is None or numbers.shape != rewards.shape:
        return numbers
    check_device(name, numbers, rewards)
    # One per completion: group k takes that of its first member; empty groups, at the end, any.
    assert groups.group_offsets is not None
    assert groups.order is not None
    first = groups.group_offsets[:-1].clamp(max=max(rewards.numel() - 1, 0))
    return numbers[groups.order[first]]
