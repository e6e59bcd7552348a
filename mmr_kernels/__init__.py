"""MMR-reweighted group-relative advantages for GRPO, in one call."""

from mmr_kernels.api import MMRResult, mmr_advantages, mmr_reweight
from mmr_kernels.backends import available_backends
from mmr_kernels.schedule import LambdaEMA

__all__ = ["LambdaEMA", "MMRResult", "available_backends", "mmr_advantages", "mmr_reweight"]
__version__ = "0.1.0"
