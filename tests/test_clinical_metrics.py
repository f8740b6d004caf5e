import numpy as np
import pytest

from msvlm.errors import DataError
from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.clinical_metrics import (
    area_under_curve,
    crg_score,
    f1_of_draws,
    macro_f1,
    presence_matrix,
    score_areas,
    score_presence,
)
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement

NAMES = ("emphysema", "atelectasis")


def _draws(studies: int) -> PatientDraws:
    return PatientDraws.of([str(row) for row in range(studies)])


def _random(share: float, seed: int, studies: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).random((studies, 2)) < share


def _stated(name: str, *attributes: str, certainty: Certainty = Certainty.PRESENT) -> FindingStatement:
    return FindingStatement(name, certainty, frozenset(attributes))


def test_scores_equal_a_hand_count() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=bool)
    predicted = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], dtype=bool)
    scores = score_presence(truth, predicted, _draws(4), NAMES)
    first, second = scores.findings
    assert (first.precision, first.recall, first.f1, first.studies_with) == (0.5, 0.5, 0.5, 2)
    assert (second.precision, second.recall, second.f1) == pytest.approx((0.5, 1.0, 2 / 3))
    assert scores.macro_f1.value == pytest.approx((0.5 + 2 / 3) / 2) == pytest.approx(macro_f1(truth, predicted))
    assert scores.micro_f1.value == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert (scores.micro_precision, scores.micro_recall) == pytest.approx((2 / 4, 2 / 3))


def test_nothing_under_the_line_scores_zero() -> None:
    nothing = np.zeros((3, 2), dtype=bool)
    scores = score_presence(nothing, nothing, _draws(3), NAMES)
    assert scores.macro_f1.value == scores.micro_f1.value == scores.findings[0].precision == 0.0
    assert scores.crg is None


def test_all_positive_scores_what_its_prevalence_says() -> None:
    truth = np.zeros((10, 2), dtype=bool)
    truth[:3, 0] = truth[:6, 1] = True
    scores = score_presence(truth, np.ones_like(truth), _draws(10), NAMES)
    assert [finding.f1 for finding in scores.findings] == pytest.approx([2 * 0.3 / 1.3, 2 * 0.6 / 1.6])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="same studies"):
        score_presence(np.zeros((3, 2), dtype=bool), np.zeros((4, 2), dtype=bool), _draws(3), NAMES)
    with pytest.raises(DataError, match="one study at least"):
        score_presence(np.zeros((0, 2), dtype=bool), np.zeros((0, 2), dtype=bool), _draws(3), NAMES)


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


def test_the_mean_area_of_a_draw_is_that_of_its_studies() -> None:
    rng = np.random.default_rng(1)
    truth, probability = _random(0.3, 2), np.round(rng.random((60, 2)), 1)
    draws = PatientDraws.of([str(row // 2) for row in range(60)], draws=40)
    areas = score_areas(truth, probability, draws)
    one_by_one = [
        np.nanmean(area_under_curve(truth[rows], probability[rows]))
        for rows in (draws.rows(draw) for draw in range(40))
    ]
    assert areas.macro is not None
    assert (areas.macro.low, areas.macro.high) == pytest.approx(tuple(np.quantile(one_by_one, [0.025, 0.975])))
    assert areas.macro.value == pytest.approx(np.mean(areas.findings))


def test_an_area_that_no_finding_has_is_none() -> None:
    areas = score_areas(np.ones((4, 2), dtype=bool), np.zeros((4, 2)), _draws(4))
    assert areas.findings == (None, None) and areas.macro is None


def test_f1_of_a_draw_is_that_of_its_studies() -> None:
    truth, predicted = _random(0.5, 3), _random(0.5, 4)
    draws = PatientDraws.of([str(row // 3) for row in range(60)], draws=30)
    both = truth.astype(float) + predicted
    found = f1_of_draws(draws.weights, (truth & predicted).astype(float), both).mean(1)
    assert found == pytest.approx([macro_f1(truth[rows], predicted[rows]) for rows in map(draws.rows, range(30))])


def test_a_draw_without_a_rare_finding_leaves_its_f1_as_it_is() -> None:
    truth = np.zeros((30, 2), dtype=bool)
    truth[0, 0] = truth[:15, 1] = True
    scores = score_presence(truth, truth, _draws(30), NAMES)
    assert (scores.findings[0].f1_low, scores.macro_f1.low) == (1.0, 1.0)


def test_crg_is_a_third_for_saying_nothing_or_everything_whatever_is_there() -> None:
    for seed, share in enumerate((0.05, 0.3, 0.6, 0.95)):
        truth = _random(share, seed)
        for trivial in (np.zeros_like(truth), np.ones_like(truth)):
            scores = score_presence(truth, trivial, _draws(60), NAMES)
            assert scores.crg is not None
            assert (scores.crg.value, scores.crg.low, scores.crg.high) == pytest.approx((1 / 3,) * 3)
            assert [finding.crg for finding in scores.findings] == pytest.approx([1 / 3, 1 / 3])


def test_crg_is_one_where_all_is_right_and_lowest_where_all_is_wrong() -> None:
    truth = _random(0.3, 5)
    right, wrong = (score_presence(truth, said, _draws(60), NAMES).crg for said in (truth, ~truth))
    assert right is not None and wrong is not None
    assert (right.value, wrong.value) == pytest.approx((1.0, 1 / 5))


def test_crg_equals_a_hand_count() -> None:
    hits, claims, there, decisions = (np.array([number]) for number in (3.0, 5.0, 4.0, 20.0))
    weight = (20 - 4) / (2 * 4)
    points = 3 * weight - 1 * weight - 2
    assert crg_score(hits, claims, there, decisions) == pytest.approx(8 / (2 * 8 - points))
    assert np.isnan(crg_score(hits * 0, claims, there * 0, decisions)).all()
    assert np.isnan(crg_score(hits, claims, decisions, decisions)).all()
