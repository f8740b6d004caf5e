"""Writing DICOM: read back unchanged, the same bytes for the same study, valid according to dciodvfy."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import assert_same_series, ct_series, mr_series

from msvlm.errors import StudyError
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.read import read_study
from msvlm.study import Series, Study, Weighting

TILT = np.radians(12.0)


def tilted_uneven_series() -> Series:
    series = ct_series("s4", slices=6)
    positions = series.positions_ras_mm.copy()
    positions[2:, 2] += 1.3
    return replace(
        series,
        positions_ras_mm=positions,
        row_steps_ras_mm=np.tile((0.0, -0.8 * np.cos(TILT), 0.8 * np.sin(TILT)), (6, 1)),
    )


def padded_series() -> Series:
    series = ct_series("s5")
    voxels = series.voxels.copy()
    voxels[:, :3, :3] = -3024
    return replace(series, voxels=voxels, padding_value=-3024.0, weighting=Weighting.CT_VENOUS)


STUDY = Study(
    "demo",
    (
        ct_series("s2"),
        mr_series("s3"),
        tilted_uneven_series(),
        padded_series(),
        mr_series("s6", Weighting.DWI, 800.0),
        mr_series("s7", Weighting.ADC),
        mr_series("s8", Weighting.T1_CONTRAST),
        replace(ct_series("s9"), weighting=Weighting.CT_ARTERIAL),
        replace(ct_series("s10"), weighting=Weighting.CT_CONTRAST),
    ),
)


def test_what_is_written_is_read_back_the_same(tmp_path: Path) -> None:
    write_dicom(STUDY, tmp_path)
    study = read_study(tmp_path, key="demo")
    assert study.key == STUDY.key
    assert not study.left_out
    assert [series.key for series in study.series] == [series.key for series in STUDY.series]
    for read, expected in zip(study.series, STUDY.series, strict=True):
        assert_same_series(read, expected)


@pytest.mark.parametrize("weighting", [each for each in Weighting if not each.startswith("ct")])
def test_every_mr_weighting_is_read_back(tmp_path: Path, weighting: Weighting) -> None:
    b_value = 600.0 if weighting is Weighting.DWI else None
    write_dicom(Study("a", (mr_series("s1", weighting, b_value),)), tmp_path)
    assert read_study(tmp_path).series[0].weighting is weighting


def test_the_localiser_is_left_out_with_its_reason(tmp_path: Path) -> None:
    paths = write_dicom(Study("a", (ct_series(),)), tmp_path, with_localiser=True)
    assert len(paths) == 9
    study = read_study(tmp_path)
    assert [(item.name, item.reason) for item in study.left_out] == [("s1", "localiser")]
    assert_same_series(study.series[0], ct_series())
    localiser = pydicom.dcmread(paths[-1])
    np.testing.assert_allclose(localiser.pixel_array[0], ct_series().voxels[-1].mean(axis=0), atol=0.5)


def test_the_same_study_gives_the_same_bytes_and_another_key_other_ids(tmp_path: Path) -> None:
    first = write_dicom(STUDY, tmp_path / "a")
    second = write_dicom(STUDY, tmp_path / "b")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = write_dicom(replace(STUDY, key="other"), tmp_path / "c")
    ids = [{pydicom.dcmread(path).SOPInstanceUID for path in paths} for paths in (first, other)]
    assert len(ids[0]) == len(first)
    assert not ids[0] & ids[1]


def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    paths = write_dicom(STUDY, tmp_path, with_localiser=True)
    output = {}
    for path in paths:
        run = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
        output[path.parent.name] = run.stdout + run.stderr
        assert "CTImage" in output[path.parent.name] or "MRImage" in output[path.parent.name]
        assert "Error" not in output[path.parent.name]
    assert len(output) == len(STUDY.series) + 1


def test_float32_voxels_are_refused(tmp_path: Path) -> None:
    series = replace(ct_series(), voxels=ct_series().voxels.astype(np.float32))
    with pytest.raises(StudyError, match="s2: voxels of type float32; round them to int16"):
        write_dicom(Study("a", (series,)), tmp_path)
