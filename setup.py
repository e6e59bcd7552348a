"""Builds the CPU kernel, if a C++17 compiler is there, and the CUDA kernel, if nvcc is; all metadata stands in
pyproject.toml.

Without them the package installs all the same and computes on the backends that are left. Why a module is missing is
written beside the package, where ``mmr-kernels info`` and the error of ``backend="cpu"`` and ``"cuda"`` read it.

    MMR_KERNELS_CUDA_ARCHS=80,90   compile the CUDA kernel for these compute capabilities, instead of all
    MMR_KERNELS_CUDA_ARCHS=        do without the CUDA kernel
    MMR_KERNELS_BUILD_EMULATOR=1       build the emulator of the CUDA kernel too (for tests)
"""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CCompilerError, CompileError, ExecError, PlatformError

HEADERS = sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in {".h", ".inl"})
CUDA_ARCHS = "75,80,90,100,120"  # code for 8.0 runs on 8.6 and 8.9 too, and so on; 7.5 is the oldest that CUDA 13 knows
# Neither multiplies and adds in one rounding unless the source says so: then both compute the same bits.
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=false", "--threads=2"]
# A method or a mode that a kernel has forgotten is an error, not something else's result.
EVERY_CASE = [] if sys.platform == "win32" else ["-Werror=switch"]
# A fortified longjmp takes a fiber for a fault.
EMULATOR_FLAGS = ["-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE", *EVERY_CASE]


def cpu_extension() -> Pybind11Extension:
    """OpenMP is torch's own runtime at run time: both ask the loader for libgomp.so.1, so they share one pool."""
    openmp = ["-fopenmp"] if sys.platform == "linux" else []
    return Pybind11Extension(
        "mmr_kernels._cpu",
        ["csrc/cpu/bindings.cpp", "csrc/cpu/mmr_cpu.cpp"],
        depends=HEADERS,
        cxx_std=17,
        # Contraction to FMA is named because -std=c++17 turns it off; nothing here is "fast math".
        extra_compile_args=["-O3", "-ffp-contract=fast", "-fno-math-errno", *EVERY_CASE, *openmp],
        extra_link_args=openmp,
    )


def cuda_extension(archs: list[str]) -> Pybind11Extension:
    """Linked to the static CUDA runtime, so that it imports on a machine without a driver."""
    targets = ", ".join(archs)
    return Pybind11Extension(
        "mmr_kernels._cuda",
        ["csrc/cuda/bindings.cpp"],
        depends=["csrc/cuda/mmr_cuda.cu", *HEADERS],
        cxx_std=17,
        define_macros=[("MMR_CUDA_TARGETS", targets)],
    )


def emulator_extension() -> Pybind11Extension:
    """The same kernel for the host, in the code of an old and of a new target."""
    return Pybind11Extension(
        "mmr_kernels._emulator",
        [
            "csrc/emulator/bindings.cpp",
            "csrc/emulator/planted_faults.cpp",
            *(f"csrc/emulator/target_{n}.cpp" for n in (750, 900)),
        ],
        depends=["csrc/cuda/mmr_cuda.cu", *HEADERS],
        cxx_std=17,
        extra_compile_args=EMULATOR_FLAGS,
    )


def find_nvcc() -> tuple[str, list[str], str]:
    """nvcc, flags that it needs and the folder of the static runtime: from CUDA_HOME, PATH, or the pip packages."""
    found = os.environ.get("CUDA_HOME") and Path(os.environ["CUDA_HOME"], "bin", "nvcc")
    found = found if found and found.exists() else shutil.which("nvcc")
    if found:
        # nvcc on PATH may be a wrapper: it tells itself where it lives.
        dry_run = subprocess.run([str(found), "--dryrun", "-x", "cu", os.devnull], capture_output=True, text=True)
        tops = [line.partition("TOP=")[2].strip() for line in dry_run.stderr.splitlines() if line.startswith("#$ TOP=")]
        return str(found), [], _runtime_folder(Path(tops[0]) if tops else Path(found).parents[1])
    spec = importlib.util.find_spec("nvidia")
    for root in map(Path, spec.submodule_search_locations if spec and spec.submodule_search_locations else []):
        for home in sorted([*root.glob("cu[0-9]*"), root / "cuda_nvcc"], reverse=True):
            if (home / "bin" / "nvcc").exists():
                runtime = root / "cuda_runtime" if home.name == "cuda_nvcc" else home
                return str(home / "bin" / "nvcc"), [f"-I{runtime / 'include'}"], _runtime_folder(runtime)
    raise PlatformError("no nvcc in CUDA_HOME, on PATH or in the pip package nvidia-cuda-nvcc")


