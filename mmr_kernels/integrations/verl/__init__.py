"""MMR-GRPO in verl by the command line alone: ``algorithm.adv_estimator=mmr_grpo +algorithm.mmr.lam=0.8``
(docs/verl.md).

verl loads this module as a plugin (the entry point in the group ``verl.plugins``) in each of its processes, before its
trainers. So that a worker is spared them, each is hooked when it is imported.
"""

from __future__ import annotations

import logging

logger = logging.getLogger(__name__)

try:
    import wrapt

    from mmr_kernels.integrations.verl import hooks

    for module, hook in hooks.BY_MODULE.items():
        wrapt.register_post_import_hook(hook, module)
except Exception:
    # verl tells of a plugin that fails on DEBUG alone; later it would only know no such estimator.
    logger.exception("mmr_kernels can't hook into verl: there will be no algorithm.adv_estimator=mmr_grpo")
    raise
logger.info(
    "mmr_kernels is loaded: algorithm.adv_estimator=mmr_grpo is there, and takes +algorithm.mmr.… (docs/verl.md)"
)
