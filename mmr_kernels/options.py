"""All of a call that is no tensor and no size, checked and packed into one string.

The op takes them as that string because every argument of an op costs: seven separate strings and flags add 2 µs to
a call, as much as the whole computation for one small group takes (docs/cpu.md). Checking, packing and unpacking are
cached, so a training loop pays for them once, or once a step for a number that a schedule changes every step.
(``torch.compile`` makes a graph for each value of a number; a scheduled λ goes in as a tensor there.)
"""

from __future__ import annotations

import functools
from typing import NamedTuple

from mmr_kernels import checks


class Options(NamedTuple):
    """As in ``mmr_kernels.mmr_advantages``, with the op's own two: where λ comes from, and which outputs it fills.

    The fields before ``outputs`` are those of ``csrc/mmr.h``, in its order. The defaults are those of the public call.
    """

    method: str = "mmr"  # "mmr" | "smi" | "none"
    lam_mode: str = "sigmoid"  # "fixed" | "tensor" | "sigmoid" | "relative_std"
    lam_value: float = 0.0  # for lam_mode "fixed"
    temperature: float = 1.0
    first_pick: str = "reward"  # "reward" | "score"
    diversity: float = 1.0
    match_scale: bool = False
    scope: str = "group"  # "group" | "batch"
    scale: str = "group"  # "group" | "batch" | "none"
    eps: float = 1e-4
    degenerate: str = "reweight"  # "reweight" | "zero"
    normalize: bool = True
    outputs: str = "advantages"  # "advantages" | "reweighted" | "details"
    backend: str | None = None


def check_and_pack(*values: object) -> str:
    """Check the options, in the order of ``Options``, and pack them for the op.

    Raises:
        TypeError, ValueError: naming the option, what it got and what it takes.
    """
    options = Options(*values)  # type: ignore[arg-type]
    for name in ("method", "first_pick", "scope", "scale", "degenerate"):
        checks.check_choice(name, getattr(options, name))
    if options.backend is not None:
        checks.check_choice("backend", options.backend)
    checks.check_number("lam", options.lam_value, highest=1.0)
    checks.check_number("diversity", options.diversity, highest=1.0)
    checks.check_number("temperature", options.temperature, highest=checks.LARGEST_FLOAT32)
    checks.check_number("eps", options.eps, highest=checks.LARGEST_FLOAT32)
    checks.check_flag("match_scale", options.match_scale)
    checks.check_flag("normalize", options.normalize)
    # Written so that torch.compile can trace it: it may hold a float as a symbol, which __float__ makes a constant.
    return "|".join([str(value.__float__() if isinstance(value, float) else value) for value in options])


# typed: 1 and True are one key otherwise, and only one of them is a flag.
_packed_before = functools.lru_cache(maxsize=512, typed=True)(check_and_pack)


def pack(*values: object) -> str:
    """``check_and_pack``, once for each set of options; not for a tracer, which looks through the cache and warns."""
    try:
        return _packed_before(*values)
    except TypeError:  # not hashable, so no option's value: the check says which
        return check_and_pack(*values)


@functools.lru_cache(maxsize=512)
def unpack(packed: str) -> Options:
    """The options that ``pack`` packed."""
    (
        method, lam_mode, lam_value, temperature, first_pick, diversity, match_scale, scope, scale, eps, degenerate,
        normalize, outputs, backend,
    ) = packed.split("|")  # fmt: skip
    return Options(
        method, lam_mode, float(lam_value), float(temperature), first_pick, float(diversity), match_scale == "True",
        scope, scale, float(eps), degenerate, normalize == "True", outputs, None if backend == "None" else backend,
    )  # fmt: skip