def _runtime_folder(home: Path) -> str:
    for folder in ("lib64", "lib", "lib/x64", "targets/x86_64-linux/lib"):
        if any((home / folder / name).exists() for name in ("libcudart_static.a", "cudart_static.lib")):
            return str(home / folder)
    raise PlatformError(f"no static CUDA runtime under {home}; the pip package nvidia-cuda-runtime has it")


class BuildWhatCompiles(build_ext):
    """Records why a module could not be built instead of failing the installation."""

    def run(self) -> None:
        self.not_built: dict[str, str] = {}
        super().run()
        report = Path(self.get_ext_fullpath("mmr_kernels._build")).parent / "_build.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(self.not_built, indent=1) + "\n")

    def build_extension(self, extension: Pybind11Extension) -> None:
        module = extension.name.rpartition(".")[2]
        try:
            if module == "_cuda":
                self.add_cuda_object(extension)
            super().build_extension(extension)
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            # The user's screen gets a sentence, the log the compiler's words.
            known = isinstance(error, PlatformError)
            self.not_built[module] = (
                f"not built at installation: {error if known else 'compiling failed (pip install -v shows why)'}"
            )
            extension.optional = True  # or an editable installation would look for the file
            self.warn(f"{extension.name} not built, mmr-kernels will do without it: {error}")

    def add_cuda_object(self, extension: Pybind11Extension) -> None:
        """nvcc's part, and the runtime it needs."""
        nvcc, flags, runtime = find_nvcc()
        archs = cuda_archs()
        code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
        code.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")
        windows = sys.platform == "win32"
        # Named by its targets, so that others make another.
        target = Path(self.build_temp) / f"mmr_cuda_{'_'.join(archs)}{'.obj' if windows else '.o'}"
        sources = [Path(name) for name in extension.depends]
        if not target.exists() or any(source.stat().st_mtime > target.stat().st_mtime for source in sources):
            target.parent.mkdir(parents=True, exist_ok=True)
            host_flags = [] if windows else ["-Xcompiler=-fPIC,-fvisibility=hidden"]
            command = [nvcc, *NVCC_FLAGS, *flags, *code, *host_flags, "-c", "csrc/cuda/mmr_cuda.cu", "-o", str(target)]
            self.announce(" ".join(command), level=2)
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode:
                raise CompileError(f"nvcc: {(result.stderr or result.stdout).strip()[-400:]}")
        extension.extra_objects = [str(target)]
        extension.depends.append(str(target))
        extension.library_dirs.append(runtime)
        extension.libraries += ["cudart_static"] + ([] if windows else ["dl", "rt", "pthread"])


def cuda_archs() -> list[str]:
    """Compute capabilities, ascending; none: no CUDA module."""
    return sorted(
        filter(None, os.environ.get("MMR_KERNELS_CUDA_ARCHS", CUDA_ARCHS).replace(" ", "").split(",")), key=int
    )


modules = [cpu_extension()]
if cuda_archs():
    modules.append(cuda_extension(cuda_archs()))
if os.environ.get("MMR_KERNELS_BUILD_EMULATOR") == "1":
    modules.append(emulator_extension())
setup(ext_modules=modules, cmdclass={"build_ext": BuildWhatCompiles})
