"""MMR-reweighted group-relative advantages for GRPO, in one call.

The names below are imported when they are first used: the command line starts without torch, and its ``info``
still reports where torch can't be imported.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmr_kernels.api import mmr_advantages, mmr_reweight
    from mmr_kernels.backends import available_backends
    from mmr_kernels.dial import SignalDial
    from mmr_kernels.problem import MMRResult
    from mmr_kernels.schedule import LambdaEMA

__all__ = ["LambdaEMA", "MMRResult", "SignalDial", "available_backends", "mmr_advantages", "mmr_reweight"]
__version__ = "0.1.0"

_MODULE = {
    "LambdaEMA": "schedule",
    "MMRResult": "problem",
    "SignalDial": "dial",
    "available_backends": "backends",
    "mmr_advantages": "api",
    "mmr_reweight": "api",
}


def __getattr__(name: str) -> object:
    if name not in _MODULE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
