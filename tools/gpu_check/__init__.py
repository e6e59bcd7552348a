"""``make gpu-check``: both GPU kernels checked and timed on one GPU in ten minutes, without a network (docs/gpu.md)."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: The kernels that are checked.
BACKENDS = ("triton", "cuda")

sys.path.insert(0, str(ROOT / "python_tests"))  # the oracle, its replay and the strategies are those of the suite
