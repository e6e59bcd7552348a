"""Builds the CPU kernel, if a C++17 compiler is there; all metadata stands in pyproject.toml.

Without a compiler the package installs all the same and computes on the torch backend. Why the module is missing is
written beside the package, where ``mmr-kernels info`` and the error of ``backend="cpu"`` read it.
"""

import json
import sys
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CCompilerError, ExecError, PlatformError

HEADERS = sorted(str(path) for path in Path("csrc").glob("*.h"))


def cpu_extension() -> Pybind11Extension:
    """OpenMP is torch's own runtime at run time: both ask the loader for libgomp.so.1, so they share one pool."""
    openmp = ["-fopenmp"] if sys.platform == "linux" else []
    return Pybind11Extension(
        "mmr_kernels._cpu",
        ["csrc/bindings.cpp", "csrc/mmr_cpu.cpp"],
        depends=HEADERS,
        cxx_std=17,
        # Contraction to FMA is named because -std=c++17 turns it off; nothing here is "fast math".
        extra_compile_args=["-O3", "-ffp-contract=fast", "-fno-math-errno", *openmp],
        extra_link_args=openmp,
    )


class BuildWhatCompiles(build_ext):
    """Records why a module could not be built instead of failing the installation."""

    def run(self) -> None:
        self.not_built: dict[str, str] = {}
        super().run()
        report = Path(self.get_ext_fullpath("mmr_kernels._build")).parent / "_build.json"
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(self.not_built, indent=1) + "\n")

    def build_extension(self, extension: Pybind11Extension) -> None:
        try:
            super().build_extension(extension)
        except (CCompilerError, ExecError, PlatformError, OSError) as error:
            reason = f"not built at installation ({error})"
            self.not_built[extension.name.rpartition(".")[2]] = reason
            self.warn(f"{extension.name} {reason}; mmr-kernels will compute on the torch backend")


setup(ext_modules=[cpu_extension()], cmdclass={"build_ext": BuildWhatCompiles})
