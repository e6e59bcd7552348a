"""The study of five arms on a policy of 25 million parameters: ten minutes on one H100, by a loop of its own.

TRL is not where the GPU is, and its trainer samples with many launches per token. The loop here needs torch and
transformers alone and is the same on a CPU. Prompts have one length, so nothing is padded on the left, and on a GPU all
steps of sampling are one CUDA graph, without a cache of keys: texts are short, and launches cost more than products.

python -m study.pretrained.gpu
python -m study.pretrained.gpu --dry-run    # in small, on a CPU
"""

from __future__ import annotations

import random
import time
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from torch import Tensor
from transformers import Qwen2ForCausalLM

from examples.demo import policy as demo_policy
from mmr_kernels.embedders.lexical import LexicalEmbedder
from mmr_kernels.integrations.batch import score_batch
from mmr_kernels.integrations.metrics import SIGNAL
from mmr_kernels.integrations.options import MMROptions
from mmr_kernels.integrations.scored import score
from study.pretrained import policy
from study.pretrained.problems import Chains, ExactAnswer
from study.pretrained.report import report
from study.results_file import Row
from study.training.arms import ARMS
from study.training.evaluation import Evaluation
from study.training.rows import Run, missing, results_file

GROUP_SIZE, EVALUATIONS, TRIAL_STEPS = 8, 10, 20
NAMES = ("plain", "plain, entropy bonus 0.02", "MMR, first pick by score", "share, dial", "SMI")


class Plan(NamedTuple):
    """How large all is."""

    size: dict[str, int]
    chains: Chains
    parts: tuple[int, int, int]  # problems to evaluate with, to train on, to imitate
    seconds: float  # of imitation
    batch: int  # texts
    seeds: int
    steps: int
    prompts: int  # per step
    rate: float = 1e-4


FULL = Plan(policy.LARGE, Chains("4 terms of 2 digits", 4, 2, 0.05), (512, 8192, 300_000), 150, 512, 4, 350, 12)
TINY = {**policy.SMALL, "hidden_size": 32, "intermediate_size": 64}
DRY = Plan(TINY, Chains("3 terms", 3, 1, 0.05), (32, 256, 1000), 1, 64, 2, 2, 2)


class Sampler:
    """Samples completions of prompts of one length, token by token.

    Args:
        model: its weights may change between calls, in place.
        rows: completions per call.
        prompt: tokens of each prompt.
        longest: tokens of a completion at most.
    """

    def __init__(self, model: Qwen2ForCausalLM, rows: int, prompt: int, longest: int) -> None:
        self.model, self.prompt = model, prompt
        self.tokens = torch.zeros(rows, prompt + longest, dtype=torch.int64, device=model.device)
        self.sample = self._sample
        if model.device.type == "cuda":
            stream = torch.cuda.Stream()  # a capture wants a call on another stream before it
            with torch.cuda.stream(stream):
                self._sample()
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._sample()
            self.sample = graph.replay

    def __call__(self, prompts: Tensor) -> Tensor:
        """(rows, prompt + longest): the prompts and what follows, which goes on after the end of a completion."""
        self.tokens[:, : self.prompt] = prompts
        self.sample()
        return self.tokens.clone()

    @torch.no_grad()
    def _sample(self) -> None:
        for place in range(self.prompt, self.tokens.shape[1]):
            last = logits(self.model, self.tokens[:, :place], 1)[:, 0].softmax(-1)
            # The smallest of exponential times with these rates is a draw; unlike multinomial the host need not look.
            self.tokens[:, place] = (last / torch.empty_like(last).exponential_()).argmax(-1)


