"""Where and how large a report says its findings are, against the truth: side, lobe, size; nodules by diameter."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.bootstrap import Estimate, PatientDraws
from msvlm.findings import CHEST_FINDING_NAMES, LOBES, SIDES, Certainty, FindingStatement, Statements

TOLERATED_MM, TOLERATED_SHARE = 2.0, 0.2
"""A stated size agrees where it is off by no more than the larger of the two: about what two readers differ by."""

NODULE = "lung_nodule"
DIAMETERS_MM = (0.0, 6.0, 10.0, 20.0, 30.0, np.inf)
"""Limits of the classes of nodules; follow-up begins at 6 mm, and from 30 mm on it is a mass."""


@dataclass(frozen=True)
class Agreement:
    """Among findings rightly stated whose truth has a side, a lobe, a size. None where there is no such finding.

    Attributes:
        side, lobe: the share placed on exactly that.
        size: the share whose stated size agrees; a finding stated without a size does not.
        size_error_mm: the mean absolute error of the sizes stated.
    """

    side: Estimate | None
    lobe: Estimate | None
    size: Estimate | None
    size_error_mm: Estimate | None


@dataclass(frozen=True)
class DiameterRecall:
    """How many of the studies whose largest nodule has such a diameter are said to have a nodule.

    Attributes:
        from_mm, below_mm: the class; `below_mm` is None where there is no upper limit.
        recall: None where no study has such a nodule.
    """

    from_mm: float
    below_mm: float | None
    recall: Estimate | None


def score_agreement(truth: Sequence[Statements], stated: Sequence[Statements], draws: PatientDraws) -> Agreement:
    """The agreement of the same studies' statements, study by study."""
    pairs = [list(_rightly_stated(true, claimed)) for true, claimed in zip(truth, stated, strict=True)]
    side = [[_same_place(SIDES, *pair) for pair in own if pair[0].attributes & set(SIDES)] for own in pairs]
    lobe = [[_same_place(LOBES, *pair) for pair in own if pair[0].attributes & set(LOBES)] for own in pairs]
    sized = [[pair for pair in own if pair[0].size_mm is not None] for own in pairs]
    errors_mm = [[error for pair in own if (error := _size_error_mm(*pair)) is not None] for own in sized]
    return Agreement(
        side=_mean(side, draws),
        lobe=_mean(lobe, draws),
        size=_mean([[_sizes_agree(*pair) for pair in own] for own in sized], draws),
        size_error_mm=_mean(errors_mm, draws),
    )


def nodule_recall(
    truth: Sequence[Statements], presence: NDArray[np.bool_], draws: PatientDraws
) -> tuple[DiameterRecall, ...]:
    """Class by class, from `presence` (studies, findings); nothing where no study's truth has a nodule's size."""
    diameters_mm = np.array([_nodule_mm(statements) for statements in truth])
    if np.isnan(diameters_mm).all():
        return ()
    said = presence[:, CHEST_FINDING_NAMES.index(NODULE)]
    classes = []
    for from_mm, below_mm in zip(DIAMETERS_MM, DIAMETERS_MM[1:], strict=False):
        is_such = (diameters_mm >= from_mm) & (diameters_mm < below_mm)
        recall = draws.share((is_such & said).astype(float), is_such.astype(float))
        classes.append(DiameterRecall(from_mm, None if np.isinf(below_mm) else below_mm, recall))
    return tuple(classes)


def _rightly_stated(truth: Statements, stated: Statements) -> Iterator[tuple[FindingStatement, FindingStatement]]:
    """What is true and what is said, of each finding that is there and said to be there."""
    said = {item.name: item for item in stated if item.certainty is not Certainty.ABSENT}
    for true in truth:
        if true.certainty is not Certainty.ABSENT and true.name in said:
            yield true, said[true.name]


def _same_place(places: Iterable[str], true: FindingStatement, said: FindingStatement) -> float:
    return float(true.attributes & set(places) == said.attributes & set(places))


def _size_error_mm(true: FindingStatement, said: FindingStatement) -> float | None:
    if true.size_mm is None or said.size_mm is None:
        return None
    return abs(said.size_mm - true.size_mm)


def _sizes_agree(true: FindingStatement, said: FindingStatement) -> float:
    error_mm = _size_error_mm(true, said)
    assert true.size_mm is not None
    return float(error_mm is not None and error_mm <= max(TOLERATED_MM, TOLERATED_SHARE * true.size_mm))


def _nodule_mm(statements: Statements) -> float:
    sizes = [
        item.size_mm
        for item in statements
        if item.name == NODULE and item.certainty is not Certainty.ABSENT and item.size_mm is not None
    ]
    return max(sizes, default=np.nan)


def _mean(values: Sequence[Sequence[float]], draws: PatientDraws) -> Estimate | None:
    """The mean of all values; `values` holds those of each study."""
    sums, counts = np.array([sum(own) for own in values]), np.array([len(own) for own in values])
    return draws.share(sums.astype(float), counts.astype(float))
