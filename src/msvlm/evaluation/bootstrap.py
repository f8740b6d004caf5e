"""Patient-level bootstrap: confidence intervals of scores, and a paired test of two systems on the same studies.

Patients are sampled with replacement, with all their studies; every score of the same studies uses the same samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SAMPLES = 1000
CONFIDENCE = 0.95
SWAPS = 10_000
_SWAPS_AT_ONCE = 1000
_ROUNDING = 1e-12

Weights = NDArray[np.float64]
"""(samples, studies): how often each study occurs in each sample."""

Statistic = Callable[[Weights], NDArray[np.float64]]
"""A score of each sample, (samples,); NaN where it is not defined."""


@dataclass(frozen=True)
class Estimate:
    """A score with its confidence interval.

    Attributes:
        value: over all studies, each once.
        low, high: 95 % interval over samples of patients.
        count: number of studies, findings or sentences that it is computed from.
    """

    value: float
    low: float
    high: float
    count: int


@dataclass(frozen=True)
class PairedDifference:
    """Macro F1 of this model minus that of another, on the same studies.

    Attributes:
        other: the other model's name.
        macro_f1: the difference, with its interval over patients.
        p_value: two-sided, of a permutation test that swaps the two reports of each patient at random.
    """

    other: str
    macro_f1: Estimate
    p_value: float


@dataclass(frozen=True)
class PatientBootstrap:
    """Samples of patients with replacement, the same for every score of the same studies."""

    weights: Weights

    @classmethod
    def of(cls, patients: Sequence[str], samples: int = SAMPLES, seed: int = 0) -> "PatientBootstrap":
        """Samples as many patients as there are, with replacement; `patients` names the patient of each study."""
        _, patient_index = np.unique(np.array(patients), return_inverse=True)
        count = int(patient_index.max()) + 1
        counts = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=samples)
        return cls(counts[:, patient_index].astype(np.float64))

    @property
    def studies(self) -> int:
        """The number of studies."""
        return self.weights.shape[1]

    def rows(self, sample: int) -> NDArray[np.int64]:
        """Returns the study indices of one sample, repeated as sampled, for scores that cannot take weights."""
        return np.repeat(np.arange(self.studies), self.weights[sample].astype(np.int64))

    def estimate(self, statistic: Statistic, count: int | None = None) -> Estimate | None:
        """Returns a score of all studies with its interval; None where the score is not defined.

        `count` is the number of studies, unless given. Samples in which the score is not defined are left out.
        """
        value = float(statistic(np.ones((1, self.studies)))[0])
        if np.isnan(value):
            return None
        low, high = np.nanquantile(statistic(self.weights), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return Estimate(value, float(low), float(high), self.studies if count is None else count)

    def ratio_of_sums(self, numerators: NDArray[np.floating], denominators: NDArray[np.floating]) -> Estimate | None:
        """Returns the ratio of two sums over studies (studies,); None where the denominator is zero."""
        return self.estimate(
            lambda weights: ratio(weights @ numerators, weights @ denominators, np.nan), int(denominators.sum())
        )


def ratio(numerator: NDArray, denominator: NDArray, if_zero: float | NDArray = 0.0) -> NDArray[np.float64]:
    """Divides element by element; `if_zero` where the denominator is zero."""
    result = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), if_zero)
    np.divide(numerator, denominator, out=result, where=denominator > 0)
    return result


def f1_of_samples(
    weights: Weights, true_positives: NDArray[np.float64], totals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Returns F1 (samples, findings) from true positives, and predicted plus positives, (studies, findings) each.

    In a sample with a zero denominator a finding keeps its F1 over all studies; 0 would bias the intervals of rare
    findings, and of macro F1, downwards.
    """
    over_all = ratio(2 * true_positives.sum(0), totals.sum(0))
    return ratio(2 * weights @ true_positives, weights @ totals, if_zero=over_all)


def paired_difference(
    other_model: str,
    truth: NDArray[np.bool_] | NDArray[np.floating],
    predicted: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    patients: Sequence[str],
    bootstrap: PatientBootstrap,
) -> PairedDifference:
    """Compares the macro F1 of two models on the same studies.

    Args:
        other_model: name of the second model.
        truth: (studies, findings), the ground truth: 1, 0, or NaN where it is unknown.
        predicted: (studies, findings) of this model and of the other.
        patients: of each study; the two predictions of all studies of a patient are swapped together.
        bootstrap: of the same studies.
    """
    is_known = ~np.isnan(truth)
    scored = is_known.any(0)
    positives, predictions = (truth == 1)[:, scored], [(one & is_known)[:, scored] for one in predicted]
    pair = _Pair(
        *((positives & one).astype(float) for one in predictions),
        *(one.astype(float) + positives for one in predictions),
    )
    difference = bootstrap.estimate(pair.difference)
    assert difference is not None
    _, patient_index = np.unique(np.array(patients), return_inverse=True)
    generator = np.random.default_rng(0)
    as_large = 0
    for _ in range(SWAPS // _SWAPS_AT_ONCE):
        is_swapped = generator.random((_SWAPS_AT_ONCE, int(patient_index.max()) + 1)) < 0.5
        found = pair.swapped_difference(is_swapped[:, patient_index].astype(np.float64))
        as_large += int((np.abs(found) >= abs(difference.value) - _ROUNDING).sum())
    return PairedDifference(other_model, difference, (1 + as_large) / (1 + SWAPS))


@dataclass(frozen=True)
class _Pair:
    """True positives, and predicted plus positives, of two models, (studies, findings) each."""

    true_positives: NDArray[np.float64]
    other_true_positives: NDArray[np.float64]
    totals: NDArray[np.float64]
    other_totals: NDArray[np.float64]

    def difference(self, weights: Weights) -> NDArray[np.float64]:
        """Returns macro F1 minus the other's (samples,)."""
        own = f1_of_samples(weights, self.true_positives, self.totals)
        return (own - f1_of_samples(weights, self.other_true_positives, self.other_totals)).mean(1)

    def swapped_difference(self, swapped: NDArray[np.float64]) -> NDArray[np.float64]:
        """Returns the difference (samples,) with the models exchanged where `swapped` (samples, studies) is 1."""
        kept = 1.0 - swapped
        own, other = self.true_positives, self.other_true_positives
        totals, other_totals = self.totals, self.other_totals
        first = ratio(2 * (kept @ own + swapped @ other), kept @ totals + swapped @ other_totals)
        second = ratio(2 * (swapped @ own + kept @ other), swapped @ totals + kept @ other_totals)
        return (first - second).mean(1)
