"""Baselines: HU statistics, the ridge on them, the commonest report, another patient's study."""

import tracemalloc

import numpy as np
import pytest

from msvlm.errors import DataError
from msvlm.evaluation.baselines import (
    CELL_GRID,
    RIDGE_PENALTIES,
    ZONES,
    RidgeData,
    commonest_report,
    fit_hu_ridge,
    hu_statistics,
    studies_of_other_patients,
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


def test_statistics_depend_on_position_and_intensity() -> None:
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
    standardised = (features - features.mean(0, dtype=np.float64)) / features.std(0, dtype=np.float64)
    for finding in range(2):
        share = data.truth[:, finding].mean()
        wanted = [
            share
            + standardised
            @ np.linalg.solve(
                standardised.T @ standardised + penalty * np.eye(7),
                standardised.T @ (data.truth[:, finding] - share),
            )
            for penalty in RIDGE_PENALTIES
        ]
        assert any(np.allclose(ridge.scores(features)[:, finding], scores, atol=1e-6) for scores in wanted)


def test_the_ridge_is_the_same_whether_studies_or_features_outnumber_the_others() -> None:
    """Features that are all 0 change nothing, and turn a fit of many studies into one of many features."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(40, 8)).astype(np.float32)
    presence = features[:, :2] + rng.normal(size=(40, 2)) > 0
    wide = np.hstack([features, np.zeros((40, 60), np.float32)])
    few, many = (fit_hu_ridge(RidgeData(each, presence), RidgeData(each, presence)) for each in (features, wide))
    np.testing.assert_allclose(many.scores(wide), few.scores(features), atol=1e-9)
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


@pytest.mark.parametrize("patients", ["abcdef", "aabbcc", "aaabcd", "ab", "abcabcab"])
def test_each_study_gets_a_study_of_another_patient_and_none_twice(patients: str) -> None:
    others = studies_of_other_patients(list(patients))
    assert sorted(others) == list(range(len(patients)))
    assert all(patients[study] != patients[other] for study, other in enumerate(others))


def test_one_patient_with_most_studies_is_refused() -> None:
    with pytest.raises(DataError, match="2 of 3 studies belong to one patient"):
        studies_of_other_patients(["a", "a", "b"])


def test_the_commonest_report_is_the_most_frequent_one() -> None:
    assert commonest_report(["b.", "a.", "a. "]) == "a."
    with pytest.raises(DataError, match="no training reports"):
        commonest_report([])


def test_the_ridge_of_a_finding_is_that_of_the_studies_of_which_it_is_known() -> None:
    rng = np.random.default_rng(3)
    features = rng.normal(size=(80, 6)).astype(np.float32)
    truth = (features @ rng.normal(size=(6, 2)) + 0.3 * rng.normal(size=(80, 2)) > 0).astype(float)
    half = np.where((np.arange(80) < 40)[:, None], truth, np.nan)
    validation = RidgeData(features, truth)
    some = fit_hu_ridge(RidgeData(features, np.column_stack([truth[:, 0], half[:, 1]])), validation)
    alone = fit_hu_ridge(RidgeData(features[:40], truth[:40, 1:]), RidgeData(features, truth[:, 1:]))
    assert some.scores(features)[:, 1] == pytest.approx(alone.scores(features)[:, 0])
    assert some.scores(features)[:, 0] == pytest.approx(fit_hu_ridge(validation, validation).scores(features)[:, 0])
    never = fit_hu_ridge(RidgeData(features, np.column_stack([truth[:, 0], np.full(80, np.nan)])), validation)
    assert (never.scores(features)[:, 1] == 0).all()
