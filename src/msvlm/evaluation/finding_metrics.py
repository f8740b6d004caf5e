"""Predicted findings against the ground truth: precision, recall, F1, CRG, AUC, and calibration of probabilities.

Studies are the unit, patients the unit of the bootstrap. An uncertain finding counts as present. The ground truth is 1,
0, or NaN where it is unknown; such decisions are left out of every score. `bool` truth has no unknown decisions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix_at_thresholds

from msvlm.errors import DataError
from msvlm.evaluation.bootstrap import CONFIDENCE, Estimate, PatientBootstrap, Weights, f1_of_samples, ratio
from msvlm.vocabulary.vocabulary import Certainty, Statements, Vocabulary

Truth = NDArray[np.bool_] | NDArray[np.floating]
"""Ground truth: 1 present, 0 absent, NaN unknown."""

BINS = 10
"""Bins of a calibration, of equal width."""


@dataclass(frozen=True)
class FindingScore:
    """Scores of one finding over all studies; a ratio with a zero denominator is 0.

    Attributes:
        precision, recall, f1: None where the finding is known of no study.
        f1_low, f1_high: 95 % interval over patients.
        crg: see `crg_score`; None where no study has the finding, or all have it.
        studies_with: number of studies that have the finding.
        studies_known: number of studies of which it is known whether they have it.
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    f1_low: float | None
    f1_high: float | None
    crg: float | None
    studies_with: int
    studies_known: int


@dataclass(frozen=True)
class PresenceScores:
    """Scores of all findings: unweighted means over findings (macro), and over all decisions pooled (micro, CRG).

    A finding that is known of no study has no part in the means.
    """

    findings: tuple[FindingScore, ...]
    macro_precision: float
    macro_recall: float
    macro_f1: Estimate
    micro_precision: float
    micro_recall: float
    micro_f1: Estimate
    crg: Estimate | None


@dataclass(frozen=True)
class AucScores:
    """Areas under the ROC curve: of each finding, None where all studies have the same truth, and their mean."""

    findings: tuple[float | None, ...]
    macro: Estimate | None


@dataclass(frozen=True)
class ReliabilityBin:
    """Decisions whose probability lies in one bin.

    Attributes:
        low, high: limits of the bin; `high` is in the last bin only.
        count: number of decisions.
        probability: mean probability; 0 in an empty bin.
        share_positive: share of positives; 0 in an empty bin.
    """

    low: float
    high: float
    count: int
    probability: float
    share_positive: float


@dataclass(frozen=True)
class Calibration:
    """Expected calibration errors: mean distance between probability and share of positives, weighted by bin size.

    Method: expected calibration error (Guo et al., arXiv 1706.04599), bins of equal width. 0 is best; with few
    decisions the expected value of a perfect model is above 0.

    Attributes:
        error: over the decisions of all studies and findings; None where none is known.
        names, errors: of each finding; None where no decision is known.
        bins: over all decisions.
    """

    error: float | None
    names: tuple[str, ...]
    errors: tuple[float | None, ...]
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True)
class _Counts:
    """True positives, predicted, positives and known decisions of each study, (studies, findings) each."""

    true_positives: NDArray[np.float64]
    predicted: NDArray[np.float64]
    positives: NDArray[np.float64]
    known: NDArray[np.float64]

    def f1(self, weights: Weights) -> NDArray[np.float64]:
        """Returns the F1 of each sample and finding, (samples, findings)."""
        return f1_of_samples(weights, self.true_positives, self.predicted + self.positives)

    def micro_f1(self, weights: Weights) -> NDArray[np.float64]:
        """Returns the micro F1 of each sample, (samples,)."""
        totals = (weights @ (self.predicted + self.positives)).sum(1)
        return ratio(2 * (weights @ self.true_positives).sum(1), totals)

    def crg(self, weights: Weights) -> NDArray[np.float64]:
        """Returns the CRG of each sample, (samples,); NaN where it is not defined."""
        parts = (self.true_positives, self.predicted, self.positives, self.known)
        return crg_score(*((weights @ part).sum(1) for part in parts))


