"""MMR-GRPO in slime and miles: ``--custom-reward-post-process-path mmr_kernels.integrations.slime.post_process``.

Options are under ``mmr`` in the file that ``--custom-config-path`` names, ``mmr: {lam: 0.8}`` (docs/trainers.md).
"""

from __future__ import annotations

import functools
import json
import logging
from typing import Any

import torch

from mmr_kernels.embedders.protocol import padded
from mmr_kernels.integrations.batch import score_batch
from mmr_kernels.integrations.embedding import decoded, embed_own
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import score

logger = logging.getLogger(__name__)

#: slime's own.
EPS = 1e-6
_ESTIMATORS = ("grpo", "gspo", "cispo")
#: The averages of λ and of the signal in this process; slime's checkpoints don't hold them.
_state: dict[str, Any] = {}


@functools.cache
def _chosen(section: str) -> tuple[MMROptions, Any]:
    options = MMROptions.named(json.loads(section), "mmr")
    options.refuse_schedule("slime")
    return options, options.embedder()


def post_process(args: Any, samples: list[Any]) -> tuple[list[float], list[float]]:
    """The rewards as they are, and the advantages, of all samples of a step.

    Groups are those of ``group_index``, whatever their sizes and order. A sample that is removed is not valid, but
    under method "none", where slime counts it too.

    Args:
        args: slime's.
        samples: ``Sample`` of slime.

    Raises:
        TypeError, ValueError: an option is unknown or wrong, slime's settings make no group-relative advantages, or a
            sample has no group.
    """
    options, embedder = _chosen(json.dumps(getattr(args, "mmr", None) or {}, sort_keys=True))
    if args.advantage_estimator not in _ESTIMATORS or not args.rewards_normalization:
        raise ValueError(
            f"MMR in slime takes an advantage_estimator of {', '.join(_ESTIMATORS)} with rewards_normalization; got"
            f" {args.advantage_estimator!r}, {args.rewards_normalization}"
        )
    groups = [sample.group_index for sample in samples]
    if None in groups:
        raise ValueError(f"each sample must have a group_index; sample {groups.index(None)} of the step has none")
    raw: list[float] = [sample.get_reward_value(args) for sample in samples]
    counts = torch.tensor([options.mmr_method == "none" or not sample.remove_sample for sample in samples])
    rewards, group_ids = torch.tensor(raw, dtype=torch.float32).masked_fill(~counts, torch.nan), torch.tensor(groups)
    ids, there = padded([sample.tokens[len(sample.tokens) - sample.response_length :] for sample in samples])
    masks, _ = padded([[1] * each.response_length if each.loss_mask is None else each.loss_mask for each in samples])
    own = there & (masks != 0)

    def texts() -> list[str]:
        from transformers import AutoTokenizer

        return decoded(AutoTokenizer.from_pretrained(args.hf_checkpoint), ids, own)

    embeddings = embed_own(embedder, ids, own, texts, max_tokens=options.mmr_embedder_max_tokens)
    scale = "group" if args.grpo_std_normalization else "none"
    call = functools.partial(score, rewards, embeddings, group_ids=group_ids, scale=scale, eps=EPS)
    scored, found = score_batch(options, call, rewards, group_ids, progress=0.0, state=_state)
    logger.info("%s", found)
    return raw, scored.advantages.tolist()
