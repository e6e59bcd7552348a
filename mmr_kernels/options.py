"""The one table of options. Whatever lists options reads it: the checks, the op's wire form, the compiled kernels, the
trainers' settings, the command line. What has to say them again (the public signature, ``csrc/mmr.h``, the signatures
of the reference and of the Triton kernel) is held equal to it by ``python_tests/test_options.py``.
"""

from __future__ import annotations

import functools
import math
import typing
from typing import Annotated, Any, Literal, NamedTuple

NUMBERS = (int, float)  # a tuple: the compiler of torch 2.6 traces no union of types
#: Computed here, because the command line reads this table without torch.
LARGEST_FLOAT32 = (2 - 2.0**-23) * 2.0**127


class UpTo(NamedTuple):
    """A finite number from 0 to ``highest``."""

    highest: float


class Options(NamedTuple):
    """All of a call that is no tensor and no size. Annotations hold what an option takes, and one sentence of help.

    Three fields are the op's own: the public ``lam`` is one of ``lam_mode`` and ``lam_value`` (or a tensor), and
    ``outputs`` says which outputs the op fills.
    """

    method: Annotated[
        Literal["mmr", "smi", "share", "unique", "partition", "dpp", "none"],
        "The rule that makes likeness count; 'none' is plain GRPO.",
    ] = "mmr"
    lam_mode: Annotated[Literal["fixed", "tensor", "sigmoid", "relative_std"], "The rule that gives λ."] = "sigmoid"
    lam_value: Annotated[float, UpTo(1.0), "λ itself, where the rule is 'fixed'."] = 0.0
    temperature: Annotated[float, UpTo(LARGEST_FLOAT32), "τ of the λ 'relative_std'."] = 1.0
    first_pick: Annotated[
        Literal["reward", "score"], "The first pick's new reward: its reward as it is, or λ times that."
    ] = "reward"
    diversity: Annotated[
        float | None, UpTo(1.0), "A dial, for 'mmr' from plain GRPO (0) to MMR (1, its default); 'share' has 0."
    ] = None
    strength: Annotated[
        float | None, UpTo(1000.0), "α of the method; 0.5 for 'share', 1 for 'unique' and 'smi', 0.1 for 'dpp'."
    ] = None
    sharpness: Annotated[
        float | None, UpTo(1000.0), "p: a soft count adds max(0, S)^p; 4, but 'smi' has its published sum."
    ] = None
    threshold: Annotated[
        float | None, UpTo(LARGEST_FLOAT32), "Count the members of a cluster: what similarities above this connect."
    ] = None
    quality: Annotated[bool, "Weigh the similarities of 'dpp' by the rewards."] = False
    match_scale: Annotated[bool, "Give the new rewards the mean and standard deviation of the old ones."] = False
    scope: Annotated[Literal["group", "batch"], "Pick within each group, or across the whole batch."] = "group"
    scale: Annotated[
        Literal["group", "batch", "none"], "Divide by the standard deviation of the group, of the batch, or by nothing."
    ] = "group"
    eps: Annotated[float, UpTo(LARGEST_FLOAT32), "Added to the standard deviation."] = 1e-4
    degenerate: Annotated[
        Literal["reweight", "zero"], "A group of equal rewards gets the advantages of its reweighted rewards, or 0."
    ] = "reweight"
    normalize: Annotated[bool, "Divide each embedding by its norm."] = True
    outputs: Annotated[Literal["advantages", "reweighted", "details"], "The outputs that the op fills."] = "advantages"
    backend: Annotated[
        Literal["triton", "cuda", "cpu", "torch"] | None, "The backend; where none is given, the first that can."
    ] = None


