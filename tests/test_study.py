"""Geometry of Series: affine, tilt, plane, roles, and refused shapes."""

from dataclasses import replace

import numpy as np
import pytest

from msvlm.errors import GeometryError
from msvlm.study import Modality, Plane, Role, Series, Weighting


def axial_series(slices: int = 5, gap_mm: float = 2.5) -> Series:
    """Rows run to posterior, columns to the patient's left, slices to superior."""
    positions = np.zeros((slices, 3))
    positions[:, 2] = gap_mm * np.arange(slices)
    return Series(
        key="s1",
        voxels=np.zeros((slices, 4, 6), dtype=np.int16),
        positions_ras_mm=positions + (40.0, 30.0, -7.0),
        row_steps_ras_mm=np.tile((0.0, -0.8, 0.0), (slices, 1)),
        column_steps_ras_mm=np.tile((-0.7, 0.0, 0.0), (slices, 1)),
        modality=Modality.CT,
        weighting=Weighting.CT,
    )


def test_the_affine_maps_each_index_to_its_position() -> None:
    series = axial_series()
    position = series.affine_ras @ (3, 2, 5, 1)
    assert position[:3] == pytest.approx((40.0 - 5 * 0.7, 30.0 - 2 * 0.8, -7.0 + 3 * 2.5))


def test_uneven_slices_have_no_affine_and_the_error_states_the_gap() -> None:
    series = axial_series()
    positions = series.positions_ras_mm.copy()
    positions[3:, 2] += 2.5
    with pytest.raises(GeometryError, match=r"5\.00 mm apart between slices 3 and 4 and 3"):
        _ = replace(series, positions_ras_mm=positions).affine_ras


def test_errors_name_slices_counted_from_1_with_their_image_numbers() -> None:
    positions = axial_series().positions_ras_mm.copy()
    positions[3:, 2] += 2.5
    series = replace(axial_series(), positions_ras_mm=positions, instance_numbers=np.arange(100, 95, -1))
    with pytest.raises(GeometryError, match=r"between slices 3 and 4 \(images 98 and 97\) and"):
        _ = series.affine_ras


def test_one_slice_has_no_affine() -> None:
    with pytest.raises(GeometryError, match="one slice has no spacing"):
        _ = axial_series(slices=1).affine_ras


def test_slices_that_are_not_parallel_have_no_affine() -> None:
    series = axial_series()
    steps = series.row_steps_ras_mm.copy()
    steps[2] = (0.0, -0.75, 0.2)
    with pytest.raises(GeometryError, match="not parallel"):
        _ = replace(series, row_steps_ras_mm=steps).affine_ras


def test_tilt_is_the_angle_between_normal_and_scan_axis() -> None:
    series = axial_series()
    angle = np.radians(18.5)
    steps = np.tile((0.0, -0.8 * np.cos(angle), 0.8 * np.sin(angle)), (5, 1))
    assert replace(series, row_steps_ras_mm=steps).tilt_degrees == pytest.approx(18.5)
    assert series.tilt_degrees == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("row_step", "column_step", "plane"),
    [
        ((0, -1, 0), (-1, 0, 0), Plane.AXIAL),
        ((0, 0, -1), (0, -1, 0), Plane.SAGITTAL),
        ((0, 0, -1), (-1, 0, 0), Plane.CORONAL),
        ((0.2, -1, 0.3), (-1, 0, 0), Plane.AXIAL),
    ],
)
def test_plane_follows_the_geometry(row_step: tuple, column_step: tuple, plane: Plane) -> None:
    series = replace(
        axial_series(),
        row_steps_ras_mm=np.tile(np.array(row_step, dtype=float), (5, 1)),
        column_steps_ras_mm=np.tile(np.array(column_step, dtype=float), (5, 1)),
    )
    assert series.plane is plane


def test_every_role_has_its_own_index() -> None:
    indices = {Role(plane, weighting).index for plane in Plane for weighting in Weighting}
    assert indices == set(range(Role.COUNT))


def test_arrays_that_do_not_match_the_number_of_slices_are_refused() -> None:
    with pytest.raises(GeometryError, match=r"positions_ras_mm of shape \(4, 3\) for 5 slices"):
        replace(axial_series(), positions_ras_mm=np.zeros((4, 3)))
    with pytest.raises(GeometryError, match=r"instance_numbers of shape \(4,\) for 5 slices"):
        replace(axial_series(), instance_numbers=np.arange(4))
