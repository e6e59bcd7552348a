"""``mmr-kernels score``: what it writes, prints, draws and refuses."""

from __future__ import annotations

import itertools
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli.scores import SAMPLE, rows_of, run, runner, written

from mmr_kernels import MMRResult, memory, mmr_advantages
from mmr_kernels.cli import app, scoring
from mmr_kernels.cli.summary import signal_interval
from mmr_kernels.embedders import LexicalEmbedder
from mmr_kernels.settings import settings

GSM8K = Path(__file__).parents[3] / "shared" / "data" / "gsm8k_rollouts.jsonl"


@pytest.fixture(scope="module")
def sample() -> list[dict[str, Any]]:
    return rows_of(SAMPLE)


def computed(rows: list[dict[str, Any]], **options: Any) -> MMRResult:
    """The op on the rows."""
    rewards = torch.tensor([math.nan if row["reward"] is None else row["reward"] for row in rows])
    embeddings = LexicalEmbedder().embed_texts([row["completion"] for row in rows])
    ids = [row["group"] for row in rows]
    result = mmr_advantages(rewards, embeddings, group_ids=ids, return_details=True, **options)
    assert isinstance(result, MMRResult)
    return result


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_writes_what_the_op_gives(tmp_path: Path, sample: list[dict[str, Any]], suffix: str) -> None:
    out = tmp_path / f"scores{suffix}"
    assert run(SAMPLE, "--out", out, "--backend", "torch").exit_code == 0
    expected = computed(sample, backend="torch")
    assert expected.advantages is not None
    for i, (row, source) in enumerate(zip(rows_of(out), sample, strict=True)):
        assert {name: row[name] for name in source} == source
        assert row["selection_rank"] == expected.selection_rank[i]
        assert row["advantage"] == pytest.approx(expected.advantages[i].item(), abs=1e-5)
        assert row["max_similarity"] == pytest.approx(expected.max_similarity[i].item(), abs=1e-6)
        if source["reward"] is None:
            assert row["reweighted_reward"] is None
            assert row["advantage"] == 0
        else:
            assert row["reweighted_reward"] == pytest.approx(expected.reweighted_rewards[i].item(), abs=1e-6)


def test_the_options_reach_the_op(tmp_path: Path, sample: list[dict[str, Any]]) -> None:
    """Each with another value than its default; but method "mmr", of which they are options."""
    options: dict[str, Any] = {}
    for row in settings("normalize"):
        others = [choice for choice in row.choices if choice not in (row.default, None)]
        options[row.name] = others[-1] if others else 0.3 if not isinstance(row.default, bool) else not row.default
    options["method"] = "mmr"
    flags = [(f"--{name.replace('_', '-')}", *[value] * (value is not True)) for name, value in options.items()]
    out = tmp_path / "scores.jsonl"
    result = run(SAMPLE, "--out", out, *itertools.chain(*flags))
    assert result.exit_code == 0, result.output
    advantages = torch.tensor([row["advantage"] for row in rows_of(out)])
    torch.testing.assert_close(advantages, computed(sample, **options).advantages, atol=1e-5, rtol=0)


def test_parts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    assert run(SAMPLE, "--out", whole).exit_code == 0
    monkeypatch.setattr(scoring, "PART", 1)
    assert run(SAMPLE, "--out", parts).exit_code == 0
    for one, other in zip(rows_of(whole), rows_of(parts), strict=True):
        assert one["selection_rank"] == other["selection_rank"]
        assert one["advantage"] == pytest.approx(other["advantage"], abs=1e-5)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("a.jsonl", "b.jsonl", "a.png", "b.png")]
    for out, plot in zip(outputs[:2], outputs[2:], strict=True):
        assert run(SAMPLE, "--out", out, "--plot", plot).exit_code == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    assert outputs[2].read_bytes() == outputs[3].read_bytes()


def test_parquet_and_jsonl_round_trip(tmp_path: Path) -> None:
    first, second, third = tmp_path / "a.parquet", tmp_path / "b.jsonl", tmp_path / "c.parquet"
    assert run(SAMPLE, "--out", first).exit_code == 0
    assert run(first, "--out", second).exit_code == 0
    assert run(second, "--out", third).exit_code == 0
    assert rows_of(first) == rows_of(second) == rows_of(third)