#: Methods that need no similarities.
METHODS_OF_REWARDS_ALONE = ("none",)
#: Methods that count how many completions are like one; from labels they need no similarities either.
METHODS_THAT_COUNT = ("smi", "share", "unique", "partition")
#: Methods that make no new rewards: they weigh the advantages.
METHODS_THAT_WEIGH = ("share", "unique")
#: Methods that have a diversity.
METHODS_WITH_DIVERSITY = ("mmr", "share")
#: p of soft counts, and of the signal also where the method has a count of its own.
USUAL_SHARPNESS = 4.0
#: The defaults that depend on the method: those of all, and where a method has others.
OF_ALL_METHODS: dict[str, float | None] = {"diversity": 1.0, "strength": 1.0, "sharpness": USUAL_SHARPNESS}
OF_ONE_METHOD: dict[str, dict[str, float | None]] = {
    "share": {"diversity": 0.0, "strength": 0.5},
    "dpp": {"strength": 0.1},
    "smi": {"sharpness": None},  # its count is the published sum
}
#: The rules that a public ``lam`` may name.
LAMBDA_MODES = ("sigmoid", "relative_std")


class Option(NamedTuple):
    """A row of the table, read from the annotations of ``Options``: a choice, a number or a flag."""

    name: str
    takes: typing.Any  # the type: a Literal of choices, float or bool
    default: str | float | bool | None  # None where it depends: on the machine or on the method
    choices: tuple[str | None, ...]  # of a choice; None among them where nothing need be chosen
    highest: float  # of a number
    help: str

    @property
    def is_flag(self) -> bool:
        """Whether it is a bool."""
        return isinstance(self.default, bool)

    @property
    def is_number(self) -> bool:
        """Whether it is a float."""
        return not self.choices and not self.is_flag


def _row(name: str, annotation: typing.Any) -> Option:
    takes, *metadata = typing.get_args(annotation)
    either = typing.get_args(takes)
    optional = type(None) in either
    names = typing.get_args(either[0]) if optional else either
    choices = (*names, None) if optional and names else names
    highest = next((item.highest for item in metadata if isinstance(item, UpTo)), math.inf)
    return Option(name, takes, Options._field_defaults[name], choices, highest, metadata[-1])


OPTIONS = {name: _row(name, hint) for name, hint in typing.get_type_hints(Options, include_extras=True).items()}


def quoted(names: typing.Iterable[str | None]) -> str:
    """'a', 'b', 'c', as error messages list choices."""
    return ", ".join(repr(name) for name in names if name is not None)


def plain(value: Any) -> Any:
    """The number that a NumPy scalar, or a 0-dimensional array or tensor on the CPU, holds; others as they are."""
    return value.item() if getattr(value, "ndim", None) == 0 and getattr(value, "is_cpu", True) else value


def check(name: str, value: object, called: str | None = None) -> None:
    """Check one option's value.

    Args:
        name: the option's name in the table.
        value: what was given.
        called: the name under which the caller knows it, where that is another.

    Raises:
        TypeError, ValueError: naming the option, what it got and what it takes.
    """
    option, called = OPTIONS[name], called or name
    if option.choices:
        if not (value is None or isinstance(value, str)) or value not in option.choices:
            raise ValueError(f"{called} must be one of {quoted(option.choices)}; got {value!r}")
    elif option.is_flag:
        if not isinstance(value, bool):
            raise TypeError(f"{called} must be a bool, got {type(value).__name__}")
    elif value is None and option.default is None:
        return
    elif isinstance(value, bool) or not isinstance(value, NUMBERS):
        raise TypeError(f"{called} must be a float, got {type(value).__name__}")
    # Comparisons alone, which torch.compile can also trace for a number that changes from call to call.
    elif not (0 <= value <= option.highest and value < math.inf):
        raise ValueError(f"{called} must lie in [0, {option.highest:g}], got {value}")


def lambda_options(lam: object, called: str = "lam") -> tuple[str, float]:
    """``lam_mode`` and ``lam_value`` of a public ``lam``: a number, a tensor or the name of a rule; checked.

    Raises:
        TypeError, ValueError: as ``check``.
    """
    if isinstance(lam, str):
        if lam not in LAMBDA_MODES:
            raise ValueError(f"{called} must be a number, a tensor or one of {quoted(LAMBDA_MODES)}; got {lam!r}")
        return lam, 0.0
    if not isinstance(lam, NUMBERS):
        from torch import Tensor

        if isinstance(lam, Tensor):
            return "tensor", 0.0
        lam = plain(lam)
    check("lam_value", lam, called)
    return "fixed", typing.cast(float, lam)


