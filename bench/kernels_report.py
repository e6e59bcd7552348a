"""``make kernels-report``: what the Triton kernel becomes on each GPU, compiled ahead of time; needs no GPU.

Compiles exactly what ``backend="triton"`` launches, for five architectures, six group sizes and two dtypes, takes it
apart and writes docs/kernels-report.json and docs/kernels-report.md. python_tests/backends/test_triton_report.py
holds the budgets.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from bench import disassembly
from mmr_kernels.backends import triton as backend
from mmr_kernels.backends.triton.advantages import mmr_kernel
from mmr_kernels.options import Options
from mmr_kernels.problem import Problem, allocate_outputs

DOCS = Path(__file__).parents[1] / "docs"
TARGETS = {
    **{f"sm_{arch}": GPUTarget("cuda", arch, 32) for arch in (80, 90, 100, 120)},
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
GROUP_SIZES = (8, 16, 32, 64, 128, 256)
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
DIM = 1024
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
    return Problem(rewards, embeddings, groups, group_size, Options())


def compiled(call: Problem, target: GPUTarget) -> Any:
    """As ``backends.triton`` would launch it: same arguments, constants and options."""
    outputs = allocate_outputs(call)
    arguments, constants, options = backend.launch_arguments(
        call, outputs, *backend.buffers(call, outputs), target.backend == "hip"
    )
    signature, fixed = {}, {}
    for name, value in zip(mmr_kernel.arg_names, (*arguments, *constants), strict=True):
        if isinstance(value, torch.Tensor):
            signature[name] = _NAMES[value.dtype]
        elif value is None or len(signature) >= len(arguments):
            signature[name], fixed[name] = "constexpr", value
        else:
            signature[name] = "fp32" if isinstance(value, float) else "i32"
    aligned = {(mmr_kernel.arg_names.index("embeddings"),): [["tt.divisibility", 16]]}
    source = ASTSource(mmr_kernel, signature, constexprs=fixed, attrs=aligned)
    return triton.compile(source, target=target, options=dict(options))


def row(target: str, group_size: int, dtype: str) -> dict[str, Any]:
    """One line of the report."""
    call = problem(group_size, DTYPES[dtype])
    kernel = compiled(call, TARGETS[target])
    found: dict[str, Any] = {"target": target, "group_size": group_size, "dtype": dtype}
    found |= {"configuration": backend.configuration(call)._asdict(), "shared": kernel.metadata.shared}
    return found | (_amd(kernel.asm["amdgcn"]) if target == "gfx942" else _cuda(kernel.asm["cubin"]))


def _finds_maximum(loop: disassembly.Loop) -> bool:
    return any("REDUX.MAX" in disassembly.name(instruction) for instruction in loop.instructions)


def _cuda(cubin: bytes) -> dict[str, Any]:
    declared, text = disassembly.disassemble(cubin)
    instructions, loops = disassembly.parse_cuda(text)
    # The greedy loop is the one that looks for a maximum; the loops along D move embeddings.
    (greedy,) = (loop for loop in loops if _finds_maximum(loop))
    along_dim = [loop for loop in loops if disassembly.counts(loop.instructions)["LDGSTS"]]
    opcodes = [disassembly.name(instruction) for instruction in instructions]
    total = disassembly.counts(instructions)
    return declared | {
        "spills": total["LDL"] + total["STL"],
        "instructions": len(instructions),
        "mma": sorted({opcode for opcode in opcodes if "MMA" in opcode and "HFMA2" not in opcode}) or ["FFMA"],
        "embedding_loads": sorted({
            opcode
            for loop in along_dim
            for opcode in map(disassembly.name, loop.instructions)
            if opcode.startswith(("LDGSTS", "LDG.", "UBLKCP", "UTMALDG"))
        }),
        "whole": {key: total[key] for key in ("LDG", "LDGSTS", "STG", "SHFL", "REDUX", "BAR", "LDL", "STL")},
        "greedy": _loop(greedy, ("LDG", "LDS", "SHFL", "REDUX", "BAR", "LDL", "STL")),
        "greedy_cycles": disassembly.cycles_a_turn(greedy),
    }  # fmt: skip


def _amd(text: str) -> dict[str, Any]:
    instructions, loops = disassembly.parse_amd(text)
    across = ("_dpp", "ds_bpermute", "ds_swizzle", "v_permlane")
    (greedy,) = [
        loop
        for loop in loops
        if any(mark in instruction for instruction in loop.instructions for mark in across)
        and not any("mfma" in instruction for instruction in loop.instructions)
    ][-1:]

    def count(rows: list[str], *marks: str) -> int:
        return sum(any(mark in instruction for mark in marks) for instruction in rows)

    return {
        "registers": int(re.findall(r"\.vgpr_count:\s+(\d+)", text)[0]),
        "stack": int(re.findall(r"\.private_segment_fixed_size:\s+(\d+)", text)[0]),
        "spills": int(re.findall(r"\.vgpr_spill_count:\s+(\d+)", text)[0]),
        "instructions": len(instructions),
        "mma": sorted({instruction.split()[0] for instruction in instructions if "mfma" in instruction}) or ["v_fma"],
        "embedding_loads": sorted(set(re.findall(r"(?:global|buffer)_load_dwordx\d", text))),
        "greedy": {
            "instructions": len(greedy.instructions),
            "LDG": count(greedy.instructions, "global_load", "buffer_load"),
            "LDS": count(greedy.instructions, "ds_read"),
            "SHFL": count(greedy.instructions, *across),
            "REDUX": 0,
            "BAR": count(greedy.instructions, "s_barrier"),
        },
        "greedy_cycles": None,
    }


def _loop(loop: disassembly.Loop, opcodes: tuple[str, ...]) -> dict[str, int]:
    found = disassembly.counts(loop.instructions)
    found["REDUX"] += found["CREDUX"]  # as Blackwell calls it
    return {"instructions": len(loop.instructions)} | {opcode: found[opcode] for opcode in opcodes}


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of docs/kernels-report.md."""
    lines = [
        "# What the Triton kernel becomes",
        "",
        f"Written by `make kernels-report` with triton {triton.__version__}; compiled ahead of time, run on no GPU.",
        f"The call: group scope and scale, sigmoid λ, D = {DIM}, advantages alone. Columns from *loop* on count the",
        "greedy loop: instructions, global loads, SHFL + REDUX (gfx942: permutes), barriers; *cycles* a step",
        "are simulated for one warp (model and its assumptions: `bench/disassembly.py`), not measured.",
        "`docs/kernel.md` discusses it.",
        "",
        "| target | G | dtype | warps | registers | spills | stack | shared | product | embedding loads | loop | loads"
        " | shuffles | barriers | cycles |",
        "| --- | --: | --- | --: | --: | --: | --: | --: | --- | --- | --: | --: | --: | --: | --: |",
    ]
    for r in rows:
        greedy, cycles = r["greedy"], r["greedy_cycles"]
        lines.append(
            f"| {r['target']} | {r['group_size']} | {r['dtype']} | {r['configuration']['num_warps']} | {r['registers']}"
            f" | {r['spills']} | {r['stack']} | {r['shared']} | {' '.join(r['mma'])} | {' '.join(r['embedding_loads'])}"
            f" | {greedy['instructions']} | {greedy['LDG']} | {greedy['SHFL'] + greedy['REDUX']} | {greedy['BAR']}"
            f" | {'' if cycles is None else round(cycles)} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Compile the grid and write both files."""
    rows = []
    for target in TARGETS:
        for dtype in DTYPES:
            for group_size in GROUP_SIZES:
                rows.append(row(target, group_size, dtype))
                print(target, dtype, group_size, "done", file=sys.stderr)
    report = {"triton": triton.__version__, "dim": DIM, "rows": rows}
    (DOCS / "kernels-report.json").write_text(json.dumps(report, indent=1) + "\n")
    (DOCS / "kernels-report.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
