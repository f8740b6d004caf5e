"""The description that `msvlm inspect` prints as text and JSON, and what it imports."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tyro
from dicom_files import ct_series, mr_series, written

from msvlm.cli import main
from msvlm.cli.studies import Report
from msvlm.imaging.inspect import describe_series, describe_study
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.read import read_study
from msvlm.study import LeftOut, Study


def test_text_and_json_have_the_same_content(tmp_path: Path) -> None:
    written(tmp_path, ct_series(), mr_series())
    study = read_study(tmp_path)
    description = describe_study(replace(study, left_out=(LeftOut("s1", "localiser"),)))
    text, content = description.to_text(), json.loads(description.to_json())
    assert "2 series read, 1 left out" in text
    assert "s2: CT axial ct, chest" in text
    assert "8 slices of 12 x 10, 0.8 x 0.7 mm, gaps 2.5 mm, extent 17.5 mm, tilt 0 degrees" in text
    assert f"{ct_series().voxels.min()} to {ct_series().voxels.max()} HU" in text
    assert "s3: MR sagittal t2, pelvis" in text
    assert "  s1: localiser" in text
    assert content["key"] == study.key
    assert content["left_out"] == [{"name": "s1", "reason": "localiser"}]
    assert content["series"][0]["spacing_mm"] == [0.8, 0.7, 2.5]
    assert content["series"][1]["plane"] == "sagittal"


def test_uneven_gaps_padding_and_notes_are_described() -> None:
    series = ct_series()
    positions, voxels = series.positions_ras_mm.copy(), series.voxels.copy()
    positions[4:, 2] += 1.5
    voxels[:, 0] = -3024
    series = replace(
        series, positions_ras_mm=positions, voxels=voxels, padding_value=-3024.0, notes=("something unusual",)
    )
    described = describe_series(series)
    assert described.gaps_mm == (2.5, 4.0)
    assert described.lowest == series.voxels[:, 1:].min()
    text = describe_study(Study("a", (series,))).to_text()
    assert "gaps 2.5, 4 mm" in text
    assert "padding -3024" in text
    assert "note: something unusual" in text


def test_a_single_slice_is_described() -> None:
    series = ct_series(slices=1)
    assert describe_series(series).spacing_mm == (0.8, 0.7, 0.0)
    assert np.isfinite(describe_series(series).extent_mm)


def imported_by_inspecting(path: Path) -> set[str]:
    """Runs `msvlm inspect` and returns the modules it imported; it must succeed without a warning."""
    code = "import sys; from msvlm.cli import main; main(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, "inspect", str(path)], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert "1 series read" in run.stdout
    return set(run.stdout.rsplit("\n", 2)[1].split())


def test_inspecting_nifti_imports_no_model(tmp_path: Path) -> None:
    write_nifti(ct_series(), tmp_path / "ct.nii.gz")
    imported = imported_by_inspecting(tmp_path / "ct.nii.gz")
    assert "nibabel" in imported
    assert not {"torch", "transformers"} & imported


def test_inspecting_dicom_imports_no_model_and_no_nibabel(tmp_path: Path) -> None:
    written(tmp_path, ct_series(slices=4))
    imported = imported_by_inspecting(tmp_path)
    assert "pydicom" in imported
    assert not {"torch", "transformers", "scipy", "nibabel"} & imported


def test_the_command_takes_several_files_of_one_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [str(tmp_path / name) for name in ("a.nii.gz", "b.nii.gz")]
    for path, series in zip(paths, (ct_series(), mr_series()), strict=True):
        write_nifti(series, Path(path))
    assert main(["inspect", *paths, "--json"]) == 0
    assert [series["key"] for series in json.loads(capsys.readouterr().out)["series"]] == ["n1", "n2"]
    assert tyro.cli(Report, args=[*paths, "--device", "cpu"]).study == tuple(map(Path, paths))
    assert main(["inspect"]) == 2
    assert "no input path; pass a folder, a zip file or image files" in capsys.readouterr().err
