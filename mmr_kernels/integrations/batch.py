"""A batch scored by the options of a run, its metrics, and what is kept from batch to batch: the average of λ, and the
dial that the signal moves."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any, TypeVar

from torch import Tensor

from mmr_kernels.dial import SignalDial
from mmr_kernels.integrations.metrics import DIVERSITY, REWEIGHT_MS, metrics, timed
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import Scored
from mmr_kernels.options import METHODS_WITH_DIVERSITY
from mmr_kernels.schedule import LambdaEMA, raw_lambda

#: The places of λ's average and of the dial in a trainer's state, which checkpoints save and resumptions load.
LAMBDA_STATE, DIAL_STATE = "mmr", "mmr_dial"

Average = TypeVar("Average", LambdaEMA, SignalDial)


def score_batch(
    options: MMROptions,
    call: Callable[..., Scored],
    rewards: Tensor,
    group_ids: Tensor,
    *,
    progress: float,
    state: MutableMapping[str, Any],
    training: bool = True,
) -> tuple[Scored, dict[str, float]]:
    """The batch, and the metrics to log.

    Args:
        options: of the run.
        call: scores the batch with the options of ``mmr_advantages`` that it is given; those that the trainer decides
            are its own.
        rewards: (N,) of all processes; NaN where not valid.
        group_ids: (N,), integers.
        progress: through training, 0 at its start and 1 at its end.
        state: the trainer's, numbers and dicts alone, which its checkpoints hold; read and written under
            ``LAMBDA_STATE`` and ``DIAL_STATE``.
        training: False in evaluation, where neither is moved, and λ is not that of the average.
    """
    found: dict[str, float] = {}
    dial = _resumed(SignalDial(device="cpu"), state, DIAL_STATE)
    diversity = dial.value.item() if options.follows_signal else options.diversity(progress)
    with timed(lambda took: found.update({REWEIGHT_MS: took}), rewards.device):
        lam = _averaged_lambda(options, rewards, state) if training else options.mmr_lam
        scored = call(**(options.of_the_op() | {"lam": lam, "diversity": diversity}))
    found |= metrics(scored, group_ids)
    if options.mmr_method in METHODS_WITH_DIVERSITY:
        found[DIVERSITY] = diversity
    if options.follows_signal and training:
        dial.update(scored.signal.cpu())  # for the batches after this one
        state[DIAL_STATE] = dial.state_dict()
    return scored, found


def _averaged_lambda(options: MMROptions, rewards: Tensor, state: MutableMapping[str, Any]) -> Any:
    """λ as the op takes it, averaged over batches where the options ask for that; the average does not move where no
    completion was scored."""
    if not options.smooths_lambda or not rewards.isfinite().any():
        return options.mmr_lam
    average = _resumed(LambdaEMA(), state, LAMBDA_STATE)
    lam = average.update(raw_lambda(rewards, mode=options.mmr_lam, temperature=options.mmr_temperature).item())
    state[LAMBDA_STATE] = average.state_dict()
    return lam


def _resumed(average: Average, state: MutableMapping[str, Any], key: str) -> Average:
    """As the batch before, or a checkpoint, left it."""
    if key in state:
        average.load_state_dict(state[key])
    return average
