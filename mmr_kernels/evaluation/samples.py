"""Sampling that can be killed and go on: a JSONL file per task, a line per sample, written as samples come.

A line has what ``mmr-kernels score`` reads, ``group``, ``prompt``, ``completion`` and ``reward``; and ``problem``,
``gold``, ``sample`` (0 to k − 1), ``truncated`` and ``answer``. Rewards and answers are null until all are graded.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lm_eval.api.instance import Instance

from mmr_kernels.bench.record import write_text
from mmr_kernels.evaluation.benchmarks import Benchmark
from mmr_kernels.evaluation.grader import grade_all
from mmr_kernels.evaluation.models import BACKENDS

Row = dict[str, Any]
Key = tuple[str, int]
#: Called with what is done and how often, it returns what is called after each.
Track = Callable[[str, int], Callable[[], object]]


class SampleFile:
    """The samples of one task by one model.

    Raises:
        ValueError: a line is broken, or of another problem than the one in that place.
    """

    def __init__(self, path: Path, benchmark: Benchmark, samples: int) -> None:
        self.path = path
        self.benchmark = benchmark
        self.rows = {(row["group"], row["sample"]): row for row in self._read()}  # others than the wanted ones too
        self.wanted: dict[Key, Row] = {
            (each.group, sample): {"group": each.group, "sample": sample, "problem": each.text, "gold": each.gold}
            for each in benchmark.problems
            for sample in range(samples)
        }
        for key, row in self.wanted.items():
            if key in self.rows and any(self.rows[key][field] != row[field] for field in ("problem", "gold")):
                raise ValueError(f"{path} has samples of another problem {row['group']}; name another --out")

    def missing(self) -> list[Row]:
        """The samples that are wanted and not there, by problem."""
        return [row for key, row in self.wanted.items() if key not in self.rows]

    def _read(self) -> Iterator[Row]:
        if not self.path.exists():
            return
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:  # a kill cut the last line
            os.truncate(self.path, len(whole))
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                row = json.loads(line)
                if missing := {"group", "sample", "problem", "gold", "completion", "truncated", "reward"} - set(row):
                    raise ValueError(f"it lacks {', '.join(sorted(missing))}")
            except (ValueError, TypeError) as error:
                raise ValueError(f"{self.path}:{number}: no sample of this command ({error})") from error
            yield row

    def generate(self, model: Any, backend: str, seed: int, advance: Callable[[], object]) -> None:
        """Sample what is missing; ``advance`` is called after each sample.

        Raises:
            OSError: the disk or the server failed; what was sampled before is in the file.
        """
        missing, contexts, part = self.missing(), self._contexts(model), BACKENDS[backend].PART
        waiting: dict[Any, deque[Row]] = defaultdict(deque)
        with self.path.open("a", encoding="utf-8") as file:

            def keep(kind: str, request: Any, text: str) -> None:
                row = waiting[request[0]].popleft()
                text = text.encode(errors="replace").decode()  # a server may cut an emoji in two
                prompt = getattr(request[0], "prompt", request[0])
                row |= {"prompt": prompt, "completion": text, "truncated": model.truncated.popleft()}
                row |= {"reward": None, "answer": None}
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
                file.flush()
                self.rows[row["group"], row["sample"]] = row
                advance()

            model.set_cache_hook(SimpleNamespace(add_partial=keep))
            for start in range(0, len(missing), part):
                seeds = [_seed(seed, row) for row in missing[start : start + part]]
                requests = []
                for row, own in zip(missing[start : start + part], seeds, strict=True):
                    context, options = contexts[row["group"]]
                    waiting[context].append(row)
                    requests.append(Instance("generate_until", {}, (context, options | model.request_seed(own)), 0))
                model.start(seeds[0])
                model.generate_until(requests, disable_tqdm=True)

    def _contexts(self, model: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
        """The prompt of each problem, in the model's chat template if it has one, and the options of sampling."""
        tokenizer = getattr(model, "tokenizer", None)
        task, problems = self.benchmark
        task.build_all_requests(
            limit=len(problems),
            apply_chat_template=tokenizer is None or bool(tokenizer.chat_template),
            chat_template=model.apply_chat_template,
        )
        return {problem.group: each.args for problem, each in zip(problems, task.instances, strict=True)}

    def samples(self) -> list[Row]:
        """The wanted samples, all of which are there, by problem."""
        return [self.rows[key] for key in self.wanted]

    def save(self) -> None:
        """Write the file anew, whole or not at all, in the order of the problems."""
        others = [row for key, row in self.rows.items() if key not in self.wanted]
        rows = self.samples() + others
        write_text(self.path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def grade(files: Sequence[SampleFile], track: Track) -> None:
    """Grade what is not graded yet, and save it."""
    todo = [row for file in files for row in file.samples() if row["reward"] is None]
    if not todo:
        return
    grades = grade_all([(row["gold"], row["completion"]) for row in todo], track("grading", len(todo)))
    for row, each in zip(todo, grades, strict=True):
        row |= {"reward": float(each.correct), "answer": each.answer}
    for file in files:
        file.save()


def _seed(seed: int, row: Row) -> int:
    """The same for a sample in every run of one seed, 31 bits."""
    name = f"{seed}/{row['group']}/{row['sample']}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) >> 1
