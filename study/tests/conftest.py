"""Tests of the study."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """As the commands have it: a second thread costs more than it saves on tensors so small."""
    torch.set_num_threads(1)
