"""How the tensor cores of an H200 add 16-bit products, in NumPy, and what that does to similarities (docs/gpu.md).

Products of 16-bit numbers are exact. An instruction adds 16 of them to a float32 sum: all are aligned to the largest,
what lies beyond two bits after its float32 digits is cut off, and so is what the total has beyond its own.

python3 -m tools.gpu_check.tensor_cores
"""

from __future__ import annotations

import numpy as np
import torch
import typer
from tolerance import TENSOR_CORE_SUM

from mmr_kernels.bench.table import Table
from tools.gpu_check import fuzz

PER_INSTRUCTION = 16
FLOAT32_BITS, SPARE_BITS = 23, 2
#: Of two fuzzed calls: the round, group sizes, two rows, warps that share out the dimension, what the kernel gave.
MEASURED = (
    ("triton", 1126048560001, [8, 12, 1, 7, 12], (4, 1), 1, 4123.3505859375),
    ("cuda", 1126048563059, [6, 7, 8, 1, 4], (15, 1), 2, 4019.89013671875),
)
#: Noise over signal between two rows: from near-duplicates to cosines of 0.2.
NOISE = (0.01, 0.05, 0.3, 1, 2, 5)


def added(products: np.ndarray) -> np.ndarray:
    """Sums along the last axis, as tensor cores have them."""
    total = np.zeros(products.shape[:-1])
    for start in range(0, products.shape[-1], PER_INSTRUCTION):
        addends = np.concatenate([total[..., None], products[..., start : start + PER_INSTRUCTION]], axis=-1)
        largest = np.abs(addends).max(axis=-1, keepdims=True)
        total = _cut(addends, largest, FLOAT32_BITS + SPARE_BITS).sum(axis=-1)
        total = _cut(total, np.abs(total), FLOAT32_BITS)
    return total


def _cut(values: np.ndarray, largest: np.ndarray, bits: int) -> np.ndarray:
    """Toward zero, to a multiple of what ``bits`` binary digits after the first one of ``largest`` leave."""
    step = np.exp2(np.floor(np.log2(np.maximum(largest, 1e-30))) - bits)
    return np.trunc(values / step) * step


def shared_out(products: np.ndarray, warps: int) -> np.ndarray:
    """In the order of csrc/cuda/gram.h: each warp has 32 dimensions at a time, half of each quad in one instruction."""
    blocks = products.reshape(-1, warps, 4, 2, 4)  # 32 dimensions: 4 lanes, which hold 2 times 4
    return np.moveaxis(blocks, (1, 3), (0, 2)).reshape(warps, -1)


def main() -> None:
    """The model against the device, then its errors on random rows."""
    rows = []
    for backend, number, sizes, (i, j), warps, given in MEASURED:
        (case,) = (case for case in fuzz.rebuilt(number) if [len(group) for group in case.groups] == sizes)
        assert case.embeddings is not None
        embeddings = case.embeddings.double().numpy()
        products = embeddings[i] * embeddings[j]
        parts = added(products[None] if backend == "triton" else shared_out(products, warps))
        model = np.sum(parts.astype(np.float32), dtype=np.float32)
        rows.append([f"{backend}, round {number}", *(f"{value:.10g}" for value in (products.sum(), model, given))])
    Table("two calls, 4,096 dimensions in float16", ["", "exact", "model", "H200"], rows).print()
    rows = [_errors(dim, dtype) for dim in (1024, 4096, 7168) for dtype in (torch.bfloat16, torch.float16)]
    columns = ["", "dot, of the bound", "near-duplicates: cosine", "any pair: cosine"]
    Table("largest error of 64 pairs", columns, rows).print()


def _errors(dim: int, dtype: torch.dtype) -> list[str]:
    rng = np.random.default_rng(dim)
    signal, bound = rng.normal(size=(64, dim)), TENSOR_CORE_SUM * dim / PER_INSTRUCTION
    of_bound, cosine = 0.0, {}
    for noise in NOISE:
        pair = [signal, signal + noise * rng.normal(size=signal.shape)]
        one, other = (torch.from_numpy(values).to(dtype).double().numpy() for values in pair)
        products = np.stack([one * other, one * one, other * other])
        exact, model = products.sum(axis=-1), added(products)
        of_bound = max(of_bound, float(np.max(np.abs(model - exact) / exact[1:].max(axis=0) / bound)))
        quotient = [dots / np.sqrt(squares * others) for dots, squares, others in (exact, model)]
        cosine[noise] = float(np.max(np.abs(quotient[1] - quotient[0])))
    near = max(cosine[noise] for noise in NOISE[:2])
    return [f"{dim}, {dtype}", f"{of_bound:.2f}", f"{near:.1e}", f"{max(cosine.values()):.1e}"]


if __name__ == "__main__":
    typer.run(main)
