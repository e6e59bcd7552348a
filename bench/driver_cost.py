"""The cost of MMR to a trainer's driver, which holds all token ids of a step: processor time of each part, and memory.

    python -m bench.driver_cost 1024x4096 --json docs/figures/driver-cost.json

With ``--queue`` in the environment of ``make test-verl`` the ids come out of verl's TransferQueue, one storage unit on
this machine, which is timed too, the clients' side alone.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from mmr_kernels.bench.record import record, write
from mmr_kernels.embedders import LexicalEmbedder, embed_distinct
from mmr_kernels.integrations.metrics import metrics
from mmr_kernels.integrations.scored import score

GROUP_SIZE, VOCABULARY = 16, 150_000
MIB = 2**20


def timed(parts: dict[str, float], name: str, call: Callable[[], Any]) -> Any:
    """Processor time of all threads of this process, which other work on the machine lengthens little."""
    start = time.process_time()
    result = call()
    parts[f"{name} ms"] = round((time.process_time() - start) * 1000, 1)
    return result


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def batch(completions: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids by Zipf's law, no two rows equal, and masks of lengths between ``length`` and a half of it."""
    frequencies = 1 / torch.arange(1.0, VOCABULARY + 1)
    ids = torch.multinomial(frequencies, completions * length, replacement=True).view(completions, length)
    lengths = torch.randint(length // 2, length + 1, (completions, 1))
    own = torch.arange(length) < lengths
    return ids.masked_fill(~own, 0), own


def through_queue(parts: dict[str, float], ids: torch.Tensor, own: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same ids after a way through the queue, as verl's adapter reads them."""
    import transfer_queue
    from tensordict import TensorDict

    from mmr_kernels.integrations.verl.completions import of_queue

    rows = [row[mask] for row, mask in zip(ids, own, strict=True)]
    nested = torch.nested.as_nested_tensor(rows, layout=torch.jagged)
    fields = TensorDict({"responses": nested, "response_mask": torch.ones_like(nested)}, batch_size=len(rows))
    keys = [f"{row // GROUP_SIZE}_{row % GROUP_SIZE}_0" for row in range(len(rows))]
    put = transfer_queue.kv_batch_put(keys=keys, partition_id=str(ids.shape), fields=fields, tags=[{}] * len(rows))
    read: tuple[torch.Tensor, torch.Tensor] = timed(parts, "queue", of_queue(transfer_queue, put).read)
    return read


def one(completions: int, length: int, scope: str, queue: bool) -> dict[str, Any]:
    """A step of so many completions of up to so many tokens."""
    parts: dict[str, float] = {}
    ids, own = batch(completions, length)
    ids, own = through_queue(parts, ids, own) if queue else (ids, own)
    group_ids = torch.arange(completions) // GROUP_SIZE
    rewards = torch.randint(0, 2, (completions,)).float()
    before = peak_mib()
    embedder = LexicalEmbedder()
    vectors = timed(parts, "embed", lambda: embed_distinct(embedder, [], ids, own, max_tokens=length, device="cpu"))
    scored = timed(parts, "op", lambda: score(rewards, vectors, group_ids=group_ids, scope=scope))
    timed(parts, "metrics", lambda: metrics(scored, group_ids))
    held = (ids.numel() * ids.element_size() + own.numel() * own.element_size()) / MIB
    memory = {"ids and mask MiB": round(held), "more at the peak MiB": round(peak_mib() - before)}
    return {"completions": completions, "tokens": length, "scope": scope} | parts | memory


def main(
    sizes: Annotated[
        list[str], typer.Argument(help="COMPLETIONSxTOKENS, ascending, for memory is that of the process.")
    ],
    scope: Annotated[str, typer.Option(help="Of the op.")] = "group",
    queue: Annotated[bool, typer.Option("--queue", help="Through verl's TransferQueue.")] = False,
    json: Annotated[Path | None, typer.Option(help="Write the rows here.")] = None,
) -> None:
    """Print a row per size."""
    torch.manual_seed(0)
    if queue:
        import ray
        import transfer_queue
        from omegaconf import OmegaConf

        ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
        transfer_queue.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    rows = []
    for size in sizes:
        completions, length = map(int, size.split("x"))
        rows.append(one(completions, length, scope, queue))
        print(rows[-1], flush=True)
    if json is not None:
        write(json, record(rows=rows))


if __name__ == "__main__":
    typer.run(main)
