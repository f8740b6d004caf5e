"""What a score must be read beside: trivial reports, and ridge regression on hand-made HU statistics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.evaluation.clinical_metrics import area_under_curve
from msvlm.imaging.preprocess import InputConfig, PreparedStudy, to_channels

CELL_GRID = (6, 8)
"""Cells of a slice, rows and columns."""
ZONES = 5
"""Equal parts of the scan along its slices."""
RIDGE_PENALTIES = (10.0, 100.0, 1000.0, 10000.0, 100000.0)


def commonest_report(reports: Sequence[str]) -> str:
    """The text that most of the reports share word for word; the earliest of those equally common."""
    if not reports:
        raise DataError("no training report to take the commonest of; name a training split that has studies")
    return Counter(" ".join(report.split()) for report in reports).most_common(1)[0][0]


def another_patients(patients: Sequence[str]) -> NDArray[np.int64]:
    """(studies,): for each study the row of a study of another patient, no row twice.

    A draft depends on nothing but its image, so what a model writes for these rows is what it writes when it is
    given another patient's image.

    Raises:
        DataError: more than half of the studies are one patient's.
    """
    order = sorted(range(len(patients)), key=lambda row: patients[row])
    most = max(Counter(patients).values())
    if 2 * most > len(patients):
        raise DataError(f"{most} of {len(patients)} studies are one patient's; no other patient's image for each")
    rows = np.empty(len(patients), dtype=np.int64)
    rows[order] = np.roll(order, -most)
    return rows


def hu_statistics(study: PreparedStudy, config: InputConfig) -> NDArray[np.float32]:
    """Mean, maximum and standard deviation of every window in every cell of every zone, of the longest series.

    Order: (statistic, zone, window, cell), flat.
    """
    series = max(study.series, key=lambda one: len(one.intensities))
    channels = to_channels(series, config)
    slices, windows = channels.shape[:2]
    parts = [
        part
        for band in np.array_split(channels, CELL_GRID[0], axis=2)
        for part in np.array_split(band, CELL_GRID[1], axis=3)
    ]
    statistics = np.empty((3, ZONES, windows, len(parts)), dtype=np.float32)
    for zone in range(ZONES):
        first = min(zone * slices // ZONES, slices - 1)
        last = max((zone + 1) * slices // ZONES, first + 1)
        for cell, part in enumerate(parts):
            values = part[first:last].transpose(1, 0, 2, 3).reshape(windows, -1)
            statistics[:, zone, :, cell] = values.mean(1), values.max(1), values.std(1)
    return statistics.ravel()


@dataclass(frozen=True)
class HuRidge:
    """Ridge regression of each finding on standardised HU statistics.

    Attributes:
        mean, scale: (features,), of the training studies.
        weights: (features, findings).
        intercepts, thresholds: (findings,); a study has the finding where its score is above the threshold.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercepts: NDArray[np.float64]
    thresholds: NDArray[np.float64]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(studies, findings) for (studies, features): higher is more likely, not a probability."""
        return (features - self.mean) / self.scale @ self.weights + self.intercepts

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """(studies, findings): which findings are said to be there."""
        return self.scores(features) > self.thresholds


@dataclass(frozen=True)
class RidgeData:
    """Studies to learn from or to choose by: `features` (studies, features), `presence` (studies, findings)."""

    features: NDArray[np.float32]
    presence: NDArray[np.bool_]


def fit_hu_ridge(training: RidgeData, validation: RidgeData) -> HuRidge:
    """Solves the ridge in closed form; penalty (by AUC) and threshold (by F1) of each finding come from validation."""
    if not len(training.features) or not len(validation.features):
        raise DataError(
            f"{len(training.features)} training and {len(validation.features)} validation studies for the HU ridge; "
            "both splits need studies"
        )
    mean = training.features.mean(0, dtype=np.float64)
    scale = np.maximum(training.features.std(0, dtype=np.float64), 1e-6)
    standardised = (training.features - mean) / scale
    intercepts = training.presence.mean(0, dtype=np.float64)
    candidates = _ridge_weights(standardised, training.presence - intercepts)
    seen = (validation.features - mean) / scale
    areas = np.array([np.nan_to_num(area_under_curve(validation.presence, seen @ each)) for each in candidates])
    best = areas.argmax(0)
    weights = np.stack([candidates[choice][:, finding] for finding, choice in enumerate(best)], axis=1)
    thresholds = best_thresholds(validation.presence, seen @ weights + intercepts)
    return HuRidge(mean, scale, weights, intercepts, thresholds)


def _ridge_weights(features: NDArray[np.float64], targets: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """(features, findings) for each penalty; what is decomposed is as large as the fewer of studies and features."""
    if len(features) > features.shape[1]:
        eigenvalues, eigenvectors = np.linalg.eigh(features.T @ features)
        projected = eigenvectors.T @ (features.T @ targets)
        return [eigenvectors @ (projected / (eigenvalues + penalty)[:, None]) for penalty in RIDGE_PENALTIES]
    eigenvalues, eigenvectors = np.linalg.eigh(features @ features.T)
    projected = eigenvectors.T @ targets
    return [features.T @ (eigenvectors @ (projected / (eigenvalues + penalty)[:, None])) for penalty in RIDGE_PENALTIES]


def best_thresholds(truth: NDArray[np.bool_], scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """(findings,): the threshold of each finding that gives (studies, findings) the highest F1.

    It lies midway between two scores; where no study has the finding, above all scores.
    """
    thresholds = np.empty(truth.shape[1])
    for finding in range(truth.shape[1]):
        order = np.argsort(-scores[:, finding], kind="stable")
        ranked, hits = scores[order, finding], np.cumsum(truth[order, finding])
        f1 = 2 * hits / (np.arange(1, len(order) + 1) + max(hits[-1], 1))
        f1[:-1][ranked[:-1] == ranked[1:]] = -1.0
        cut = int(f1.argmax())
        if not hits[-1]:
            thresholds[finding] = ranked[0] + 1.0
        else:
            thresholds[finding] = (ranked[cut] + ranked[cut + 1]) / 2 if cut + 1 < len(ranked) else ranked[cut] - 1.0
    return thresholds
