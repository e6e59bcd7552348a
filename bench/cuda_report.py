"""``make kernels-report``: what the CUDA kernel became on each target it was built for, from the built module; no GPU.

Takes ``mmr_kernels/_cuda`` apart with cuobjdump and nvdisasm (of the CUDA toolkit, or as Triton brings them), and
writes docs/cuda-report.json. python_tests/backends/test_cuda_report.py holds the budgets.
"""

from __future__ import annotations

import importlib.util
import re
import tempfile
from pathlib import Path
from typing import Any

from bench import disassembly
from mmr_kernels.bench import record

REPORT = Path(__file__).parents[1] / "docs" / "cuda-report.json"
ELEMENTS = {"f": "float32", "8bfloat16": "bfloat16", "7float16": "float16"}


def rows(module: Path) -> list[dict[str, Any]]:
    """One per kernel and target. ``members`` are as many as a warp holds; ``large`` ones also take any number.

    ``greedy`` are the greedy loops for scopes that one warp holds: of embeddings, and of similarities as given.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        disassembly.run("cuobjdump", "--extract-elf", "all", module, folder=folder)
        for cubin in Path(folder).glob("*.cubin"):
            (target,) = re.findall(r"sm_\d+", cubin.name)
            kernels = [kernel for kernel in disassembly.kernels(cubin) if "mmr_kernel" in kernel.function]
            found += [{"target": target} | _row(kernel) for kernel in kernels]
    return sorted(found, key=lambda row: (int(row["target"][3:]), row["element"], row["members"], row["large"]))


def _row(kernel: disassembly.Kernel) -> dict[str, Any]:
    named = re.search(r"mmr_kernelI(?:f|NS\d*_(\d*\w+?)E)Li(\d)ELb([01])", kernel.function)
    assert named is not None, kernel.function
    # A step of the greedy loop is a reduction over the warp, a vote on who has it, and a score. Spans with more
    # reductions are no loops: they end with a jump back from code that was moved out of the way.
    loops = [(loop, disassembly.counts(loop)) for loop in kernel.loops]
    greedy = [
        {"instructions": len(loop), "reductions": step["SHFL"] + step["REDUX"], "barriers": step["BAR"]}
        for loop, step in loops
        if 1 <= step["SHFL"] + step["REDUX"] <= 5 and step["VOTE"] and step["FFMA"]
    ]
    return {
        "element": ELEMENTS[named[1] or "f"],
        "members": 32 * int(named[2]),
        "large": named[3] == "1",
        "registers": kernel.registers,
        "stack": kernel.stack,
        "spills": kernel.spills,
        "shared": kernel.shared,
        "instructions": len(kernel.instructions),
        "tensor_products": disassembly.counts(kernel.instructions)["HMMA"],
        "greedy": greedy,
    }


def main() -> None:
    """Write the report."""
    spec = importlib.util.find_spec("mmr_kernels._cuda")
    if spec is None or spec.origin is None:
        raise SystemExit("the module mmr_kernels._cuda is not built: docs/cuda.md, Building")
    record.write(REPORT, record.record(rows=rows(Path(spec.origin))))


if __name__ == "__main__":
    main()