def test_groups_may_be_mixed_and_rows_keep_the_order_of_the_file(tmp_path: Path, sample: list[dict[str, Any]]) -> None:
    shuffled = sorted(range(len(sample)), key=lambda i: (i % 6, i))
    mixed = written(tmp_path / "mixed.jsonl", [sample[i] for i in shuffled])
    assert run(mixed, "--out", tmp_path / "mixed_scores.jsonl").exit_code == 0
    assert run(SAMPLE, "--out", tmp_path / "scores.jsonl").exit_code == 0
    expected = rows_of(tmp_path / "scores.jsonl")
    assert rows_of(tmp_path / "mixed_scores.jsonl") == [expected[i] for i in shuffled]


def test_prints_the_most_changed_groups_and_says_how_many() -> None:
    result = run(SAMPLE, "--show", "2")
    assert "The 2 most changed of 8 groups shown" in result.stdout
    assert "Of 80 seedlings" in result.stdout  # all rewards equal: plain GRPO gives 0 there
    assert "Tickets cost" not in result.stdout
    assert "48 in 8 groups" in result.stdout
    assert "All 8 groups shown" in run(SAMPLE).stdout
    assert "Members in picking order; similarity to those picked before." in result.stdout


def test_the_summary_fits_80_columns() -> None:
    def summary(columns: str) -> str:
        result = runner.invoke(app, ["score", str(SAMPLE), "--show", "0"], env={"COLUMNS": columns})
        assert result.exit_code == 0, result.output
        return str(result.stdout)

    assert "for 8 in 10" in summary("80")
    assert summary("80") == summary("200")


def test_embeddings_that_are_zero_or_not_finite_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search("unusable embeddings +0 ", run(SAMPLE).stdout)
    rows = torch.eye(48).index_fill(0, torch.tensor([1, 5, 47]), 0)
    monkeypatch.setattr(LexicalEmbedder, "embed_texts", lambda self, texts: rows)
    with pytest.warns(UserWarning, match="rows that are zero or not finite"):
        assert re.search("unusable embeddings +3 ", run(SAMPLE).stdout)


#: Options, and the same for the op.
OTHER_METHODS: list[dict[str, Any]] = [
    {"method": "none"},
    {"method": "smi", "strength": 0.5},
    {"method": "share", "diversity": 0.5},
    {"method": "unique", "sharpness": 2.0},
    {"method": "partition", "threshold": 0.5},
    {"method": "dpp", "quality": True},
]


@pytest.mark.parametrize("options", OTHER_METHODS, ids=lambda options: options["method"])
def test_other_methods(tmp_path: Path, sample: list[dict[str, Any]], options: dict[str, Any]) -> None:
    out = tmp_path / "scores.jsonl"
    flags = [(f"--{name}", *[value] * (value is not True)) for name, value in options.items()]
    result = run(SAMPLE, "--out", out, *itertools.chain(*flags))
    assert result.exit_code == 0, result.output
    assert "48 in 8 groups" in result.stdout
    assert "picking order" not in result.stdout  # it picks nothing, and has no similarity to those picked before
    assert "similarity" not in result.stdout
    advantages = torch.tensor([row["advantage"] for row in rows_of(out)])
    torch.testing.assert_close(advantages, computed(sample, **options).advantages, atol=1e-5, rtol=0)


