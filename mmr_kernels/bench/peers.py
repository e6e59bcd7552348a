"""Other packages that select by MMR, where they are installed; none computes rewards or advantages.

Both are called as their documentation says, k = N, on NumPy float32 arrays, which neither has to convert.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch

from mmr_kernels.bench.cases import SELECTION_LAMBDA, Inputs
from mmr_kernels.bench.correctness import wrong_selection
from mmr_kernels.bench.provider import Provider, Trial


def peers() -> list[Provider]:
    """pyversity takes relevance; LangChain takes a query and computes relevance itself, N·D multiply-adds more."""
    return [
        Provider("pyversity", "peer", "selection", _missing("pyversity", "pyversity"), _pyversity),
        Provider("langchain", "peer", "selection", _missing("langchain_core", "langchain-core"), _langchain),
    ]


def _missing(module: str, package: str) -> str | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return f"needs {package}, found it not installed; pip install '.[bench]'"


def _pyversity(inputs: Inputs) -> Trial:
    import pyversity

    embeddings, relevance = inputs.embeddings[0].cpu().numpy(), inputs.rewards[0].cpu().numpy()

    def call() -> Any:
        return pyversity.mmr(embeddings, relevance, k=len(relevance), diversity=1 - SELECTION_LAMBDA).indices

    return _trial(inputs, call)


def _langchain(inputs: Inputs) -> Trial:
    from langchain_core.vectorstores.utils import maximal_marginal_relevance

    assert inputs.query is not None
    embeddings, query = inputs.embeddings[0].cpu().numpy(), inputs.query.cpu().numpy()

    def call() -> Any:
        # An array, not the list of lists of the annotation: that would be converted at every step.
        return maximal_marginal_relevance(query, embeddings, lambda_mult=SELECTION_LAMBDA, k=len(embeddings))

    return _trial(inputs, call)


def _trial(inputs: Inputs, call: Callable[[], Any]) -> Trial:
    return Trial(call, lambda picks: wrong_selection(inputs, torch.as_tensor(picks)))
