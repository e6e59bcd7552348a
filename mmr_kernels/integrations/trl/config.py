"""TRL's config with the options of MMR."""

from __future__ import annotations

from dataclasses import dataclass

from trl import GRPOConfig

from mmr_kernels.integrations.options import MMROptions


@dataclass
class MMRGRPOConfig(MMROptions, GRPOConfig):
    """``trl.GRPOConfig`` with the fields of ``MMROptions``."""
