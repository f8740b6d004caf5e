"""Predicted findings are scored as hand counts and scikit-learn score them; the bootstrap scores each sample alike."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from msvlm.errors import DataError
from msvlm.evaluation.bootstrap import PatientBootstrap, f1_of_samples
from msvlm.evaluation.finding_metrics import (
    BINS,
    area_under_curve,
    best_thresholds,
    crg_score,
    macro_f1,
    presence_matrix,
    reliability,
    score_auc,
    score_calibration,
    score_presence,
    truth_matrix,
)
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

NAMES = ("emphysema", "atelectasis")


def _bootstrap(studies: int) -> PatientBootstrap:
    return PatientBootstrap.of([str(row) for row in range(studies)])


def _random(share: float, seed: int, studies: int = 60) -> np.ndarray:
    return np.random.default_rng(seed).random((studies, 2)) < share


def _stated(name: str, *attributes: str, certainty: Certainty = Certainty.PRESENT) -> FindingStatement:
    return FindingStatement(name, certainty, frozenset(attributes))


def test_scores_equal_a_hand_count() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], dtype=bool)
    predicted = np.array([[1, 0], [0, 0], [1, 1], [0, 1]], dtype=bool)
    scores = score_presence(truth, predicted, _bootstrap(4), NAMES)
    first, second = scores.findings
    assert (first.precision, first.recall, first.f1, first.studies_with) == (0.5, 0.5, 0.5, 2)
    assert (second.precision, second.recall, second.f1) == pytest.approx((0.5, 1.0, 2 / 3))
    assert scores.macro_f1.value == pytest.approx((0.5 + 2 / 3) / 2) == pytest.approx(macro_f1(truth, predicted))
    assert scores.micro_f1.value == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert (scores.micro_precision, scores.micro_recall) == pytest.approx((2 / 4, 2 / 3))


def test_a_zero_denominator_scores_zero() -> None:
    nothing = np.zeros((3, 2), dtype=bool)
    scores = score_presence(nothing, nothing, _bootstrap(3), NAMES)
    assert scores.macro_f1.value == scores.micro_f1.value == scores.findings[0].precision == 0.0
    assert scores.crg is None


def test_all_positive_scores_what_its_prevalence_says() -> None:
    truth = np.zeros((10, 2), dtype=bool)
    truth[:3, 0] = truth[:6, 1] = True
    scores = score_presence(truth, np.ones_like(truth), _bootstrap(10), NAMES)
    assert [finding.f1 for finding in scores.findings] == pytest.approx([2 * 0.3 / 1.3, 2 * 0.6 / 1.6])


def test_other_shapes_are_refused() -> None:
    with pytest.raises(DataError, match="same studies"):
        score_presence(np.zeros((3, 2), dtype=bool), np.zeros((4, 2), dtype=bool), _bootstrap(3), NAMES)
    with pytest.raises(DataError, match="one study at least"):
        score_presence(np.zeros((0, 2), dtype=bool), np.zeros((0, 2), dtype=bool), _bootstrap(3), NAMES)


def test_uncertain_counts_as_present_and_absent_does_not() -> None:
    matrix = presence_matrix(
        [(_stated("emphysema", certainty=Certainty.UNCERTAIN), _stated("atelectasis", certainty=Certainty.ABSENT)), ()],
        CHEST,
    )
    assert matrix.shape == (2, len(CHEST.names))
    assert [CHEST.names[column] for column in np.flatnonzero(matrix[0])] == ["emphysema"]
    assert not matrix[1].any()


def test_auc_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    truth, probability = rng.random((40, 2)) < 0.3, np.round(rng.random((40, 2)), 1)
    truth[:, 1] = True
    area = area_under_curve(truth, probability)
    pairs = probability[truth[:, 0], 0][:, None] - probability[~truth[:, 0], 0][None]
    assert area[0] == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    assert np.isnan(area[1])


def test_areas_of_weighted_samples_equal_scikit_learn() -> None:
    rng = np.random.default_rng(7)
    truth, probability = _random(0.3, 8), np.round(rng.random((60, 2)), 1)
    bootstrap = PatientBootstrap.of([str(study // 2) for study in range(60)], samples=40)
    auc = score_auc(truth, probability, bootstrap)
    by_sklearn = [
        np.mean([roc_auc_score(truth[:, i], probability[:, i], sample_weight=weights) for i in range(2)])
        for weights in bootstrap.weights
    ]
    assert auc.macro is not None
    assert (auc.macro.low, auc.macro.high) == pytest.approx(tuple(np.quantile(by_sklearn, [0.025, 0.975])))


def test_the_mean_area_of_a_sample_is_that_of_its_studies() -> None:
    rng = np.random.default_rng(1)
    truth, probability = _random(0.3, 2), np.round(rng.random((60, 2)), 1)
    bootstrap = PatientBootstrap.of([str(row // 2) for row in range(60)], samples=40)
    auc = score_auc(truth, probability, bootstrap)
    one_by_one = [
        np.nanmean(area_under_curve(truth[rows], probability[rows]))
        for rows in (bootstrap.rows(sample) for sample in range(40))
    ]
    assert auc.macro is not None
    assert (auc.macro.low, auc.macro.high) == pytest.approx(tuple(np.quantile(one_by_one, [0.025, 0.975])))
    assert auc.macro.value == pytest.approx(np.mean(auc.findings))


def test_an_area_that_no_finding_has_is_none() -> None:
    auc = score_auc(np.ones((4, 2), dtype=bool), np.zeros((4, 2)), _bootstrap(4))
    assert auc.findings == (None, None) and auc.macro is None


def test_f1_of_a_sample_is_that_of_its_studies() -> None:
    truth, predicted = _random(0.5, 3), _random(0.5, 4)
    bootstrap = PatientBootstrap.of([str(row // 3) for row in range(60)], samples=30)
    both = truth.astype(float) + predicted
    found = f1_of_samples(bootstrap.weights, (truth & predicted).astype(float), both).mean(1)
    assert found == pytest.approx([macro_f1(truth[rows], predicted[rows]) for rows in map(bootstrap.rows, range(30))])


def test_a_sample_without_a_rare_finding_does_not_change_its_f1() -> None:
    truth = np.zeros((30, 2), dtype=bool)
    truth[0, 0] = truth[:15, 1] = True
    scores = score_presence(truth, truth, _bootstrap(30), NAMES)
    assert (scores.findings[0].f1_low, scores.macro_f1.low) == (1.0, 1.0)


def test_crg_is_a_third_for_all_negative_and_all_positive() -> None:
    for seed, share in enumerate((0.05, 0.3, 0.6, 0.95)):
        truth = _random(share, seed)
        for trivial in (np.zeros_like(truth), np.ones_like(truth)):
            scores = score_presence(truth, trivial, _bootstrap(60), NAMES)
            assert scores.crg is not None
            assert (scores.crg.value, scores.crg.low, scores.crg.high) == pytest.approx((1 / 3,) * 3)
            assert [finding.crg for finding in scores.findings] == pytest.approx([1 / 3, 1 / 3])


def test_crg_is_one_for_a_perfect_system_and_lowest_where_all_is_wrong() -> None:
    truth = _random(0.3, 5)
    right, wrong = (score_presence(truth, predicted, _bootstrap(60), NAMES).crg for predicted in (truth, ~truth))
    assert right is not None and wrong is not None
    assert (right.value, wrong.value) == pytest.approx((1.0, 1 / 5))


def test_crg_equals_a_hand_count() -> None:
    hits, stated, positives, decisions = (np.array([number]) for number in (3.0, 5.0, 4.0, 20.0))
    weight = (20 - 4) / (2 * 4)
    points = 3 * weight - 1 * weight - 2
    assert crg_score(hits, stated, positives, decisions) == pytest.approx(8 / (2 * 8 - points))
    assert np.isnan(crg_score(hits * 0, stated, positives * 0, decisions)).all()
    assert np.isnan(crg_score(hits, stated, decisions, decisions)).all()


def test_the_threshold_gives_the_highest_f1_of_all_cuts() -> None:
    rng = np.random.default_rng(2)
    truth, scores = rng.random((50, 3)) < 0.4, np.round(rng.random((50, 3)), 1)
    truth[:, 2] = False

    def f1(finding: int, threshold: float) -> float:
        predicted = scores[:, finding] > threshold
        return 2 * (truth[:, finding] & predicted).sum() / max(truth[:, finding].sum() + predicted.sum(), 1)

    thresholds = best_thresholds(truth, scores)
    for finding in range(2):
        best = max(f1(finding, cut) for cut in np.linspace(-0.05, 1.05, 23))
        assert f1(finding, thresholds[finding]) == pytest.approx(best)
    assert not (scores[:, 2] > thresholds[2]).any()


def test_calibrated_probabilities_have_no_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((20_000, 2))
    calibration = score_calibration(rng.random((20_000, 2)) < probability, probability, ("one", "other"))
    assert calibration.error < 0.01 and max(calibration.errors) < 0.02


def test_certain_and_wrong_predictions_have_the_largest_error() -> None:
    truth = np.array([[True, False], [False, True]])
    calibration = score_calibration(truth, 1.0 - truth, ("one", "other"))
    assert calibration.error == 1.0 and calibration.errors == (1.0, 1.0)


def test_the_error_equals_a_hand_count() -> None:
    truth = np.array([[True], [False], [True], [True]])
    calibration = score_calibration(truth, np.array([[0.9], [0.92], [0.35], [0.31]]), ("one",))
    assert calibration.error == pytest.approx(0.5 * abs(0.91 - 0.5) + 0.5 * abs(0.33 - 1.0))
    assert calibration.errors == (pytest.approx(calibration.error),)


def test_bins_are_of_equal_width_and_hold_every_decision_once() -> None:
    probability = np.array([0.0, 0.05, 0.1, 0.95, 1.0], dtype=np.float32)
    bins = reliability(np.array([False, False, True, True, True]), probability)
    assert len(bins) == BINS and (bins[0].low, bins[-1].high) == (0.0, 1.0)
    assert [one.count for one in bins] == [2, 1, *[0] * 7, 2]
    assert bins[1].share_positive == 1.0 and bins[5].share_positive == 0.0


def test_bins_equal_scikit_learn() -> None:
    rng = np.random.default_rng(3)
    probability = rng.random(500)
    truth = rng.random(500) < probability
    bins = reliability(truth, probability)
    shares, probabilities = calibration_curve(truth, probability, n_bins=BINS)
    assert [one.share_positive for one in bins] == pytest.approx(shares)
    assert [one.probability for one in bins] == pytest.approx(probabilities)


def test_unknown_truth_is_neither_right_nor_wrong() -> None:
    rng = np.random.default_rng(5)
    truth = (rng.random((40, 2)) < 0.4).astype(float)
    predicted, probability = rng.random((40, 2)) < 0.5, rng.random((40, 2))
    unknown = np.vstack([truth, np.full((15, 2), np.nan)])
    more = (np.vstack([predicted, rng.random((15, 2)) < 0.5]), np.vstack([probability, rng.random((15, 2))]))
    known, with_unknown = _bootstrap(40), _bootstrap(55)
    left, right = score_presence(truth, predicted, known, NAMES), score_presence(unknown, more[0], with_unknown, NAMES)
    for name in ("macro_precision", "macro_recall", "micro_precision", "micro_recall"):
        assert getattr(left, name) == getattr(right, name)
    assert left.macro_f1.value == right.macro_f1.value and left.micro_f1.value == right.micro_f1.value
    assert left.crg is not None and right.crg is not None and left.crg.value == right.crg.value
    assert [(one.f1, one.crg, one.studies_with, one.studies_known) for one in left.findings] == [
        (one.f1, one.crg, one.studies_with, one.studies_known) for one in right.findings
    ]
    assert macro_f1(truth, predicted) == macro_f1(unknown, more[0])
    assert area_under_curve(truth, probability) == pytest.approx(area_under_curve(unknown, more[1]))
    assert best_thresholds(truth, probability) == pytest.approx(best_thresholds(unknown, more[1]))
    assert score_calibration(truth, probability, NAMES) == score_calibration(unknown, more[1], NAMES)


def test_a_finding_known_of_no_study_has_no_part_in_the_means() -> None:
    truth = np.array([[1.0, np.nan], [0.0, np.nan], [1.0, np.nan]])
    predicted = np.array([[True, True], [False, True], [True, False]])
    scores = score_presence(truth, predicted, _bootstrap(3), NAMES)
    assert scores.macro_f1.value == scores.micro_f1.value == 1.0 and macro_f1(truth, predicted) == 1.0
    assert scores.findings[1].studies_known == 0 and scores.findings[1].f1 is None
    with pytest.raises(DataError, match="ground truth of all findings is unknown"):
        score_presence(np.full((3, 2), np.nan), predicted, _bootstrap(3), NAMES)
    assert score_calibration(truth, predicted.astype(float), NAMES).errors[1] is None
    assert np.isnan(area_under_curve(truth, predicted.astype(float))[1])


def test_findings_that_nobody_looked_for_are_unknown() -> None:
    stated = (_stated("emphysema"), _stated("atelectasis", certainty=Certainty.UNKNOWN))
    truth = truth_matrix([stated], CHEST)[0]
    assert truth[CHEST.names.index("emphysema")] == 1.0 and np.isnan(truth).sum() == 17
    assert presence_matrix([stated], CHEST).sum() == 1
