"""Small DICOM files for tests: written by msvlm, then changed by the test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset

from msvlm.imaging.dicom.write import write_dicom
from msvlm.study import Modality, Series, Study, Weighting


def ct_series(key: str = "s2", slices: int = 8, rows: int = 12, columns: int = 10, seed: int = 0) -> Series:
    """A textured axial chest CT, rows to posterior, columns to left, slices to superior, 2.5 mm apart."""
    positions = np.zeros((slices, 3))
    positions[:, 2] = 2.5 * np.arange(slices)
    voxels = np.random.default_rng(seed).integers(-1000, 1500, (slices, rows, columns)).astype(np.int16)
    return Series(
        key=key,
        voxels=voxels,
        positions_ras_mm=positions + (100.0, 90.0, -20.0),
        row_steps_ras_mm=np.tile((0.0, -0.8, 0.0), (slices, 1)),
        column_steps_ras_mm=np.tile((-0.7, 0.0, 0.0), (slices, 1)),
        modality=Modality.CT,
        weighting=Weighting.CT,
        body_part="chest",
    )


def mr_series(key: str = "s3", weighting: Weighting = Weighting.T2, b_value_s_mm2: float | None = None) -> Series:
    """A textured sagittal pelvic MR, rows to inferior, columns to posterior, slices to the right."""
    slices = 5
    positions = np.zeros((slices, 3))
    positions[:, 0] = 3.3 * np.arange(slices)
    return replace(
        ct_series(key, slices, seed=1),
        voxels=np.random.default_rng(2).integers(0, 900, (slices, 9, 11)).astype(np.int16),
        positions_ras_mm=positions + (-8.0, 70.0, 40.0),
        row_steps_ras_mm=np.tile((0.0, 0.0, -0.625), (slices, 1)),
        column_steps_ras_mm=np.tile((0.0, -0.625, 0.0), (slices, 1)),
        modality=Modality.MR,
        weighting=weighting,
        body_part="pelvis",
        b_value_s_mm2=b_value_s_mm2,
    )


def written(folder: Path, *series: Series, key: str = "study") -> list[Path]:
    """Writes one study with these series and returns its files."""
    return list(write_dicom(Study(key, series or (ct_series(),)), folder))


def edit(path: Path, change: Callable[[FileDataset], None]) -> None:
    """Rewrites a file after changing its elements."""
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def set_values(path: Path, **values: object) -> None:
    """Sets elements by keyword; None removes one."""

    def change(dataset: FileDataset) -> None:
        for keyword, value in values.items():
            if value is None:
                del dataset[keyword]
            else:
                setattr(dataset, keyword, value)

    edit(path, change)


def copied(path: Path, name: str, **values: object) -> Path:
    """Copies a file, with another instance UID and these elements."""
    copy = path.with_name(name)
    copy.write_bytes(path.read_bytes())
    set_values(copy, SOPInstanceUID=pydicom.uid.generate_uid(entropy_srcs=[name]), **values)
    return copy


def assert_same_series(read: Series, expected: Series) -> None:
    """Compares voxels exactly, positions to 0.001 mm, and the values from the header."""
    np.testing.assert_array_equal(read.voxels, expected.voxels)
    assert read.voxels.dtype == expected.voxels.dtype
    for name in ("positions_ras_mm", "row_steps_ras_mm", "column_steps_ras_mm"):
        np.testing.assert_allclose(getattr(read, name), getattr(expected, name), atol=1e-3, rtol=0.0)
    if expected.instance_numbers is not None:
        np.testing.assert_array_equal(read.instance_numbers, expected.instance_numbers)
    for name in ("modality", "weighting", "padding_value", "body_part", "b_value_s_mm2"):
        assert getattr(read, name) == getattr(expected, name), name
