"""How much of a body the model does not see, because it lies outside the grid that every slice is brought to."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from msvlm.imaging.preprocess import InputConfig, to_display_orientation
from msvlm.study import Modality, Series

_SOLID_HU = -300.0
_SOLID_MR = 0.2
"""Of the way from the lower to the upper of a volume's `mr_percentiles`: below it lie air and noise."""
_LOOKED_AT = 128
"""About so many slices, rows and columns are looked at; a share needs no more."""


def share_outside_field(series: Series, config: InputConfig) -> float:
    """Share of the solid voxels, 0 to 1, that `prepare_series` cuts off: outside the grid centred on the slice.

    The table that a patient lies on counts where it is as dense as a body. 0 where nothing is solid.
    """
    every = _every_few(len(series.voxels))
    some = replace(
        series,
        voxels=series.voxels[every],
        positions_ras_mm=series.positions_ras_mm[every],
        row_steps_ras_mm=series.row_steps_ras_mm[every],
        column_steps_ras_mm=series.column_steps_ras_mm[every],
        instance_numbers=None,
    )
    shown, _ = to_display_orientation(some)
    _, rows, columns = shown.voxels.shape
    voxels = shown.voxels[:, _every_few(rows), _every_few(columns)]
    solid = _is_solid(voxels, series, config)
    row_mm, column_mm = shown.pixel_spacing_mm
    within_rows = _is_within(rows, row_mm, config.rows * config.pixel_spacing_mm)
    within_columns = _is_within(columns, column_mm, config.columns * config.pixel_spacing_mm)
    seen = int(np.count_nonzero(solid[:, within_rows][:, :, within_columns]))
    return 1.0 - seen / max(1, int(np.count_nonzero(solid))) if solid.any() else 0.0


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
    """(looked-at voxels,): whether the centre of each lies in a field about the middle of the slice."""
    return (np.abs(np.arange(voxels) - (voxels - 1) / 2) * voxel_mm <= field_mm / 2)[_every_few(voxels)]


def _every_few(length: int) -> slice:
    """The middle of every few, so that neither end is favoured."""
    step = max(1, length // _LOOKED_AT)
    return slice(step // 2, None, step)
