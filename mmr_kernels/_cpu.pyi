from typing import Any

from torch import Tensor

class Options:
    def __init__(self, *options: object) -> None: ...

def mmr(*problem: Any) -> None: ...
def plain(
    rewards: Tensor,
    embeddings: Tensor,
    options: Options,
    group_size: int,
    result: Tensor,
    reweighted: bool,
    threads: int,
) -> bool: ...
def look(rewards: object, embeddings: object) -> int:
    """One look at what takes Python a dozen.

    Returns:
        Dimensions of the rewards, 1 or 2, if ``checks.check_rewards`` and ``check_embeddings`` find nothing wrong; 0 if
        they might.
    """

def instruction_sets() -> list[str]: ...
def instruction_set() -> str: ...
def use_instruction_set(name: str) -> None: ...
