"""Builds the compiled modules; all metadata stands in pyproject.toml.

    _cpu        the CPU kernel, wherever a C++17 compiler is
    _cuda       the CUDA kernel, where MMR_KERNELS_CUDA_ARCHS asks for it: 90, or 80,90 (compute capabilities), or all
    _emulator   the emulator of the CUDA kernel, for tests, where MMR_KERNELS_BUILD_EMULATOR is 1

Without them the package installs all the same and computes on the backends that are left. Why a module is missing is
written beside the package, where ``mmr-kernels info`` and the error of ``backend="cpu"`` and ``"cuda"`` read it.
"""

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import setuptools

if int(setuptools.__version__.partition(".")[0]) < 77:  # said before it fails on the licence in pyproject.toml
    raise SystemExit(
        f"mmr-kernels is built with setuptools 77 or newer, found {setuptools.__version__};"
        " pip install --upgrade setuptools, or leave --no-build-isolation out"
    )

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools.command.build import build
from setuptools.errors import CCompilerError, CompileError, ExecError, PlatformError

HEADERS = sorted(str(path) for path in Path("csrc").rglob("*") if path.suffix in {".h", ".inl"})
#: Each module: how long it takes on two cores, and its reason where nobody asked for it.
MODULES = {
    "_cpu": ("half a minute", ""),
    "_cuda": ("a minute per target", "not asked for at installation: MMR_KERNELS_CUDA_ARCHS was not set"),
    "_emulator": ("a minute", "not asked for at installation: MMR_KERNELS_BUILD_EMULATOR was not 1"),
}
# Code for 8.0 runs on 8.6 and 8.9 too, and so on; 7.5 is the oldest that CUDA 13 knows.
ALL_CUDA_ARCHS = "75,80,90,100,120"
# Neither multiplies and adds in one rounding unless the source says so: then both compute the same bits.
NVCC_FLAGS = ["-std=c++17", "-O3", "--fmad=false", "--threads=2"]
# A method or a mode that a kernel has forgotten is an error, not something else's result.
EVERY_CASE = [] if sys.platform == "win32" else ["-Werror=switch"]
# clang has a runtime of its own: a second pool of threads, which gets in the way of torch's.
OPENMP_PROBE = """
#ifdef __clang__
#error
#endif
#include <omp.h>
int main() { return omp_get_max_threads() == 0; }
"""
# A fortified longjmp takes a fiber for a fault.
EMULATOR_FLAGS = ["-O2", "-ffp-contract=off", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE", *EVERY_CASE]


def cpu_extension() -> Pybind11Extension:
    return Pybind11Extension(
        "mmr_kernels._cpu",
        ["csrc/cpu/bindings.cpp", "csrc/cpu/mmr_cpu.cpp"],
        depends=HEADERS,
        cxx_std=17,
        # Contraction to FMA is named because -std=c++17 turns it off; nothing here is "fast math".
        extra_compile_args=["-O3", "-ffp-contract=fast", "-fno-math-errno", *EVERY_CASE],
    )


def cuda_extension() -> Pybind11Extension:
    """Linked to the static CUDA runtime, so that it imports on a machine without a driver."""
    return Pybind11Extension(
        "mmr_kernels._cuda", ["csrc/cuda/bindings.cpp"], depends=["csrc/cuda/mmr_cuda.cu", *HEADERS], cxx_std=17
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


class BuildAfresh(build):
    """Empties the folder that becomes the wheel, or it would hold what an earlier build left there."""

    def run(self) -> None:
        shutil.rmtree(Path(self.build_lib, "mmr_kernels"), ignore_errors=True)
        super().run()


class BuildWhatCompiles(build_ext):
    """Records why a module could not be built instead of failing the installation.

    A module of an earlier build, perhaps of another compiler or for other targets, never passes for one of this.
    """

    def run(self) -> None:
        self.force = True
        asked = {extension.name for extension in self.extensions}
        self.not_built = {name: why for name, (_, why) in MODULES.items() if f"mmr_kernels.{name}" not in asked}
        super().run()
        for name in (f"mmr_kernels.{module}" for module in self.not_built):
            for path in (self.get_ext_fullpath(name), Path(self.build_lib, self.get_ext_filename(name))):
                Path(path).unlink(missing_ok=True)
        report = Path(self.get_ext_fullpath("mmr_kernels._build")).parent / "_build.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(self.not_built, indent=1) + "\n")

    def build_extension(self, extension: Pybind11Extension) -> None:
        module = extension.name.rpartition(".")[2]
        try:
            print(f"mmr-kernels: compiling {module}, which takes about {MODULES[module][0]}", flush=True)
            if module == "_cpu":
                self.add_openmp(extension)
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

    def add_openmp(self, extension: Pybind11Extension) -> None:
        """gcc's runtime, which is torch's at run time: both ask the loader for libgomp.so.1, so they share one pool."""
        if sys.platform != "linux":
            return
        with tempfile.TemporaryDirectory() as folder:
            command = [*self.compiler.compiler_cxx, "-fopenmp", "-x", "c++", "-", "-o", f"{folder}/probe"]
            missing = subprocess.run(command, input=OPENMP_PROBE, capture_output=True, text=True).returncode
        if missing:
            self.warn("_cpu is built without OpenMP and will run on one thread: g++ links libgomp, clang doesn't")
        else:
            extension.extra_compile_args.append("-fopenmp")
            extension.extra_link_args.append("-fopenmp")

    def add_cuda_object(self, extension: Pybind11Extension) -> None:
        """nvcc's part, and the runtime it needs."""
        nvcc, flags, runtime = find_nvcc()
        archs = self.known_targets(nvcc)
        extension.define_macros.append(("MMR_CUDA_TARGETS", ", ".join(archs)))
        code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
        code.append(f"-gencode=arch=compute_{archs[-1]},code=compute_{archs[-1]}")
        windows = sys.platform == "win32"
        host_flags = [] if windows else ["-Xcompiler=-fPIC,-fvisibility=hidden"]
        command = [nvcc, *NVCC_FLAGS, *flags, *code, *host_flags, "-c", "csrc/cuda/mmr_cuda.cu", "-o"]
        # Minutes of work, kept by the name of all that went into it.
        version = subprocess.run([nvcc, "--version"], capture_output=True).stdout
        content = b"".join(Path(source).read_bytes() for source in extension.depends)
        digest = hashlib.sha256(" ".join(command).encode() + version + content).hexdigest()
        target = Path("build", "cuda", f"{digest}{'.obj' if windows else '.o'}")
        if not target.exists():
            shutil.rmtree(target.parent, ignore_errors=True)
            target.parent.mkdir(parents=True)
            self.announce(" ".join([*command, str(target)]), level=logging.INFO)
            result = subprocess.run([*command, str(target)], capture_output=True, text=True)
            if result.returncode:
                raise CompileError(f"nvcc: {(result.stderr or result.stdout).strip()[-400:]}")
        extension.extra_objects = [str(target)]
        extension.library_dirs.append(runtime)
        extension.libraries += ["cudart_static"] + ([] if windows else ["dl", "rt", "pthread"])

    def known_targets(self, nvcc: str) -> list[str]:
        """Those asked for, less those that this nvcc doesn't compile for."""
        listed = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True).stdout.split()
        known = [arch for arch in cuda_archs() if f"sm_{arch}" in listed]
        unknown = ", ".join(arch for arch in cuda_archs() if arch not in known)
        if not known:
            raise PlatformError(f"{nvcc} compiles for {' '.join(listed) or 'nothing'}, asked for: {unknown}")
        if unknown:
            self.warn(f"_cuda is built without the targets {unknown}, which {nvcc} doesn't know")
        return known


def cuda_archs() -> list[str]:
    """Compute capabilities, ascending; none: no CUDA module."""
    asked = os.environ.get("MMR_KERNELS_CUDA_ARCHS", "").replace(" ", "")
    archs = set(filter(None, (ALL_CUDA_ARCHS if asked == "all" else asked).split(",")))
    if not all(arch.isdecimal() for arch in archs):
        raise SystemExit(f"MMR_KERNELS_CUDA_ARCHS takes compute capabilities, such as 80,90, or all; got {asked!r}")
    return sorted(archs, key=int)


modules = [cpu_extension()]
if cuda_archs():
    modules.append(cuda_extension())
if os.environ.get("MMR_KERNELS_BUILD_EMULATOR") == "1":
    modules.append(emulator_extension())
setuptools.setup(ext_modules=modules, cmdclass={"build": BuildAfresh, "build_ext": BuildWhatCompiles})
