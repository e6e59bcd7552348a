"""Reads what a kernel became: its instructions, its loops, the cycles one warp needs for a turn of its greedy loop."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

#: Cycles from issue until a result can be read. REDUX, SHFL, LDS and LDG, an L2 hit, as measured on an H200 (`make
#: gpu-check`; docs/figures/gpu/h200-6defdfe.json); the others as public microbenchmarks of Ampere and Hopper have them.
LATENCY = {"LDG": 288, "LDS": 29, "LDL": 40, "SHFL": 26, "REDUX": 43, "CREDUX": 43, "MUFU": 18, "ISETP": 6, "FSETP": 6}
DEFAULT_LATENCY = 5
#: Of a load that finds its line in the multiprocessor's own cache, on an H100 (arXiv 2402.13499); not measured here.
L1_LATENCY = 40
#: Cycles the issue slot's pipeline stays taken; the others take one.
OCCUPIES = dict.fromkeys(("ISETP", "FSETP", "FSEL", "SEL", "FMNMX", "VIMNMX", "VIMNMX3", "LOP3", "SHF", "SHFL"), 2)

Loop = list[str]  # the instructions from the target of a backward branch to the branch


class Kernel(NamedTuple):
    """One function of a cubin."""

    function: str
    registers: int
    stack: int
    shared: int  # bytes, without those asked for at launch
    instructions: list[str]
    loops: list[Loop]  # innermost

    @property
    def spills(self) -> int:
        """Instructions that move registers to memory and back."""
        found = counts(self.instructions)
        return found["LDL"] + found["STL"]


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


def run(name: str, *arguments: str | Path, folder: str | Path | None = None) -> str:
    """Run a program of the toolkit and return its output."""
    program = tool(name)
    if program is None:
        raise SystemExit(f"{name} is in neither CUDA_HOME, PATH nor Triton; install the CUDA toolkit")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=True, cwd=folder).stdout


def kernels(cubin: Path) -> list[Kernel]:
    """All functions of a cubin."""
    usage = re.findall(r"Function (\S+):\s+(.*)", run("cuobjdump", "--dump-resource-usage", cubin))
    declared = {function: dict(re.findall(r"(\w+):(\d+)", line)) for function, line in usage}
    text = run("nvdisasm", "-c", cubin)
    parts = re.split(r"^\s*\.section\s+\.text\.([^,\s]+).*$", text, flags=re.MULTILINE)
    return [
        Kernel(
            function,
            *(int(declared[function][key]) for key in ("REG", "STACK", "SHARED")),
            *parse(body, r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", r"^\s*(\.L_x_\d+):", r"\bBRA\b.*?(\.L_x_\d+)"),
        )
        for function, body in zip(parts[1::2], parts[2::2], strict=True)
    ]


def parse(text: str, line: str, label: str, branch: str) -> tuple[list[str], list[Loop]]:
    """Instructions in order, and the innermost loops. The patterns say what an instruction, label and branch are."""
    instructions: list[str] = []
    at: dict[str, int] = {}
    for row in text.splitlines():
        if found := re.match(label, row):
            at[found[1]] = len(instructions)
        elif found := re.match(line, row):
            instructions.append(found[1])
    spans = []
    for end, instruction in enumerate(instructions):
        found = re.search(branch, instruction)
        if found and at.get(found[1], end + 1) < end:
            spans.append((at[found[1]], end))
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return instructions, [instructions[start : end + 1] for start, end in inner]


def name(instruction: str) -> str:
    """Opcode with its suffixes, without a predicate."""
    return re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0]


def counts(instructions: Iterable[str]) -> Counter[str]:
    """How many of each opcode, suffixes dropped; CREDUX, as Blackwell calls it, counts as REDUX."""
    return Counter(name(instruction).split(".")[0].replace("CREDUX", "REDUX") for instruction in instructions)


def cycles_per_turn(loop: Loop, turns: int = 8, load: int = LATENCY["LDG"]) -> float:
    """Cycles in steady state: one warp issues in order, each instruction once its operands are there; ``load``: the
    latency of a load from global memory."""
    latency = LATENCY | {"LDG": load}
    ready: Counter[str] = Counter()
    clock = 0
    starts = []
    for _ in range(turns):
        starts.append(clock)
        for instruction in loop:
            opcode = name(instruction).split(".")[0]
            reads, writes = _registers(instruction, opcode)
            clock = max([clock, *(ready[register] for register in (*reads, *writes))])
            for register in writes:
                ready[register] = clock + latency.get(opcode, DEFAULT_LATENCY)
            clock += OCCUPIES.get(opcode, 1)
    return (starts[-1] - starts[turns // 2]) / (turns - 1 - turns // 2)


def _registers(instruction: str, opcode: str) -> tuple[list[str], list[str]]:
    """Read and written; a 64-bit operand counts with both its registers."""
    guard = re.findall(r"^@!?(U?P\d+)", instruction)
    operands = re.sub(r"^@!?U?P\w+\s+", "", instruction).partition(" ")[2].split(",")
    fields = [re.findall(r"\bU?[RP]\d+\b", field) + _second_half(field) for field in operands]
    targets = 0 if opcode in ("BRA", "BAR", "STG", "STS", "STL") else 2 if opcode in ("ISETP", "FSETP", "SHFL") else 1
    written = [register for field in fields[:targets] for register in field]
    return guard + [register for field in fields[targets:] for register in field], written


def _second_half(field: str) -> list[str]:
    return [f"R{int(number) + 1}" for number in re.findall(r"\bR(\d+)(?:\.reuse)?\.64", field)]
