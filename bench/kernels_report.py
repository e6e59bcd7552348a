"""``make kernels-report``: what the Triton kernel becomes on each GPU, compiled ahead of time; needs no GPU.

Compiles exactly what ``backend="triton"`` launches, for five architectures and two dtypes, for one of them also many
groups, ragged ones and a batch as scope, with the Triton that is installed (3.6 to 3.9), takes it apart and writes
docs/kernels-report.json. python_tests/backends/test_triton_report.py holds the budgets.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench import disassembly
from mmr_kernels.backends import triton as backend
from mmr_kernels.bench import record
from mmr_kernels.options import Options, completed
from mmr_kernels.problem import Problem, allocate_outputs

REPORT = Path(__file__).parents[1] / "docs" / "kernels-report.json"
TARGETS = {
    **{f"sm_{arch}": GPUTarget("cuda", arch, 32) for arch in (80, 90, 100, 120)},
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
DIM = 1024
LAYOUTS = {"uniform": (8, 16, 32, 64, 128, 256), "many": (16, 32), "ragged": (16, 64, 4096), "batch": (1024,)}
#: Target, layout, members (of a group, of the largest, or of the batch), dtype; all layouts on one target.
ROWS = [
    (target, layout, members, dtype)
    for target in TARGETS
    for layout, sizes in LAYOUTS.items()
    for members in sizes
    for dtype in DTYPES
    if layout == "uniform" or target == "sm_90"
]
_NAMES = {
    torch.float32: "*fp32",
    torch.bfloat16: "*bf16",
    torch.float16: "*fp16",
    torch.int64: "*i64",
    torch.bool: "*i1",
}


def problem(group_size: int, dtype: torch.dtype, groups: int = 16) -> Problem:
    """The plain call of a trainer: group scope, group scale, sigmoid λ, advantages alone. On no device at all."""
    rewards = torch.empty(groups, group_size, device="meta")
    embeddings = torch.empty(groups, group_size, DIM, device="meta", dtype=dtype)
    return Problem(rewards, embeddings, groups, group_size, completed(Options()))


def laid_out(layout: str, size: int, dtype: torch.dtype) -> Problem:
    """The same for a row: 16 groups or 512, ragged ones by labels of 4,096 completions, a batch in groups of 16."""
    if layout in ("uniform", "many"):
        return problem(size, dtype, 512 if layout == "many" else 16)
    if layout == "batch":
        return problem(16, dtype, size // 16)._replace(options=completed(Options(scope="batch")))
    call = problem(4096, dtype, groups=1)
    assert call.embeddings is not None
    return call._replace(
        rewards=call.rewards[0],
        embeddings=call.embeddings[0],
        num_groups=4096,
        group_size=0,
        group_offsets=torch.empty(4097, device="meta", dtype=torch.int64),
        order=torch.empty(4096, device="meta", dtype=torch.int64),
        max_group_size=size,
    )


def compiled(call: Problem, target: GPUTarget) -> list[Any]:
    """What ``backends.triton`` would launch for it, in order: same arguments, constants and options."""
    return [_compiled(each, target) for each in backend.launches(call, allocate_outputs(call), target.backend == "hip")]


def _compiled(launch: backend.Launch, target: GPUTarget) -> Any:
    names = launch.kernel.arg_names
    signature, fixed = {}, {}
    for name, value in zip(names, (*launch.arguments, *launch.constants), strict=True):
        if isinstance(value, torch.Tensor):
            signature[name] = _NAMES[value.dtype]
        elif value is None or len(signature) >= len(launch.arguments):
            signature[name], fixed[name] = "constexpr", value
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
    aligned = {(names.index(name),): [["tt.divisibility", 16]] for name in names if name == "embeddings"}
    source = ASTSource(launch.kernel, signature, constexprs=fixed, attrs=aligned)
    return triton.compile(source, target=target, options=dict(launch.options))


def row(target: str, layout: str, size: int, dtype: str) -> dict[str, Any]:
    """One line of the report: of the kernel that picks, but products, loads of embeddings and what is in memory of all
    the call's. ``greedy`` counts instructions of one step of the greedy loop.
    """
    kernels = compiled(laid_out(layout, size, DTYPES[dtype]), TARGETS[target])
    found = [_amd(each.asm["amdgcn"]) if target == "gfx942" else _cuda(each.asm["cubin"]) for each in kernels]
    picks = next(number for number, each in enumerate(kernels) if each.metadata.name == "mmr_kernel")
    together = {name: sum(each[name] for each in found) for name in ("stack", "spills")}
    joined = {name: sorted({one for each in found for one in each[name]}) for name in ("product", "embedding_loads")}
    of_row = {"target": target, "layout": layout, "members": size, "dtype": dtype}
    return of_row | {"shared": kernels[picks].metadata.shared} | found[picks] | together | joined


def disassembled(cubin: bytes) -> disassembly.Kernel:
    """The one kernel of a cubin."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        (kernel,) = disassembly.kernels(Path(file.name))
    return kernel


