"""Every tolerance of the suite, each with its reason."""

from __future__ import annotations

import numpy as np

#: Contract, section 6: reweighted rewards agree, and picks lie, within this of the float64 truth, relative to
#: max(1, abs(value)).
CONTRACT = 1e-5

#: Two float64 programs that differ only in the order of their sums.
FLOAT64 = 1e-12

#: The rounding of a float32 sum of the suite's lengths, relative to its largest term; what a division by a small
#: standard deviation or SMI's sum of similarities then enlarges is this.
ROUNDING = 1e-6

#: The rounding of one cosine in float32: the norm and the quotient of each row round twice, the products and their sums
#: about four times, each by at most 2^-24 of a number that is at most 1. It doesn't shrink with the cosine, and copies
#: of a row round alike: a sum of n cosines may be off by n times this, however small the sum is.
COSINE = 8 * 2.0**-24

#: Tensor cores cut off what they add (docs/gpu.md): of each of the 16 products that an instruction adds to a sum up to
#: a quarter of the sum's last digit, and of the new sum one digit: 5 digits, each at most 2^-23 of a partial sum, which
#: no two rows have larger than the largest squared norm.
TENSOR_CORE_SUM = 5 * 2.0**-23

#: Against the float64 truth a kernel's error is at most twice that of the plain float32 code (the "torch" backend)
#: plus ``ROUNDING``: a bound that follows the difficulty of the case, where a fixed number would be loose for easy
#: ones and wrong for hard ones.
TIMES_PLAIN = 2.0

#: The golden vectors are float32 results of another program: both sides round. The advantages divide by the group's
#: standard deviation, so they are a digit coarser.
GOLDEN = 1e-5
GOLDEN_ADVANTAGE = 1e-4


def relative(tolerance: float, value: np.ndarray | float) -> np.ndarray:
    """The contract's measure: tolerance · max(1, abs(value))."""
    return tolerance * np.maximum(1.0, np.abs(value))
