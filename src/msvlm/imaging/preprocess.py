"""Prepares series for a model: display orientation, a fixed pixel grid in mm, HU values, windows as channels.

Nothing is resampled along the scan axis: a study keeps all its slices at their positions.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import ConfigError, GeometryError
from msvlm.study import Modality, Plane, Series, Study

AIR_HU = -1024
HIGHEST_HU = 3071
MR_FULL_SCALE = 1000
"""MR intensities are scaled so that the `mr_percentiles` of their volume become 0 and this."""


@dataclass(frozen=True)
class InputConfig:
    """Preprocessing of a model's input. It is saved with the model and applied whenever the model reads a study.

    Attributes:
        rows, columns: size of the pixel grid to which every slice is resampled, centred on the slice.
        pixel_spacing_mm: the grid's spacing; what lies outside the grid is cropped, grid beyond the slice becomes air.
        windows_hu: CT channels, each the (low, high) HU that become -1 and 1; values outside are clipped.
        windows_mr: MR channels, the same on the scale of `MR_FULL_SCALE`.
        mr_percentiles: percentiles of each MR volume that become 0 and `MR_FULL_SCALE`.
    """

    rows: int = 96
    columns: int = 128
    pixel_spacing_mm: float = 3.0
    windows_hu: tuple[tuple[float, float], ...] = ((-1350.0, 150.0), (-160.0, 240.0), (-200.0, 1300.0))
    windows_mr: tuple[tuple[float, float], ...] = ((0.0, 1000.0), (0.0, 500.0), (500.0, 1500.0))
    mr_percentiles: tuple[float, float] = (1.0, 99.0)

    def __post_init__(self) -> None:
        if min(self.rows, self.columns) < 8 or self.pixel_spacing_mm <= 0:
            raise ConfigError(
                f"input grid {self.rows} x {self.columns} at {self.pixel_spacing_mm} mm; minimum 8 x 8, above 0 mm"
            )
        for low, high in self.windows_hu + self.windows_mr:
            if not low < high:
                raise ConfigError(f"window from {low} to {high}; low must be below high")
        if len(self.windows_hu) != len(self.windows_mr):
            raise ConfigError(
                f"{len(self.windows_hu)} CT channels and {len(self.windows_mr)} MR channels; the numbers must be equal"
            )


@dataclass(frozen=True)
class PreparedSeries:
    """A series resampled to the model's grid, slices ascending along +R, +A or +S.

    Attributes:
        key: key of the series.
        intensities: (slices, rows, columns); HU for CT, `MR_FULL_SCALE` units for MR.
        centres_ras_mm: (slices, 3), centre of each slice.
        normals_ras: (slices, 3), unit normal of each slice.
        slice_indices: (slices,), index of each slice in the series as it was read.
    """

    key: str
    modality: Modality
    role_index: int
    intensities: NDArray[np.int16]
    centres_ras_mm: NDArray[np.float32]
    normals_ras: NDArray[np.float32]
    slice_indices: NDArray[np.int64]


@dataclass(frozen=True)
class PreparedStudy:
    """A study resampled to the model's grid."""

    key: str
    series: tuple[PreparedSeries, ...]


def prepare_study(study: Study, config: InputConfig) -> PreparedStudy:
    """Resamples every series of a study to the model's grid."""
    return PreparedStudy(study.key, tuple(prepare_series(series, config) for series in study.series))


def prepare_series(series: Series, config: InputConfig) -> PreparedSeries:
    """Resamples one series in plane to the model's grid; the number and the positions of its slices stay."""
    oriented, slice_indices = to_display_orientation(series)
    if series.modality is Modality.CT:
        values, fill = oriented.voxels.astype(np.float32), float(AIR_HU)
        low, high = float(AIR_HU), float(HIGHEST_HU)
    else:
        values, fill = _scale_mr(oriented, config), 0.0
        low, high = -float(MR_FULL_SCALE), 10.0 * MR_FULL_SCALE
    if oriented.padding_value is not None:
        values[oriented.voxels == oriented.padding_value] = fill
    np.clip(values, low, high, out=values)
    on_grid = _resample_in_plane(values, oriented, (config.rows, config.columns), config.pixel_spacing_mm, fill)
    return PreparedSeries(
        key=series.key,
        modality=series.modality,
        role_index=series.role.index,
        intensities=np.rint(on_grid).astype(np.int16),
        centres_ras_mm=oriented.slice_centres_ras_mm.astype(np.float32),
        normals_ras=oriented.normals_ras.astype(np.float32),
        slice_indices=slice_indices,
    )


def to_channels(prepared: PreparedSeries, config: InputConfig) -> NDArray[np.float32]:
    """Returns channels (slices, channels, rows, columns), each a window of the intensities scaled to -1..1."""
    windows = config.windows_hu if prepared.modality is Modality.CT else config.windows_mr
    intensities = prepared.intensities.astype(np.float32)
    channels = np.empty((len(intensities), len(windows), *intensities.shape[1:]), dtype=np.float32)
    for channel, (low, high) in enumerate(windows):
        np.clip((intensities - low) * (2.0 / (high - low)) - 1.0, -1.0, 1.0, out=channels[:, channel])
    return channels


