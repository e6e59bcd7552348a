"""The options of MMR as fields of a training config, so that YAML, the command line and ``TrlParser`` know them."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from trl import GRPOConfig

from mmr_kernels import checks

#: λ of "relative_std" is smoothed by this much, as in the released code.
EMA_ALPHA = 0.2


@dataclass
class MMROptions:
    """What MMR adds to a config; docs/trl.md says when to touch which. For a config of your own, put it first::

        @dataclass
        class MyConfig(MMROptions, GMPOConfig): ...

    Raises:
        TypeError, ValueError: at construction, naming the field, what it got and what it takes.
    """

    mmr_method: Literal["mmr", "smi", "none"] = field(
        default="mmr",
        metadata={"help": "'mmr'; 'smi', which divides by summed similarity (DRA-GRPO); 'none', plain GRPO."},
    )
    # A number or a name. Annotated as str, because an argument parser takes one type a field.
    mmr_lam: str = field(
        default="sigmoid",
        metadata={"help": "λ: a number in [0, 1] (1 looks at rewards alone), 'sigmoid' or 'relative_std'."},
    )
    mmr_temperature: float = field(default=1.0, metadata={"help": "τ of mmr_lam='relative_std', at least 0."})
    mmr_first_pick: Literal["reward", "score"] = field(
        default="reward",
        metadata={"help": "The first pick's new reward: 'reward', its own, as published, or 'score', λ times it."},
    )
    mmr_diversity: float = field(
        default=1.0, metadata={"help": "In [0, 1]: a dial from plain GRPO (0) to MMR (1). mmr_method='mmr' only."}
    )
    mmr_diversity_end: float | None = field(
        default=None,
        metadata={"help": "Where mmr_diversity goes, in a straight line, over mmr_diversity_steps. Default: nowhere."},
    )
    mmr_diversity_steps: float = field(
        default=1.0, metadata={"help": "The share of training, in (0, 1], over which mmr_diversity changes."}
    )
    mmr_scope: Literal["group", "batch"] = field(
        default="group",
        metadata={"help": "Pick within each 'group', or across the 'batch' of all processes, as released."},
    )
    mmr_match_scale: bool = field(
        default=False, metadata={"help": "Give the new rewards the mean and standard deviation of the old ones."}
    )
    mmr_degenerate: Literal["reweight", "zero"] = field(
        default="reweight",
        metadata={"help": "Groups of equal rewards: 'reweight' gives them a signal, as published; 'zero' none."},
    )
    mmr_backend: str | None = field(
        default=None, metadata={"help": "'triton', 'cuda', 'cpu' or 'torch'. Default: the first that can."}
    )
    mmr_embedder: str = field(
        default="lexical",
        metadata={"help": "'lexical', 'policy', 'sentence-transformers:MODEL' or 'vllm:MODEL' (a name or a path)."},
    )
    mmr_embedder_batch_size: int = field(default=32, metadata={"help": "Completions embedded at a time."})
    mmr_embedder_max_tokens: int = field(
        default=3584, metadata={"help": "Tokens of a completion that are embedded; 3,584 as published."}
    )
    mmr_plot_steps: int = field(
        default=0,
        metadata={"help": "Draw rewards and advantages, before and after, every this many steps. 0: never."},
    )

    def __post_init__(self) -> None:
        for name in ("method", "first_pick", "scope", "degenerate"):
            _check_choice(name, getattr(self, f"mmr_{name}"))
        if self.mmr_backend is not None:
            _check_choice("backend", self.mmr_backend)
        self._check_lam()
        checks.check_number("mmr_temperature", self.mmr_temperature)
        checks.check_number("mmr_diversity", self.mmr_diversity, highest=1.0)
        if self.mmr_diversity_end is not None:
            checks.check_number("mmr_diversity_end", self.mmr_diversity_end, highest=1.0)
            if self.mmr_method != "mmr":
                raise ValueError(
                    f"mmr_diversity_end goes with mmr_method='mmr', which has a λ; got mmr_method={self.mmr_method!r}"
                )
        checks.check_number("mmr_diversity_steps", self.mmr_diversity_steps, highest=1.0)
        if self.mmr_diversity_steps == 0:
            raise ValueError("mmr_diversity_steps must lie in (0, 1], a share of training; got 0")
        checks.check_flag("mmr_match_scale", self.mmr_match_scale)
        for name, lowest in (("mmr_embedder_batch_size", 1), ("mmr_embedder_max_tokens", 1), ("mmr_plot_steps", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be an int, got {type(value).__name__}")
            if value < lowest:
                raise ValueError(f"{name} must be at least {lowest}, got {value}")
        inherited = getattr(super(), "__post_init__", None)
        if inherited is not None:
            inherited()

    def _check_lam(self) -> None:
        """A name, or a number; a number that a command line gave as text becomes one."""
        lam: Any = self.mmr_lam
        if lam in checks.LAMBDA_MODES:
            return
        if isinstance(lam, bool):
            raise TypeError(f"mmr_lam must be a number or a name, got the bool {lam}")
        try:
            number = float(lam)
        except (TypeError, ValueError):
            takes = f"a number in [0, 1] or one of {checks.quoted(checks.LAMBDA_MODES)}"
            raise ValueError(f"mmr_lam must be {takes}; got {lam!r}") from None
        checks.check_number("mmr_lam", number, highest=1.0)
        self.mmr_lam = number  # type: ignore[assignment]

    @staticmethod
    def of(args: object) -> MMROptions:
        """The options that a training config holds; for one without MMR's fields, the defaults."""
        options: dict[str, Any] = {each.name: getattr(args, each.name, each.default) for each in fields(MMROptions)}
        return MMROptions(**options)


def _check_choice(name: str, value: object) -> None:
    if value not in checks.CHOICES[name]:
        raise ValueError(f"mmr_{name} must be one of {checks.quoted(checks.CHOICES[name])}; got {value!r}")


@dataclass
class MMRGRPOConfig(MMROptions, GRPOConfig):
    """``trl.GRPOConfig`` with the fields of ``MMROptions``."""
