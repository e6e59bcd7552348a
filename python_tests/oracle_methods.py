"""The methods but MMR, and the signal, in float64 NumPy: sections 4, 5 and 7 of the contract, from the text alone.

r and s are those of one scope: (M,) and (M, M), r NaN where not valid. Each rule is a method, which tests override with
wrong ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Methods:
    """What section 4 makes of rewards, what section 5 weighs advantages by, and the two numbers of section 7."""

    def likeness(self, s: np.ndarray, sharpness: float) -> np.ndarray:
        """max(0, S)^p."""
        return np.maximum(0.0, s) ** sharpness

    def soft_count(self, s: np.ndarray, valid: np.ndarray, sharpness: float) -> np.ndarray:
        """One for itself, and the likeness of each other valid one."""
        alike = self.likeness(s, sharpness) * valid
        np.fill_diagonal(alike, 0.0)
        return 1.0 + alike.sum(axis=1)

    def published_sum(self, s: np.ndarray, valid: np.ndarray) -> np.ndarray:
        """DRA-GRPO's, itself included, unclamped."""
        return (s * valid).sum(axis=1)

    def linked(self, s: np.ndarray, threshold: float) -> np.ndarray:
        """Who is directly connected."""
        return (s > threshold) | (threshold < s.T)

    def clusters(self, s: np.ndarray, valid: np.ndarray, threshold: float) -> np.ndarray:
        """A number per connected component of the valid members."""
        near = self.linked(s, threshold)
        cluster = np.arange(len(s))
        for start in np.flatnonzero(valid):
            seen, todo = {int(start)}, [int(start)]
            while todo:
                here = todo.pop()
                for there in np.flatnonzero(near[here] & valid):
                    if int(there) not in seen:
                        seen.add(int(there))
                        todo.append(int(there))
            cluster[start] = min(seen)
        return cluster

    def hard_count(self, clusters: Sequence[object], valid: np.ndarray) -> np.ndarray:
        """Valid members of i's cluster."""
        return np.array([sum(1.0 for j, b in enumerate(clusters) if valid[j] and a == b) for a in clusters])

    def divided(self, r: np.ndarray, n: np.ndarray, strength: float) -> np.ndarray:
        """SMI."""
        return r / (n + 1e-6) if strength == 1 else r / (np.maximum(n, 0) + 1e-6) ** strength

    def partitioned(self, r: np.ndarray, n: np.ndarray, members: int) -> np.ndarray:
        """DARLING's factor, of the share of the others that are in other clusters."""
        return r if members < 2 else r * np.maximum(0.1, (members - n) / (members - 1))

    def kernel_matrix(self, r: np.ndarray, s: np.ndarray, quality: bool) -> np.ndarray:
        """L, over the valid members."""
        symmetric = (s + s.T) / 2
        if not quality:
            return symmetric
        root = np.sqrt(r - r.min())
        return 8.0 * root[:, None] * symmetric * root[None, :]

    def gains(self, kernel: np.ndarray) -> np.ndarray:
        """By the definition: a determinant with and one without each."""
        matrix = np.eye(len(kernel)) + kernel
        whole = np.linalg.slogdet(matrix)[1]
        rest = [np.delete(np.delete(matrix, i, 0), i, 1) for i in range(len(matrix))]
        return np.array([whole - np.linalg.slogdet(each)[1] for each in rest])

    def exponents(self, strength: float, diversity: float) -> tuple[float, float]:
        """Of the counts, for the positive and for the negative side of ``share``."""
        return strength * (1 + diversity), strength * (1 - 3 * diversity)

    def shared(self, centred: np.ndarray, n: np.ndarray, strength: float, diversity: float) -> np.ndarray:
        """What is centred, shared out anew on either side."""
        shared = centred.copy()
        sides = (centred > 0, centred < 0)
        for side, exponent in zip(sides, self.exponents(strength, diversity), strict=True):
            if side.any():
                logs = -exponent * np.log(n[side])
                weights = np.exp(logs - logs.max())
                shared[side] = centred[side] * weights * centred[side].sum() / (centred[side] * weights).sum()
        return shared

    def signal(self, r: np.ndarray, s: np.ndarray, sharpness: float) -> tuple[float, float]:
        """T and V of the valid members of one group."""
        count = len(r)
        if count < 2:
            return 0.0, 0.0
        explained = 0.0
        for i in range(count):
            others = [j for j in range(count) if j != i]
            weights = self.likeness(s[i, others], sharpness)
            if weights.sum() > 1e-9:
                mean = np.mean(r[others])
                explained += (r[i] - mean) * (np.sum(weights * r[others]) / weights.sum() - mean)
        return explained, float(np.sum((r - r.mean()) ** 2) * count / (count - 1))