def _cuda(cubin: bytes) -> dict[str, Any]:
    kernel = disassembled(cubin)
    counts = disassembly.counts
    # The greedy loop looks for a maximum over the warp; the loops along D move embeddings. The shortest, for the way
    # back from a division's rare case looks like a loop too, over what follows the picks.
    greedy = min((loop for loop in kernel.loops if counts(loop)["REDUX"]), key=len, default=[])
    step = counts(greedy)
    opcodes = set(map(disassembly.name, kernel.instructions))
    along_dim = {disassembly.name(one) for loop in kernel.loops if counts(loop)["LDGSTS"] for one in loop}
    return {
        "registers": kernel.registers,
        "stack": kernel.stack,
        "spills": kernel.spills,
        "instructions": len(kernel.instructions),
        "product": sorted(opcode for opcode in opcodes if "MMA" in opcode and "HFMA2" not in opcode)
        or ["FFMA"] * bool(along_dim),
        "embedding_loads": sorted(one for one in along_dim if one.startswith(("LDGSTS", "LDG.", "UBLKCP", "UTMALDG"))),
        "greedy": {
            "instructions": len(greedy),
            "loads": step["LDG"],
            "shuffles": step["SHFL"],
            "reductions": step["REDUX"],
            "barriers": step["BAR"],
            **{
                name: round(disassembly.cycles_per_turn(greedy, load=load)) if greedy else 0
                for name, load in (("estimated_cycles", 288), ("estimated_cycles_from_l1", disassembly.L1_LATENCY))
            },
        },
    }


def _amd(text: str) -> dict[str, Any]:
    """From the assembly that Triton keeps."""
    instructions, loops = disassembly.parse(
        text, r"^\s+([a-z]+_[a-z0-9_]+.*?)\s*(?:;.*)?$", r"^(\.LBB\d+_\d+):", r"^s_c?branch\S*\s+(\.LBB\d+_\d+)"
    )
    across = ("_dpp", "ds_bpermute", "ds_swizzle", "v_permlane")

    def count(loop: disassembly.Loop, *marks: str) -> int:
        return sum(any(mark in instruction for mark in marks) for instruction in loop)

    greedy = ([[]] + [loop for loop in loops if count(loop, *across) and not count(loop, "mfma")])[-1]
    return {
        "registers": int(re.findall(r"\.vgpr_count:\s+(\d+)", text)[0]),
        "stack": int(re.findall(r"\.private_segment_fixed_size:\s+(\d+)", text)[0]),
        "spills": int(re.findall(r"\.vgpr_spill_count:\s+(\d+)", text)[0]),
        "instructions": len(instructions),
        "product": sorted({instruction.split()[0] for instruction in instructions if "mfma" in instruction}),
        "embedding_loads": sorted(set(re.findall(r"(?:global|buffer)_load_dwordx\d", text))),
        "greedy": {
            "instructions": len(greedy),
            "loads": count(greedy, "global_load", "buffer_load"),
            "shuffles": count(greedy, *across),
            "reductions": 0,
            "barriers": count(greedy, "s_barrier"),
        },
    }


def main() -> None:
    """Compile the grid and write the report."""
    rows = []
    for each in ROWS:
        rows.append(row(*each))
        print(*each, "done", file=sys.stderr)
    record.write(REPORT, record.record("triton", dim=DIM, rows=rows))


if __name__ == "__main__":
    main()
