"""Patients are sampled with all their studies, the same for all scores; two systems are compared patient by patient."""

import numpy as np
import pytest

from msvlm.evaluation.bootstrap import PairedDifference, PatientBootstrap, paired_difference, ratio

STUDIES = 40
TRUTH = np.tile(np.arange(STUDIES)[:, None] % 2 == 0, (1, 2))
PATIENTS = [str(study) for study in range(STUDIES)]


def test_the_studies_of_a_patient_are_sampled_together() -> None:
    bootstrap = PatientBootstrap.of(["b", "a", "b", "c", "b"], samples=50)
    assert bootstrap.weights.shape == (50, 5)
    assert (bootstrap.weights[:, [0]] == bootstrap.weights[:, [2, 4]]).all()
    patients = bootstrap.weights[:, [0, 1, 3]]
    assert (patients.sum(axis=1) == 3).all() and patients.std() > 0


def test_rows_repeat_each_study_by_its_weight() -> None:
    bootstrap = PatientBootstrap.of(["a", "b", "c", "c"], samples=20)
    for sample in range(20):
        assert np.bincount(bootstrap.rows(sample), minlength=4).tolist() == bootstrap.weights[sample].tolist()


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    bootstrap = PatientBootstrap.of([str(row) for row in range(400)])
    found = bootstrap.ratio_of_sums(values, np.ones(400))
    assert found is not None
    assert (found.value, found.count) == (pytest.approx(values.mean()), 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_several_studies_of_a_patient_count_as_one_in_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=100)
    alone = PatientBootstrap.of([str(row) for row in range(100)]).ratio_of_sums(values, np.ones(100))
    thrice = PatientBootstrap.of([str(row // 3) for row in range(300)]).ratio_of_sums(
        np.repeat(values, 3), np.ones(300)
    )
    assert alone is not None and thrice is not None
    assert thrice.high - thrice.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_the_same_patients_give_the_same_samples() -> None:
    one, other = (PatientBootstrap.of(["a", "b", "c"]) for _ in range(2))
    assert (one.weights == other.weights).all()


def test_a_zero_denominator_gives_no_estimate() -> None:
    assert PatientBootstrap.of(["a", "b"]).ratio_of_sums(np.zeros(2), np.zeros(2)) is None
    assert ratio(np.array([1, 1]), np.array([0, 2])).tolist() == [0.0, 0.5]


def test_samples_without_a_score_are_left_out_of_the_interval() -> None:
    found = PatientBootstrap.of(["a", "b"]).ratio_of_sums(np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    assert found is not None and (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def _wrong_every(number: int) -> np.ndarray:
    """Returns predictions (studies, 2), of which those of each such study are wrong."""
    is_wrong = np.arange(STUDIES)[:, None] % number == 0
    return TRUTH ^ is_wrong


def _compare(own: np.ndarray, other: np.ndarray, patients: list[str] = PATIENTS) -> PairedDifference:
    return paired_difference("other", TRUTH, (own, other), patients, PatientBootstrap.of(patients))


def test_a_model_does_not_differ_from_itself() -> None:
    found = _compare(_wrong_every(3), _wrong_every(3))
    assert (found.macro_f1.value, found.macro_f1.low, found.macro_f1.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_difference_changes_its_sign_when_the_models_are_exchanged() -> None:
    good, bad = TRUTH, _wrong_every(3)
    one, other = _compare(good, bad), _compare(bad, good)
    assert one.macro_f1.value == pytest.approx(-other.macro_f1.value) and one.macro_f1.value > 0
    assert (one.macro_f1.low, one.macro_f1.high) == pytest.approx((-other.macro_f1.high, -other.macro_f1.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_a_clear_difference_is_significant_and_a_small_one_is_not() -> None:
    clear, small = (_compare(TRUTH, _wrong_every(number)) for number in (3, STUDIES))
    assert clear.p_value < 0.01 and clear.macro_f1.low > 0
    assert small.p_value > 0.5 and small.macro_f1.low <= 0 < small.macro_f1.value


def test_all_studies_of_a_patient_are_swapped_together() -> None:
    found = _compare(TRUTH, _wrong_every(3), ["one"] * STUDIES)
    assert found.p_value == 1.0, "one patient swapped gives the same difference"


def test_unknown_truth_has_no_part_in_a_paired_test() -> None:
    rng = np.random.default_rng(2)
    truth = np.where(rng.random((40, 3)) < 0.3, np.nan, rng.random((40, 3)) < 0.5)
    own, other = rng.random((40, 3)) < 0.6, rng.random((40, 3)) < 0.4
    patients = [str(number) for number in range(40)]
    flipped = np.where(np.isnan(truth), ~own, own)
    bootstrap = PatientBootstrap.of(patients)
    assert paired_difference("x", truth, (own, other), patients, bootstrap) == paired_difference(
        "x", truth, (flipped, other), patients, bootstrap
    )
