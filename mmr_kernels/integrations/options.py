"""The options of MMR as fields of a training config, so that YAML files, command lines and parsers of dataclasses take
them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any

from torch import nn

from mmr_kernels.embedders import EMBEDDERS, Embedder, TokenEmbedder, as_embedder
from mmr_kernels.options import METHODS_WITH_DIVERSITY, Options, check, completed, quoted
from mmr_kernels.schedule import LinearSchedule, check_positive
from mmr_kernels.settings import check_settings, checked, number_or_word, settings

#: The diversity that ``SignalDial`` gives, by name.
SIGNAL = "signal"
_OR_SIGNAL = f" Or {SIGNAL!r}: open only as far as likeness doesn't tell right from wrong."
#: The options of the op that a config offers: all but those that the trainer decides.
_OF_THE_OP = [
    row._replace(takes=str | None, help=row.help + _OR_SIGNAL) if row.name == "diversity" else row
    for row in settings("scale", "eps", "normalize")
]
_LOWEST = {"mmr_embedder_batch_size": 1, "mmr_embedder_max_tokens": 1, "mmr_plot_steps": 0}


def _field(default: Any, text: str) -> Any:
    """A field that parsers of dataclasses show with its help."""
    return field(default=default, metadata={"help": text})


_OpOptions: Any = make_dataclass(
    "_OpOptions", [(f"mmr_{each.name}", each.takes, _field(each.default, each.help)) for each in _OF_THE_OP]
)


@dataclass
class MMROptions(_OpOptions):
    """The fields that MMR adds to a config; docs/trl.md says when to touch which.

    ``mmr_`` and the name of an option of ``mmr_advantages``, for each that the trainer doesn't decide, and those
    below. For a config of your own, put it first::

        @dataclass
        class MyConfig(MMROptions, GMPOConfig): ...

    Raises:
        TypeError, ValueError: at construction, naming the field, what it got and what it takes.
    """

    mmr_diversity_end: float | None = _field(
        None,
        "The value that mmr_diversity reaches, in a straight line, after mmr_diversity_steps of training. By default it"
        " stays as it is.",
    )
    mmr_diversity_steps: float = _field(1.0, "The share of training, in (0, 1], over which mmr_diversity changes.")
    mmr_embedder: str = _field("lexical", f"{quoted(EMBEDDERS)}; a MODEL is a name or a path.")
    mmr_embedder_batch_size: int = _field(32, "Completions that a model embeds at a time.")
    mmr_embedder_max_tokens: int = _field(3584, "Tokens of a completion that are embedded; 3,584 as published.")
    mmr_plot_steps: int = _field(
        0, "Training steps between two pictures of what mmr_method 'mmr' does, which picks; 0: no pictures."
    )

    def __post_init__(self) -> None:
        for each in _OF_THE_OP:
            name = f"mmr_{each.name}"
            value = getattr(self, name)
            if each.name == "diversity" and (value := number_or_word(value, (SIGNAL,), name)) == SIGNAL:
                continue
            setattr(self, name, checked(each.name, value, name))
        check_settings(self.of_the_op() | {"diversity": None}, "mmr_")
        check("diversity", self.mmr_diversity_end, "mmr_diversity_end")
        changes = [f"mmr_diversity={SIGNAL!r}"] * self.follows_signal
        changes += ["mmr_diversity_end"] * (self.mmr_diversity_end is not None)
        if len(changes) > 1:
            raise ValueError(f"mmr_diversity_end goes with a number as mmr_diversity; got {changes[0]}")
        if changes and self.mmr_method not in METHODS_WITH_DIVERSITY:
            raise ValueError(
                f"{changes[0]} goes with mmr_method one of {quoted(METHODS_WITH_DIVERSITY)}, which have a diversity;"
                f" got mmr_method={self.mmr_method!r}"
            )
        check_positive("mmr_diversity_steps", self.mmr_diversity_steps)
        for name, lowest in _LOWEST.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
            if value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        inherited = getattr(super(), "__post_init__", None)
        if inherited is not None:
            inherited()

    @staticmethod
    def of(args: object) -> MMROptions:
        """The options that a training config holds; for one without MMR's fields, the defaults."""
        options: dict[str, Any] = {each.name: getattr(args, each.name, each.default) for each in fields(MMROptions)}
        return MMROptions(**options)

    @staticmethod
    def named(given: Mapping[str, Any], where: str) -> MMROptions:
        """The options under their names without ``mmr_``, as a section of a trainer's own config holds them.

        Args:
            given: name to value.
            where: the section, as the trainer's users write it: "algorithm.mmr".

        Raises:
            TypeError, ValueError: naming the section, the option, what it got and what it takes.
        """
        if not isinstance(given, Mapping):
            raise TypeError(f"{where} takes options by name, as {{lam: 0.8}}; got {given!r}")
        names = [each.name.removeprefix("mmr_") for each in fields(MMROptions)]
        if unknown := sorted(map(str, set(given) - set(names))):
            raise ValueError(f"{where} takes {', '.join(names)}; got {', '.join(unknown)}")
        try:
            return MMROptions(**{f"mmr_{name}": value for name, value in given.items()})
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None

    def refuse_schedule(self, trainer: str) -> None:
        """For a trainer that doesn't tell an adapter how far training is, nor shows pictures.

        Raises:
            ValueError: an option needs to know.
        """
        if self.mmr_diversity_end is not None or self.mmr_plot_steps:
            raise ValueError(
                f"mmr_diversity_end and mmr_plot_steps are not for {trainer}, which doesn't tell how far training is"
            )

    def of_the_op(self) -> dict[str, Any]:
        """Those that are arguments of ``mmr_advantages``."""
        return {each.name: getattr(self, f"mmr_{each.name}") for each in _OF_THE_OP}

    def embedder(self, given: Any = None, policy: Callable[[], nn.Module] | None = None) -> Embedder:
        """The embedder that was given to the trainer, else the one that the config names; of every method, for the
        signal that is logged. Without ``policy``, the model being trained, "policy" is an error."""
        return as_embedder(
            self.mmr_embedder if given is None else given,
            batch_size=self.mmr_embedder_batch_size,
            max_tokens=self.mmr_embedder_max_tokens,
            policy=policy,
        )

    def warn_of_length(self, embedder: Embedder, longest: int | None, called: str = "max_completion_length") -> None:
        """Warn where completions may be longer than the embedder reads: what differs after that counts as the same.

        Args:
            embedder: of the run.
            longest: tokens of a completion at most, as the trainer's option ``called`` has it; None: no limit is known.
        """
        limits = [getattr(embedder, "max_tokens", None)]
        limits += [self.mmr_embedder_max_tokens] * isinstance(embedder, TokenEmbedder)
        reads = min(filter(None, limits), default=None)
        if reads is not None and longest is not None and longest > reads:
            warnings.warn(
                f"{called} is {longest}, and {type(embedder).__name__} reads the first"
                f" {reads} tokens of a completion: two that differ only after these count as the same. Raise"
                " mmr_embedder_max_tokens if that is the limit, or choose an embedder that reads more",
                stacklevel=2,
            )

    @property
    def follows_signal(self) -> bool:
        """Whether ``SignalDial`` gives the diversity."""
        return bool(self.mmr_diversity == SIGNAL)

    def diversity(self, progress: float) -> float:
        """The diversity at ``progress`` through training, 0 at its start and 1 at its end; not that of the dial."""
        start, end = self.mmr_diversity, self.mmr_diversity_end
        if start is None:
            start = completed(Options(method=self.mmr_method)).diversity
        return LinearSchedule(start, start if end is None else end, self.mmr_diversity_steps)(progress)

    @property
    def smooths_lambda(self) -> bool:
        """Whether λ is averaged over batches, as released: "relative_std" over the batch.

        With scope "group" there is nothing to average: the next batch holds other prompts.
        """
        return (self.mmr_method, self.mmr_lam, self.mmr_scope) == ("mmr", "relative_std", "batch")
