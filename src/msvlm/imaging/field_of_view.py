"""The fraction of the body outside the pixel grid to which every slice is resampled."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msvlm.imaging.preprocess import InputConfig, to_display_orientation
from msvlm.study import Modality, Series

_SOLID_HU = -300.0
_SOLID_MR = 0.2
"""Fraction of the range between a volume's `mr_percentiles`; lower values are air and noise."""
_SAMPLES = 128
"""Approximate number of slices, rows and columns that are sampled, which is enough for a fraction."""


def fraction_outside_field(series: Series, config: InputConfig) -> float:
    """Returns the fraction of solid voxels, 0 to 1, that `prepare_series` crops: outside the grid centred on the slice.

    The patient table counts where it is as dense as a body. 0 where no voxel is solid.
    """
    every = _sample(len(series.voxels))
    sampled = replace(
        series,
        voxels=series.voxels[every],
        positions_ras_mm=series.positions_ras_mm[every],
        row_steps_ras_mm=series.row_steps_ras_mm[every],
        column_steps_ras_mm=series.column_steps_ras_mm[every],
        instance_numbers=None,
    )
    oriented, _ = to_display_orientation(sampled)
    _, rows, columns = oriented.voxels.shape
    voxels = oriented.voxels[:, _sample(rows), _sample(columns)]
    solid = _is_solid(voxels, series, config)
    row_mm, column_mm = oriented.pixel_spacing_mm
    within_rows = _is_within(rows, row_mm, config.rows * config.pixel_spacing_mm)
    within_columns = _is_within(columns, column_mm, config.columns * config.pixel_spacing_mm)
    inside = int(np.count_nonzero(solid[:, within_rows][:, :, within_columns]))
    return 1.0 - inside / max(1, int(np.count_nonzero(solid))) if solid.any() else 0.0


def _is_solid(
    voxels: NDArray[np.int16] | NDArray[np.float32], series: Series, config: InputConfig
) -> NDArray[np.bool_]:
    is_real = np.ones(voxels.shape, dtype=bool) if series.padding_value is None else voxels != series.padding_value
    if series.modality is Modality.CT:
        return is_real & (voxels > _SOLID_HU)
    if not is_real.any():
        return is_real
    low, high = np.percentile(voxels[is_real], config.mr_percentiles)
    return is_real & (voxels > low + _SOLID_MR * (high - low))


def _is_within(voxels: int, voxel_mm: float, field_mm: float) -> NDArray[np.bool_]:
    """Returns (sampled voxels,): whether the centre of each lies in a field centred on the slice."""
    return (np.abs(np.arange(voxels) - (voxels - 1) / 2) * voxel_mm <= field_mm / 2)[_sample(voxels)]


def _sample(length: int) -> slice:
    """Returns a slice that samples a length evenly, starting half a step from its beginning."""
    step = max(1, length // _SAMPLES)
    return slice(step // 2, None, step)
