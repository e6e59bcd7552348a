"""Backend "triton": the kernel of ``mmr_kernels/backends/triton``, for CUDA and ROCm tensors.

Triton is imported by the first call that runs here, and by nothing else: ``@triton.jit`` reads TRITON_INTERPRET as
it decorates, so whoever wants the interpreter must still be able to set it.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mmr_kernels.backends.host import Host, this_host
from mmr_kernels.backends.triton.configurations import configuration, is_ragged, power_of_two
from mmr_kernels.options import METHODS_THAT_COUNT, METHODS_THAT_WEIGH, USUAL_SHARPNESS, Options
from mmr_kernels.problem import MMRResult, Problem, allocate_outputs

#: Most members a scope can have: its similarities take 4 · MEMBERS² bytes of scratch.
LARGEST_SCOPE = 4096
#: The same for ``method="dpp"``, whose matrix lies in the registers of one program.
LARGEST_DETERMINANT = 128
#: The largest sharpness that is multiplied out; a kernel is compiled for each.
LARGEST_WHOLE_SHARPNESS = 8
#: Members of the largest scope whose similarities are formed by the program that uses them.
LARGEST_TOGETHER = 128
#: Members that one pass counts for: all that is kept of each one must fit in registers.
LARGEST_PART = 1024
#: Products may be added unrounded; said here, because Triton's default is about to change, and with it the bits.
FUSED = ("enable_fp_fusion", True)
#: As many as a thread can have: without a limit ptxas stops at 96 or 128 here and there, and rather spills a few.
MOST_REGISTERS = ("maxnreg", 255)
#: Values a program of the second launch of ``scale="batch"`` divides.
BATCH_BLOCK = 1024


def why_not_here(host: Host) -> str | None:
    """Needs triton, and a GPU or its interpreter."""
    if host.triton is not None:
        return f"needs the package triton, found: {host.triton}; pip install triton"
    if host.gpu is not None and host.interpreter is not None:
        return (
            f"needs a CUDA device of compute capability 8.0 or a ROCm device, found: {host.gpu}; to try it slowly on"
            " CPU tensors, set TRITON_INTERPRET=1 before Python starts"
        )
    return None


def why_not(problem: Problem, host: Host) -> str | None:
    """Needs CUDA or ROCm tensors and at most 4096 members per scope, for "dpp" 128; takes every dtype and option."""
    rewards = problem.rewards
    if rewards.is_cpu and host.interpreter is not None:  # every call on the CPU comes by here: nothing to format
        return "needs tensors on a CUDA or ROCm device, got cpu; move them, or leave backend=None"
    if not rewards.is_cuda and not rewards.is_cpu:
        return f"needs tensors on a CUDA or ROCm device, got {rewards.device.type}; move them, or leave backend=None"
    largest, method = LARGEST_SCOPE, ""
    if problem.options.method == "dpp":
        largest, method = LARGEST_DETERMINANT, ' with method="dpp"'
    if problem.largest_scope > largest:
        return (
            f"takes at most {largest} completions per group or batch scope (with group_offsets or group_ids: per call,"
            f" or max_group_size){method}, got up to {problem.largest_scope}; leave backend=None"
        )
    return why_not_here(host)


def run(problem: Problem) -> MMRResult:
    """One launch, on the current stream; one more each for ``scope="batch"`` and for ``scale="batch"``, and two where
    similarities are formed apart."""
    outputs = allocate_outputs(problem)
    if problem.num_scopes == 0:
        return outputs
    device = problem.rewards.device
    if _interpreted() and problem.embeddings is not None and problem.embeddings.dtype is torch.bfloat16:
        # Triton's interpreter multiplies the bits of bfloat16 as integers; wider, the values are the same.
        problem = problem._replace(embeddings=problem.embeddings.float())
    if device.type == "cuda" and device.index != torch.cuda.current_device():
        with torch.cuda.device(device):
            _launch(problem, outputs)
    else:
        _launch(problem, outputs)
    return outputs


def _interpreted() -> bool:
    return this_host().interpreter is None


def _launch(problem: Problem, outputs: MMRResult) -> None:
    for launch in launches(problem, outputs, amd=torch.version.hip is not None):
        _start(*launch)


#: Of a kernel: run-time arguments, constants, compiler options.
Arguments = tuple[tuple[Any, ...], tuple[Any, ...], tuple[tuple[str, object], ...]]


class Launch(NamedTuple):
    """A kernel, its grid, run-time arguments, constants and compiler options."""

    kernel: Any
    grid: tuple[int, int, int]
    arguments: tuple[Any, ...]
    constants: tuple[Any, ...]
    options: tuple[tuple[str, object], ...]


def launches(problem: Problem, outputs: MMRResult, amd: bool) -> list[Launch]:
    """All of a call, in their order."""
    from mmr_kernels.backends.triton import advantages as kernels
    from mmr_kernels.backends.triton.similarity import similarity_tiles

    scratch, reweighted, counts, in_order = buffers(problem, outputs)
    found = []
    if forms_apart(problem):
        side = -(-problem.largest_scope // configuration(problem).tile)
        for across in (1, side):  # those on the diagonal, and then those below it, which need the factors of these
            grid = (problem.num_scopes, side, across)
            found.append(Launch(similarity_tiles, grid, *tile_arguments(problem, scratch, across == 1, amd)))
    arguments = launch_arguments(problem, outputs, scratch, reweighted, counts, in_order, amd)
    found.append(Launch(kernels.mmr_kernel, (problem.num_scopes, 1, 1), *arguments))
    advantages = outputs.advantages
    if advantages is not None and problem.options.scope == "batch":
        arguments = advantage_arguments(problem, advantages, reweighted, counts)
        found.append(Launch(kernels.advantages_kernel, (problem.num_groups, 1, 1), *arguments))
    if advantages is not None and problem.options.scale == "batch":
        count = problem.num_completions
        arguments = (advantages, reweighted, count, problem.options.eps), (BATCH_BLOCK,), (("num_warps", 4), FUSED)
        found.append(Launch(kernels.divide_by_batch_deviation, (-(-count // BATCH_BLOCK), 1, 1), *arguments))
    return found


def forms_apart(problem: Problem) -> bool:
    """Whether the similarities are formed by launches of their own, over all multiprocessors: of large scopes of one
    size. Their bits are the same; of ragged ones most programs would find nothing to do."""
    return (
        problem.needs_similarity
        and problem.similarity is None
        and problem.largest_scope > LARGEST_TOGETHER
        and not is_ragged(problem)
    )


def buffers(problem: Problem, outputs: MMRResult) -> tuple[Tensor | None, ...]:
    """Room for similarities that don't fit on chip, for new rewards and counts that others read, and for the rewards of
    groups in their order."""
    count = problem.num_completions
    members = configuration(problem).members
    options = problem.options
    across_groups = options.scope == "batch"
    through_scratch = problem.needs_similarity and problem.similarity is None and members > 32
    passes_on = outputs.reweighted_rewards is None and (across_groups or options.scale == "batch")
    in_parts = members > LARGEST_PART and _count(problem) not in (None, "components")
    counts = in_parts or (across_groups and options.method in METHODS_THAT_WEIGH)
    in_order = problem.order is not None and not across_groups
    wanted = (passes_on, counts, in_order)
    if not through_scratch and not any(wanted):
        return None, outputs.reweighted_rewards, None, None
    similarities = count * (members + 2) if through_scratch else 0
    scratch = problem.rewards.new_empty(similarities + count * sum(wanted))
    # Each from its place to the end, whatever comes behind it.
    rest = [
        scratch[similarities + count * sum(wanted[:number]) :] if wants else None for number, wants in enumerate(wanted)
    ]
    return scratch, rest[0] if passes_on else outputs.reweighted_rewards, *rest[1:]


def _count(problem: Problem) -> str | None:
    """What the counts of section 4 are taken of."""
    if problem.options.method not in METHODS_THAT_COUNT:
        return None
    if problem.labels is not None:
        return "labels"
    if problem.options.threshold is not None:
        return "components"
    return "similarity" if problem.options.sharpness is None else "likeness"


def _whole_sharpness(sharpness: float | None) -> int | None:
    """The sharpness of counts and signal where it is a small whole number."""
    sharpness = USUAL_SHARPNESS if sharpness is None else sharpness
    return int(sharpness) if sharpness <= LARGEST_WHOLE_SHARPNESS and sharpness == int(sharpness) else None


@functools.lru_cache(maxsize=512)
def of_options(options: Options) -> tuple[tuple[float, ...], tuple[Any, ...]]:
    """The options as the kernel takes them, in the order of its signature: run-time numbers, and constants."""
    from mmr_kernels.backends.triton.advantages import mmr_kernel

    values = options._asdict()
    constants = {name.upper(): value for name, value in values.items()}
    numbers = tuple(values[name] for name in mmr_kernel.arg_names if name in values)
    choices = tuple(constants[name] for name in mmr_kernel.arg_names if name in constants)
    return numbers, choices


def launch_arguments(
    problem: Problem,
    outputs: MMRResult,
    scratch: Tensor | None,
    reweighted: Tensor | None,
    counts: Tensor | None,
    in_order: Tensor | None,
    amd: bool,
) -> Arguments:
    """Of ``mmr_kernel``."""
    members, alone, tile, block_dim, num_warps, num_stages = configuration(problem)
    numbers, choices = of_options(problem.options)
    units, unit = _units(problem.dim)
    warp_size = 64 if amd else 32  # of AMD's data center GPUs
    needs_similarity = problem.needs_similarity
    arguments = (
        problem.rewards,
        problem.embeddings if needs_similarity else None,
        problem.similarity if needs_similarity else None,
        problem.valid,
        problem.group_offsets,
        problem.order,
        problem.lam,
        problem.labels,
        problem.diversity,
        problem.group_of,
        outputs.advantages if problem.options.scope == "group" else None,
        reweighted,
        outputs.selection_rank,
        outputs.max_similarity,
        outputs.lam,
        outputs.signal,
        scratch,
        counts,
        in_order,
        problem.num_completions,
        problem.largest_group,
        units,
        _stride(problem.lam),
        _stride(problem.diversity),
        *numbers,
    )
    constants = (
        unit,
        _count(problem),
        _whole_sharpness(problem.options.sharpness),
        *choices,
        members,
        num_warps * warp_size // 32 if alone else 1,
        _by_lane(problem, tile, amd),
        forms_apart(problem),
        tile,
        _step_along_dim(problem, block_dim),
    )
    options: tuple[tuple[str, object], ...] = (("num_warps", num_warps), ("num_stages", num_stages), FUSED)
    if not amd:
        options += (MOST_REGISTERS,)
    elif is_ragged(problem):  # of the two that its matrix instructions have, one shape for all tiles
        options += (("matrix_instr_nonkdim", 16),)
    return arguments, constants, options


def tile_arguments(problem: Problem, scratch: Tensor | None, on_diagonal: bool, amd: bool) -> Arguments:
    """Of ``similarity_tiles``."""
    members, _, tile, block_dim, num_warps, num_stages = configuration(problem)
    units, unit = _units(problem.dim)
    arguments = (scratch, problem.embeddings, problem.num_completions, problem.largest_scope, units)
    constants = (
        unit, problem.options.normalize, members, _by_lane(problem, tile, amd), tile,
        _step_along_dim(problem, block_dim), on_diagonal,
    )  # fmt: skip
    return arguments, constants, (("num_warps", num_warps), ("num_stages", num_stages), FUSED)


def advantage_arguments(
    problem: Problem, advantages: Tensor, reweighted: Tensor | None, counts: Tensor | None
) -> Arguments:
    """Of ``advantages_kernel``."""
    options = problem.options
    arguments = (
        problem.rewards, reweighted, problem.valid, problem.group_offsets, problem.order, problem.diversity, counts,
        advantages, problem.num_completions, problem.largest_group, options.strength, options.diversity, options.eps,
    )  # fmt: skip
    members = max(32, power_of_two(problem.largest_group))
    constants = (options.method, options.scale, options.degenerate, members)
    return arguments, constants, (("num_warps", max(1, min(8, members // 256))), FUSED)


def _units(dim: int) -> tuple[int, int]:
    """D as a product, of which the kernel knows the second part and so that D can be divided by it."""
    unit = 8 if dim % 8 == 0 else 4 if dim % 4 == 0 else 1
    return dim // unit, unit


def _by_lane(problem: Problem, tile: int, amd: bool) -> bool:
    embeddings = problem.embeddings
    return not amd and tile <= 32 and embeddings is not None and embeddings.dtype is torch.float32


def _step_along_dim(problem: Problem, block_dim: int) -> int:
    # At least one unit of each part: similarity.PARTS times similarity.UNIT.
    return min(block_dim, max(64, power_of_two(problem.dim)))


def _stride(per_scope: Tensor | None) -> int:
    """From one scope's number to the next one's."""
    return 0 if per_scope is None or per_scope.numel() == 1 else 1


#: Compiled kernels by all that Triton would compile anew for: found here, a launch skips Triton's own look-up.
_compiled: dict[tuple[Any, ...], Any] = {}


def _is_small(argument: Any) -> bool:
    return isinstance(argument, Tensor) and argument.untyped_storage().nbytes() <= 2**31 - 1


def _start(
    kernel: Any, grid: tuple[int, int, int], arguments: tuple[Any, ...], constants: tuple[Any, ...], options: Any
) -> None:
    first = arguments[0]
    if _interpreted():
        kernel[grid](*arguments, *constants, **dict(options))
        return
    vectors = arguments[1]  # the one pointer whose alignment the compiler may use
    key = (
        kernel,
        first.device.index,
        constants,
        options,
        tuple([argument is None for argument in arguments]),
        None if vectors is None else (vectors.dtype, vectors.data_ptr() % 16 == 0),
        # For AMD, Triton compiles 32-bit offsets into memory of at most 2 GiB.
        None if torch.version.hip is None else tuple([_is_small(argument) for argument in arguments]),
    )
    compiled = _compiled.get(key)
    if compiled is None:
        _compiled[key] = kernel[grid](*arguments, *constants, **dict(options))
    else:
        compiled[grid](*arguments, *constants)
