"""How one program of the Triton kernel is cut: a table by sizes and dtype, never by a timing (docs/kernel.md)."""

from __future__ import annotations

from typing import NamedTuple

from mmr_kernels.problem import Problem


class Configuration(NamedTuple):
    """How one program is cut, from sizes and dtype alone: a timed choice would change the order of sums."""

    members: int  # places of a scope, a power of two
    alone: bool  # each warp runs the whole selection by itself; if not, they share it
    tile: int  # rows and columns of a product's tile
    block_dim: int  # dimensions of a step along D
    num_warps: int
    #: Steps along D in flight; by lane (float32, tiles of up to 32) similarity.py says how many. More than 48 KB of
    #: them make Triton ask for shared memory before cache, which rows of up to 128 members need (docs/kernel.md).
    num_stages: int


#: By members and bytes per element. ``python -m bench.triton_tune`` prints a better table where it finds one.
CONFIGURATIONS = {
    (16, 2): Configuration(32, True, 16, 512, 4, 4),
    (16, 4): Configuration(32, True, 16, 64, 4, 4),
    (32, 2): Configuration(32, True, 32, 256, 4, 4),
    (32, 4): Configuration(32, True, 32, 64, 8, 4),
    (64, 2): Configuration(64, True, 64, 128, 4, 3),
    (64, 4): Configuration(64, True, 32, 32, 8, 4),
    (128, 2): Configuration(128, True, 128, 64, 8, 3),
    (128, 4): Configuration(128, True, 32, 32, 8, 4),
    (256, 2): Configuration(256, True, 64, 64, 8, 3),
    (256, 4): Configuration(256, True, 16, 64, 4, 4),
    (512, 2): Configuration(512, True, 64, 64, 8, 3),
    (512, 4): Configuration(512, True, 32, 64, 8, 4),
    (1024, 2): Configuration(1024, False, 64, 64, 8, 3),
    (1024, 4): Configuration(1024, False, 32, 64, 8, 4),
    (2048, 2): Configuration(2048, False, 64, 64, 8, 3),
    (2048, 4): Configuration(2048, False, 32, 64, 8, 4),
    (4096, 2): Configuration(4096, False, 64, 64, 8, 3),
    (4096, 4): Configuration(4096, False, 32, 64, 8, 4),
}


#: Of ragged groups that may have more than 32 members, by bytes per element. A group's bits must not depend on how
#: large others may be, so all have the same instructions in the same order: those of the table's rows of up to 32.
#: And by whether each warp picks alone: where eight share a selection, four repeat the products of the other four, and
#: Triton 3.7 leaves loads along the diagonal out of its pipeline.
RAGGED = {
    (2, True): CONFIGURATIONS[32, 2]._replace(num_stages=2),
    (2, False): CONFIGURATIONS[32, 2]._replace(num_stages=3, num_warps=8),
    (4, True): CONFIGURATIONS[16, 4]._replace(num_warps=8),
    (4, False): CONFIGURATIONS[16, 4]._replace(num_warps=8),
}


#: Groups from which several programs share each scheduler of their multiprocessor, on the largest device too, so that
#: every copy of the picks takes another program's issue slots. In 16 bits fewer warps add up in the same order. Not for
#: ragged groups, of whose number a call may know a bound alone.
MANY_GROUPS = 256
OF_MANY_GROUPS = {
    16: CONFIGURATIONS[16, 2]._replace(block_dim=256, num_warps=1),
    32: CONFIGURATIONS[32, 2]._replace(block_dim=128, num_warps=2),
}


def configuration(problem: Problem) -> Configuration:
    """The table's row for the most members that a scope may have, or that of ragged or of many groups."""
    members = max(16, power_of_two(problem.largest_scope))
    width = 2 if problem.embeddings is None else problem.embeddings.element_size()
    row = CONFIGURATIONS[members, width]
    if width == 2 and members in OF_MANY_GROUPS and problem.num_scopes >= MANY_GROUPS and not is_ragged(problem):
        return OF_MANY_GROUPS[members]
    if is_ragged(problem) and members > 32:
        return RAGGED[width, row.alone]._replace(members=members, alone=row.alone)
    if problem.options.method == "dpp" and members > 32:  # a larger tile and the matrix don't fit in registers together
        return row._replace(tile=min(row.tile, 64), num_stages=3) if width == 2 else row._replace(tile=16)
    return row


def is_ragged(problem: Problem) -> bool:
    """Whether scopes are groups of sizes that differ."""
    return problem.group_size == 0 and problem.options.scope == "group"


def power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()
