"""Builds and distributions of a copy of the checkout whose compiled modules are empty: ``setup.py`` is on trial."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EMPTY_MODULE = """
#include <Python.h>
static PyModuleDef definition = {{PyModuleDef_HEAD_INIT, "{0}"}};
PyMODINIT_FUNC PyInit_{0}() {{ return PyModule_Create(&definition); }}
"""
USES_OPENMP = """
#ifdef _OPENMP
#include <omp.h>
int threads() { return omp_get_max_threads(); }
#endif
"""
# Knows two targets, writes down what it is asked to compile, and compiles nothing.
NVCC = """#!/bin/sh
case "$*" in
*--dryrun*) echo "#$ TOP={0}" >&2 ;;
*--list-gpu-code*) echo sm_75 sm_80 ;;
*--version*) echo 12.0 ;;
*) echo "$*" >> {0}/calls; for last; do :; done; echo | exec c++ -x c++ -c - -o "$last" ;;
esac
"""
CLANG = '#!/bin/sh\nexec c++ -D__clang__ "$@"\n'

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the stand-ins for compilers are shell scripts"),
    pytest.mark.skipif(shutil.which("c++") is None, reason="no C++ compiler"),
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """With ``nvcc`` and ``clang++`` in tools/."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "mmr_kernels", copy / "mmr_kernels", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    tools = tmp_path / "tools"
    contents = {
        copy / "csrc/cpu/bindings.cpp": EMPTY_MODULE.format("_cpu"),
        copy / "csrc/cpu/mmr_cpu.cpp": USES_OPENMP,
        copy / "csrc/cuda/bindings.cpp": EMPTY_MODULE.format("_cuda"),
        copy / "csrc/cuda/mmr_cuda.cu": "",
        tools / "lib64/libcudart_static.a": "!<arch>\n",
        tools / "nvcc": NVCC.format(tools),
        tools / "clang++": CLANG,
    }
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tools / "nvcc").chmod(0o755)
    (tools / "clang++").chmod(0o755)
    (copy / "mmr_kernels/_build.json").unlink(missing_ok=True)
    return copy


def build(checkout: Path, kind: str, archs: str | None = None, **environment: str) -> str:
    """What pip runs for a wheel, an editable installation or an sdist; returns what it says."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MMR_KERNELS_")}
    path = f"{checkout.parent / 'tools'}{os.pathsep}{os.environ['PATH']}"
    asked = {} if archs is None else {"MMR_KERNELS_CUDA_ARCHS": archs}
    result = subprocess.run(
        [sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_{kind}('dist')"],
        cwd=checkout, env={**inherited, "PATH": path, "CUDA_HOME": "", **asked, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120,
    )  # fmt: skip
    return result.stdout


def modules(checkout: Path, kind: str) -> tuple[set[str], dict[str, str]]:
    """The compiled modules of the latest build, in the wheel or beside the package, and what _build.json says."""
    if kind == "editable":
        package = checkout / "mmr_kernels"
        return {path.name.split(".")[0] for path in package.glob("*.so")}, json.loads(
            (package / "_build.json").read_text()
        )
    (wheel,) = (checkout / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        compiled = {Path(name).name.split(".")[0] for name in archive.namelist() if name.endswith(".so")}
        return compiled, json.loads(archive.read("mmr_kernels/_build.json"))


@pytest.mark.parametrize("kind", ["wheel", "editable"])
@pytest.mark.parametrize("fault", ["source", "compiler", "not asked"])
def test_what_this_build_did_not_make_is_nowhere(checkout: Path, kind: str, fault: str) -> None:
    build(checkout, kind, "80")
    assert modules(checkout, kind)[0] == {"_cpu", "_cuda"}
    if fault == "source":
        (checkout / "csrc/cuda/bindings.cpp").write_text("#error")
        said = build(checkout, kind, "80")
    elif fault == "compiler":
        said = build(checkout, kind, "80", CC="no-such-compiler", CXX="no-such-compiler")
    else:
        said = build(checkout, kind)
    compiled, not_built = modules(checkout, kind)
    assert compiled == (set() if fault == "compiler" else {"_cpu"}), said
    assert compiled | not_built.keys() == {"_cpu", "_cuda", "_emulator"}
    assert not compiled & not_built.keys()
    assert ("not asked for" if fault == "not asked" else "not built at installation") in not_built["_cuda"]


def test_a_file_that_left_the_package_leaves_the_wheel(checkout: Path) -> None:
    forgotten = checkout / "mmr_kernels/forgotten.py"
    forgotten.write_text("")
    build(checkout, "wheel")
    forgotten.unlink()
    build(checkout, "wheel")
    (wheel,) = (checkout / "dist").glob("*.whl")
    assert "mmr_kernels/forgotten.py" not in zipfile.ZipFile(wheel).namelist()


def test_the_cuda_module_is_for_who_asks_for_it_and_of_the_targets_that_nvcc_knows(checkout: Path) -> None:
    calls = checkout.parent / "tools/calls"
    build(checkout, "editable")
    assert modules(checkout, "editable")[0] == {"_cpu"}
    assert not calls.exists()
    said = build(checkout, "editable", "all")
    assert modules(checkout, "editable")[0] == {"_cpu", "_cuda"}, said
    assert "compiling _cuda, which takes about a minute per target" in said
    assert "_cuda is built without the targets 90, 100, 120" in said
    assert "sm_75" in calls.read_text()
    assert "sm_80" in calls.read_text()
    assert "90" not in calls.read_text().partition(" -c ")[0]
    build(checkout, "editable", "all")
    assert len(calls.read_text().splitlines()) == 1, "nvcc's minutes are spent once"
    assert "compiles for sm_75 sm_80, asked for: 90" in build(checkout, "editable", "90")
    assert "asked for: 90" in modules(checkout, "editable")[1]["_cuda"]


def test_targets_that_are_none_are_refused(checkout: Path) -> None:
    said = build(checkout, "wheel", "9.0")
    assert "MMR_KERNELS_CUDA_ARCHS takes compute capabilities, such as 80,90, or all; got '9.0'" in said


def test_openmp_is_gccs_or_none(checkout: Path) -> None:
    """The stand-in for clang is gcc under its name, so that it could link libgomp."""
    build(checkout, "editable")
    (module,) = (checkout / "mmr_kernels").glob("_cpu*.so")
    assert b"libgomp.so.1" in module.read_bytes()
    said = build(checkout, "editable", CXX="clang++")
    assert b"libgomp" not in module.read_bytes()
    assert "_cpu is built without OpenMP and will run on one thread" in said


def test_older_setuptools_gets_a_sentence(checkout: Path) -> None:
    pretend = "import setuptools; setuptools.__version__ = '66.1.1'; exec(open('setup.py').read())"
    result = subprocess.run([sys.executable, "-c", pretend], cwd=checkout, capture_output=True, text=True)
    assert result.stderr.startswith("mmr-kernels is built with setuptools 77 or newer, found 66.1.1;")


def test_the_sdist_is_the_checkout_without_the_study(tmp_path: Path) -> None:
    """So its tests find what they read."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    copy = tmp_path / "checkout"
    for name in listed.split():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, copy / name)
    (copy / "mmr_kernels/_build.json").write_text("{}")  # of a build in place
    said = build(copy, "sdist")
    (archive,) = (copy / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames() if files.getmember(name).isfile()}
    made = {name for name in names if name in {"PKG-INFO", "setup.cfg"} or ".egg-info/" in name}
    expected = {name for name in listed.split() if not name.startswith(("study/", ".ci/", ".git"))}
    assert names - made == expected, said
