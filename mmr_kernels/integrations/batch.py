"""A batch scored by the options of a run, its metrics, and what is kept from batch to batch: the average of λ."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from torch import Tensor

from mmr_kernels.integrations.metrics import DIVERSITY, REWEIGHT_MS, metrics, timed
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import Scored
from mmr_kernels.schedule import LambdaEMA, raw_lambda

#: The place of what is kept in a trainer's state.
STATE_KEY = "mmr"


def score_batch(
    options: MMROptions,
    call: Callable[..., Scored],
    rewards: Tensor,
    group_ids: Tensor,
    *,
    progress: float,
    state: MutableMapping[str, Any] | None,
) -> tuple[Scored, dict[str, float]]:
    """The batch, and the metrics to log.

    Args:
        options: of the run.
        call: scores the batch with the options of ``mmr_advantages`` that it is given; those that the trainer decides
            are its own.
        rewards: (N,) of all processes; NaN where not valid.
        group_ids: (N,), integers.
        progress: through training, 0 at its start and 1 at its end.
        state: the trainer's, which checkpoints hold, numbers and dicts alone; read and written under ``STATE_KEY``.
            None in evaluation, where averages are neither used nor moved.
    """
    found: dict[str, float] = {}
    diversity = options.diversity(progress)
    with timed(lambda took: found.update({REWEIGHT_MS: took}), rewards.device):
        lam = options.mmr_lam if state is None else _averaged_lambda(options, rewards, state)
        scored = call(**(options.of_the_op() | {"lam": lam, "diversity": diversity}))
    found |= metrics(scored, group_ids)
    if options.mmr_method == "mmr":
        found[DIVERSITY] = diversity
    return scored, found


def _averaged_lambda(options: MMROptions, rewards: Tensor, state: MutableMapping[str, Any]) -> Any:
    """λ as the op takes it, averaged over batches where the options ask for that; the average does not move where no
    completion was scored."""
    if not options.smooths_lambda or not rewards.isfinite().any():
        return options.mmr_lam
    average = LambdaEMA()
    if STATE_KEY in state:
        average.load_state_dict(state[STATE_KEY])
    lam = average.update(raw_lambda(rewards, mode=options.mmr_lam, temperature=options.mmr_temperature).item())
    state[STATE_KEY] = average.state_dict()
    return lam
