"""Findings that a report states against findings that are there: precision, recall, F1, CRG, AUC.

Studies are the unit; the patient is what the bootstrap draws. A finding called uncertain counts as stated.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.evaluation.bootstrap import SHARE, Estimate, PatientDraws, Weights, ratio
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, Statements


@dataclass(frozen=True)
class FindingScore:
    """One finding over all studies; 0 where a ratio has nothing under its line.

    Attributes:
        f1_low, f1_high: 95 %, over patients.
        crg: see `crg_score`; None where no study has the finding, or all have it.
        studies_with: in how many studies the finding is there.
    """

    name: str
    precision: float
    recall: float
    f1: float
    f1_low: float
    f1_high: float
    crg: float | None
    studies_with: int


@dataclass(frozen=True)
class PresenceScores:
    """All findings: unweighted means over findings (macro), and all decisions pooled (micro, CRG)."""

    findings: tuple[FindingScore, ...]
    macro_precision: float
    macro_recall: float
    macro_f1: Estimate
    micro_precision: float
    micro_recall: float
    micro_f1: Estimate
    crg: Estimate | None


@dataclass(frozen=True)
class AreaScores:
    """Areas under the ROC curve: of each finding, None where all studies agree on it, and their mean."""

    findings: tuple[float | None, ...]
    macro: Estimate | None


@dataclass(frozen=True)
class _Counts:
    """Decisions of each study, (studies, findings) each: rightly stated, stated, there."""

    hits: NDArray[np.float64]
    claims: NDArray[np.float64]
    there: NDArray[np.float64]

    def f1(self, weights: Weights) -> NDArray[np.float64]:
        """(draws, findings)."""
        return f1_of_draws(weights, self.hits, self.claims + self.there)

    def micro_f1(self, weights: Weights) -> NDArray[np.float64]:
        """(draws,)."""
        return ratio(2 * (weights @ self.hits).sum(1), (weights @ (self.claims + self.there)).sum(1))

    def crg(self, weights: Weights) -> NDArray[np.float64]:
        """(draws,), NaN where it is not defined."""
        hits, claims, there = ((weights @ part).sum(1) for part in (self.hits, self.claims, self.there))
        return crg_score(hits, claims, there, weights.sum(1) * self.hits.shape[1])


def presence_matrix(studies: Sequence[Statements], names: Sequence[str] = CHEST_FINDING_NAMES) -> NDArray[np.bool_]:
    """(studies, findings): which findings are stated, as present or uncertain."""
    presence = np.zeros((len(studies), len(names)), dtype=bool)
    columns = {name: column for column, name in enumerate(names)}
    for row, statements in enumerate(studies):
        for statement in statements:
            if statement.name in columns and statement.certainty is not Certainty.ABSENT:
                presence[row, columns[statement.name]] = True
    return presence


def score_presence(
    truth: NDArray[np.bool_],
    predicted: NDArray[np.bool_],
    draws: PatientDraws,
    names: Sequence[str] = CHEST_FINDING_NAMES,
) -> PresenceScores:
    """Scores (studies, findings) against (studies, findings).

    Raises:
        DataError: the two do not have the same studies and findings, or there are none.
    """
    if truth.shape != predicted.shape or truth.ndim != 2 or truth.shape[1] != len(names) or not len(truth):
        raise DataError(
            f"truth of shape {truth.shape} and prediction of shape {predicted.shape}; "
            f"the same studies by {len(names)} findings are wanted, and one study at least"
        )
    counts = _Counts((truth & predicted).astype(float), predicted.astype(float), truth.astype(float))
    hits, claims, there = (part.sum(0) for part in (counts.hits, counts.claims, counts.there))
    precision, recall, f1 = ratio(hits, claims), ratio(hits, there), ratio(2 * hits, claims + there)
    low, high = np.quantile(counts.f1(draws.weights), [(1 - SHARE) / 2, (1 + SHARE) / 2], axis=0)
    crg = crg_score(hits, claims, there, np.full(len(names), float(len(truth))))
    macro_f1 = draws.estimate(lambda weights: counts.f1(weights).mean(1))
    micro_f1 = draws.estimate(counts.micro_f1)
    assert macro_f1 is not None and micro_f1 is not None
    return PresenceScores(
        findings=tuple(
            FindingScore(
                name=name,
                precision=float(precision[i]),
                recall=float(recall[i]),
                f1=float(f1[i]),
                f1_low=float(low[i]),
                f1_high=float(high[i]),
                crg=None if np.isnan(crg[i]) else float(crg[i]),
                studies_with=int(there[i]),
            )
            for i, name in enumerate(names)
        ),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=macro_f1,
        micro_precision=float(ratio(hits.sum(), claims.sum())),
        micro_recall=float(ratio(hits.sum(), there.sum())),
        micro_f1=micro_f1,
        crg=draws.estimate(counts.crg),
    )


def crg_score(
    hits: NDArray[np.float64], claims: NDArray[np.float64], there: NDArray[np.float64], decisions: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The CRG score of counts, element by element: 1 where all is right, 1/3 for saying all or nothing.

    A finding rightly stated earns, and a finding missed costs, as many points as make all findings together weigh
    half as much as all false claims that could be made; a false claim costs one point. With `s` the points and `m` the
    most that can be had, the score is m / (2m - s).

    Method: CRG Score (arXiv 2505.17167), equations 1 to 3.

    Args:
        hits: findings rightly stated.
        claims: findings stated.
        there: findings that are there.
        decisions: studies times findings.

    Returns:
        NaN where no finding is there, or all are everywhere: then nothing weighs.
    """
    most = (decisions - there) / 2
    is_defined = (there > 0) & (most > 0)
    weight = ratio(most, there)
    points = weight * hits - weight * (there - hits) - (claims - hits)
    return np.where(is_defined, ratio(most, 2 * most - points), np.nan)


