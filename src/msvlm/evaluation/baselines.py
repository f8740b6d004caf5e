"""Baselines: trivial reports, another patient's image, and ridge regression on HU statistics."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm import tqdm

from msvlm.data.dataset import statements_of
from msvlm.data.manifest import Manifest, ManifestStudy
from msvlm.data.slice_store import SliceStore
from msvlm.data.text import join_report
from msvlm.errors import DataError
from msvlm.evaluation.finding_metrics import Truth, area_under_curve, best_thresholds, truth_matrix
from msvlm.evaluation.systems import (
    ALL_NEGATIVE,
    ALL_POSITIVE,
    COMMONEST_REPORT,
    HU_RIDGE,
    SystemOutput,
    output_of_texts,
)
from msvlm.imaging.preprocess import InputConfig, PreparedStudy, to_channels
from msvlm.study import LeftOut
from msvlm.vocabulary.vocabulary import Vocabulary

CELL_GRID = (6, 8)
"""Cells of a slice, rows and columns."""
ZONES = 5
"""Equal parts of the scan along its slices."""
RIDGE_PENALTIES = (10.0, 100.0, 1000.0, 10000.0, 100000.0)


def trivial_systems(
    manifest: Manifest, studies: int, vocabulary: Vocabulary
) -> tuple[list[SystemOutput], tuple[LeftOut, ...]]:
    """Returns all negative, all positive and the commonest training report, for a number of studies.

    The second value names the system that is left out, with the reason.
    """
    nothing = np.zeros((studies, len(vocabulary.findings)), dtype=bool)
    outputs = [SystemOutput(ALL_NEGATIVE, nothing), SystemOutput(ALL_POSITIVE, ~nothing)]
    training = _split(manifest, "train")
    if not training:
        return outputs, (LeftOut(COMMONEST_REPORT, "the manifest has no training study"),)
    commonest = commonest_report([join_report(study.findings, study.impression) for study in training])
    return [*outputs, output_of_texts(COMMONEST_REPORT, (commonest,) * studies, vocabulary)], ()


def ridge_system(
    manifest: Manifest, store: SliceStore, studies: Sequence[ManifestStudy], vocabulary: Vocabulary
) -> tuple[list[SystemOutput], tuple[LeftOut, ...]]:
    """Returns the HU ridge; without prepared training and validation studies names it as left out, with the reason."""
    training, validation = (
        [study for study in _split(manifest, split) if study.key in store] for split in ("train", "validation")
    )
    if not training or not validation:
        counts = f"{len(training)} training and {len(validation)} validation studies are prepared"
        return [], (LeftOut(HU_RIDGE, f"{counts}; it needs both"),)
    ridge = fit_hu_ridge(*(_ridge_data(split, store, vocabulary) for split in (training, validation)))
    features = _ridge_data(studies, store, vocabulary).features
    return [SystemOutput(HU_RIDGE, ridge.predict(features), scores=ridge.scores(features))], ()


def commonest_report(reports: Sequence[str]) -> str:
    """Returns the most frequent report, white space normalised; the first of equally frequent ones."""
    if not reports:
        raise DataError("there are no training reports; give a training split with studies")
    return Counter(" ".join(report.split()) for report in reports).most_common(1)[0][0]


def studies_of_other_patients(patients: Sequence[str]) -> NDArray[np.int64]:
    """Returns for each study the index of a study of another patient, (studies,), each index once.

    A draft depends on the image alone, so the draft of that study is what the model writes when it is given another
    patient's image.

    Raises:
        DataError: more than half of the studies belong to one patient.
    """
    order = sorted(range(len(patients)), key=lambda study: patients[study])
    most = max(Counter(patients).values())
    if 2 * most > len(patients):
        raise DataError(f"{most} of {len(patients)} studies belong to one patient; too few images of other patients")
    others = np.empty(len(patients), dtype=np.int64)
    others[order] = np.roll(order, -most)
    return others


def hu_statistics(study: PreparedStudy, config: InputConfig) -> NDArray[np.float32]:
    """Returns mean, maximum and standard deviation per zone, window and cell of the longest series.

    Flattened from (statistic, zone, window, cell).
    """
    series = max(study.series, key=lambda series: len(series.intensities))
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
        parts: standardisation and regression of findings that were trained on the same studies.
        thresholds: (findings,); a finding is predicted where its score is above the threshold.
    """

    parts: tuple["RidgePart", ...]
    thresholds: NDArray[np.float64]

    def scores(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Returns scores (studies, findings) of features (studies, features); higher is more likely, no probability."""
        return _ridge_scores(self.parts, features)

    def predict(self, features: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Returns the predicted findings, (studies, findings)."""
        return self.scores(features) > self.thresholds


@dataclass(frozen=True)
class RidgeData:
    """Features (studies, features) and ground truth (studies, findings)."""

    features: NDArray[np.float32]
    truth: Truth


def fit_hu_ridge(training: RidgeData, validation: RidgeData) -> HuRidge:
    """Fits the ridge; for each finding the validation studies select the penalty (by AUC) and the threshold (by F1)."""
    if not len(training.features) or not len(validation.features):
        raise DataError(
            f"{len(training.features)} training and {len(validation.features)} validation studies for the HU ridge; "
            "both splits need studies"
        )
    findings = training.truth.shape[1]
    areas = []
    for penalty in RIDGE_PENALTIES:
        parts = _fit_ridge(training, np.full(findings, penalty))
        areas.append(np.nan_to_num(area_under_curve(validation.truth, _ridge_scores(parts, validation.features))))
    parts = _fit_ridge(training, np.array(RIDGE_PENALTIES)[np.array(areas).argmax(0)])
    return HuRidge(parts, best_thresholds(validation.truth, _ridge_scores(parts, validation.features)))


@dataclass(frozen=True)
class RidgePart:
    """The regression of some findings: their columns, and features (studies, features) -> scores; None: always 0."""

    columns: NDArray[np.int64]
    model: Pipeline | None


def _fit_ridge(training: RidgeData, penalties: NDArray[np.float64]) -> tuple[RidgePart, ...]:
    """Fits each finding on the studies of which it is known; findings that are known of the same studies together."""
    is_known = ~np.isnan(training.truth)
    patterns, pattern_of = np.unique(is_known, axis=1, return_inverse=True)
    parts = []
    for pattern in range(patterns.shape[1]):
        columns, chosen = np.flatnonzero(pattern_of.ravel() == pattern), patterns[:, pattern]
        model = None
        if chosen.any():
            model = make_pipeline(StandardScaler(), Ridge(alpha=penalties[columns])).fit(
                training.features[chosen].astype(np.float64), training.truth[chosen][:, columns].astype(np.float64)
            )
        parts.append(RidgePart(columns, model))
    return tuple(parts)


def _ridge_scores(parts: Sequence[RidgePart], features: NDArray[np.float32]) -> NDArray[np.float64]:
    """Returns (studies, findings)."""
    scores = np.zeros((len(features), sum(len(part.columns) for part in parts)))
    for part in parts:
        if part.model is not None:
            predicted = part.model.predict(features.astype(np.float64))
            scores[:, part.columns] = predicted.reshape(len(features), len(part.columns))
    return scores


def _ridge_data(studies: Sequence[ManifestStudy], store: SliceStore, vocabulary: Vocabulary) -> RidgeData:
    progress = tqdm(studies, desc="HU statistics", unit="study", disable=None)
    features = np.stack([hu_statistics(store.read(study.key), store.input_config) for study in progress])
    return RidgeData(features, truth_matrix([statements_of(study) for study in studies], vocabulary))


def _split(manifest: Manifest, split: str) -> tuple[ManifestStudy, ...]:
    """Returns the studies of a split, which may have none."""
    return tuple(study for study in manifest.studies if study.split == split)
