"""``make resolve``: does ``constraints.txt`` resolve with every extra, on Linux, as the package index has it?

Nothing is installed. A local build of a pinned version (of torch, say, which may require less than the index's) is left
out, for what is asked is what a user's pip finds. Prints what would be downloaded, and how large it is.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
#: Left out: they need packages without wheels (sqlitedict, word2number; cellpylib, pycosat), and for other Pythons pip
#: resolves wheels alone.
WITHOUT_WHEELS = ("lm-eval", "reasoning-gym")


def requirements() -> list[str]:
    """Of the package and of all its extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    every = [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]
    return [requirement for requirement in every if not requirement.startswith(WITHOUT_WHEELS)]


def resolve(python: str) -> list[dict[str, str]]:
    """Name, version and address of each wheel; SystemExit with pip's words where there is no solution."""
    with tempfile.TemporaryDirectory() as folder:
        report, exact = Path(folder) / "report.json", Path(folder) / "constraints.txt"
        # "===" takes this very version, where "==" takes a local build of it too, as torch 2.13.0+cpu.
        exact.write_text((ROOT / "constraints.txt").read_text().replace("==", "==="))
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--target", folder,
            "--python-version", python, "--only-binary=:all:", "--constraint", str(exact),
            "--report", str(report), *requirements(),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"constraints.txt has no solution for Python {python}:\n{done.stderr}")
        installs = json.loads(report.read_text())["install"]
    return [
        {**{key: item["metadata"][key] for key in ("name", "version")}, "url": item["download_info"]["url"]}
        for item in installs
    ]


def size(url: str) -> int:
    """Bytes of the file at an address; asked again where the index closes the connection."""
    for left in reversed(range(3)):
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
                return int(answer.headers["Content-Length"])
        except OSError:
            if not left:
                raise
    raise AssertionError


def main() -> None:
    """A line per Python version, with the largest packages."""
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))
    with ThreadPoolExecutor(len(PYTHONS)) as pool:
        resolved = dict(zip(PYTHONS, pool.map(resolve, PYTHONS), strict=True))
    for python, wheels in resolved.items():
        found = {re.sub("[_.]", "-", wheel["name"]).lower(): wheel["version"] for wheel in wheels}
        if missing := sorted(pinned.keys() - found.keys() - set(WITHOUT_WHEELS)):
            raise SystemExit(f"constraints.txt pins what Python {python} never asks for: {', '.join(missing)}")
        with ThreadPoolExecutor(16) as pool:
            sizes = dict(zip(found, pool.map(size, (wheel["url"] for wheel in wheels)), strict=True))
        print(
            f"Python {python}: {len(found)} packages, {sum(sizes.values()) / 1e9:.1f} GB;"
            f" torch {found['torch']}, triton {found['triton']}; the largest: "
            + ", ".join(f"{name} {sizes[name] / 1e6:.0f} MB" for name in sorted(sizes, key=sizes.__getitem__)[:-6:-1]),
            flush=True,
        )


if __name__ == "__main__":
    main()
