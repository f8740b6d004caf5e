"""Side, lobe and size that reports state for their findings, against the ground truth; nodule recall by diameter."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.bootstrap import Estimate, PatientBootstrap
from msvlm.vocabulary.vocabulary import SIDES, FindingStatement, Statements, Vocabulary

TOLERANCE_MM, RELATIVE_TOLERANCE = 2.0, 0.2
"""A stated size is correct within the larger of the two, about the difference between two readers."""

NODULE = "lung_nodule"
DIAMETERS_MM = (0.0, 6.0, 10.0, 20.0, 30.0, np.inf)
"""Limits of the nodule classes; follow-up begins at 6 mm, and from 30 mm on it is a mass."""


@dataclass(frozen=True)
class LocationScores:
    """Scores over true positives whose truth has a side, a lobe or a size; None where there are none.

    Attributes:
        side, lobe: share with exactly the true sides or lobes.
        size: share with a correct size; a finding stated without a size is not correct.
        size_error_mm: mean absolute error of the stated sizes.
    """

    side: Estimate | None
    lobe: Estimate | None
    size: Estimate | None
    size_error_mm: Estimate | None


@dataclass(frozen=True)
class DiameterRecall:
    """Share of the studies whose largest nodule is in a diameter class that are predicted to have a nodule.

    Attributes:
        from_mm, below_mm: limits of the class; `below_mm` is None where there is no upper limit.
        recall: None where no study has such a nodule.
    """

    from_mm: float
    below_mm: float | None
    recall: Estimate | None


def score_locations(
    truth: Sequence[Statements],
    predicted: Sequence[Statements],
    bootstrap: PatientBootstrap,
    vocabulary: Vocabulary,
) -> LocationScores:
    """Scores the statements of the same studies, in the same order."""
    pairs = [list(_true_positives(true, stated)) for true, stated in zip(truth, predicted, strict=True)]
    side = [[_same_location(SIDES, *pair) for pair in own if pair[0].attributes & set(SIDES)] for own in pairs]
    parts = vocabulary.parts
    lobe = [[_same_location(parts, *pair) for pair in own if pair[0].attributes & set(parts)] for own in pairs]
    sized = [[pair for pair in own if pair[0].size_mm is not None] for own in pairs]
    errors_mm = [[error for pair in own if (error := _size_error_mm(*pair)) is not None] for own in sized]
    return LocationScores(
        side=_mean(side, bootstrap),
        lobe=_mean(lobe, bootstrap),
        size=_mean([[_is_size_correct(*pair) for pair in own] for own in sized], bootstrap),
        size_error_mm=_mean(errors_mm, bootstrap),
    )


def nodule_recall(
    truth: Sequence[Statements], presence: NDArray[np.bool_], bootstrap: PatientBootstrap, vocabulary: Vocabulary
) -> tuple[DiameterRecall, ...]:
    """Returns the recall of each diameter class from predictions (studies, findings); empty without true diameters."""
    diameters_mm = np.array([_nodule_mm(statements) for statements in truth])
    if np.isnan(diameters_mm).all():
        return ()
    is_predicted = presence[:, vocabulary.names.index(NODULE)]
    classes = []
    for from_mm, below_mm in zip(DIAMETERS_MM, DIAMETERS_MM[1:], strict=False):
        in_class = (diameters_mm >= from_mm) & (diameters_mm < below_mm)
        recall = bootstrap.ratio_of_sums((in_class & is_predicted).astype(float), in_class.astype(float))
        classes.append(DiameterRecall(from_mm, None if np.isinf(below_mm) else below_mm, recall))
    return tuple(classes)


def _true_positives(truth: Statements, predicted: Statements) -> Iterator[tuple[FindingStatement, FindingStatement]]:
    """Yields the true and the predicted statement of each finding that is present in both."""
    stated = {item.name: item for item in predicted if item.certainty.is_positive}
    for true in truth:
        if true.certainty.is_positive and true.name in stated:
            yield true, stated[true.name]


def _same_location(locations: Iterable[str], true: FindingStatement, stated: FindingStatement) -> float:
    return float(true.attributes & set(locations) == stated.attributes & set(locations))


def _size_error_mm(true: FindingStatement, stated: FindingStatement) -> float | None:
    if true.size_mm is None or stated.size_mm is None:
        return None
    return abs(stated.size_mm - true.size_mm)


def _is_size_correct(true: FindingStatement, stated: FindingStatement) -> float:
    error_mm = _size_error_mm(true, stated)
    assert true.size_mm is not None
    return float(error_mm is not None and error_mm <= max(TOLERANCE_MM, RELATIVE_TOLERANCE * true.size_mm))


def _nodule_mm(statements: Statements) -> float:
    sizes = [
        item.size_mm
        for item in statements
        if item.name == NODULE and item.certainty.is_positive and item.size_mm is not None
    ]
    return max(sizes, default=np.nan)


def _mean(values: Sequence[Sequence[float]], bootstrap: PatientBootstrap) -> Estimate | None:
    """Returns the mean of the values of all studies."""
    sums, counts = np.array([sum(own) for own in values]), np.array([len(own) for own in values])
    return bootstrap.ratio_of_sums(sums.astype(float), counts.astype(float))
