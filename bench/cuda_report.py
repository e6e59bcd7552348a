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
ELEMENTS = {"f": "float32", "NS0_4HalfE": "16 bits"}


def rows(module: Path) -> list[dict[str, Any]]:
    """One per kernel and target: for groups of up to 32 ``members``, and for all others.

    ``greedy`` are the loops of one warp, by the members that it holds: of scopes whose S stands in shared memory, and
    of a round of larger ones, whose candidates are 64.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        disassembly.run("cuobjdump", "--extract-elf", "all", module, folder=folder)
        for cubin in Path(folder).glob("*.cubin"):
            (target,) = re.findall(r"sm_\d+", cubin.name)
            kernels = [kernel for kernel in disassembly.kernels(cubin) if "mmr_kernel" in kernel.function]
            found += [{"target": target} | _row(kernel) for kernel in kernels]
    return sorted(found, key=lambda row: (int(row["target"][3:]), row["element"], row["members"] is None))


def _row(kernel: disassembly.Kernel) -> dict[str, Any]:
    named = re.search(r"mmr_kernelI(f|NS0_4HalfE)Li(\d)E", kernel.function)
    assert named is not None, kernel.function
    greedy = [found for loop in kernel.loops if (found := _greedy(loop))]
    return {
        "element": ELEMENTS[named[1]],
        "members": 32 if named[2] == "1" else None,
        "registers": kernel.registers,
        "stack": kernel.stack,
        "spills": kernel.spills,
        "shared": kernel.shared,
        "instructions": len(kernel.instructions),
        "tensor_products": disassembly.counts(kernel.instructions)["HMMA"],
        "greedy": sorted(greedy, key=lambda loop: (loop["round"], loop["members"])),
    }


def _greedy(loop: disassembly.Loop) -> dict[str, Any] | None:
    """A step of a greedy loop, which is two reductions and a score per member of a lane; None for other loops."""
    found = disassembly.counts(loop)
    steps, rest = divmod(found["REDUX"], 2) if found["REDUX"] else divmod(found["SHFL"], 10)
    if steps not in (1, 2) or rest or found["VOTE"] or found["FFMA"] // steps not in (1, 2, 4):
        return None
    return {
        "members": 32 * found["FFMA"] // steps,
        "round": bool(found["STS"]),
        "instructions": len(loop) // steps,
        "cycles": round(disassembly.cycles_per_turn(loop) / steps),
        "barriers": found["BAR"],
    }


def main() -> None:
    """Write the report."""
    spec = importlib.util.find_spec("mmr_kernels._cuda")
    if spec is None or spec.origin is None:
        raise SystemExit("the module mmr_kernels._cuda is not built: docs/cuda.md, Building")
    record.write(REPORT, record.record(rows=rows(Path(spec.origin))))


if __name__ == "__main__":
    main()
