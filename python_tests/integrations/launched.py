"""Run by ``accelerate launch``: scores one batch of 24 completions in each of several modes, whatever the number of
processes, and writes what each process trains on and what the main process logs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from integrations import tiny

from mmr_kernels.embedders import LexicalEmbedder

COMPLETIONS = 24
REWARDS: list[float | None] = [1.0, 0.0, 1.0, 0.5, None, 2.0, 2.0, -1.0, *[0.25] * 6, 3.0, 1.0, 0.5]
OTHER: list[float | None] = [0.3, None, 0.1, 0.1, None, 0.7, 0.2, 0.9, 0.4, 0.6, 0.4]

#: Groups of 4 are whole in 1, 2 and 3 of 12, 6 … completions per process or straddle them, by the number of processes;
#: groups of 12 straddle 4 processes, groups of 24 straddle 2.
MODES: dict[str, dict[str, Any]] = {
    "groups of 4": {"num_generations": 4},
    "groups of 12": {"num_generations": 12},
    "groups of 24": {"num_generations": 24},
    "scope batch": {"num_generations": 4, "mmr_scope": "batch"},
    "scale batch": {"num_generations": 4, "scale_rewards": "batch"},
    "scale none": {"num_generations": 12, "scale_rewards": "none"},
    "normalized sums": {"num_generations": 4, "multi_objective_aggregation": "normalize_then_sum"},
    "averaged λ": {"num_generations": 12, "mmr_scope": "batch", "mmr_lam": "relative_std"},
    "smi": {"num_generations": 12, "mmr_method": "smi"},
    "none": {"num_generations": 4, "mmr_method": "none"},
    "dial": {"num_generations": 12, "mmr_method": "share", "mmr_diversity": "signal"},
    "dial, groups that straddle": {"num_generations": 24, "mmr_method": "share", "mmr_diversity": "signal"},
    "dial, scope batch": {"num_generations": 4, "mmr_scope": "batch", "mmr_diversity": "signal"},
    "policy": {"num_generations": 12, "mmr_embedder": "policy", "mmr_embedder_batch_size": 2},
}


def watch_gathers(accelerator: Any) -> list[int]:
    """The width of each matrix that is gathered from here on."""
    widths: list[int] = []
    gather = accelerator.gather

    def watched(tensor: Any) -> Any:
        if tensor.dim() == 2:
            widths.append(tensor.shape[1])
        return gather(tensor)

    accelerator.gather = watched
    return widths


def main(folder: Path) -> None:
    results: dict[str, Any] = {}
    for name, options in MODES.items():
        for training in (True, False):
            args = tiny.config(folder, generation_batch_size=COMPLETIONS, per_device_train_batch_size=1, **options)
            functions = [tiny.GivenRewards(REWARDS, "one"), tiny.GivenRewards(OTHER, "two")]
            trainer = tiny.trainer(args, functions)
            widths = watch_gathers(trainer.accelerator)
            output = tiny.batch(trainer, COMPLETIONS // trainer.accelerator.num_processes, training)
            results[f"{name}, {'training' if training else 'evaluation'}"] = {
                "used": gather_object(output["advantages"].tolist()),
                "logged": list(trainer._logs["advantages"]),
                "embeddings gathered": sum(width == LexicalEmbedder().dimensions for width in widths),
                "columns": {column: list(values) for column, values in trainer._logs["extra"].items()},
                "dial": trainer.state.stateful_callbacks.get("mmr_dial"),
                "metrics": {
                    key: values[0]
                    for key, values in trainer._metrics["train" if training else "eval"].items()
                    if key.startswith("mmr/") and not key.endswith("_ms")
                },
            }
    if trainer.accelerator.is_main_process:
        number = trainer.accelerator.num_processes
        (folder / f"{number}.json").write_text(json.dumps(results))
    # A process that exits with gloo's threads still running may abort ("terminate called without an active exception").
    trainer.accelerator.wait_for_everyone()
    trainer.accelerator.end_training()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