def answered(sample: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With the final answers as labels: of some rows numbers, of others the same as floats."""
    answers = [int("".join(filter(str.isdigit, row["completion"].split()[-1])) or 0) for row in sample]
    labels = [float(answer) if i % 3 else answer for i, answer in enumerate(answers)]
    return [row | {"answer": label} for row, label in zip(sample, labels, strict=True)]


@pytest.mark.parametrize("method", ["smi", "share", "unique", "partition"])
@pytest.mark.parametrize("scope", ["group", "batch"])
def test_labels_are_clusters(tmp_path: Path, sample: list[dict[str, Any]], method: str, scope: str) -> None:
    rows = answered(sample)
    out, labels = tmp_path / "scores.jsonl", [row["answer"] for row in rows]
    source = written(tmp_path / "answered.jsonl", rows)
    assert run(source, "--out", out, "--labels", "answer", "--method", method, "--scope", scope).exit_code == 0
    advantages = torch.tensor([row["advantage"] for row in rows_of(out)])
    expected = computed(sample, labels=labels, method=method, scope=scope).advantages
    torch.testing.assert_close(advantages, expected, atol=1e-5, rtol=0)
    assert not torch.allclose(advantages, computed(sample, method="none").advantages)  # type: ignore[arg-type]


@pytest.mark.parametrize(("label", "called"), [(None, "null"), (float("nan"), "NaN")])
def test_a_label_that_is_not_there_is_named(
    tmp_path: Path, sample: list[dict[str, Any]], label: float | None, called: str
) -> None:
    rows = answered(sample)
    rows[2]["answer"] = label
    result = run(written(tmp_path / "some.jsonl", rows), "--labels", "answer")
    assert result.exit_code == 1
    assert f"some.jsonl:3: 'answer' is {called}" in result.stderr


@pytest.mark.parametrize("method", ["mmr", "none"])
@pytest.mark.parametrize("parts", [1, 512])
def test_the_summary_has_the_signal_of_the_file(
    sample: list[dict[str, Any]], method: str, parts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "PART", parts)
    signal = computed(sample).signal
    t, v = signal.double().sum(0).tolist()
    low, high = signal_interval(signal) or (math.nan, math.nan)
    assert low < t / v < high
    shown = f"{t / v:.3f} ({low:.3f} to {high:.3f}, 95 % over groups)"
    assert re.search(f"signal +{re.escape(shown)} of the\\s+rewards' variance", run(SAMPLE, "--method", method).stdout)


@pytest.mark.parametrize(
    ("pairs", "means"),
    [
        ([("a", 1.0), ("a", 1.0), ("b", 0.0), ("b", 0.0)], "SignalDial stays shut"),
        ([("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", 0.0)], "SignalDial opens diversity to 1.00"),
    ],
)
def test_the_summary_says_what_the_signal_means(tmp_path: Path, pairs: list[tuple[str, float]], means: str) -> None:
    rows = [{"group": group, "completion": text, "reward": reward} for group in range(3) for text, reward in pairs]
    assert means in " ".join(run(written(tmp_path / "rows.jsonl", rows)).stdout.split())


def test_a_signal_that_may_be_either_says_so(tmp_path: Path) -> None:
    """Groups that disagree: as many in which likeness tells everything as in which it misleads."""
    told = [("a", 1.0), ("a", 1.0), ("b", 0.0), ("b", 0.0)]
    misled = [("a", 1.0), ("a", 0.0), ("b", 1.0), ("b", 0.0)]
    rows = [
        {"group": group, "completion": text, "reward": reward}
        for group, pairs in enumerate([told, misled, misled, misled])
        for text, reward in pairs
    ]
    assert "it may be above or below 0.1" in " ".join(run(written(tmp_path / "rows.jsonl", rows)).stdout.split())


def test_the_interval_of_the_signal_is_over_groups_whose_rewards_differ() -> None:
    """As from resampling by hand; a scope without variance, or without similarities, is none."""
    drawn = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    more = torch.cat([drawn, torch.zeros(5, 2), torch.full((2, 2), torch.nan)])
    found = signal_interval(more)
    picked = torch.randint(40, (4000, 40), generator=torch.Generator().manual_seed(1))
    sums = drawn.double()[picked].sum(1)
    wanted = (sums[:, 0] / sums[:, 1]).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    assert found == pytest.approx(wanted, abs=0.03)
    assert found == signal_interval(drawn)
    assert signal_interval(drawn[:1]) is None


def test_rewards_that_are_equal_have_no_signal(tmp_path: Path) -> None:
    rows = [{"group": 0, "completion": text, "reward": 1.0} for text in ("a", "b")]
    result = run(written(tmp_path / "equal.jsonl", rows))
    assert result.exit_code == 0
    assert "signal" not in result.stdout


def test_draws_a_png(tmp_path: Path) -> None:
    plot = tmp_path / "new" / "folder" / "plot.png"
    assert run(SAMPLE, "--plot", plot).exit_code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "rows",
    [
        [{"group": 0, "completion": "x", "reward": 1.0}],
        [{"group": 0, "completion": "", "reward": 1.0}, {"group": 0, "completion": "", "reward": 0.0}],
        [{"group": i, "completion": "x", "reward": None if i else 1.0} for i in range(3)],
    ],
)
def test_small_and_empty_groups_are_drawn_and_printed(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    result = run(written(tmp_path / "few.jsonl", rows), "--plot", tmp_path / "few.png")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--out", "scores.csv"), "must end in .jsonl or .parquet"),
        (("--plot", "plot.svg"), "must end in .png"),
        (("--out", SAMPLE), "is the file of rollouts itself"),
        (("--plot", "p.png", "--method", "smi"), "--plot takes --method mmr"),
        (("--method", "partition"), '--method="partition" counts the members of clusters: give --labels or --thr'),
        (("--labels", "group", "--threshold", "0.5"), "--labels and --threshold each say what a cluster is"),
        (("--method", "unique", "--strength", "2"), '--strength must lie in [0, 1] with --method="unique", got 2.0'),
        (("--labels", "answer"), "takes 'answer', found only"),
        (("--lam", "2"), "lam must lie in [0, 1], got 2"),
        (("--lam", "often"), "lam must be a number"),
        (("--diversity", "-1"), "--diversity must lie in [0, 1]"),
        (("--temperature", "1e39"), "--temperature must lie in [0, 3.40282e+38], got 1e+39"),
        (("--reward", "a=much"), "--reward takes NAME or NAME=WEIGHT"),
        (("--reward", "reward=inf"), "--reward takes NAME or NAME=WEIGHT, a finite weight, each name once; got"),
        (("--reward", "reward=nan"), "a finite weight, each name once; got 'reward=nan'"),
        (("--reward", "=0.5"), "got '=0.5'"),
        (("--reward", ""), "got ''"),
        (("--reward", "reward", "--reward", "reward=2"), "each name once"),
        (("--reward", "score"), "takes 'score', found only"),
    ],
)
def test_options_that_cannot_be_met_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[object, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(SAMPLE, *arguments)
    assert result.exit_code == 1
    assert words in result.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [("--lambda", "0.5"), ("--method", "mmmr"), ("--scope", "all"), ("--show", "-1"), ("extra",)]
)
def test_options_that_are_not_known_are_refused(arguments: tuple[str, ...]) -> None:
    assert run(SAMPLE, *arguments).exit_code == 2


def test_a_weight_scales_the_reward(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    assert run(SAMPLE, "--reward", "reward=3", "--out", out).exit_code == 0
    assert {row["reward"] for row in rows_of(out)} == {0.0, 3.0, None}


@pytest.mark.skipif(not GSM8K.exists(), reason=f"{GSM8K} is absent: 1,319 real groups stay untested")
def test_real_rollouts(tmp_path: Path) -> None:
    out = tmp_path / "scores.jsonl"
    result = run(GSM8K, "--out", out, "--plot", tmp_path / "plot.png")
    assert result.exit_code == 0, result.output
    assert "The 10 most changed of 1,319 groups shown" in result.stdout
    rows = rows_of(out)
    assert len(rows) == 5276
    later = [row for row in rows if row["selection_rank"] > 0]
    assert len(later) == 5276 - 1319
    assert all(row["reweighted_reward"] <= row["reward"] for row in later)


def test_a_scope_too_large_for_memory_is_said_before_embedding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_memory", lambda device: 100.0)
    monkeypatch.setattr(LexicalEmbedder, "embed_texts", lambda *_: pytest.fail("embedded first"))
    result = run(SAMPLE, "--scope", "batch")
    assert result.exit_code == 1
    assert re.match(
        r"Error: --scope batch: similarities among \d+ completions of one scope take \d+ bytes", result.output
    )


#: In a process of its own, with rows of the embedder's size that cost no time: the most memory that it had, in bytes.
PEAK = """
import sys, torch
from mmr_kernels.cli import main
from mmr_kernels.embedders import LexicalEmbedder
LexicalEmbedder.embed_texts = lambda self, texts: torch.ones(len(texts), self.dimensions)
sys.argv = ["mmr-kernels", "score", *sys.argv[1:]]
try:
    main()
finally:
    (line,) = [each for each in open("/proc/self/status") if each.startswith("VmHWM")]
    print("peak", int(line.split()[1]) * 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells a process its peak")
def test_memory_is_at_most_one_and_a_half_times_the_file(tmp_path: Path, sample: list[dict[str, Any]]) -> None:
    peaks, sizes = [], []
    for copies in (12, 600):
        rows = [row | {"group": f"{copy}-{row['group']}"} for copy in range(copies) for row in sample]
        source = written(tmp_path / "rollouts.jsonl", rows)
        words = [sys.executable, "-c", PEAK, str(source), "--out", str(tmp_path / "scores.jsonl")]
        done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
        peaks.append(int(done.stdout.split()[-1]))
        sizes.append(source.stat().st_size)
    assert peaks[1] - peaks[0] <= 1.5 * (sizes[1] - sizes[0])