def mask_regions(
    series: Series, mask: NDArray[np.bool_], config: InputConfig, grid: tuple[int, int]
) -> NDArray[np.bool_]:
    """Returns (slices, grid rows, grid columns): which cells of the model's field of view a mask covers.

    A cell counts where the mask covers at least half a model pixel of it. Slices are ordered as in `prepare_series`.

    Raises:
        GeometryError: the mask has another shape than the series.
    """
    if mask.shape != series.voxels.shape:
        raise GeometryError(f"{series.key}: mask of shape {mask.shape} for voxels of shape {series.voxels.shape}")
    oriented, _ = to_display_orientation(replace(series, voxels=mask.astype(np.int16)))
    spacing_mm = (
        config.rows * config.pixel_spacing_mm / grid[0],
        config.columns * config.pixel_spacing_mm / grid[1],
    )
    covered = _resample_in_plane(oriented.voxels.astype(np.float32), oriented, grid, spacing_mm, 0.0)
    return covered * (spacing_mm[0] * spacing_mm[1]) >= 0.5 * config.pixel_spacing_mm**2


_DISPLAY_AXES = {
    Plane.AXIAL: (np.array([0.0, -1.0, 0.0]), np.array([-1.0, 0.0, 0.0])),
    Plane.SAGITTAL: (np.array([0.0, 0.0, -1.0]), np.array([0.0, -1.0, 0.0])),
    Plane.CORONAL: (np.array([0.0, 0.0, -1.0]), np.array([-1.0, 0.0, 0.0])),
}
"""RAS directions of increasing row index and column index on a radiologist's screen."""


def to_display_orientation(series: Series) -> "tuple[Series, NDArray[np.int64]]":
    """Returns the series in radiological display orientation, and the previous index of each slice.

    Axial: rows run to posterior and columns to the patient's left; sagittal: to inferior and posterior; coronal: to
    inferior and left. Slices ascend along +R, +A or +S. No voxel changes its value or its position in the patient.
    """
    down, right = _DISPLAY_AXES[series.plane]
    voxels, positions = series.voxels, series.positions_ras_mm
    row_steps, column_steps = series.row_steps_ras_mm, series.column_steps_ras_mm
    if abs(row_steps[0] @ down) / np.linalg.norm(row_steps[0]) < abs(column_steps[0] @ down) / np.linalg.norm(
        column_steps[0]
    ):
        voxels, row_steps, column_steps = voxels.transpose(0, 2, 1), column_steps, row_steps
    if row_steps[0] @ down < 0:
        positions = positions + row_steps * (voxels.shape[1] - 1)
        voxels, row_steps = voxels[:, ::-1], -row_steps
    if column_steps[0] @ right < 0:
        positions = positions + column_steps * (voxels.shape[2] - 1)
        voxels, column_steps = voxels[:, :, ::-1], -column_steps
    normal_axis = int(np.argmax(np.abs(series.normals_ras[0])))
    order = np.argsort(positions[:, normal_axis], kind="stable")
    oriented = replace(
        series,
        voxels=voxels if np.array_equal(order, np.arange(len(order))) else voxels[order],
        positions_ras_mm=positions[order],
        row_steps_ras_mm=row_steps[order],
        column_steps_ras_mm=column_steps[order],
        instance_numbers=None if series.instance_numbers is None else series.instance_numbers[order],
    )
    return oriented, order.astype(np.int64)


def _scale_mr(series: Series, config: InputConfig) -> NDArray[np.float32]:
    valid = series.voxels
    if series.padding_value is not None and not (series.voxels == series.padding_value).all():
        valid = series.voxels[series.voxels != series.padding_value]
    low, high = np.percentile(valid, config.mr_percentiles)
    if high <= low:
        low, high = float(valid.min()), float(valid.max()) + 1.0
    return ((series.voxels.astype(np.float32) - low) * (MR_FULL_SCALE / (high - low))).astype(np.float32)


def _resample_in_plane(
    values: NDArray[np.float32],
    series: Series,
    grid: tuple[int, int],
    spacing_mm: float | tuple[float, float],
    fill: float,
) -> NDArray[np.float32]:
    """Resamples slices by area averaging to a grid centred on the slice; cells outside the slice become `fill`."""
    to_mm = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm, spacing_mm)
    from_mm = series.pixel_spacing_mm
    row_weights = _cell_weights(values.shape[1], from_mm[0], grid[0], to_mm[0])
    column_weights = _cell_weights(values.shape[2], from_mm[1], grid[1], to_mm[1])
    on_grid = np.empty((len(values), *grid), dtype=np.float32)
    for index, plane in enumerate(values):
        on_grid[index] = row_weights @ (plane - fill) @ column_weights.T + fill
    return on_grid


def _cell_weights(voxels: int, voxel_mm: float, cells: int, cell_mm: float) -> NDArray[np.float32]:
    """Returns (cells, voxels): the fraction of each cell that each voxel covers; finer cells interpolate linearly."""
    voxel_centres = (np.arange(voxels) - (voxels - 1) / 2) * voxel_mm
    cell_centres = (np.arange(cells) - (cells - 1) / 2) * cell_mm
    distance = np.abs(cell_centres[:, None] - voxel_centres[None, :])
    if cell_mm > voxel_mm:
        overlap = np.clip((cell_mm + voxel_mm) / 2 - distance, 0.0, voxel_mm) / cell_mm
    else:
        overlap = np.clip(1.0 - distance / voxel_mm, 0.0, 1.0)
    return overlap.astype(np.float32)
