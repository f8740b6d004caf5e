"""Prints how long the common steps take on this machine: the median of some runs in seconds, after a warm-up."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from msvlm.data.slice_store import SliceStore
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.preprocess import prepare_study
from msvlm.imaging.read import read_study
from msvlm.phantom.chest.chest_ct import draw_chest_ct
from msvlm.phantom.chest.scene import ScanShape
from msvlm.reporting.reporter import Reporter

RUNS = 3
LARGE = ScanShape(300, 512, 512, (1.2, 0.75, 0.75))


def main() -> None:
    """Runs every step and prints a line for each."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        drawn = draw_chest_ct(0).study
        write_dicom(drawn, folder / "dicom")
        write_nifti(drawn.series[0], folder / "scan.nii.gz")
        _print("draw a synthetic chest CT", lambda: draw_chest_ct(0))
        _print("read it as DICOM", lambda: read_study(folder / "dicom"))
        _print("read it as NIfTI", lambda: read_study(folder / "scan.nii.gz"))
        for what in ("dicom", "scan.nii.gz"):
            command = [sys.executable, "-m", "msvlm", "inspect", str(folder / what)]
            _print(f"msvlm inspect {what}, the start of Python included", lambda c=command: _run(c))
        _print("load the bundled model", lambda: Reporter.from_pretrained(device="cpu"))
        reporter = Reporter.from_pretrained(device="cpu")
        slices = len(drawn.series[0].voxels)
        _print(f"draft the report of {slices} slices", lambda: reporter.write(drawn))
        large = draw_chest_ct(0, LARGE).study
        _print("draft the report of 300 slices of 512 x 512", lambda: reporter.write(large), runs=1)
        config = reporter.model.config
        store = SliceStore.create(
            folder / "prepared", reporter.model.vocabulary, config.input, config.slice_encoder.region_grid
        )
        store.write(prepare_study(large, config.input), None)
        chosen = np.sort(np.random.default_rng(0).choice(300, 24, replace=False))
        _print("read 24 of 300 prepared slices", lambda: store.read(large.key, chosen), runs=20)
    print(f"{torch.get_num_threads()} threads, {torch.__config__.show().splitlines()[1].strip(' -')}")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True)


def _print(what: str, step: Callable[[], object], runs: int = RUNS) -> None:
    if runs > 1:
        step()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    print(f"{median(seconds):9.3f} s  {what}", flush=True)


if __name__ == "__main__":
    main()
