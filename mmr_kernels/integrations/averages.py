"""What is kept from batch to batch, and so in checkpoints: the average of λ."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from torch import Tensor

from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.schedule import LambdaEMA, raw_lambda

#: The place of the averages in a trainer's state.
STATE_KEY = "mmr"


def averaged_lambda(options: MMROptions, rewards: Tensor, state: MutableMapping[str, Any]) -> Any:
    """λ of a batch that is trained on as the op takes it, averaged over batches where the options ask for that.

    Args:
        options: of the run.
        rewards: (N,) of all processes; the average does not move where none is finite.
        state: the trainer's, numbers and dicts alone, which its checkpoints hold; read and written under ``STATE_KEY``.
    """
    if not options.smooths_lambda or not rewards.isfinite().any():
        return options.mmr_lam
    average = LambdaEMA()
    if STATE_KEY in state:
        average.load_state_dict(state[STATE_KEY])
    lam = average.update(raw_lambda(rewards, mode=options.mmr_lam, temperature=options.mmr_temperature).item())
    state[STATE_KEY] = average.state_dict()
    return lam
