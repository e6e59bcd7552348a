"""``make sanitize``: build the CPU kernel with AddressSanitizer and UBSan in a copy of the package, run the op's suite
on it. The normal build stays where it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FLAGS = "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"


def main() -> int:
    """Returns pytest's exit status."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        for name in ("mmr_kernels", "csrc", "python_tests", "bench", "docs"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
        for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, copy)
        if (ROOT.parent / "shared").is_dir():
            (Path(folder) / "shared").symlink_to(ROOT.parent / "shared")
        environment = os.environ | {"CFLAGS": FLAGS, "CXXFLAGS": FLAGS, "LDFLAGS": FLAGS, "MMR_KERNELS_CUDA_ARCHS": ""}
        build = [sys.executable, "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(build, cwd=copy, env=environment, check=True)
        (module,) = (copy / "mmr_kernels").glob("_cpu*.so")
        if b"__asan_report" not in module.read_bytes():  # flags that never reached the compiler would pass everything
            raise SystemExit(f"{module.name} was built without the sanitizers")
        runtime = [_runtime("libasan.so"), _runtime("libubsan.so"), _runtime("libstdc++.so")]
        environment = os.environ | {
            "LD_PRELOAD": " ".join(runtime),  # the sanitizers must come before all else in the process
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",  # Python leaves memory to the system at exit
            "PYTHONPATH": str(copy),
        }
        suite = [*sorted(map(str, (copy / "python_tests").glob("test_*.py"))), "python_tests/backends/test_cpu.py"]
        tests = [*suite, "--backend=cpu", "-n", "2", "--dist", "worksteal", "-p", "no:cacheprovider"]
        return subprocess.run([sys.executable, "-m", "pytest", *tests], cwd=copy, env=environment).returncode


def _runtime(library: str) -> str:
    """Where the compiler keeps the sanitizer's library."""
    compiler = os.environ.get("CXX", "c++")
    return subprocess.run(
        [compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=True
    ).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
