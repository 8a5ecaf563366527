"""Which model is usually right, and how sure are we?

Bradley-Terry over evidenced comparisons: P(a beats b) = 1 / (1 + exp(s_b - s_a)), fitted per task type by Newton's
method on the posterior under a normal prior. The standard error of a difference comes from the inverse of the Fisher
information plus the prior's precision, so three wins out of three are a tendency, not a verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

#: 1 / variance of the prior on a strength, in logits: two models typically differ by 1.4, that is 80 to 20
PRIOR_PRECISION = 1.0
#: two-sided 5 %
Z_LIMIT = 1.96
MAX_MODELS = 64
_MAX_ROUNDS = 50
_TOLERANCE = 1e-10

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How likely the first model beats the second, and how many standard errors that is from a tie."""

    probability: float
    z: float

    @property
    def decisive(self) -> bool:
        return abs(self.z) >= Z_LIMIT


@dataclass(frozen=True, slots=True)
class Standing:
    """Fitted strengths of the models of one task type."""

    strength: Mapping[str, float]
    _place: Mapping[str, int]
    _covariance: Matrix

    def compare(self, first: str, second: str) -> Comparison | None:
        """None when one of the two was never compared with anybody."""
        if first == second or first not in self._place or second not in self._place:
            return None
        i, j, cov = self._place[first], self._place[second], self._covariance
        difference = self.strength[first] - self.strength[second]
        error = math.sqrt(cov[i][i] + cov[j][j] - 2 * cov[i][j])
        return Comparison(_sigmoid(difference), difference / error)


def fit(wins: Mapping[tuple[str, str], float]) -> Standing:
    """Strengths from counts `(winner, loser) -> times`. Beyond MAX_MODELS the least compared models are left out."""
    compared: dict[str, float] = {}
    for pair, count in wins.items():
        for model in pair:
            compared[model] = compared.get(model, 0.0) + count
    models = sorted(sorted(compared), key=lambda model: -compared[model])[:MAX_MODELS]
    place = {model: i for i, model in enumerate(sorted(models))}
    counts = sorted(
        (place[winner], place[loser], count)
        for (winner, loser), count in wins.items()
        if winner in place and loser in place and winner != loser
    )
    strength = [0.0] * len(place)
    for _ in range(_MAX_ROUNDS):
        gradient, information = _derivatives(strength, counts)
        step = _solve(information, [[g] for g in gradient])
        # a logit of one at a time keeps Newton's method from overshooting on lopsided counts
        moves = [max(-1.0, min(1.0, row[0])) for row in step]
        strength = [s + m for s, m in zip(strength, moves, strict=True)]
        if max((abs(m) for m in moves), default=0.0) < _TOLERANCE:
            break
    _, information = _derivatives(strength, counts)
    covariance = _solve(information, _identity(len(place)))
    return Standing({model: strength[i] for model, i in place.items()}, place, covariance)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _derivatives(strength: list[float], counts: list[tuple[int, int, float]]) -> tuple[list[float], Matrix]:
    """Gradient of the log posterior, and its negative Hessian (Fisher information + prior)."""
    gradient = [-PRIOR_PRECISION * s for s in strength]
    information = [[PRIOR_PRECISION * cell for cell in row] for row in _identity(len(strength))]
    for winner, loser, count in counts:
        p = _sigmoid(strength[winner] - strength[loser])
        gradient[winner] += count * (1 - p)
        gradient[loser] -= count * (1 - p)
        weight = count * p * (1 - p)
        information[winner][winner] += weight
        information[loser][loser] += weight
        information[winner][loser] -= weight
        information[loser][winner] -= weight
    return gradient, information


def _identity(size: int) -> Matrix:
    return [[float(i == j) for j in range(size)] for i in range(size)]


def _solve(matrix: Matrix, right: Matrix) -> Matrix:
    """X with matrix @ X = right, by Gauss-Jordan; the matrix is positive definite, so no pivot is zero."""
    rows = [list(row) + list(extra) for row, extra in zip(matrix, right, strict=True)]
    size = len(rows)
    for i in range(size):
        pivot = rows[i][i]
        rows[i] = [cell / pivot for cell in rows[i]]
        for j in range(size):
            if j != i and rows[j][i]:
                factor = rows[j][i]
                rows[j] = [cell - factor * other for cell, other in zip(rows[j], rows[i], strict=True)]
    return [row[size:] for row in rows]
