"""What the compiled modules are called with; they read the tensors themselves (``csrc/tensor.h``)."""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from mmr_kernels.options import Options
from mmr_kernels.problem import Outputs, Problem


@functools.lru_cache(maxsize=512)
def parsed(module: ModuleType, options: Options) -> Any:
    """The module's own form of the options, made once: reading ten strings takes as long as the work for one group."""
    return module.Options(*options[:-2])


def arguments(module: ModuleType, problem: Problem, outputs: Outputs) -> tuple[object, ...]:
    """Of the module's function ``mmr``, up to those that only that module takes."""
    rewards, embeddings, num_groups, group_size, options, *tensors = problem
    return (rewards, embeddings, num_groups, group_size, parsed(module, options), *tensors, *outputs)
