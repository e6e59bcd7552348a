"""The machine, probed once. Backends decide from it, so a test can hand them a made-up machine."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

#: Its launcher takes a kernel's constants too, which the kept handles of backends/triton.py pass.
OLDEST_TRITON = (3, 4)

_BUILD_REPORT = Path(__file__).parents[1] / "_build.json"


class Host(NamedTuple):
    """Each field: None if the thing is there, else what was found instead."""

    cpu_extension: str | None
    triton: str | None
    gpu: str | None  # that Triton compiles for
    interpreter: str | None  # Triton's
    cuda_extension: str | None
    cuda_device: str | None  # that the extension was compiled for
    emulator: str | None  # of the CUDA kernel


@functools.cache
def this_host() -> Host:
    """The machine that runs this process."""
    return Host(
        cpu_extension=_why_no_extension("_cpu"),
        triton=_why_no_triton(),
        gpu=_why_no_gpu(),
        interpreter=None if os.environ.get("TRITON_INTERPRET") == "1" else "TRITON_INTERPRET is not 1",
        cuda_extension=_why_no_extension("_cuda"),
        cuda_device=_why_no_cuda_device(),
        emulator=_why_no_emulator(),
    )


def unasked(host: Host) -> Host:
    """The machine as ``backend=None`` sees it: without the interpreter and the emulator, which have to be named."""
    return host._replace(interpreter="not asked for", emulator="not asked for")


def openmp() -> str | None:
    """Where the CPU kernel's threads come from, and whether torch's come from there too; None without that kernel."""
    if _why_no_extension("_cpu") is not None:
        return None
    own = _openmp_runtime(importlib.import_module("mmr_kernels._cpu").__file__)
    torchs = _openmp_runtime(torch._C.__file__)
    if own is None:
        return "none: the CPU kernel runs on one thread"
    return f"{own}, torch's too" if own == torchs else f"{own}, a pool of threads beside torch's: {torchs}"


class _Symbol(ctypes.Structure):
    """The structure that ``dladdr`` fills in."""

    _fields_ = (
        ("file", ctypes.c_char_p), ("base", ctypes.c_void_p), ("name", ctypes.c_char_p), ("address", ctypes.c_void_p),
    )  # fmt: skip


def _openmp_runtime(module: str | None) -> str | None:
    """The library in which the loader found, for this module, what gcc makes of a parallel loop."""
    try:
        parallel = ctypes.cast(ctypes.CDLL(module).GOMP_parallel, ctypes.c_void_p)
    except AttributeError:
        return None
    symbol = _Symbol()
    ctypes.CDLL(None).dladdr(parallel, ctypes.byref(symbol))
    return os.fsdecode(symbol.file)


def _why_no_triton() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "not installed"
    for package in ("triton", "pytorch-triton-rocm", "triton-rocm"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        older = tuple(int(number) for number in version.split(".")[:2]) < OLDEST_TRITON
        return f"version {version}, older than {'.'.join(map(str, OLDEST_TRITON))}" if older else None
    return None  # a build of one's own


def _why_no_gpu() -> str | None:
    if not torch.cuda.is_available():
        built = "CUDA" if torch.version.cuda else "ROCm" if torch.version.hip else "neither CUDA nor ROCm"
        return f"torch {torch.__version__}, built for {built}, sees no device"
    if torch.version.hip is None:
        for device in range(torch.cuda.device_count()):
            capability = torch.cuda.get_device_capability(device)
            if capability < (8, 0):
                return f"compute capability {capability[0]}.{capability[1]} ({torch.cuda.get_device_name(device)})"
    return None


def runs_on(capability: int, targets: Sequence[int]) -> bool:
    """Whether code for the targets, with PTX of the highest, runs on a device; 90 is compute capability 9.0.

    Machine code runs on its own and on later minor versions, PTX on every later version.
    """
    same_major = any(target // 10 == capability // 10 and target <= capability for target in targets)
    return same_major or capability >= max(targets)


def _why_no_cuda_device() -> str | None:
    if torch.version.cuda is None or not torch.cuda.is_available():
        return f"torch {torch.__version__} sees no CUDA device"
    if _why_no_extension("_cuda") is not None:
        return None  # what it would have been compiled for is anyone's guess
    targets = importlib.import_module("mmr_kernels._cuda").targets
    for device in range(torch.cuda.device_count()):
        major, minor = torch.cuda.get_device_capability(device)
        if not runs_on(major * 10 + minor, targets):
            name = torch.cuda.get_device_name(device)
            return f"{name} of compute capability {major}.{minor}, and code for {', '.join(map(str, targets))}"
    return None


def _why_no_emulator() -> str | None:
    if os.environ.get("MMR_KERNELS_CUDA_EMULATE") != "1":
        return "MMR_KERNELS_CUDA_EMULATE is not 1"
    return _why_no_extension("_emulator")


def _why_no_extension(name: str) -> str | None:
    try:
        importlib.import_module(f"mmr_kernels.{name}")
    except ImportError as error:
        report = json.loads(_BUILD_REPORT.read_text()) if _BUILD_REPORT.exists() else {}
        return str(report.get(name, error))
    return None
