"""MMR-GRPO in OpenRLHF, by two entries in the environment of its Ray job, as docs/trainers.md shows."""

from __future__ import annotations

import functools
import os
from typing import Any

import torch
import wrapt
import yaml  # type: ignore[import-untyped]

from mmr_kernels.integrations.batch import score_batch
from mmr_kernels.integrations.embedding import decoded, embed_own
from mmr_kernels.integrations.internals import refuse_moved
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import score

_MODULE, _METHOD = "openrlhf.trainer.ppo_utils.experience_maker", "compute_advantages_and_returns"
#: The scale and eps of the estimators that are relative to a group.
_DECIDED: dict[str, dict[str, Any]] = {"group_norm": {"scale": "group", "eps": 1e-9}, "dr_grpo": {"scale": "none"}}


def hook() -> None:
    """In each worker of Ray: hook into the module that makes experience, once it is imported."""
    wrapt.register_post_import_hook(Adapter(yaml.safe_load(os.environ.get("MMR_OPTIONS", "{}"))).hook, _MODULE)


class Adapter:
    """Options, and the averages of λ and of the signal, which OpenRLHF's checkpoints don't hold."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.options = MMROptions.named(given, "MMR_OPTIONS")
        self.options.refuse_schedule("OpenRLHF")
        self.embedder, self.state = self.options.embedder(), dict[str, Any]()

    def hook(self, module: Any) -> None:
        refuse_moved("openrlhf", "0.11.2", module.RemoteExperienceMaker, {_METHOD: ["self", "experiences"]})
        refuse_moved("openrlhf", "0.11.2", module, {"apply_length_penalties": ["experiences", "args"]})
        wrapt.wrap_function_wrapper(module, f"RemoteExperienceMaker.{_METHOD}", functools.partial(self.compute, module))

    def compute(self, module: Any, wrapped: Any, maker: Any, args: Any, kwargs: Any) -> Any:
        """Where its penalties end, OpenRLHF is given MMR's advantages as rewards. Of an estimator "mmr" it takes no
        baseline away, and does with them what the maker's own estimator, which stays, does with its advantages."""
        if self.options.mmr_method == "none":
            return wrapped(*args, **kwargs)
        algorithm, penalize = maker.strategy.args.algo.advantage, module.apply_length_penalties
        estimator, rewards = algorithm.estimator, list[torch.Tensor]()
        if estimator not in _DECIDED:
            raise ValueError(f"MMR takes --algo.advantage.estimator {' or '.join(_DECIDED)}; got {estimator}")

        def then_reweight(experiences: list[Any], arguments: Any) -> None:
            penalize(experiences, arguments)
            rewards.extend(each.rewards for each in experiences)
            self.reweight(maker, experiences, _DECIDED[estimator])

        algorithm.estimator, module.apply_length_penalties = "mmr", then_reweight
        try:
            experiences = wrapped(*args, **kwargs)
        finally:
            algorithm.estimator, module.apply_length_penalties = estimator, penalize
        for experience, kept in zip(experiences, rewards, strict=True):
            experience.rewards = kept
        return experiences

    def reweight(self, maker: Any, experiences: list[Any], decided: dict[str, Any]) -> None:
        """Put advantages in the place of rewards, and metrics among those that OpenRLHF logs."""
        rows = torch.tensor([row for each in experiences for row in each.index])
        order = rows.argsort()  # as they were sampled
        rewards = torch.cat([each.rewards for each in experiences])[order]
        vectors = []
        for each in experiences:
            own = each.action_mask != 0  # of each token but the first
            ids = each.sequences[:, -own.shape[1] :]
            texts = functools.partial(decoded, maker.tokenizer, ids, own)
            vectors.append(embed_own(self.embedder, ids, own, texts, max_tokens=self.options.mmr_embedder_max_tokens))
        group_ids = rows[order] // maker.strategy.args.rollout.n_samples_per_prompt
        call = functools.partial(score, rewards, torch.cat(vectors)[order], group_ids=group_ids, **decided)
        scored, found = score_batch(self.options, call, rewards, group_ids, progress=0.0, state=self.state)
        parts = torch.split(scored.advantages[order.argsort()], [len(each.index) for each in experiences])
        for each, part in zip(experiences, parts, strict=True):
            each.rewards = part
            each.info |= {name: torch.full_like(part, value) for name, value in found.items() if value == value}
