"""Model-ready slices on disk: each study written as a whole, and read back slice by slice."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from test_preprocess import textured_series

from msvlm.data.manifest import LesionMasks, Manifest, ManifestStudy, write_manifest
from msvlm.data.prepare import prepare
from msvlm.data.slice_store import SliceStore
from msvlm.errors import DataError, InputMismatchError
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.preprocess import InputConfig, PreparedStudy, mask_regions, prepare_study
from msvlm.imaging.read import read_study
from msvlm.study import Modality, Series, Study, Weighting
from msvlm.vocabulary.chest import CHEST

CONFIG = InputConfig(rows=16, columns=24, pixel_spacing_mm=2.0)
GRID = (2, 3)


def two_series(key: str = "a", slices: int = 5) -> Study:
    """Returns a CT series of `slices` slices and an MR series of four."""
    other = replace(
        textured_series(4),
        key="s2",
        modality=Modality.MR,
        weighting=Weighting.T2,
        voxels=textured_series(4).voxels + 900,
    )
    return Study(key, (textured_series(slices), other))


def prepared_study(key: str = "a", slices: int = 5) -> PreparedStudy:
    return prepare_study(two_series(key, slices), CONFIG)


def random_regions(slices: int) -> NDArray[np.bool_]:
    return np.random.default_rng(1).random((slices, len(CHEST.names), *GRID)) < 0.2


def write_study(folder: Path, key: str, slices: int = 6) -> ManifestStudy:
    """Writes a NIfTI study with a lung nodule in its first slice."""
    series = textured_series(slices)
    labels = np.zeros(series.voxels.shape, dtype=np.int16)
    labels[0, 4:8, 4:8] = 2
    write_nifti(series, folder / f"{key}.nii")
    write_nifti(replace(series, voxels=labels), folder / f"{key}_masks.nii.gz")
    masks = LesionMasks(f"{key}_masks.nii.gz", ("emphysema", "lung_nodule"))
    return ManifestStudy(key, key, "train", (f"{key}.nii",), masks=masks)


def assert_same(found: PreparedStudy, expected: PreparedStudy) -> None:
    assert found.key == expected.key and len(found.series) == len(expected.series)
    for own, other in zip(found.series, expected.series, strict=True):
        assert (own.key, own.modality, own.role_index) == (other.key, other.modality, other.role_index)
        for name in ("intensities", "centres_ras_mm", "normals_ras", "slice_indices"):
            np.testing.assert_array_equal(getattr(own, name), getattr(other, name))
            assert getattr(own, name).dtype == getattr(other, name).dtype


def test_a_study_is_read_as_it_was_written(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path, CHEST, CONFIG, GRID)
    store.write(prepared_study(), random_regions(9))
    assert "a" in store and "b" not in store
    assert_same(SliceStore.open(tmp_path).read("a"), prepared_study())
    np.testing.assert_array_equal(store.regions("a"), random_regions(9))
    assert store.slice_count("a") == 9


def test_some_slices_are_counted_over_all_series(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path, CHEST, CONFIG, GRID)
    store.write(prepared_study(), random_regions(9))
    chosen, whole = store.read("a", np.array([1, 4, 5, 8])), prepared_study()
    np.testing.assert_array_equal(chosen.series[0].intensities, whole.series[0].intensities[[1, 4]])
    np.testing.assert_array_equal(chosen.series[1].intensities, whole.series[1].intensities[[0, 3]])
    np.testing.assert_array_equal(chosen.series[1].centres_ras_mm, whole.series[1].centres_ras_mm[[0, 3]])
    np.testing.assert_array_equal(store.regions("a", np.array([1, 8])), random_regions(9)[[1, 8]])
    only_second = store.read("a", np.array([6]))
    assert [len(series.intensities) for series in only_second.series] == [0, 1]


def test_a_study_is_read_without_pixels(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path, CHEST, CONFIG, GRID)
    store.write(prepared_study(), None)
    positions = store.read("a", np.array([0, 7]), with_pixels=False)
    assert [series.intensities.shape for series in positions.series] == [(1, 0, 0), (1, 0, 0)]
    np.testing.assert_array_equal(positions.series[0].centres_ras_mm, prepared_study().series[0].centres_ras_mm[:1])
    assert store.regions("a") is None


def test_slices_out_of_order_or_out_of_range_are_refused(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path, CHEST, CONFIG, GRID)
    store.write(prepared_study(), None)
    for slices in ([0, 9], [-1, 2], [3, 2], [3, 3]):
        with pytest.raises(DataError, match=r"ascending indices from 0 to 8 are wanted"):
            store.read("a", np.array(slices))
    with pytest.raises(DataError, match="b: not among the prepared studies"):
        store.read("b")


def test_a_damaged_file_of_a_study_is_refused(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path, CHEST, CONFIG, GRID)
    store.write(prepared_study(), random_regions(9))
    folder = tmp_path / "studies" / "a"
    for name, read in (("series_1.b2nd", store.read), ("regions.b2nd", store.regions), ("geometry.f64", store.read)):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-8])
        with pytest.raises(DataError, match=f"a: {name} .*; delete the study's folder"):
            read("a")
        (folder / name).write_bytes(whole)
    assert_same(store.read("a"), prepared_study())


def test_a_store_of_another_input_is_refused_and_each_difference_is_named(tmp_path: Path) -> None:
    SliceStore.create(tmp_path, CHEST, CONFIG, GRID)
    assert SliceStore.create(tmp_path, CHEST, CONFIG, GRID) == SliceStore.open(tmp_path)
    other = replace(CONFIG, rows=32, windows_hu=((0.0, 1.0), *CONFIG.windows_hu[1:]))
    with pytest.raises(
        InputMismatchError, match=r"rows 16, wanted 32; windows_hu .*; region_grid \(2, 3\), wanted \(1"
    ):
        SliceStore.create(tmp_path, CHEST, other, (0, 0))
    with pytest.raises(DataError, match="holds no prepared studies"):
        SliceStore.open(tmp_path / "elsewhere")


def test_studies_that_do_not_fit_the_store_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path, CHEST, replace(CONFIG, rows=32), GRID)
    with pytest.raises(InputMismatchError, match=r"slices of \(16, 24\) pixels, wanted \(32, 24\)"):
        store.write(prepared_study(), None)
    store = SliceStore.create(tmp_path / "other", CHEST, CONFIG, GRID)
    with pytest.raises(DataError, match="regions of shape"):
        store.write(prepared_study(), random_regions(8))
    with pytest.raises(DataError, match="no slice to write"):
        store.write(PreparedStudy("a", ()), None)
    assert "a" not in store


def test_prepare_stores_the_content_of_the_files_and_a_second_run_does_nothing(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m.jsonl", (write_study(tmp_path, "a"), write_study(tmp_path, "b", 4)))
    store = SliceStore.create(tmp_path / "store", CHEST, CONFIG, GRID)
    summary = prepare(manifest, store, workers=2)
    assert (summary.prepared, summary.already_prepared, summary.left_out) == (2, 0, ())
    study = read_study(tmp_path / "a.nii", "a")
    assert_same(store.read("a"), prepare_study(study, CONFIG))
    regions = store.regions("a")
    assert regions is not None
    mask = read_study(tmp_path / "a_masks.nii.gz").series[0].voxels == 2
    nodule = CHEST.names.index("lung_nodule")
    np.testing.assert_array_equal(regions[:, nodule], mask_regions(study.series[0], mask, CONFIG, GRID))
    assert regions[0, nodule].any() and not regions[1:].any() and regions.sum() == regions[:, nodule].sum()
    files = sorted((path, path.stat().st_mtime_ns) for path in store.folder.rglob("*"))
    summary = prepare(manifest, store, workers=2)
    assert (summary.prepared, summary.already_prepared) == (0, 2)
    assert files == sorted((path, path.stat().st_mtime_ns) for path in store.folder.rglob("*"))


def test_a_study_that_fails_is_named_and_does_not_stop_the_others(tmp_path: Path) -> None:
    broken = write_study(tmp_path, "broken")
    (tmp_path / "broken.nii").write_bytes((tmp_path / "broken.nii").read_bytes()[:900])
    unmasked = write_study(tmp_path, "unmasked")
    (tmp_path / "unmasked_masks.nii.gz").unlink()
    manifest = Manifest(
        tmp_path / "m.jsonl", (broken, write_study(tmp_path, "a"), unmasked, write_study(tmp_path, "b"))
    )
    store = SliceStore.create(tmp_path / "store", CHEST, CONFIG, GRID)
    summary = prepare(manifest, store, workers=1)
    assert summary.prepared == 2 and "a" in store and "b" in store
    assert [item.name for item in summary.left_out] == ["broken", "unmasked"]
    assert all(item.reason and str(tmp_path) not in item.reason for item in summary.left_out)
    write_study(tmp_path, "broken")
    assert prepare(manifest, store, workers=1).prepared == 1


def test_parts_left_out_of_a_study_and_its_notes_are_returned(tmp_path: Path) -> None:
    clean = write_study(tmp_path, "clean")
    write_dicom(Study("mixed", (textured_series(6),)), tmp_path / "mixed", with_localiser=True)
    next((tmp_path / "mixed").rglob("*3.dcm")).unlink()
    (tmp_path / "mixed" / "letter.txt").write_text("of a patient")
    mixed = ManifestStudy("mixed", "mixed", "train", ("mixed",))
    store = SliceStore.create(tmp_path / "store", CHEST, CONFIG, GRID)
    summary = prepare(Manifest(tmp_path / "m.jsonl", (clean, mixed)), store, workers=1)
    study = read_study(tmp_path / "mixed", "mixed")
    notes = {study.key: study for study in summary.notes}["mixed"]
    assert summary.prepared == 2
    assert notes.left_out == study.left_out and len(study.left_out) == 2
    assert notes.notes == tuple(f"{series.key}: {note}" for series in study.series for note in series.notes)
    assert notes.notes
    assert prepare(Manifest(tmp_path / "m.jsonl", (clean, mixed)), store, workers=1).notes == ()


class Untransportable(str):
    """A text that cannot be sent to a process."""

    __slots__ = ()

    def __reduce__(self) -> str:
        raise AssertionError("the report of a study was sent to a process that does not need it")


def test_a_process_gets_its_own_study_and_no_report(tmp_path: Path) -> None:
    studies = tuple(
        replace(write_study(tmp_path, key), findings=Untransportable("No nodule."), masks=None) for key in ("a", "b")
    )
    store = SliceStore.create(tmp_path / "store", CHEST, CONFIG, GRID)
    assert prepare(Manifest(tmp_path / "m.jsonl", studies), store, workers=1).prepared == 2


def test_a_killed_run_leaves_whole_studies_only_and_resumes(tmp_path: Path) -> None:
    studies = tuple(write_study(tmp_path, f"s{index}", 40) for index in range(20))
    write_manifest(tmp_path / "m.jsonl", studies)
    store = SliceStore.create(tmp_path / "store", CHEST, CONFIG, GRID)
    script = (
        "import sys, pathlib\n"
        "from msvlm.data.manifest import read_manifest\n"
        "from msvlm.data.prepare import prepare\n"
        "from msvlm.data.slice_store import SliceStore\n"
        "if __name__ == '__main__':\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    prepare(read_manifest(folder / 'm.jsonl'), SliceStore.open(folder / 'store'), 2)\n"
    )
    (tmp_path / "run.py").write_text(script)
    process = subprocess.Popen([sys.executable, str(tmp_path / "run.py"), str(tmp_path)], start_new_session=True)
    while sum(study.key in store for study in studies) < 3:
        assert process.poll() is None
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.2)
    prepared = [study.key for study in studies if study.key in store]
    assert 3 <= len(prepared) < 20
    for key in prepared:
        assert_same(store.read(key), prepare_study(read_study(tmp_path / f"{key}.nii", key), CONFIG))
    summary = prepare(Manifest(tmp_path / "m.jsonl", studies), store, workers=2)
    assert (summary.prepared, summary.already_prepared, summary.left_out) == (20 - len(prepared), len(prepared), ())
    assert sorted(path.name for path in (store.folder / "studies").iterdir()) == sorted(study.key for study in studies)


def test_masks_are_resampled_to_a_series_on_another_grid(tmp_path: Path) -> None:
    from_file = write_study(tmp_path, "a")
    coarse = coarser(read_study(tmp_path / "a.nii", "a").series[0])
    write_nifti(coarse, tmp_path / "a2.nii")
    manifest = Manifest(tmp_path / "m.jsonl", (replace(from_file, series=("a.nii", "a2.nii")),))
    store = SliceStore.create(tmp_path / "store", CHEST, CONFIG, GRID)
    assert prepare(manifest, store, workers=1).left_out == ()
    regions = store.regions("a")
    assert regions is not None and len(regions) == 6 + 3
    np.testing.assert_array_equal(regions[6], regions[0])
    assert not regions[7:].any()


def coarser(series: Series) -> Series:
    """Returns every second slice of a series."""
    return replace(
        series,
        voxels=series.voxels[::2].copy(),
        positions_ras_mm=series.positions_ras_mm[::2],
        row_steps_ras_mm=series.row_steps_ras_mm[::2],
        column_steps_ras_mm=series.column_steps_ras_mm[::2],
    )
