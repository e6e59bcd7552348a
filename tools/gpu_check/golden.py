"""The vectors of the method's released code, on the device; they lie beside the checkout, in ../shared/golden."""

from __future__ import annotations

import json

import numpy as np
from test_golden import check_vector

from tools.gpu_check import BACKENDS, ROOT
from tools.gpu_check.phase import Place, Save

VECTORS = ROOT.parent / "shared" / "golden"


def run(save: Save, place: Place) -> None:
    """One row per backend."""
    if not VECTORS.is_dir():
        save({"left_out": f"{VECTORS} is absent"})
        return
    entries = json.loads((VECTORS / "mmr_golden.json").read_text())[:: 10 if place.dry else 1]
    arrays = dict(np.load(VECTORS / "mmr_golden.npz"))
    rows, wrong = [], []
    for backend in BACKENDS:
        errors = []
        for entry in entries:
            try:
                errors.append(check_vector(entry, arrays, backend, place.device))
            except AssertionError as error:
                wrong.append(f"{backend}, {entry['case']}: {error}")
        worst = max(errors, default=None)
        rows.append({"backend": backend, "cases": len(entries), "right": len(errors), "largest_error": worst})
        save({"rows": rows, "wrong": wrong})