def check_together(options: Options, called: str = "") -> None:
    """Check what no option shows alone; ``called``: the prefix under which the caller knows options.

    Raises:
        ValueError: naming the option, what it got and what it takes.
    """
    if options.method == "unique" and (options.strength or 0) > 1:
        raise ValueError(f'{called}strength must lie in [0, 1] with {called}method="unique", got {options.strength}')


def check_clusters(options: Options, labels: bool | None, called: str = "") -> None:
    """Check that there is one answer to what a cluster is, and one where the method asks.

    Args:
        options: of the call.
        labels: whether the completions have labels; None where the caller can't give any.
        called: the prefix under which the caller knows options.

    Raises:
        ValueError: naming the option, what it got and what it takes.
    """
    if labels and options.threshold is not None:
        raise ValueError(f"{called}labels and {called}threshold each say what a cluster is: give one of the two")
    if options.method == "partition" and not labels and options.threshold is None:
        takes = f"{called}threshold" if labels is None else f"{called}labels or {called}threshold"
        raise ValueError(f'{called}method="partition" counts the members of clusters: give {takes}')


def check_and_pack(**options: object) -> str:
    """Check options and bring them to the op's wire form: ``name=value``, joined by ";", defaults left out.

    So a new option, which has a default, leaves the programs valid that ``torch.export`` saved before it came. One
    string, because each argument of an op costs a call 0.1 to 0.2 µs.

    Raises:
        TypeError, ValueError: as ``check``.
    """
    packed = []
    for name, value in options.items():
        check(name, value)
        # Written so that torch.compile can trace it: it may hold a float as a symbol, which __float__ makes a constant.
        value = value.__float__() if isinstance(value, float) else value
        if value != OPTIONS[name].default:
            packed.append(f"{name}={value}")
    return ";".join(packed)


# typed: 1 and True are one key otherwise, and only one of them is a flag. Not by keyword, which takes 1 µs longer.
@functools.lru_cache(maxsize=512, typed=True)
def _packed_before(names: tuple[str, ...], *values: object) -> str:
    return check_and_pack(**dict(zip(names, values, strict=True)))


def pack(options: dict[str, object]) -> str:
    """``check_and_pack``, once per set of options.

    Not for a tracer, which looks through the cache and warns. (``torch.compile`` makes a graph for each value of a
    number; a λ that changes every step goes in as a tensor there.)
    """
    try:
        return _packed_before(tuple(options), *options.values())
    except TypeError:  # one is wrong, or holds a number that isn't Python's own
        options = {name: plain(value) for name, value in options.items()}
    return check_and_pack(**options)


@functools.lru_cache(maxsize=512)
def unpack(packed: str) -> Options:
    """The options in their wire form, checked: whoever calls the op by its name has passed no other check.

    Raises:
        TypeError, ValueError: as ``check``, or naming an option that the table lacks.
    """
    values: dict[str, object] = {}
    for part in filter(None, packed.split(";")):
        name, _, text = part.partition("=")
        if name not in OPTIONS:
            raise ValueError(f"options must be name=value of {', '.join(OPTIONS)}; got {part!r}")
        option = OPTIONS[name]
        try:
            values[name] = {"True": True, "False": False}[text] if option.is_flag else text
            if option.is_number:
                values[name] = float(text)
        except (KeyError, ValueError):
            raise ValueError(f"{name} must be a {'bool' if option.is_flag else 'float'}, got {text!r}") from None
        check(name, values[name])
    options = Options(**values)  # type: ignore[arg-type]
    check_together(options)
    return options


@functools.lru_cache(maxsize=512)
def completed(options: Options) -> Options:
    """With the defaults that depend on the method. ``sharpness`` stays None where the count is SMI's published sum."""
    defaults = {**OF_ALL_METHODS, **OF_ONE_METHOD.get(options.method, {})}
    missing: dict[str, Any] = {name: value for name, value in defaults.items() if getattr(options, name) is None}
    return options._replace(**missing)
