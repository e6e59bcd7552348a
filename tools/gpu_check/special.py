"""Graphs, streams, threads, captures, ``torch.compile``, which only a device shows, as the suite's tests hold them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tools.gpu_check import BACKENDS, ROOT
from tools.gpu_check.phase import Place, Save

TESTS = "python_tests/backends/test_gpu.py"
#: Without a device those would be skipped; these are not.
DRY_TESTS = "python_tests/test_extremes.py::test_groups_of_one"


def run(save: Save, place: Place) -> None:
    """One row per test, with how many of its cases passed, failed and were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "results.xml")
        options = [f"--junitxml={path}", "-p", "no:cacheprovider", "--tb=short", "-n", str(place.workers)]
        backends = [f"--backend={name}" for name in BACKENDS]
        program = [sys.executable, "-m", "pytest", *options, *backends, DRY_TESTS if place.dry else TESTS]
        status = subprocess.run(program, cwd=ROOT).returncode
        cases = list(ElementTree.parse(path).iter("testcase")) if path.exists() else []
    outcomes: dict[str, Counter[str]] = {}
    wrong = [] if status == 0 else [f"pytest ended with status {status}"]
    for case in cases:
        found = next((child.tag for child in case if child.tag in ("failure", "error", "skipped")), "passed")
        outcomes.setdefault(case.get("name", "").partition("[")[0], Counter())[found] += 1
        if found in ("failure", "error"):
            wrong.append(f"{case.get('name')} failed")
    save({"rows": [{"test": name, **counts} for name, counts in outcomes.items()], "wrong": wrong})
