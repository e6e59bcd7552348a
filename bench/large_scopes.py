"""One large scope on the CPU backend, on one thread, beside ``torch.mm`` and a loop in NumPy, for docs/cpu.md."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer

from mmr_kernels import mmr_advantages
from mmr_kernels.bench.measure import Call, figures
from mmr_kernels.bench.record import record, write
from mmr_kernels.bench.table import timings

FLOAT32 = [(2048, 768, torch.float32), (4096, 768, torch.float32), (8192, 768, torch.float32)]
SCOPES = [*FLOAT32, (4096, 3584, torch.bfloat16)]
LAM = 0.6


def product_and_loop(rewards: torch.Tensor, unit: torch.Tensor) -> np.ndarray:
    """The new rewards, as a user of torch and NumPy would write it; rows of norm 1."""
    similarity = (unit @ unit.T).float().numpy()
    left, nearest = LAM * rewards.numpy(), np.zeros(len(rewards), np.float32)
    new, pick = np.empty_like(left), int(rewards.argmax())
    score = rewards.numpy()
    for _ in range(len(left)):
        new[pick], left[pick] = score[pick], -np.inf
        np.maximum(nearest, similarity[pick], out=nearest)
        score = left - (1 - LAM) * nearest
        pick = int(score.argmax())
    return new


def main(
    json_path: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    seconds: Annotated[float, typer.Option(help="Time to spend on each scope.")] = 10.0,
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = []
    for count, dim, dtype in SCOPES:
        generator = torch.Generator().manual_seed(0)
        rewards = torch.rand(count, generator=generator)
        unit = torch.nn.functional.normalize(torch.randn(count, dim, generator=generator), dim=-1).to(dtype)
        name = f"{count} × {dim} {str(dtype).removeprefix('torch.')}"
        calls: dict[str, Call] = {
            f"{name}: cpu": lambda rewards=rewards, unit=unit: mmr_advantages(
                rewards, unit, group_size=len(rewards), lam=LAM, backend="cpu"
            ),
            f"{name}: cpu, share": lambda rewards=rewards, unit=unit: mmr_advantages(
                rewards, unit, group_size=len(rewards), method="share", backend="cpu"
            ),
            f"{name}: torch.mm and NumPy": lambda rewards=rewards, unit=unit: product_and_loop(rewards, unit),
        }
        if dtype is torch.float32:
            similarity = (unit @ unit.T).unsqueeze(0)
            calls[f"{name}: cpu, similarity given"] = lambda rewards=rewards, similarity=similarity: mmr_advantages(
                rewards.unsqueeze(0), similarity=similarity, lam=LAM, backend="cpu"
            )
        rows += figures(calls, seconds)
    timings("one scope, one thread", rows).print()
    if json_path:
        write(json_path, record(rows=rows))


if __name__ == "__main__":
    typer.run(main)
