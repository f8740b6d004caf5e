import numpy as np
import pytest

from msvlm.errors import DataError
from msvlm.evaluation.clinical_metrics import (
    area_under_curve,
    bootstrap_interval,
    distinct_share,
    macro_f1,
    place_agreement,
    presence_matrix,
    score_presence,
)
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement

NAMES = ("emphysema", "atelectasis")


def _stated(name: str, *attributes: str, certainty: Certainty = Certainty.PRESENT) -> FindingStatement:
    return FindingStatement(name, certainty, frozenset(attributes))


def test_scores_equal_a_hand_count() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=bool)
    predicted = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], dtype=bool)
    scores = score_presence(truth, predicted, NAMES)
    first, second = scores.findings
    assert (first.precision, first.recall, first.f1, first.studies_with) == (0.5, 0.5, 0.5, 2)
    assert (second.precision, second.recall, second.f1) == pytest.approx((0.5, 1.0, 2 / 3))
    assert scores.macro_f1 == pytest.approx((0.5 + 2 / 3) / 2) == pytest.approx(macro_f1(truth, predicted))
    assert scores.micro_f1 == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))


def test_nothing_under_the_line_scores_zero() -> None:
    nothing = np.zeros((3, 2), dtype=bool)
    scores = score_presence(nothing, nothing, NAMES)
    assert scores.macro_f1 == scores.micro_f1 == scores.findings[0].precision == 0.0


def test_all_positive_scores_what_its_prevalence_says() -> None:
    truth = np.zeros((10, 2), dtype=bool)
    truth[:3, 0] = truth[:6, 1] = True
    scores = score_presence(truth, np.ones_like(truth), NAMES)
    assert [finding.f1 for finding in scores.findings] == pytest.approx([2 * 0.3 / 1.3, 2 * 0.6 / 1.6])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="same studies"):
        score_presence(np.zeros((3, 2), dtype=bool), np.zeros((4, 2), dtype=bool), NAMES)
    with pytest.raises(DataError, match="one study at least"):
        score_presence(np.zeros((0, 2), dtype=bool), np.zeros((0, 2), dtype=bool), NAMES)


def test_uncertain_counts_as_stated_and_absent_does_not() -> None:
    matrix = presence_matrix(
        [(_stated("emphysema", certainty=Certainty.UNCERTAIN), _stated("atelectasis", certainty=Certainty.ABSENT)), ()]
    )
    assert matrix.shape == (2, len(CHEST_FINDING_NAMES))
    assert [CHEST_FINDING_NAMES[column] for column in np.flatnonzero(matrix[0])] == ["emphysema"]
    assert not matrix[1].any()


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    truth, probability = rng.random((40, 2)) < 0.3, np.round(rng.random((40, 2)), 1)
    truth[:, 1] = True
    area = area_under_curve(truth, probability)
    pairs = probability[truth[:, 0], 0][:, None] - probability[~truth[:, 0], 0][None]
    assert area[0] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert np.isnan(area[1])


def test_the_bootstrap_draws_patients_whole() -> None:
    patients = ["a", "a", "a", "b"]
    interval = bootstrap_interval(patients, lambda rows: float((rows < 3).sum() % 3), samples=50)
    assert (interval.low, interval.high) == (0.0, 0.0)


def test_the_bootstrap_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    interval = bootstrap_interval([str(row) for row in range(400)], lambda rows: float(values[rows].mean()))
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval == bootstrap_interval([str(row) for row in range(400)], lambda rows: float(values[rows].mean()))


def test_places_are_judged_only_where_the_finding_is_rightly_stated() -> None:
    truth = [
        (_stated("lung_nodule", "right", "right upper lobe"), _stated("emphysema")),
        (_stated("pleural_effusion", "left"), _stated("atelectasis", "left", "left lower lobe")),
    ]
    predicted = [
        (_stated("lung_nodule", "right", "right lower lobe"), _stated("emphysema", "left")),
        (_stated("pleural_effusion", "left", "right"), _stated("atelectasis", certainty=Certainty.ABSENT)),
    ]
    agreement = place_agreement(truth, predicted)
    assert (agreement.side, agreement.side_findings) == (0.5, 2)
    assert (agreement.lobe, agreement.lobe_findings) == (0.0, 1)
    assert place_agreement([()], [()]).side is None


def test_distinct_reports_are_counted_without_regard_to_blanks_and_case() -> None:
    assert distinct_share(["No nodule.", "no  nodule.\n", "A nodule.", "Two nodules."]) == 0.75
