"""msvlm inspect's description: complete, as text and JSON, and light to import."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from dicom_files import ct_series, mr_series, written

from msvlm.imaging.inspect import describe_series, describe_study
from msvlm.imaging.read import read_study
from msvlm.study import LeftOut, Study

SCRIPT = """
import sys
from pathlib import Path
from msvlm.imaging.inspect import describe_study
from msvlm.imaging.read import read_study
text = describe_study(read_study(Path(sys.argv[1]))).to_text()
heavy = {"torch", "scipy", "transformers", "nibabel"} & set(sys.modules)
print(text)
sys.exit(f"imported {heavy}" if heavy else 0)
"""


def test_text_and_json_tell_the_same(tmp_path: Path) -> None:
    written(tmp_path, ct_series(), mr_series())
    study = read_study(tmp_path)
    description = describe_study(replace(study, left_out=(LeftOut("s1", "localiser"),)))
    text, told = description.to_text(), json.loads(description.to_json())
    assert "2 series read, 1 left out" in text
    assert "s2: CT axial ct, chest" in text
    assert "8 slices of 12 x 10, 0.8 x 0.7 mm, gaps 2.5 mm, 17.5 mm in all, tilt 0 degrees" in text
    assert f"{ct_series().voxels.min()} to {ct_series().voxels.max()} HU" in text
    assert "s3: MR sagittal t2, pelvis" in text
    assert "  s1: localiser" in text
    assert told["key"] == study.key
    assert told["left_out"] == [{"name": "s1", "reason": "localiser"}]
    assert told["series"][0]["spacing_mm"] == [0.8, 0.7, 2.5]
    assert told["series"][1]["plane"] == "sagittal"


def test_uneven_gaps_padding_and_notes_are_told() -> None:
    series = ct_series()
    positions, voxels = series.positions_ras_mm.copy(), series.voxels.copy()
    positions[4:, 2] += 1.5
    voxels[:, 0] = -3024
    series = replace(series, positions_ras_mm=positions, voxels=voxels, padding_value=-3024.0, notes=("something odd",))
    described = describe_series(series)
    assert described.gaps_mm == (2.5, 4.0)
    assert described.lowest == series.voxels[:, 1:].min()
    text = describe_study(Study("a", (series,))).to_text()
    assert "gaps 2.5, 4 mm" in text
    assert "padding -3024" in text
    assert "note: something odd" in text


def test_a_single_slice_is_described() -> None:
    series = ct_series(slices=1)
    assert describe_series(series).spacing_mm == (0.8, 0.7, 0.0)
    assert np.isfinite(describe_series(series).extent_mm)


def seconds(*arguments: str) -> float:
    """The shortest of three runs of Python, start-up included."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        run = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
        times.append(time.perf_counter() - start)
        assert run.returncode == 0, run.stderr
        assert run.stderr == ""
    return min(times)


def test_a_few_files_are_described_at_the_cost_of_importing_pydicom(tmp_path: Path) -> None:
    """Without torch, scipy and nibabel; on an idle core all of it stays under a second."""
    written(tmp_path, ct_series(), mr_series())
    assert seconds("-c", SCRIPT, str(tmp_path)) < 1.6 * seconds("-c", "import numpy, pydicom, PIL") + 0.1
