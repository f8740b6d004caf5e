"""Do findings to which the head gives a probability of .7 turn out to be there in 7 of 10 studies?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 10


@dataclass(frozen=True)
class ReliabilityBin:
    """The decisions whose probability lies in one of the bins of equal width.

    Attributes:
        low, high: of the bin; `high` belongs to the last bin only.
        count: how many decisions.
        probability: their mean.
        share_there: how many of them are there; 0 in an empty bin, as is `probability`.
    """

    low: float
    high: float
    count: int
    probability: float
    share_there: float


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities are from what happens.

    Method: expected calibration error (Guo et al., arXiv 1706.04599), bins of equal width: the mean distance between
    probability and share, each bin weighted by its decisions. 0 is best; it is never below what chance makes of few
    decisions.

    Attributes:
        error: over the decisions of all studies and findings.
        names, errors: finding by finding.
        bins: of all decisions.
    """

    error: float
    names: tuple[str, ...]
    errors: tuple[float, ...]
    bins: tuple[ReliabilityBin, ...]


def score_calibration(truth: NDArray[np.bool_], probability: NDArray[np.floating], names: Sequence[str]) -> Calibration:
    """The calibration of (studies, findings) probabilities; `names` are the findings'."""
    return Calibration(
        error=_error(reliability(truth.ravel(), probability.ravel())),
        names=tuple(names),
        errors=tuple(_error(reliability(truth[:, i], probability[:, i])) for i in range(len(names))),
        bins=reliability(truth.ravel(), probability.ravel()),
    )


def reliability(truth: NDArray[np.bool_], probability: NDArray[np.floating]) -> tuple[ReliabilityBin, ...]:
    """Bin by bin, of decisions (decisions,)."""
    place = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(place, minlength=BINS)
    under = np.maximum(counts, 1)
    means = np.bincount(place, weights=probability, minlength=BINS) / under
    shares = np.bincount(place, weights=truth, minlength=BINS) / under
    return tuple(
        ReliabilityBin(i / BINS, (i + 1) / BINS, int(counts[i]), float(means[i]), float(shares[i])) for i in range(BINS)
    )


def _error(bins: Sequence[ReliabilityBin]) -> float:
    total = sum(one.count for one in bins)
    return sum(one.count * abs(one.probability - one.share_there) for one in bins) / max(total, 1)
