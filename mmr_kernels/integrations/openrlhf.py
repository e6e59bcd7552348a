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
        if self.options.mmr_method != "none":
            wrapt.wrap_function_wrapper(module, f"RemoteExperienceMaker.{_METHOD}", self.compute)
            wrapt.wrap_function_wrapper(module, "apply_length_penalties", self.reweight)

    def compute(self, wrapped: Any, maker: Any, args: Any, kwargs: Any) -> Any:
        """OpenRLHF is given MMR's advantages as rewards, of which it takes no baseline away for an estimator "mmr"."""
        algorithm, self.tokenizer = maker.strategy.args.algo.advantage, maker.tokenizer
        estimator = algorithm.estimator
        if estimator not in _DECIDED:
            raise ValueError(f"MMR takes --algo.advantage.estimator {' or '.join(_DECIDED)}; got {estimator}")
        self.decided, algorithm.estimator = _DECIDED[estimator], "mmr"
        try:
            experiences = wrapped(*args, **kwargs)
        finally:
            algorithm.estimator = estimator
        for experience, kept in zip(experiences, self.rewards, strict=True):
            experience.rewards = kept
        return experiences

    def reweight(self, penalize: Any, _: Any, given: tuple[list[Any], Any], more: Any) -> None:
        """Behind its penalties, put advantages in the place of rewards, and metrics among those that it logs."""
        penalize(*given, **more)
        experiences, arguments = given
        self.rewards = [each.rewards for each in experiences]
        rows = torch.tensor([row for each in experiences for row in each.index])
        order = rows.argsort()  # as they were sampled
        rewards = torch.cat(self.rewards)[order]
        vectors = []
        for each in experiences:
            own = each.action_mask != 0  # of each token but the first
            ids = each.sequences[:, -own.shape[1] :]
            texts = functools.partial(decoded, self.tokenizer, ids, own)
            vectors.append(embed_own(self.embedder, ids, own, texts, max_tokens=self.options.mmr_embedder_max_tokens))
        group_ids = rows[order] // arguments.rollout.n_samples_per_prompt
        call = functools.partial(score, rewards, torch.cat(vectors)[order], group_ids=group_ids, **self.decided)
        scored, found = score_batch(self.options, call, rewards, group_ids, progress=0.0, state=self.state)
        parts = torch.split(scored.advantages[order.argsort()], [len(each.index) for each in experiences])
        for each, part in zip(experiences, parts, strict=True):
            each.rewards = part
            each.info |= {name: torch.full_like(part, value) for name, value in found.items() if value == value}
