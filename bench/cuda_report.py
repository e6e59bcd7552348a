"""``make kernels-report``: what the CUDA kernel became on each target it was built for, from the built module; no GPU.

Takes ``mmr_kernels/_cuda`` apart with cuobjdump and nvdisasm (of the CUDA toolkit, or as Triton brings them), and
writes docs/cuda-report.json and docs/cuda-report.md. python_tests/backends/test_cuda_report.py holds the budgets.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).parents[1] / "docs"
ELEMENTS = {"f": "float32", "8bfloat16": "bfloat16", "7float16": "float16"}


class Kernel(NamedTuple):
    """One compiled kernel; ``greedy`` are its greedy loops for scopes that one warp holds, as opcodes."""

    target: str
    element: str
    members: int  # a warp holds
    large: bool  # also takes scopes of any size
    registers: int
    stack: int
    shared: int
    opcodes: list[str]
    greedy: list[list[str]]

    def row(self) -> dict[str, object]:
        """What the report says of it."""
        total = Counter(self.opcodes)
        return {
            "target": self.target,
            "element": self.element,
            "members": self.members,
            "large": self.large,
            "registers": self.registers,
            "stack": self.stack,
            "spills": total["LDL"] + total["STL"],
            "shared": self.shared,
            "instructions": len(self.opcodes),
            "tensor_products": total["HMMA"],
            "greedy_loops": len(self.greedy),
            "greedy_instructions": [len(loop) for loop in self.greedy],
            "greedy_barriers": sum(Counter(loop)["BAR"] for loop in self.greedy),
            "greedy_reductions": max((_reductions(loop) for loop in self.greedy), default=0),
        }


def tool(name: str) -> str | None:
    """A program of the CUDA toolkit: from CUDA_HOME, PATH or the copy that Triton brings."""
    home = os.environ.get("CUDA_HOME")
    if home and (found := shutil.which(name, path=str(Path(home, "bin")))):
        return found
    if found := shutil.which(name):
        return found
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(name, path=str(Path(spec.origin).parent / "backends" / "nvidia" / "bin"))


def kernels(module: Path) -> list[Kernel]:
    """All of a module's, on all its targets."""
    result = []
    with tempfile.TemporaryDirectory() as folder:
        _run("cuobjdump", "--extract-elf", "all", str(module), folder=folder)
        for cubin in sorted(Path(folder).glob("*.cubin")):
            found = re.search(r"sm_\d+", cubin.name)
            assert found is not None
            usage = _usage(_run("cuobjdump", "--dump-resource-usage", str(cubin)))
            for function, text in _functions(_run("nvdisasm", "-c", str(cubin))).items():
                result.append(_kernel(found[0], function, usage[function], text))
    return result


def _run(name: str, *arguments: str, folder: str | None = None) -> str:
    program = tool(name)
    if program is None:
        raise SystemExit(f"{name} is in neither CUDA_HOME, PATH nor Triton; install the CUDA toolkit")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, cwd=folder).stdout


def _usage(text: str) -> dict[str, dict[str, int]]:
    found = re.findall(r"Function (\S*mmr_kernel\S*):\s+(.*)", text)
    return {name: {key: int(value) for key, value in re.findall(r"(\w+):(\d+)", line)} for name, line in found}


def _functions(text: str) -> dict[str, str]:
    parts = re.split(r"^\s*\.section\s+\.text\.([^,\s]+).*$", text, flags=re.MULTILINE)
    return {name: body for name, body in zip(parts[1::2], parts[2::2], strict=True) if "mmr_kernel" in name}


def _kernel(target: str, function: str, usage: dict[str, int], text: str) -> Kernel:
    found = re.search(r"mmr_kernelI(?:f|NS\d*_(\d*\w+?)E)Li(\d)ELb([01])", function)
    assert found is not None, function
    opcodes: list[str] = []
    labels: dict[str, int] = {}
    branches = []
    for line in text.splitlines():
        if label := re.match(r"^\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(opcodes)
        elif instruction := re.match(r"^\s+/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z0-9]+)", line):
            opcodes.append(instruction[1])
            if branch := re.search(r"\bBRA\b.*?(\.L_x_\d+)", line):
                branches.append((len(opcodes) - 1, branch[1]))
    spans = [(labels[name], end) for end, name in branches if labels.get(name, end) < end]
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    loops = [opcodes[start : end + 1] for start, end in inner]
    # A step of the greedy loop is a reduction over the warp, a vote on who has it, and a score. Spans with more
    # reductions are no loops: they end with a jump back from code that was moved out of the way.
    greedy = [loop for loop in loops if 1 <= _reductions(loop) <= 5 and {"VOTE", "FFMA"} <= set(loop)]
    return Kernel(
        target, ELEMENTS[found[1] or "f"], 32 * int(found[2]), found[3] == "1", usage["REG"], usage["STACK"],
        usage["SHARED"], opcodes, greedy,
    )  # fmt: skip


def _reductions(loop: list[str]) -> int:
    found = Counter(loop)
    return found["SHFL"] + found["REDUX"] + found["CREDUX"]


def markdown(rows: list[dict[str, object]]) -> str:
    """The table of docs/cuda-report.md."""
    lines = [
        "# What the CUDA kernel becomes",
        "",
        "Written by `make kernels-report` from the built module; run on no GPU. The last three columns are of",
        "the greedy loops for scopes that one warp holds (of embeddings, and of similarities as given): instructions,",
        "SHFL + REDUX a step, barriers. `docs/cuda.md` discusses it.",
        "",
        "| target | element | members | any size | registers | spills | stack | shared | instructions | HMMA | loops"
        " | reductions | barriers |",
        "| --- | --- | --: | --- | --: | --: | --: | --: | --: | --: | --- | --: | --: |",
    ]
    for r in rows:
        assert isinstance(r["greedy_instructions"], list)
        loops = ", ".join(map(str, r["greedy_instructions"]))
        lines.append(
            f"| {r['target']} | {r['element']} | {r['members']} | {'yes' if r['large'] else ''} | {r['registers']}"
            f" | {r['spills']} | {r['stack']} | {r['shared']} | {r['instructions']} | {r['tensor_products']} | {loops}"
            f" | {r['greedy_reductions']} | {r['greedy_barriers']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    spec = importlib.util.find_spec("mmr_kernels._cuda")
    if spec is None or spec.origin is None:
        raise SystemExit("the module mmr_kernels._cuda is not built; install nvcc and reinstall mmr-kernels")
    rows = [kernel.row() for kernel in kernels(Path(spec.origin))]
    rows.sort(key=lambda row: (int(str(row["target"])[3:]), row["element"], row["members"], row["large"]))
    (DOCS / "cuda-report.json").write_text(json.dumps(rows, indent=1) + "\n")
    (DOCS / "cuda-report.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