def f1_of_draws(weights: Weights, hits: NDArray[np.float64], both: NDArray[np.float64]) -> NDArray[np.float64]:
    """(draws, findings), from findings rightly stated, and those stated plus those there, (studies, findings) each.

    A draw in which a finding is neither there nor stated tells nothing of it, and leaves its F1 as it is over all
    studies; 0 there would pull the interval of a rare finding, and of macro F1, down.
    """
    return ratio(2 * weights @ hits, weights @ both, empty=ratio(2 * hits.sum(0), both.sum(0)))


def macro_f1(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """The unweighted mean of each finding's F1, without an interval."""
    hits, both = (truth & predicted).sum(0), truth.sum(0) + predicted.sum(0)
    return float(ratio(2 * hits, both).mean())


def area_under_curve(truth: NDArray[np.bool_], probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """(findings,): the chance that a study with the finding scores above one without; NaN where all studies agree."""
    everyone = np.ones((1, len(truth)))
    return np.array([_areas(everyone, truth[:, i], probability[:, i])[0] for i in range(truth.shape[1])])


def score_areas(truth: NDArray[np.bool_], probability: NDArray[np.floating], draws: PatientDraws) -> AreaScores:
    """The areas of (studies, findings), and their mean over the findings that have one."""

    def mean_area(weights: Weights) -> NDArray[np.float64]:
        areas = np.stack([_areas(weights, truth[:, i], probability[:, i]) for i in range(truth.shape[1])])
        is_known = ~np.isnan(areas)
        return ratio(np.where(is_known, areas, 0.0).sum(0), is_known.sum(0), np.nan)

    areas = area_under_curve(truth, probability)
    return AreaScores(tuple(None if np.isnan(area) else float(area) for area in areas), draws.estimate(mean_area))


def _areas(weights: Weights, truth: NDArray[np.bool_], probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """(draws,): one finding's area in each draw; ties count half."""
    order = np.argsort(probability, kind="stable")
    ranked = probability[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    drawn, has_it = weights[:, order], truth[order]
    with_it = np.add.reduceat(drawn * has_it, starts, axis=1)
    without = np.add.reduceat(drawn * ~has_it, starts, axis=1)
    pairs_in_order = (with_it * (np.cumsum(without, axis=1) - without / 2)).sum(1)
    return ratio(pairs_in_order, with_it.sum(1) * without.sum(1), np.nan)
