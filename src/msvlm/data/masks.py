"""Lesion masks of a study -> the cells of the model's region grid that each finding covers, slice by slice."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.imaging.preprocess import InputConfig, mask_regions
from msvlm.imaging.read import read_study
from msvlm.study import Series, Study
from msvlm.vocabulary.vocabulary import Vocabulary

_TOLERANCE_VOXELS = 1.0
"""Largest distance of the slice centres of the first series from the mask volume."""


def lesion_regions(
    study: Study,
    masks_path: Path,
    findings: Sequence[str],
    vocabulary: Vocabulary,
    input_config: InputConfig,
    region_grid: tuple[int, int],
) -> NDArray[np.bool_]:
    """Returns (slices, findings, grid rows, grid columns): the cells that lesions of each finding cover.

    Slices are those of all series in the order of `prepare_study`, findings those of the vocabulary. The label
    volume is resampled to every series by nearest voxel in patient coordinates.

    Args:
        study: the study with the lesions.
        masks_path: a NIfTI label volume; value i + 1 is a lesion of `findings[i]`.
        findings: names of findings, one for each value.
        vocabulary: vocabulary of the findings.
        input_config, region_grid: those of the model.

    Raises:
        DataError: the volume holds a value without a finding, a finding is unknown, or the volume does not cover the
            first series.
        StudyError: the volume cannot be read.
    """
    unknown = sorted(set(findings) - set(vocabulary.names))
    if unknown:
        raise DataError(f"{study.key}: masks of {', '.join(unknown)}; not in vocabulary {vocabulary.name}")
    masks = read_study(masks_path).series[0]
    values = np.unique(masks.voxels)
    if not np.isin(values, np.arange(len(findings) + 1)).all():
        raise DataError(
            f"{study.key}: masks hold values from {values[0]} to {values[-1]}; must be 0 (background) to "
            f"{len(findings)}, i for the i-th finding"
        )
    if not _covers(masks, study.series[0]):
        raise DataError(f"{study.key}: the masks do not cover the study's first series; give masks in its coordinates")
    regions = []
    for series in study.series:
        labels = _resample_labels(masks, series)
        covered = np.zeros((len(labels), len(vocabulary.findings), *region_grid), dtype=bool)
        for finding in set(findings):
            is_finding = np.array([False, *(name == finding for name in findings)])
            mask = is_finding[labels]
            if mask.any():
                covered[:, vocabulary.names.index(finding)] = mask_regions(series, mask, input_config, region_grid)
        regions.append(covered)
    return np.concatenate(regions)


def _resample_labels(masks: Series, series: Series) -> NDArray[np.int64]:
    """Returns (slices, rows, columns) of the series: the label of the nearest voxel of the masks, 0 outside them."""
    is_same = masks.voxels.shape == series.voxels.shape and all(
        np.allclose(of_masks, of_series, atol=1e-3)
        for of_masks, of_series in (
            (masks.positions_ras_mm, series.positions_ras_mm),
            (masks.row_steps_ras_mm, series.row_steps_ras_mm),
            (masks.column_steps_ras_mm, series.column_steps_ras_mm),
        )
    )
    if is_same:
        return masks.voxels.astype(np.int64)
    to_index = np.linalg.inv(masks.affine_ras)
    labels = np.zeros(series.voxels.shape, dtype=np.int64)
    rows, columns = (np.arange(size)[:, None] for size in series.voxels.shape[1:])
    for number, position in enumerate(series.positions_ras_mm):
        along_rows = rows * (to_index[:3, :3] @ series.row_steps_ras_mm[number])
        along_columns = columns * (to_index[:3, :3] @ series.column_steps_ras_mm[number])
        origin = to_index[:3, :3] @ position + to_index[:3, 3]
        index = np.rint(origin + along_rows[:, None] + along_columns[None, :]).astype(np.int64)
        is_inside = ((index >= 0) & (index < masks.voxels.shape)).all(axis=2)
        labels[number][is_inside] = masks.voxels[tuple(index[is_inside].T)].astype(np.int64)
    return labels


def _covers(masks: Series, series: Series) -> bool:
    """Returns whether the slice centres of a series lie within the masks, with a tolerance of a voxel."""
    to_index = np.linalg.inv(masks.affine_ras)
    index = series.slice_centres_ras_mm @ to_index[:3, :3].T + to_index[:3, 3]
    lowest, highest = -_TOLERANCE_VOXELS, np.array(masks.voxels.shape) - 1 + _TOLERANCE_VOXELS
    return bool(((index >= lowest) & (index <= highest)).all())
