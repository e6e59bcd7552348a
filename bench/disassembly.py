"""Reads what a kernel became: its instructions, its loops, and the cycles one warp needs a turn of the greedy loop."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import triton

_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"

#: Cycles from issue until a result can be read. A model, not a measurement: pipelines as public microbenchmarks of
#: Ampere and Hopper have them, global loads as an L2 hit; REDUX, of which nothing reliable is published, as a shuffle
#: and a half. The simulation counts what depends on what; change a row and run the report again to see what it moves.
LATENCY = {"LDG": 260, "LDS": 30, "LDL": 40, "SHFL": 24, "REDUX": 36, "CREDUX": 36, "MUFU": 18, "ISETP": 6, "FSETP": 6}
DEFAULT_LATENCY = 5
#: Cycles the issue slot's pipeline stays taken; the others take one.
OCCUPIES = dict.fromkeys(("ISETP", "FSETP", "FSEL", "SEL", "FMNMX", "VIMNMX", "VIMNMX3", "LOP3", "SHF", "SHFL"), 2)


class Loop(NamedTuple):
    """Instructions from the target of a backward branch to the branch."""

    instructions: list[str]


def name(instruction: str) -> str:
    """Opcode with its suffixes, without a predicate."""
    return re.sub(r"^@!?U?P\w+\s+", "", instruction).split()[0]


def counts(instructions: Iterable[str]) -> Counter[str]:
    """How many of each opcode, suffixes dropped."""
    return Counter(name(instruction).split(".")[0] for instruction in instructions)


def disassemble(cubin: bytes) -> tuple[dict[str, int], str]:
    """Registers, stack and shared bytes as the binary declares them, and its text."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        usage = subprocess.run(
            [_TOOLS / "cuobjdump", "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
        text = subprocess.run([_TOOLS / "nvdisasm", "-c", file.name], capture_output=True, text=True, check=True).stdout
    declared = dict(re.findall(r"(REG|STACK):(\d+)", usage))
    return {"registers": int(declared["REG"]), "stack": int(declared["STACK"])}, text


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
    return instructions, [Loop(instructions[start : end + 1]) for start, end in inner]


def parse_cuda(text: str) -> tuple[list[str], list[Loop]]:
    """Of nvdisasm."""
    return parse(text, r"^\s+/\*[0-9a-f]{4,}\*/\s+(.*?)\s*;", r"^\s*(\.L_x_\d+):", r"\bBRA\b.*?(\.L_x_\d+)")


def parse_amd(text: str) -> tuple[list[str], list[Loop]]:
    """Of the assembly Triton keeps."""
    return parse(
        text, r"^\s+([a-z]+_[a-z0-9_]+.*?)\s*(?:;.*)?$", r"^(\.LBB\d+_\d+):", r"^s_c?branch\S*\s+(\.LBB\d+_\d+)"
    )


def cycles_a_turn(loop: Loop, turns: int = 8) -> float:
    """Cycles a turn in steady state: one warp issues in order, each instruction once its operands are there."""
    ready: Counter[str] = Counter()
    clock = 0
    starts = []
    for _ in range(turns):
        starts.append(clock)
        for instruction in loop.instructions:
            opcode = name(instruction).split(".")[0]
            reads, writes = _registers(instruction, opcode)
            clock = max([clock, *(ready[register] for register in (*reads, *writes))])
            for register in writes:
                ready[register] = clock + LATENCY.get(opcode, DEFAULT_LATENCY)
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
