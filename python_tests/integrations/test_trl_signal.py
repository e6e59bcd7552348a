"""The signal of every method in the logs, and the dial that it drives: over batches, checkpoints and evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from integrations import tiny

from mmr_kernels import MMRResult, SignalDial, mmr_advantages
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.integrations.scored import score
from mmr_kernels.integrations.trl.papers import PAPERS
from mmr_kernels.options import OPTIONS

#: Of one batch each. In the second no group has rewards that differ.
BATCHES: list[list[float | None]] = [
    [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
    [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0],
    [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0],
    [0.0, 0.0, 1.0, 0.0, None, 1.0, 1.0, 0.0],
]


class Changing(tiny.GivenRewards):
    """Those of each step."""

    def __call__(self, prompts: list[Any], trainer_state: Any, **kwargs: Any) -> list[float | None]:
        self.values = BATCHES[min(trainer_state.global_step, len(BATCHES) - 1)]
        return super().__call__(prompts, **kwargs)


def details(trainer: Any, rewards: list[float | None], **options: Any) -> MMRResult:
    """The op on the texts that the rollout gave, in two groups of four."""
    names = trainer.processing_class
    ids = [names(tiny.TEXTS[place % 9])["input_ids"] + [names.eos_token_id] for place in range(8)]
    values = torch.tensor([math.nan if reward is None else reward for reward in rewards])
    embeddings = LexicalEmbedder().embed_tokens(ids)
    result = mmr_advantages(values, embeddings, group_size=4, return_details=True, **options)
    assert isinstance(result, MMRResult)
    return result


def explained(result: MMRResult) -> float:
    t, v = result.signal.double().sum(0).tolist()
    return t / v if v else math.nan


def logged(trainer: Any, name: str) -> list[float | None]:
    return [entry[name] for entry in trainer.state.log_history if name in entry]


@pytest.mark.parametrize("method", ["mmr", "smi", "share", "unique", "partition", "dpp", "none"])
def test_every_method_logs_the_signal_of_the_batch(method: Any, tmp_path: Path) -> None:
    args = tiny.config(tmp_path, max_steps=4, mmr_method=method, mmr_threshold=0.5 if method == "partition" else None)
    trainer = tiny.trainer(args, [Changing([])])
    trainer.train()
    expected = [explained(details(trainer, rewards, method="none")) for rewards in BATCHES]
    assert math.isnan(expected[1])
    found = [math.nan if value is None else value for value in logged(trainer, "mmr/signal")]
    assert found == pytest.approx(expected, abs=1e-6, nan_ok=True)
    assert bool(logged(trainer, "mmr/diversity")) == (method in ("mmr", "share"))


@pytest.mark.parametrize("options", [{"method": "share"}, {"method": "mmr", "first_pick": "score"}], ids=str)
def test_the_dial_follows_the_signal_through_a_checkpoint(options: Any, tmp_path: Path, monkeypatch: Any) -> None:
    warned: list[str] = []
    monkeypatch.setattr("transformers.trainer.logger.warning", warned.append)

    def run(steps: int, **more: Any) -> Any:
        args = tiny.config(
            tmp_path,
            max_steps=steps,
            save_strategy="steps",
            save_steps=1,
            restore_callback_states_from_checkpoint=True,
            mmr_diversity="signal",
            **{f"mmr_{name}": value for name, value in options.items()},
        )
        trainer = tiny.trainer(args, [Changing([])], eval_dataset=tiny.prompts(4))
        trainer.train(**more)
        return trainer

    run(2)
    trainer = run(4, resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    dial, diversities = SignalDial(), []
    for rewards in BATCHES:
        diversities.append(dial.value.item())
        result = details(trainer, rewards, diversity=diversities[-1], **options)
        dial.update(result)
    assert logged(trainer, "mmr/diversity") == pytest.approx(diversities, abs=1e-9)
    assert diversities[0] == 0
    assert all(0 < diversity < 1 for diversity in diversities[1:])
    assert torch.equal(trainer.mmr_scored.advantages, result.advantages)  # type: ignore[arg-type]
    assert not [words for words in warned if "mmr" in words], "of a callback that is missing"
    before = trainer.state.stateful_callbacks["mmr_dial"]
    tiny.batch(trainer, 8, training=False)
    assert trainer.state.stateful_callbacks["mmr_dial"] == before, "evaluation doesn't move it"
    assert trainer._metrics["eval"]["mmr/diversity"] == pytest.approx([dial.value.item()])


@pytest.mark.parametrize("given", [None, 0.8])
def test_the_diversity_of_share_has_a_default_and_a_schedule(given: float | None, tmp_path: Path) -> None:
    options = {"mmr_method": "share", "mmr_diversity": given, "mmr_diversity_end": 0.4, "mmr_diversity_steps": 0.5}
    trainer = tiny.trainer(tiny.config(tmp_path, max_steps=4, **options), [Changing([])])
    trainer.train()
    start = given or 0.0
    assert logged(trainer, "mmr/diversity") == pytest.approx([start, (start + 0.4) / 2, 0.4, 0.4])


def test_methods_that_pick_nothing_draw_nothing(tmp_path: Path) -> None:
    trainer = tiny.trainer(tiny.config(tmp_path, mmr_method="share", mmr_plot_steps=1), BATCHES[0])
    trainer.train()
    assert not (tmp_path / "mmr_plots").exists()


def test_papers_are_of_methods_of_the_table() -> None:
    assert {*PAPERS} < set(OPTIONS["method"].choices)


def test_a_group_without_a_signal_is_left_out_of_the_sum() -> None:
    scored = score(torch.rand(6), torch.eye(6), group_size=3)
    e = scored._replace(signal=torch.tensor([[0.5, 1.0], [math.nan, 9.0], [math.inf, 1.0], [0.5, 3.0]])).explained
    assert e == 0.25
    assert math.isnan(scored._replace(signal=torch.zeros(2, 2)).explained)
