"""MMR for any trainer that scores completions as ``trl.GRPOTrainer`` does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from mmr_kernels.dial import SignalDial
from mmr_kernels.embedders import embed_distinct
from mmr_kernels.integrations.messages import generated_text
from mmr_kernels.integrations.metrics import DIVERSITY, EMBED_MS, REWEIGHT_MS, SHARE_OF_STEP, metrics
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import Scored
from mmr_kernels.integrations.trl import parent
from mmr_kernels.integrations.trl.plots import MMRPlotCallback
from mmr_kernels.integrations.trl.records import record
from mmr_kernels.integrations.trl.scoring import score_together, total_reward
from mmr_kernels.options import METHODS_WITH_DIVERSITY
from mmr_kernels.schedule import LambdaEMA, raw_lambda

if TYPE_CHECKING:
    from trl import GRPOTrainer as Trainer
else:
    Trainer = object

#: The places of λ's average and of the dial in TRL's ``TrainerState``, which checkpoints save and resumptions load.
LAMBDA_STATE, DIAL_STATE = "mmr", "mmr_dial"

#: The key of a batch under which MMR's advantages stand a second time, shuffled and split as all of the batch is.
LOGGED = "mmr_advantages"


Average = TypeVar("Average", LambdaEMA, SignalDial)


class Rewarded(NamedTuple):
    """What a call of ``_calculate_rewards`` was about."""

    per_function: Tensor  #: (N, K): rewards of all processes' completions by K functions
    completions: list[Any]  #: n, of this process
    completion_ids: list[list[int]]  #: n, of this process


class MMRMixin(Trainer):
    """Put before the trainer: ``class MyTrainer(MMRMixin, GMPOTrainer): ...``; all else stays as it was.

    Options come from ``args``, where it has the fields of ``MMROptions``; a config without them means the defaults.

    ``_calculate_rewards`` knows the rewards of all processes, and the batch that ``_generate_and_score_completions``
    returns is what the loss will see: there MMR's advantages take the place of TRL's, and of those just logged. Each
    batch carries them a second time, and ``_prepare_inputs`` and ``compute_loss`` compare the two, so that the loss
    never gets others than were logged.

    Args:
        *args, **kwargs: of the trainer.
        embedder: an object with ``embed_tokens`` or ``embed_texts`` (``mmr_kernels.embedders``), or a callable that
            takes a list of texts and returns a tensor with a row for each; instead of ``args.mmr_embedder``.

    Raises:
        RuntimeError: the installed TRL lacks something that MMR hooks into.
    """

    #: The last batch that was scored, of all processes; None before the first.
    mmr_scored: Scored | None = None

    #: The last one that was trained on, and TRL's advantages of it; None before the first.
    mmr_trained: Scored | None = None
    mmr_replaced: Tensor | None = None

    _mmr_rewarded: Rewarded | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Else MMR would be passed over, or the class that shapes rewards would be.
        if cls._calculate_rewards is not MMRMixin._calculate_rewards:
            raise TypeError(
                f"{cls.__name__}: MMRMixin must stand before the trainer, and a class that overrides _calculate_rewards"
                " after MMRMixin: class MyTrainer(MMRMixin, MyRewards, GRPOTrainer)"
            )
        parent.check_overrides(cls, cls.__mro__[: cls.__mro__.index(MMRMixin)])

    def __init__(self, *args: Any, embedder: Any = None, **kwargs: Any) -> None:
        parent.check_class(type(self).__mro__[type(self).__mro__.index(MMRMixin) + 1])
        super().__init__(*args, **kwargs)
        self._start_mmr(MMROptions.of(self.args), embedder)

    def _start_mmr(self, options: MMROptions, embedder: Any) -> None:
        parent.check_trainer(self)
        self._mmr = options
        self._mmr_embedder = options.embedder(embedder, policy=lambda: self.model)
        options.warn_of_length(self._mmr_embedder, self.args.max_completion_length)
        if options.mmr_plot_steps and options.mmr_method == "mmr":
            self.add_callback(MMRPlotCallback(self, options.mmr_plot_steps))
        record(self, options)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self.mmr_scored, self._mmr_rewarded = None, None
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        if self._mmr_rewarded is None:
            raise RuntimeError(
                f"{type(self).__name__} scored a batch without _calculate_rewards, so MMR has no rewards to reweight"
            )
        plain = self.accelerator.gather(output["advantages"])
        logged = self._logs["advantages"]
        kept = min(len(plain), logged.maxlen)
        self._check_parent(self._mmr_rewarded, output, plain, list(logged)[-kept:])
        scored = self.mmr_scored = self._score(self._mmr_rewarded, output, plain)
        if self.model.training:
            self.mmr_trained, self.mmr_replaced = scored, plain
        for _ in range(kept):
            logged.pop()
        logged.extend(scored.advantages.tolist())
        for name, values in scored.table().items():
            self._logs["extra"][f"mmr_{name}"].extend(values)
        here = len(output["advantages"])
        advantages = scored.advantages[self.accelerator.process_index * here :][:here]
        return output | {"advantages": advantages.clone(), LOGGED: advantages}

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: list[Any],
        completions: list[Any],
        completion_ids_list: list[list[int]],
    ) -> Tensor:
        per_function: Tensor = super()._calculate_rewards(inputs, prompts, completions, completion_ids_list)
        self._mmr_rewarded = Rewarded(per_function, completions, completion_ids_list)
        return per_function

    def _score(self, rewarded: Rewarded, output: dict[str, Any], plain: Tensor) -> Scored:
        """The batch of all processes, by the rewards of the trainer's functions; its metrics are logged.

        A completion of which no token is in the loss, as one that was truncated under ``mask_truncated_completions``,
        is not valid: else it could be picked before its finished twin. Method "none" keeps TRL's ``plain`` advantages.
        """
        mode = "train" if self.model.training else "eval"
        group_size = self.num_generations if mode == "train" else self.num_generations_eval
        aggregation = self.multi_objective_aggregation
        logged = self._metrics[mode]
        own = output["completion_mask"] * output.get("tool_mask", 1) != 0
        with self._timed(logged[EMBED_MS]):
            embeddings = self._embed(rewarded, output, own)
        with self._timed(logged[REWEIGHT_MS]):
            in_loss = self.accelerator.gather(own.any(dim=1))
            per_function = rewarded.per_function.masked_fill(~in_loss.unsqueeze(1), torch.nan)
            rewards = total_reward(per_function, self.reward_weights, aggregation, group_size)
            chosen = {
                "lam": self._lam(rewards, mode),
                "diversity": self._diversity(),
                "scale": "batch" if aggregation == "normalize_then_sum" else self.scale_rewards,
            }
            options = self._mmr.of_the_op() | chosen
            scored = score_together(rewards, embeddings, group_size, self.accelerator, **options)
            if self._mmr.mmr_method == "none":
                scored = scored._replace(advantages=plain)
        for name, value in metrics(scored, group_size).items():
            logged[name].append(value)
        if self._mmr.mmr_method in METHODS_WITH_DIVERSITY:
            logged[DIVERSITY].append(chosen["diversity"])
        if self._mmr.follows_signal and mode == "train":
            dial = self._resumed(SignalDial(device="cpu"), DIAL_STATE)
            dial.update(scored.signal.cpu())
            self.state.stateful_callbacks[DIAL_STATE] = dial.state_dict()
        return scored

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        inputs: dict[str, Any] = super()._prepare_inputs(generation_batch)
        self._check_loss(inputs)
        return inputs

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """TRL's, of a batch that still has MMR's advantages."""
        self._check_loss(inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _load_callback_state(self) -> None:
        """TRL's, which warns of what no callback kept."""
        places = self.state.stateful_callbacks
        kept = {key: places.pop(key) for key in (LAMBDA_STATE, DIAL_STATE) if key in places}
        super()._load_callback_state()
        self.state.stateful_callbacks |= kept

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's, with the share of the step that MMR took."""
        train = self._metrics["train"]
        if self.model.training and (seconds := sum(train.get("step_time", []))):
            milliseconds = sum(train.get(EMBED_MS, [])) + sum(train.get(REWEIGHT_MS, []))
            train[SHARE_OF_STEP].append(milliseconds / 1000 / seconds)
        super().log(logs, start_time)

    def _embed(self, rewarded: Rewarded, output: dict[str, Any], own: Tensor) -> Tensor:
        """(n, D) of this process's completions, of which only the policy's ``own`` tokens are read, and not what a tool
        or an environment answered. Completions as texts hold that too, so there the text is that of the own tokens."""
        ids = output["completion_ids"]
        if "tool_mask" in output:
            rows = [row[kept].tolist() for row, kept in zip(ids.cpu(), own.cpu(), strict=True)]
            texts = self.processing_class.batch_decode(rows, skip_special_tokens=True)
        else:
            texts = [generated_text(completion) for completion in rewarded.completions]
        vectors = embed_distinct(
            self._mmr_embedder,
            texts,
            ids,
            own,
            max_tokens=self._mmr.mmr_embedder_max_tokens,
            device=self.accelerator.device,
        )
        # A completion without such a token isn't valid, and its vector no fault of the embedder.
        return vectors.masked_fill(~own.any(dim=1, keepdim=True), 1.0)

    def _lam(self, rewards: Tensor, mode: str) -> Any:
        """λ as the op takes it, averaged over training where the options ask for that; the average is in checkpoints.

        In evaluation it is neither used nor moved, nor does it move where no completion was scored.
        """
        if not self._mmr.smooths_lambda or mode == "eval" or not rewards.isfinite().any():
            return self._mmr.mmr_lam
        average = self._resumed(LambdaEMA(), LAMBDA_STATE)
        lam = average.update(raw_lambda(rewards, mode=self._mmr.mmr_lam, temperature=self._mmr.mmr_temperature).item())
        self.state.stateful_callbacks[LAMBDA_STATE] = average.state_dict()
        return lam

    def _diversity(self) -> float:
        """That of the schedule, or of the dial, which batches before this one moved; in evaluation it stays."""
        if not self._mmr.follows_signal:
            return self._mmr.diversity(self.state.global_step / max(self.state.max_steps, 1))
        return self._resumed(SignalDial(device="cpu"), DIAL_STATE).value.item()

    def _resumed(self, average: Average, key: str) -> Average:
        """As the batch before, or a checkpoint, left it."""
        if key in self.state.stateful_callbacks:
            average.load_state_dict(self.state.stateful_callbacks[key])
        return average

    @contextmanager
    def _timed(self, milliseconds: list[float]) -> Iterator[None]:
        """Append how long the block took. A GPU is waited for: the step waits for the rewards there anyway."""
        if self.accelerator.device.type != "cpu":
            torch.accelerator.synchronize()
        start = time.perf_counter()
        yield
        if self.accelerator.device.type != "cpu":
            torch.accelerator.synchronize()
        milliseconds.append((time.perf_counter() - start) * 1000)

    def _check_parent(self, rewarded: Rewarded, output: dict[str, Any], plain: Tensor, logged: list[Any]) -> None:
        """The parent returned what it had scored and logged the advantages that it returned: only then MMR's fit in
        their place.

        Raises:
            RuntimeError: saying what else it returned.
        """
        other = None
        if plain.shape != rewarded.per_function.shape[:1]:
            other = f"advantages of shape {tuple(plain.shape)} and had {len(rewarded.per_function)} completions scored"
        elif logged != plain.tolist()[-len(logged) :]:
            other = "other advantages than it logged"
        elif any(
            row[: len(ids)] != list(ids)
            for row, ids in zip(output["completion_ids"].tolist(), rewarded.completion_ids, strict=True)
        ):
            other = "other completions than it had scored"
        if other:
            raise RuntimeError(
                f"{type(self).__name__} returned {other}; MMR takes a trainer that leaves a scored batch as it is"
            )

    def _check_loss(self, inputs: dict[str, Any]) -> None:
        """The batch has the advantages that MMR gave it.

        Raises:
            RuntimeError: it has others.
        """
        if LOGGED not in inputs or not torch.equal(inputs["advantages"], inputs[LOGGED]):
            raise RuntimeError(
                f"{type(self).__name__}: the loss was to get other advantages than those of MMR, which are logged."
                " Whatever makes or changes advantages belongs in a class after MMRMixin:"
                " class MyTrainer(MMRMixin, MyGRPO)"
            )
