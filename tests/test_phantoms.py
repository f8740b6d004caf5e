"""Synthetic studies written into a folder."""

from pathlib import Path

import numpy as np
import pytest

from msvlm.data.dataset import statements_of
from msvlm.data.manifest import read_manifest
from msvlm.data.phantoms import write_phantoms
from msvlm.data.prepare import prepare
from msvlm.data.slice_store import SliceStore
from msvlm.errors import ConfigError, DataError
from msvlm.imaging.preprocess import InputConfig
from msvlm.imaging.read import read_study
from msvlm.phantom.chest.chest_ct import draw_chest_ct
from msvlm.vocabulary.chest import CHEST

STUDIES = (2, 1, 1)


def test_studies_are_read_back_as_they_were_drawn_and_prepared_with_their_lesions(tmp_path: Path) -> None:
    written = write_phantoms(tmp_path, STUDIES, 100, 2, as_dicom=False)
    manifest = read_manifest(tmp_path / "manifest.jsonl")
    assert manifest == written
    assert [(study.key, study.split) for study in manifest.studies] == [
        ("phantom-000100", "train"),
        ("phantom-000101", "train"),
        ("phantom-000102", "validation"),
        ("phantom-000103", "test"),
    ]
    store = SliceStore.create(tmp_path / "store", CHEST, InputConfig(rows=96, columns=128), (6, 8))
    assert prepare(manifest, store, 2).left_out == ()
    for seed, study in enumerate(manifest.studies, start=100):
        drawn = draw_chest_ct(seed)
        read = read_study(manifest.series_paths(study), study.key).series[0]
        np.testing.assert_array_equal(read.voxels, drawn.study.series[0].voxels)
        np.testing.assert_allclose(read.positions_ras_mm, drawn.study.series[0].positions_ras_mm, atol=1e-3)
        assert statements_of(study) == drawn.truth
        assert (study.findings, study.impression) == (drawn.findings_text, drawn.impression_text)
        regions = store.regions(study.key)
        assert regions is not None and len(regions) == len(read.voxels)
        masked = {CHEST.names[index] for index in np.flatnonzero(regions.any(axis=(0, 2, 3)))}
        assert masked == {lesion.finding for lesion in drawn.lesions}


def test_a_second_call_draws_only_the_missing_studies(tmp_path: Path) -> None:
    write_phantoms(tmp_path, (1, 0, 0), 5, 1, as_dicom=False)
    drawn = tmp_path / "studies" / "phantom-000005" / "study.json"
    before = drawn.stat().st_mtime_ns
    manifest = write_phantoms(tmp_path, (0, 1, 1), 5, 1, as_dicom=False)
    assert drawn.stat().st_mtime_ns == before
    assert [study.split for study in manifest.studies] == ["validation", "test"]
    with pytest.raises(DataError, match="phantom-000005 is already in .* as NIfTI"):
        write_phantoms(tmp_path, STUDIES, 5, 1, as_dicom=True)


def test_dicom_studies_hold_the_same_voxels_and_lesions(tmp_path: Path) -> None:
    config = InputConfig(rows=48, columns=64, pixel_spacing_mm=6.0)
    stores = []
    for form in (False, True):
        manifest = write_phantoms(tmp_path / f"{form}", (1, 0, 0), 7, 1, as_dicom=form)
        stores.append(SliceStore.create(tmp_path / f"store_{form}", CHEST, config, (6, 8)))
        assert prepare(manifest, stores[-1], 1).left_out == ()
    study = manifest.studies[0]
    read = read_study(manifest.series_paths(study), study.key).series[0]
    np.testing.assert_array_equal(read.voxels, draw_chest_ct(7).study.series[0].voxels)
    nifti, dicom = (store.read("phantom-000007").series[0] for store in stores)
    # DICOM writes spacings as decimals: a mean over a cell that falls on a half may be rounded the other way.
    assert np.abs(dicom.intensities.astype(int) - nifti.intensities).max() <= 1
    assert (dicom.intensities == nifti.intensities).mean() > 0.999
    np.testing.assert_allclose(dicom.centres_ras_mm, nifti.centres_ras_mm, atol=1e-2)
    np.testing.assert_array_equal(stores[1].regions("phantom-000007"), stores[0].regions("phantom-000007"))


def test_requests_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    for studies, first_seed in (((0, 0, 0), 0), ((2, -1, 0), 0), ((1, 0, 0), -1)):
        with pytest.raises(ConfigError, match="at least 1 study and a seed from 0 are wanted"):
            write_phantoms(tmp_path, studies, first_seed, 1, as_dicom=False)