def precision(device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 products on a GPU; without a cache of weights, which a graph would not see change."""
    return torch.autocast("cuda", torch.bfloat16, cache_enabled=False) if device.type == "cuda" else nullcontext()


def logits(model: Qwen2ForCausalLM, tokens: Tensor, last: int = 0) -> Tensor:
    """(rows, tokens, vocabulary), float32, of the last so many tokens, or of all.

    A mapping for a mask says that there is none, which the model would else find out by a look at the positions.
    """
    with precision(tokens.device):
        whole: Any = {"full_attention": None}
        return model(input_ids=tokens, attention_mask=whole, use_cache=False, logits_to_keep=last).logits.float()


def made_start(plan: Plan, device: torch.device) -> Qwen2ForCausalLM:
    """A policy that has imitated for the plan's time; how many steps that is a trial tells."""
    model = policy.untrained(plan.size).to(device)
    pools = {plan.chains: plan.chains.parts(*plan.parts)[-1]}
    with precision(device):
        for steps in (TRIAL_STEPS, TRIAL_STEPS):  # the first warms up
            begin = time.perf_counter()
            policy.imitate(model, pools, steps, plan.batch, 1e-4)
        steps = int(plan.seconds / (time.perf_counter() - begin) * TRIAL_STEPS)
        policy.imitate(model, pools, steps, plan.batch, 1e-3)
    return model


class Study:
    """What all runs share: the model, which each run resets to the start, its sampler, problems and evaluation."""

    def __init__(self, plan: Plan, start: Path, device: torch.device) -> None:
        self.plan, self.names, self.device = plan, policy.tokenizer(), device
        self.model = demo_policy.load(policy.untrained(plan.size), start).to(device)
        self.start = {name: weights.clone() for name, weights in self.model.state_dict().items()}
        held_out, self.training = plan.chains.parts(*plan.parts[:2])
        self.prompts = self.names([each.prompt for each in self.training], return_tensors="pt")["input_ids"].to(device)
        self.evaluation = Evaluation(plan.chains.family, held_out, self.names)
        self.evaluation.batches = [tuple(each.to(device) for each in batch) for batch in self.evaluation.batches]
        self.prompt = len(held_out[0].prompt)
        self.sampler = Sampler(self.model, plan.prompts * GROUP_SIZE, self.prompt, plan.chains.longest_answer)

    def runs(self) -> list[Run]:
        """Seed by seed, so that a study that is cut off has whole pairs."""
        return [
            Run(self.plan.chains.name, "DAPO", arm, self.plan.rate, seed, self.plan.steps, self.plan.prompts)
            for seed, arm in product(range(self.plan.seeds), NAMES)
        ]

    def train(self, run: Run) -> Row:
        """The row of one run: on-policy, one update per batch, no clip and no KL term, DAPO's mean over tokens."""
        begin, arm, order = time.perf_counter(), ARMS[run.arm], random.Random(run.seed)
        torch.manual_seed(run.seed)
        self.model.load_state_dict(self.start)
        options = MMROptions(**{name: value for name, value in arm.options.items() if name.startswith("mmr_")})
        checker, state, curves = ExactAnswer(GROUP_SIZE), {}, []
        optimizer = torch.optim.AdamW(self.model.parameters(), run.learning_rate, weight_decay=0.0)
        self.record(curves, 0)
        for step in range(1, run.steps + 1):
            chosen = [
                place for place in order.sample(range(len(self.training)), self.plan.prompts) for _ in range(GROUP_SIZE)
            ]
            tokens, own, rewards, embeddings = self.rollouts(chosen, checker)
            groups = torch.arange(len(rewards), device=self.device) // GROUP_SIZE
            call = partial(score, rewards, embeddings, group_size=GROUP_SIZE)
            scored, found = score_batch(options, call, rewards, groups, progress=step / run.steps, state=state)
            log_probability = logits(self.model, tokens[:, :-1])[:, self.prompt - 1 :].log_softmax(-1)
            of_token = log_probability.gather(-1, tokens[:, self.prompt :, None]).squeeze(-1)
            entropy = -(log_probability.exp() * log_probability).sum(-1)
            mean = own / own.sum()
            gain = scored.advantages[:, None] * of_token + arm.options.get("entropy_coef", 0.0) * entropy
            optimizer.zero_grad()
            (-(gain * mean).sum()).backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer.step()
            if step % max(1, run.steps // EVALUATIONS) == 0:
                measured = {
                    "reward": rewards.mean(),
                    "entropy": (entropy.detach() * mean).sum(),
                    "signal": found[SIGNAL],
                }
                self.record(curves, step, distinct=checker.distinct[-1], **measured)
        columns = {name: [each.get(name) for each in curves] for name in curves[-1]}
        return {**run._asdict(), "wall_seconds": round(time.perf_counter() - begin, 2), "curves": columns}

    @torch.no_grad()
    def rollouts(self, chosen: list[int], checker: ExactAnswer) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, L) tokens, (N, C) which of the completion's are its own, (N,) rewards, (N, D) embeddings."""
        tokens = self.sampler(self.prompts[chosen])
        completions = tokens[:, self.prompt :]
        ends = completions == self.names.eos_token_id
        own = ends.cumsum(1) - ends.long() == 0
        texts = self.names.batch_decode(completions.where(own, self.names.pad_token_id), skip_special_tokens=True)
        rewards = torch.tensor(
            checker(texts, [self.training[place].expression for place in chosen]), device=self.device
        )
        return tokens, own, rewards, LexicalEmbedder().embed_texts(texts, self.device)

    def record(self, curves: list[Row], step: int, **measured: Any) -> None:
        """Add a point to the curves."""
        shares = self.evaluation.shares(self.model).cpu()
        found = {name: None if value != value else round(float(value), 5) for name, value in measured.items()}
        rounded = [round(share, 5) for share in shares.tolist()]
        curves.append({"step": step, "shares": rounded, "accuracy": round(sum(rounded), 5), **found})


def main(
    results: Annotated[Path, typer.Option(help="JSON Lines, one row per run, added to.")] = Path("gpu-study.jsonl"),
    budget: Annotated[float, typer.Option(min=0, help="Seconds; a run that would not end in them isn't begun.")] = 600,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="In small, on a CPU.")] = False,
) -> None:
    """Make the start, unless it stands beside the results, train the arms that have no row, print the analysis."""
    end = time.monotonic() + budget
    if not dry_run and not torch.cuda.is_available():
        raise typer.BadParameter(f"torch {torch.__version__} sees no GPU; --dry-run needs none")
    plan, device = (DRY, torch.device("cpu")) if dry_run else (FULL, torch.device("cuda"))
    torch.set_num_threads(1)
    results.parent.mkdir(parents=True, exist_ok=True)
    file, start = results_file(results, ("transformers", "scipy")), results.with_suffix(".safetensors")
    if not start.exists():
        file.write([])  # rows of another start are not kept
        demo_policy.save(made_start(plan, device), start)
    study = Study(plan, start, device)
    longest = 0.0
    for run in missing(study.runs(), file.rows()):
        begin = time.monotonic()
        if begin + longest > end:
            continue
        file.append(study.train(run))
        longest = max(longest, time.monotonic() - begin)
        print(f"{run.arm}, seed {run.seed}: {time.monotonic() - begin:.1f} s, {end - time.monotonic():.0f} s left")
    print(report(file.rows()))


if __name__ == "__main__":
    typer.run(main)
