"""The vLLM embedder with the real vLLM, on the CPU (``make test-vllm``, which has an environment of its own)."""

from __future__ import annotations

import pytest
import torch

from mmr_kernels.embedders import EMBEDDERS, TextEmbedder, as_embedder

if (reason := EMBEDDERS["vllm:MODEL"].why_not()) is not None:
    pytest.skip(f"embedder 'vllm' {reason}; make test-vllm", allow_module_level=True)

from transformers import AutoModel, BertConfig, BertModel, BertTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "one", "two", "three", "four"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.5,  # so that different texts get different vectors, untrained as it is
    )
    BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return str(folder)


def test_vectors_come_from_the_model_and_are_cut_to_the_limit(model: str) -> None:
    embedder = as_embedder(f"vllm:{model}", max_tokens=5)
    assert isinstance(embedder, TextEmbedder)
    vectors = embedder.embed_texts(["one two three", "four", "one two three four four"])
    assert (vectors.shape, vectors.dtype) == ((3, 64), torch.float32)
    unit = torch.nn.functional.normalize(vectors)
    assert unit[0] @ unit[2] > 1 - 1e-5, "alike as far as they are read"
    assert unit[0] @ unit[1] < 0.99
    alone = AutoModel.from_pretrained(model)
    states = alone(torch.tensor([[2, 8, 3]])).last_hidden_state[0, 0]
    assert torch.nn.functional.cosine_similarity(states, vectors[1], dim=0) > 0.99
