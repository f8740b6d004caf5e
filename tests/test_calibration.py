"""Probabilities are compared with what happens, bin by bin."""

import numpy as np
import pytest

from msvlm.evaluation.calibration import BINS, reliability, score_calibration


def test_probabilities_that_come_true_as_often_as_they_say_have_no_error() -> None:
    rng = np.random.default_rng(0)
    probability = rng.random((20_000, 2))
    calibration = score_calibration(rng.random((20_000, 2)) < probability, probability, ("one", "other"))
    assert calibration.error < 0.01 and max(calibration.errors) < 0.02


def test_certainty_that_is_always_wrong_has_the_largest_error() -> None:
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
    assert bins[1].share_there == 1.0 and bins[5].share_there == 0.0
