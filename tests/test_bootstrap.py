"""Patients are drawn whole, and all scores of the same studies share the draws."""

import numpy as np
import pytest

from msvlm.evaluation.bootstrap import PatientDraws, ratio


def test_a_patients_studies_are_drawn_together() -> None:
    draws = PatientDraws.of(["b", "a", "b", "c", "b"], draws=50)
    assert draws.weights.shape == (50, 5)
    assert (draws.weights[:, [0]] == draws.weights[:, [2, 4]]).all()
    patients = draws.weights[:, [0, 1, 3]]
    assert (patients.sum(axis=1) == 3).all() and patients.std() > 0


def test_rows_hold_each_study_as_often_as_it_weighs() -> None:
    draws = PatientDraws.of(["a", "b", "c", "c"], draws=20)
    for draw in range(20):
        assert np.bincount(draws.rows(draw), minlength=4).tolist() == draws.weights[draw].tolist()


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(size=400)
    draws = PatientDraws.of([str(row) for row in range(400)])
    found = draws.share(values, np.ones(400))
    assert found is not None
    assert (found.value, found.count) == (pytest.approx(values.mean()), 400)
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_several_studies_of_a_patient_count_as_one_in_the_interval() -> None:
    values = np.random.default_rng(2).normal(size=100)
    alone = PatientDraws.of([str(row) for row in range(100)]).share(values, np.ones(100))
    thrice = PatientDraws.of([str(row // 3) for row in range(300)]).share(np.repeat(values, 3), np.ones(300))
    assert alone is not None and thrice is not None
    assert thrice.high - thrice.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_the_same_patients_give_the_same_draws() -> None:
    one, other = (PatientDraws.of(["a", "b", "c"]) for _ in range(2))
    assert (one.weights == other.weights).all()


def test_nothing_under_the_line_is_no_score() -> None:
    assert PatientDraws.of(["a", "b"]).share(np.zeros(2), np.zeros(2)) is None
    assert ratio(np.array([1, 1]), np.array([0, 2])).tolist() == [0.0, 0.5]


def test_draws_without_a_score_are_left_out_of_the_interval() -> None:
    found = PatientDraws.of(["a", "b"]).share(np.array([1.0, 0.0]), np.array([1.0, 0.0]))
    assert found is not None and (found.value, found.low, found.high) == (1.0, 1.0, 1.0)
