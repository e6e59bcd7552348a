"""One training run of verl with MMR, on its driver: the options, the embedder, and what is kept from step to step."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmr_kernels.integrations import plots
from mmr_kernels.integrations.batch import score_batch
from mmr_kernels.integrations.embedding import decoded, embed_own
from mmr_kernels.integrations.metrics import EMBED_MS, timed
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import Scored, score
from mmr_kernels.integrations.verl.completions import Completions

#: Where the options are on verl's command line.
SECTION = "algorithm.mmr"
#: verl's own, in its estimator of GRPO.
EPS = 1e-6
#: In the folder of a checkpoint, beside verl's own files: the state, as JSON.
STATE_FILE = "mmr.json"


class Run:
    """Options that were checked, and the state of a run.

    Args:
        section: what ``algorithm.mmr`` of verl's config holds.
        trainer: verl's; its config, tokenizer and count of steps are read when a batch comes.

    Raises:
        ImportError, TypeError, ValueError: naming the section, the option, what it got and what it takes.
    """

    def __init__(self, section: Mapping[str, Any], trainer: Any) -> None:
        self.options = MMROptions.named(section, SECTION)
        self.embedder = self.options.embedder()
        self.options.warn_of_length(
            self.embedder, trainer.config.data.max_response_length, called="data.max_response_length"
        )
        self.trainer = trainer
        self.state: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.completions: Completions | None = None  # of the batch whose advantages are being made

    @contextmanager
    def of(self, completions: Completions) -> Iterator[None]:
        """Within it, ``advantages`` are those of these completions."""
        self.completions = completions
        try:
            yield
        finally:
            self.completions = None

    def advantages(self, rewards: Tensor, in_loss: Tensor, uid: list[Any], scale: str) -> Tensor:
        """(N,) advantages of a batch of N rows, 0 for padding; its metrics are in ``metrics``.

        A completion of which no token is in the loss, as one that verl's rejection sampling masked, is not valid: else
        it could be picked before its twin that is. Method "none" counts it, as verl's estimator does.

        Args:
            rewards: (N,) float32.
            in_loss: (N,) bool: whether a token of the row is.
            uid: N labels: rows of one prompt have one.
            scale: of the op.
        """
        assert self.completions is not None
        scored_row, of_row, _ = self.completions
        real = of_row >= 0
        if self.options.mmr_method == "none":
            in_loss = torch.ones_like(in_loss)
        counts = torch.zeros(len(scored_row), dtype=torch.bool)
        counts[of_row[real & in_loss]] = True
        rewards = rewards[scored_row].masked_fill(~counts, torch.nan)
        group_ids = torch.tensor(_numbers([uid[row] for row in scored_row.tolist()]))
        self.metrics = {}
        scored = self._score(rewards, group_ids, scale)
        result = torch.zeros(len(of_row))
        result[real] = scored.advantages[of_row[real]]
        return result

    def _score(self, rewards: Tensor, group_ids: Tensor, scale: str) -> Scored:
        options = self.options
        with timed(lambda took: self.metrics.update({EMBED_MS: took})):
            embeddings = self._embed()
        step, steps = self.trainer.global_steps, self.trainer.total_training_steps
        decided = {"group_ids": group_ids, "scale": scale, "eps": EPS}
        scored, found = score_batch(
            options,
            functools.partial(score, rewards, embeddings, **decided),
            rewards,
            group_ids,
            progress=(step - 1) / max(steps, 1),  # verl counts steps from 1
            state=self.state,
        )
        # A NaN, of a batch that holds nothing to measure, would stay in verl's averages over mini-batches.
        self.metrics.update({name: value for name, value in found.items() if value == value})
        if (
            options.mmr_method == "mmr"
            and options.mmr_plot_steps
            and step % options.mmr_plot_steps == 0
            and rewards.isfinite().any()
        ):
            plain = score(rewards, None, method="none", **decided)
            plots.save(scored, plain.advantages, self.trainer.config.trainer.default_local_dir, step)
        return scored

    def _embed(self) -> Tensor:
        assert self.completions is not None
        ids, own = self.completions.read()
        return embed_own(
            self.embedder,
            ids,
            own,
            lambda: decoded(self.trainer.tokenizer, ids, own),
            max_tokens=self.options.mmr_embedder_max_tokens,
        )

    def save(self, folder: str) -> None:
        """Write the state, where there is any, into a checkpoint's folder."""
        if self.state:
            Path(folder).mkdir(parents=True, exist_ok=True)
            (Path(folder) / STATE_FILE).write_text(json.dumps(self.state))

    def load(self, folder: str) -> None:
        """Take up the state of a checkpoint; one without any leaves it empty."""
        file = Path(folder) / STATE_FILE
        if file.exists():
            self.state = json.loads(file.read_text())


def _numbers(labels: list[Any]) -> list[int]:
    """One integer per distinct label, in the order in which they come."""
    numbers: dict[Any, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels]
