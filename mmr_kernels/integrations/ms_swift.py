"""MMR-GRPO in ms-swift, by a plugin of two lines that ``--external_plugins`` names (docs/trainers.md)::

from mmr_kernels.integrations.ms_swift import attach_mmr

attach_mmr(lam=0.8)
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import wrapt

from mmr_kernels.embedders import Embedder, embed_distinct
from mmr_kernels.integrations.batch import score_batch
from mmr_kernels.integrations.gathering import score_together, total_reward
from mmr_kernels.integrations.internals import refuse_moved
from mmr_kernels.integrations.messages import answer
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.options import OPTIONS

_TAKES = {"_compute_advantages": ["self", "samples", "rewards_per_func", "batch_encoded_inputs"]}
#: What the trainer's settings must be.
_MUST_BE: dict[str, tuple[object, ...]] = {
    **{"advantage_estimator": ("grpo",), "dynamic_num_samples": (False,), "kl_in_reward": (False,)},
    "scale_rewards": OPTIONS["scale"].choices,
}


def attach_mmr(*, embedder: Any = None, **options: Any) -> None:
    """Make each ``GRPOTrainer`` of this process train with MMR; Megatron's and Ray's trainers stay as they are.

    Args:
        embedder: instead of the option: an object with ``embed_texts``, or a function of a list of texts.
        **options: the fields of ``MMROptions`` without ``mmr_``.

    Raises:
        TypeError, ValueError: an option is unknown or wrong.
        RuntimeError: the installed ms-swift lacks something that MMR hooks into.
    """
    chosen = MMROptions.named(options, "attach_mmr")
    from swift.rlhf_trainers import grpo_trainer

    refuse_moved("ms-swift", "4.6.0", grpo_trainer.GRPOTrainer, _TAKES)
    wrapper = functools.partial(_advantages, chosen, chosen.embedder(embedder))
    wrapt.wrap_function_wrapper(grpo_trainer, "GRPOTrainer._compute_advantages", wrapper)


def _advantages(options: MMROptions, reads: Embedder, wrapped: Any, trainer: Any, args: Any, kwargs: Any) -> Any:
    """(N,) of all processes. A completion that the loss leaves out because it was cut off is not valid."""
    if options.mmr_method == "none":
        return wrapped(*args, **kwargs)
    for name, takes in _MUST_BE.items():
        if getattr(trainer, name) not in takes:
            raise ValueError(f"MMR in ms-swift takes {name} of {takes}; got {getattr(trainer, name)!r}")
    wrapped(*args, **kwargs)  # which logs the rewards
    samples, per_function, _ = args
    training, device = trainer.model.training, trainer.accelerator.device
    size = trainer.num_generations if training else trainer.num_generations_eval
    texts = [answer(sample.messages) for sample in samples]
    most = options.mmr_embedder_max_tokens
    embeddings = embed_distinct(reads, texts, None, None, max_tokens=most, device=device)
    cut = torch.tensor([trainer.overlong_filter and sample.is_truncated for sample in samples], device=device)
    per_function = per_function.masked_fill(trainer.accelerator.gather(cut).unsqueeze(1), torch.nan)
    rewards = total_reward(per_function, trainer.reward_weights, "sum_then_normalize", size)
    scale = trainer.scale_rewards
    call = functools.partial(score_together, rewards, embeddings, size, trainer.accelerator, scale=scale)
    progress = trainer.state.global_step / max(trainer.state.max_steps, 1)
    kept = {"state": trainer.state.stateful_callbacks, "training": training}
    scored, found = score_batch(options, call, rewards, torch.arange(len(rewards)) // size, progress=progress, **kept)
    for name, value in found.items():
        trainer._metrics["train" if training else "eval"][name].append(value)
    return scored.advantages