def presence_matrix(studies: Sequence[Statements], vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """Returns which findings are stated as present or uncertain, (studies, findings)."""
    return truth_matrix(studies, vocabulary) == 1.0


def truth_matrix(studies: Sequence[Statements], vocabulary: Vocabulary) -> NDArray[np.float64]:
    """Returns the ground truth, (studies, findings): 1, 0, or NaN where a finding is unknown or has no statement."""
    truth = np.full((len(studies), len(vocabulary.findings)), np.nan)
    columns = {name: column for column, name in enumerate(vocabulary.names)}
    for study, statements in enumerate(studies):
        for statement in statements:
            if statement.name in columns and statement.certainty is not Certainty.UNKNOWN:
                truth[study, columns[statement.name]] = statement.certainty.is_positive
    return truth


def score_presence(
    truth: Truth, predicted: NDArray[np.bool_], bootstrap: PatientBootstrap, names: Sequence[str]
) -> PresenceScores:
    """Scores predictions (studies, findings) against the truth (studies, findings).

    Raises:
        DataError: the shapes differ or do not match `names`, or there are no studies or no known decision.
    """
    if truth.shape != predicted.shape or truth.ndim != 2 or truth.shape[1] != len(names) or not len(truth):
        raise DataError(
            f"truth of shape {truth.shape} and prediction of shape {predicted.shape}; "
            f"give the same studies by {len(names)} findings in both, and one study at least"
        )
    positive, is_known = truth == 1, ~np.isnan(truth)
    if not is_known.any():
        raise DataError("the ground truth of all findings is unknown; give studies with known findings or reports")
    counts = _Counts(
        *((part & is_known).astype(float) for part in (positive & predicted, predicted, positive, is_known))
    )
    hits, stated, positives, known = (
        part.sum(0) for part in (counts.true_positives, counts.predicted, counts.positives, counts.known)
    )
    scored = known > 0

    def if_known(values: NDArray[np.float64], finding: int) -> float | None:
        return float(values[finding]) if scored[finding] else None

    precision, recall, f1 = ratio(hits, stated), ratio(hits, positives), ratio(2 * hits, stated + positives)
    limits = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(counts.f1(bootstrap.weights), limits, axis=0)
    crg = crg_score(hits, stated, positives, known)
    macro_f1 = bootstrap.estimate(lambda weights: counts.f1(weights)[:, scored].mean(1))
    micro_f1 = bootstrap.estimate(counts.micro_f1)
    assert macro_f1 is not None and micro_f1 is not None
    return PresenceScores(
        findings=tuple(
            FindingScore(
                name=name,
                precision=if_known(precision, i),
                recall=if_known(recall, i),
                f1=if_known(f1, i),
                f1_low=if_known(low, i),
                f1_high=if_known(high, i),
                crg=None if np.isnan(crg[i]) else float(crg[i]),
                studies_with=int(positives[i]),
                studies_known=int(known[i]),
            )
            for i, name in enumerate(names)
        ),
        macro_precision=float(precision[scored].mean()),
        macro_recall=float(recall[scored].mean()),
        macro_f1=macro_f1,
        micro_precision=float(ratio(hits.sum(), stated.sum())),
        micro_recall=float(ratio(hits.sum(), positives.sum())),
        micro_f1=micro_f1,
        crg=bootstrap.estimate(counts.crg),
    )


def crg_score(
    true_positives: NDArray[np.float64],
    predicted: NDArray[np.float64],
    positives: NDArray[np.float64],
    decisions: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Returns the CRG score of counts, element by element: 1 for a perfect system, 1/3 for all negative or positive.

    A true positive earns a weight w, a false negative costs w, a false positive costs 1; w is such that all positives
    together weigh half as much as all negatives. With points `s` and the highest possible points `m`, the score is
    m / (2m - s).

    Method: CRG Score (arXiv 2505.17167), equations 1 to 3.

    Args:
        true_positives: counts.
        predicted: counts of positive predictions.
        positives: counts in the ground truth.
        decisions: studies times findings.

    Returns:
        NaN where no decision or every decision is positive: the weight is then not defined.
    """
    highest = (decisions - positives) / 2
    is_defined = (positives > 0) & (highest > 0)
    weight = ratio(highest, positives)
    points = weight * true_positives - weight * (positives - true_positives) - (predicted - true_positives)
    return np.where(is_defined, ratio(highest, 2 * highest - points), np.nan)


def macro_f1(truth: Truth, predicted: NDArray[np.bool_]) -> float:
    """Returns the unweighted mean of the findings' F1, without an interval."""
    positive, is_known = truth == 1, ~np.isnan(truth)
    true_positives, totals = (positive & predicted).sum(0), positive.sum(0) + (predicted & is_known).sum(0)
    return float(ratio(2 * true_positives, totals)[is_known.any(0)].mean())


def area_under_curve(truth: Truth, probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the area under the ROC curve of each finding, (findings,); NaN where all studies have the same truth."""
    weights = np.ones((1, len(truth)))
    return np.array([_areas(weights, truth[:, i], probability[:, i])[0] for i in range(truth.shape[1])])


def score_auc(truth: Truth, probability: NDArray[np.floating], bootstrap: PatientBootstrap) -> AucScores:
    """Scores probabilities (studies, findings) by the areas under their ROC curves."""

    def mean_area(weights: Weights) -> NDArray[np.float64]:
        areas = np.stack([_areas(weights, truth[:, i], probability[:, i]) for i in range(truth.shape[1])])
        is_known = ~np.isnan(areas)
        return ratio(np.where(is_known, areas, 0.0).sum(0), is_known.sum(0), np.nan)

    areas = area_under_curve(truth, probability)
    return AucScores(tuple(None if np.isnan(area) else float(area) for area in areas), bootstrap.estimate(mean_area))


def best_thresholds(truth: Truth, scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the threshold with the highest F1 of each finding, (findings,), midway between two scores.

    Where no study has the finding, it is above all scores.
    """
    return np.array([_best_threshold(truth[:, i], scores[:, i]) for i in range(truth.shape[1])])


def _best_threshold(truth: Truth, scores: NDArray[np.floating]) -> float:
    """Returns the threshold with the highest F1 from the truth and the scores of one finding, each (studies,)."""
    if not (truth == 1).any():
        return float(scores.max()) + 1.0
    is_known = ~np.isnan(truth)
    _, false_positives, false_negatives, true_positives, cuts = confusion_matrix_at_thresholds(
        truth[is_known] == 1, scores[is_known], pos_label=True
    )
    best = int((2 * true_positives / (2 * true_positives + false_positives + false_negatives)).argmax())
    return float((cuts[best] + cuts[best + 1]) / 2 if best + 1 < len(cuts) else cuts[best] - 1.0)


def score_calibration(truth: Truth, probability: NDArray[np.floating], names: Sequence[str]) -> Calibration:
    """Returns the expected calibration errors of probabilities (studies, findings) of the named findings."""
    bins = reliability(truth.ravel(), probability.ravel())
    errors = tuple(_calibration_error(reliability(truth[:, i], probability[:, i])) for i in range(len(names)))
    return Calibration(_calibration_error(bins), tuple(names), errors, bins)


def reliability(truth: Truth, probability: NDArray[np.floating]) -> tuple[ReliabilityBin, ...]:
    """Returns the reliability bins of the truth and the probability of decisions, (decisions,) each."""
    truth, probability = truth[~np.isnan(truth)], probability[~np.isnan(truth)]
    bin_index = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bin_index, minlength=BINS)
    means, shares = (
        np.bincount(bin_index, weights=values, minlength=BINS) / np.maximum(counts, 1)
        for values in (probability, truth)
    )
    return tuple(
        ReliabilityBin(i / BINS, (i + 1) / BINS, int(counts[i]), float(means[i]), float(shares[i])) for i in range(BINS)
    )


def _calibration_error(bins: Sequence[ReliabilityBin]) -> float | None:
    total = sum(one.count for one in bins)
    if not total:
        return None
    return sum(one.count * abs(one.probability - one.share_positive) for one in bins) / total


def _areas(weights: Weights, truth: Truth, probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """Returns the area of one finding in each sample, (samples,); ties count half.

    Equal to `sklearn.metrics.roc_auc_score` with sample weights, but for all samples at once.
    """
    order = np.argsort(probability, kind="stable")
    order = order[~np.isnan(truth[order])]
    if not len(order):
        return np.full(len(weights), np.nan)
    ranked = probability[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    sampled, is_positive = weights[:, order], truth[order] == 1
    positives = np.add.reduceat(sampled * is_positive, starts, axis=1)
    negatives = np.add.reduceat(sampled * ~is_positive, starts, axis=1)
    pairs_in_order = (positives * (np.cumsum(negatives, axis=1) - negatives / 2)).sum(1)
    return ratio(pairs_in_order, positives.sum(1) * negatives.sum(1), np.nan)
