"""How far a score could lie elsewhere with other patients: a bootstrap that draws patients whole, once for all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
SHARE = 0.95

Weights = NDArray[np.float64]
"""(draws, studies): how often each study counts in each draw."""

Statistic = Callable[[Weights], NDArray[np.float64]]
"""The same score of each draw, (draws,); NaN where a draw leaves nothing to score."""


@dataclass(frozen=True)
class Estimate:
    """A score and how sure it is.

    Attributes:
        value: of the studies as they are.
        low, high: between which it lies in 95 % of the draws of patients.
        count: how many studies, findings or sentences it is of.
    """

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class PatientDraws:
    """Patients drawn with replacement, all studies of each; the same draws for every score of the same studies."""

    weights: Weights

    @classmethod
    def of(cls, patients: Sequence[str], draws: int = DRAWS, seed: int = 0) -> "PatientDraws":
        """Draws as many patients as there are; `patients` names each study's."""
        _, owner = np.unique(np.array(patients), return_inverse=True)
        count = int(owner.max()) + 1
        drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=draws)
        return cls(drawn[:, owner].astype(np.float64))

    @property
    def studies(self) -> int:
        """How many studies the draws are of."""
        return self.weights.shape[1]

    def rows(self, draw: int) -> NDArray[np.int64]:
        """The studies of one draw, each as often as it was drawn, for scores that cannot be had of weights."""
        return np.repeat(np.arange(self.studies), self.weights[draw].astype(np.int64))

    def estimate(self, statistic: Statistic, count: int | None = None) -> Estimate | None:
        """The score of all studies, and its interval; None where there is nothing to score.

        `count` is what it is of; all studies where nothing is named. Draws without a score are left out.
        """
        value = float(statistic(np.ones((1, self.studies)))[0])
        if np.isnan(value):
            return None
        low, high = np.nanquantile(statistic(self.weights), [(1 - SHARE) / 2, (1 + SHARE) / 2])
        return Estimate(value, float(low), float(high), self.studies if count is None else count)

    def share(self, hits: NDArray[np.floating], of: NDArray[np.floating]) -> Estimate | None:
        """What each study adds (studies,) over what it adds under the line, both summed; None where that is nothing."""
        return self.estimate(lambda weights: ratio(weights @ hits, weights @ of, np.nan), int(of.sum()))


def ratio(over: NDArray, under: NDArray, empty: float | NDArray = 0.0) -> NDArray[np.float64]:
    """Element by element, `empty` where there is nothing under the line."""
    result = np.full(np.broadcast_shapes(over.shape, under.shape), empty)
    np.divide(over, under, out=result, where=under > 0)
    return result
