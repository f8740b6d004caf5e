import tracemalloc

import numpy as np
import pytest

from msvlm.errors import DataError
from msvlm.evaluation.baselines import (
    CELL_GRID,
    RIDGE_PENALTIES,
    ZONES,
    RidgeData,
    another_patients,
    best_thresholds,
    commonest_report,
    fit_hu_ridge,
    hu_statistics,
)
from msvlm.imaging.preprocess import InputConfig, PreparedSeries, PreparedStudy
from msvlm.study import Modality

CONFIG = InputConfig(rows=12, columns=16)


def _study(intensities: np.ndarray) -> PreparedStudy:
    slices = len(intensities)
    series = PreparedSeries(
        "s1",
        Modality.CT,
        0,
        intensities.astype(np.int16),
        np.zeros((slices, 3), np.float32),
        np.zeros((slices, 3), np.float32),
        np.arange(slices),
    )
    return PreparedStudy("study", (series,))


def test_statistics_tell_where_and_how_bright() -> None:
    intensities = np.full((10, 12, 16), -1000)
    intensities[9, 11, 15] = 1300
    statistics = hu_statistics(_study(intensities), CONFIG).reshape(3, ZONES, 3, CELL_GRID[0] * CELL_GRID[1])
    maximum = statistics[1]
    assert maximum[4, 2, 47] == 1.0
    assert (np.delete(maximum[4, 2], 47) == -1.0).all() and (maximum[:4, 2] == -1.0).all()
    assert statistics[2, 4, 2, 47] > 0 == statistics[2, 0].max()


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 7])
def test_statistics_have_one_length_for_any_number_of_slices(slices: int) -> None:
    statistics = hu_statistics(_study(np.zeros((slices, 12, 16))), CONFIG)
    assert statistics.shape == (3 * ZONES * 3 * 48,) and np.isfinite(statistics).all()


def test_the_ridge_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 7)).astype(np.float32)
    data = RidgeData(features, features[:, :2] + rng.normal(size=(30, 2)) > 0)
    ridge = fit_hu_ridge(data, data)
    standardised = (features - ridge.mean) / ridge.scale
    for finding in range(2):
        wanted = [
            np.linalg.solve(
                standardised.T @ standardised + penalty * np.eye(7),
                standardised.T @ (data.presence[:, finding] - data.presence[:, finding].mean()),
            )
            for penalty in RIDGE_PENALTIES
        ]
        assert any(np.allclose(ridge.weights[:, finding], weights, atol=1e-8) for weights in wanted)


def test_the_ridge_is_the_same_whether_studies_or_features_outnumber_the_others() -> None:
    """Features that are nothing but 0 change no answer, and turn a fit of many studies into one of many features."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(40, 8)).astype(np.float32)
    presence = features[:, :2] + rng.normal(size=(40, 2)) > 0
    wide = np.hstack([features, np.zeros((40, 60), np.float32)])
    few, many = (fit_hu_ridge(RidgeData(each, presence), RidgeData(each, presence)) for each in (features, wide))
    np.testing.assert_allclose(many.weights[:8], few.weights, atol=1e-9)
    np.testing.assert_allclose(many.thresholds, few.thresholds, atol=1e-9)


def test_many_studies_need_no_matrix_of_studies_by_studies() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(size=(3000, 10)).astype(np.float32)
    data = RidgeData(features, features[:, :2] > 0)
    tracemalloc.start()
    fit_hu_ridge(data, data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 3000 * 3000


def test_the_ridge_finds_a_signal_and_refuses_an_empty_split() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(400, 50)).astype(np.float32)
    presence = features[:, :3] > 0.5
    ridge = fit_hu_ridge(RidgeData(features[:200], presence[:200]), RidgeData(features[200:300], presence[200:300]))
    assert (ridge.predict(features[300:]) == presence[300:]).mean() > 0.85
    empty = RidgeData(features[:0], presence[:0])
    with pytest.raises(DataError, match="0 validation studies"):
        fit_hu_ridge(RidgeData(features, presence), empty)


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


@pytest.mark.parametrize("patients", ["abcdef", "aabbcc", "aaabcd", "ab", "abcabcab"])
def test_every_study_gets_another_patients_image_and_no_image_twice(patients: str) -> None:
    rows = another_patients(list(patients))
    assert sorted(rows) == list(range(len(patients)))
    assert all(patients[row] != patients[other] for row, other in enumerate(rows))


def test_one_patient_cannot_have_anothers_image() -> None:
    with pytest.raises(DataError, match="2 of 3 studies"):
        another_patients(["a", "a", "b"])


def test_the_commonest_report_is_the_one_most_studies_share() -> None:
    assert commonest_report(["b.", "a.", "a. "]) == "a."
    with pytest.raises(DataError, match="no training report"):
        commonest_report([])
