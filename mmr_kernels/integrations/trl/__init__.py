"""MMR-GRPO in TRL: one changed line of a GRPO script (docs/trl.md)."""

from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.trl.mixin import MMRMixin
from mmr_kernels.integrations.trl.records import MMRGRPOConfig
from mmr_kernels.integrations.trl.trainer import MMRGRPOTrainer, attach_mmr

__all__ = ["MMRGRPOConfig", "MMRGRPOTrainer", "MMRMixin", "MMROptions", "attach_mmr"]
