"""Findings that a report states against findings that are there: precision, recall, F1, AUC, places, intervals.

Studies are the unit; the patient is what the bootstrap draws. A finding called uncertain counts as stated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.findings import CHEST_FINDING_NAMES, LOBES, SIDES, Certainty, Statements


@dataclass(frozen=True)
class FindingScore:
    """One finding over all studies; 0 where a ratio has nothing under its line.

    Attributes:
        studies_with: in how many studies the finding is there.
    """

    name: str
    precision: float
    recall: float
    f1: float
    studies_with: int


@dataclass(frozen=True)
class PresenceScores:
    """All findings: unweighted means over findings (macro), and all decisions pooled (micro)."""

    findings: tuple[FindingScore, ...]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    micro_f1: float


@dataclass(frozen=True)
class Interval:
    """A percentile interval of the bootstrap."""

    low: float
    high: float


@dataclass(frozen=True)
class PlaceAgreement:
    """Among findings rightly stated whose truth has a side (a lobe): the share placed on exactly that.

    Attributes:
        side, lobe: the shares; None where no such finding was rightly stated.
        side_findings, lobe_findings: how many the shares are of.
    """

    side: float | None
    side_findings: int
    lobe: float | None
    lobe_findings: int


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
    truth: NDArray[np.bool_], predicted: NDArray[np.bool_], names: Sequence[str] = CHEST_FINDING_NAMES
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
    hits, claims, there = (truth & predicted).sum(0), predicted.sum(0), truth.sum(0)
    precision, recall, f1 = _ratio(hits, claims), _ratio(hits, there), _ratio(2 * hits, claims + there)
    return PresenceScores(
        findings=tuple(
            FindingScore(name, float(precision[i]), float(recall[i]), float(f1[i]), int(there[i]))
            for i, name in enumerate(names)
        ),
        macro_precision=float(precision.mean()),
        macro_recall=float(recall.mean()),
        macro_f1=float(f1.mean()),
        micro_f1=float(_ratio(2 * hits.sum(keepdims=True), (claims + there).sum(keepdims=True))[0]),
    )


def macro_f1(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> float:
    """The unweighted mean of each finding's F1, for the bootstrap's inner loop."""
    hits, both = (truth & predicted).sum(0), truth.sum(0) + predicted.sum(0)
    return float(_ratio(2 * hits, both).mean())


def bootstrap_interval(
    patients: Sequence[str],
    statistic: Callable[[NDArray[np.int64]], float],
    samples: int = 1000,
    share: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Where `share` of a statistic's values lie when patients are drawn with replacement, all studies of each.

    `statistic` is given the rows of the studies drawn; a drawn patient's rows come as often as the patient was drawn.
    """
    of_patient: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        of_patient.setdefault(patient, []).append(row)
    rows = [np.array(own, dtype=np.int64) for own in of_patient.values()]
    draws = np.random.default_rng(seed).integers(len(rows), size=(samples, len(rows)))
    values = [statistic(np.concatenate([rows[patient] for patient in draw])) for draw in draws]
    low, high = np.nanquantile(values, [(1 - share) / 2, (1 + share) / 2])
    return Interval(float(low), float(high))


def area_under_curve(truth: NDArray[np.bool_], probability: NDArray[np.floating]) -> NDArray[np.float64]:
    """(findings,): the chance that a study with the finding scores above one without; NaN where all studies agree."""
    areas = np.full(truth.shape[1], np.nan)
    for finding in range(truth.shape[1]):
        with_it, without = probability[truth[:, finding], finding], np.sort(probability[~truth[:, finding], finding])
        if len(with_it) and len(without):
            below = np.searchsorted(without, with_it, "left") + np.searchsorted(without, with_it, "right")
            areas[finding] = below.mean() / (2 * len(without))
    return areas


def distinct_share(texts: Sequence[str]) -> float:
    """How many of the texts differ, as a share of all; blanks and case do not make a difference."""
    return len({" ".join(text.lower().split()) for text in texts}) / len(texts)


def place_agreement(truth: Sequence[Statements], predicted: Sequence[Statements]) -> PlaceAgreement:
    """How often findings that are rightly stated are put on the right side, and in the right lobe."""
    sides: list[bool] = []
    lobes: list[bool] = []
    for true_statements, predicted_statements in zip(truth, predicted, strict=True):
        said = {item.name: item for item in predicted_statements if item.certainty is not Certainty.ABSENT}
        for true in true_statements:
            if true.certainty is Certainty.ABSENT or true.name not in said:
                continue
            for places, agreements in ((SIDES, sides), (LOBES, lobes)):
                wanted = true.attributes & frozenset(places)
                if wanted:
                    agreements.append(said[true.name].attributes & frozenset(places) == wanted)
    return PlaceAgreement(
        side=float(np.mean(sides)) if sides else None,
        side_findings=len(sides),
        lobe=float(np.mean(lobes)) if lobes else None,
        lobe_findings=len(lobes),
    )


def _ratio(over: NDArray[np.integer], under: NDArray[np.integer]) -> NDArray[np.float64]:
    ratio = np.zeros(over.shape)
    np.divide(over, under, out=ratio, where=under > 0)
    return ratio
