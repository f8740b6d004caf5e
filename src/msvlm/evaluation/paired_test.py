"""Two models on the same studies: how much better is one, and could that be luck?"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.evaluation.bootstrap import Estimate, PatientDraws, Weights, ratio
from msvlm.evaluation.clinical_metrics import f1_of_draws, presence_matrix
from msvlm.evaluation.scored_reports import ScoredReport
from msvlm.findings import CHEST_FINDING_NAMES
from msvlm.labeling import label_report

SWAPS = 10_000
_SWAPS_AT_ONCE = 1000
_ROUNDING = 1e-12
_NAMED = 5


@dataclass(frozen=True)
class PairedDifference:
    """This model's macro F1 less another's, on the same studies.

    Attributes:
        other: the other model's name.
        macro_f1: the difference, with its interval over patients.
        p_value: how often a difference as large, to either side, comes about when each patient's two reports are
            swapped by the toss of a coin.
    """

    other: str
    macro_f1: Estimate
    p_value: float


def check_same_studies(own: Sequence[ScoredReport], other: Sequence[ScoredReport]) -> tuple[ScoredReport, ...]:
    """The other model's reports in the order of one's own; what was generated in one's own does not matter.

    Raises:
        DataError: the two are not of the same studies, or not scored against the same truth.
    """
    others = {report.key: report for report in other}
    keys = {report.key for report in own}
    for missing, place in ((keys - set(others), "the other evaluation lacks"), (set(others) - keys, "it alone has")):
        if missing:
            named = ", ".join(sorted(missing)[:_NAMED])
            raise DataError(
                f"models are compared on the same studies: {place} {len(missing)} of them ({named}); "
                "evaluate both on one manifest, split and limit"
            )
    changed = [report.key for report in own if set(report.true_findings) != set(others[report.key].true_findings)]
    if changed:
        raise DataError(
            f"the other evaluation scored {len(changed)} studies against another truth ({', '.join(changed[:_NAMED])});"
            " evaluate that model again"
        )
    return tuple(others[report.key] for report in own)


def paired_difference(
    other_model: str, own: Sequence[ScoredReport], other: Sequence[ScoredReport], draws: PatientDraws
) -> PairedDifference:
    """The difference between two models' reports of the same studies, in the same order.

    Both are read by the rule labeler as it is now.
    """
    pair = _Pair.of(own, other)
    difference = draws.estimate(pair.difference)
    assert difference is not None
    _, owner = np.unique([report.patient for report in own], return_inverse=True)
    generator = np.random.default_rng(0)
    as_large = 0
    for _ in range(SWAPS // _SWAPS_AT_ONCE):
        swapped = generator.random((_SWAPS_AT_ONCE, int(owner.max()) + 1)) < 0.5
        found = pair.swapped_difference(swapped[:, owner].astype(np.float64))
        as_large += int((np.abs(found) >= abs(difference.value) - _ROUNDING).sum())
    return PairedDifference(other_model, difference, (1 + as_large) / (1 + SWAPS))


@dataclass(frozen=True)
class _Pair:
    """Of two models, (studies, findings) each: findings rightly stated, and those stated plus those there."""

    hits: NDArray[np.float64]
    both: NDArray[np.float64]
    other_hits: NDArray[np.float64]
    other_both: NDArray[np.float64]

    @classmethod
    def of(cls, own: Sequence[ScoredReport], other: Sequence[ScoredReport]) -> "_Pair":
        there = np.array([[name in report.true_findings for name in CHEST_FINDING_NAMES] for report in own])
        said, other_said = (
            presence_matrix([label_report(report.generated) for report in reports]) for reports in (own, other)
        )
        return cls(
            (there & said).astype(float),
            said.astype(float) + there,
            (there & other_said).astype(float),
            other_said.astype(float) + there,
        )

    def difference(self, weights: Weights) -> NDArray[np.float64]:
        """(draws,): macro F1 less the other's."""
        own = f1_of_draws(weights, self.hits, self.both)
        return (own - f1_of_draws(weights, self.other_hits, self.other_both)).mean(1)

    def swapped_difference(self, swapped: NDArray[np.float64]) -> NDArray[np.float64]:
        """(draws,): the same where the studies that hold 1 in `swapped` (draws, studies) change sides."""
        kept = 1.0 - swapped
        own = ratio(2 * (kept @ self.hits + swapped @ self.other_hits), kept @ self.both + swapped @ self.other_both)
        other = ratio(2 * (swapped @ self.hits + kept @ self.other_hits), swapped @ self.both + kept @ self.other_both)
        return (own - other).mean(1)
