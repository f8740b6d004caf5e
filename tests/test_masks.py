"""Lesion masks resampled to the series of a study."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_preprocess import flipped, textured_series

from msvlm.data.masks import lesion_regions
from msvlm.errors import DataError
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.preprocess import InputConfig
from msvlm.study import Study
from msvlm.vocabulary.chest import CHEST

CONFIG = InputConfig(rows=16, columns=16, pixel_spacing_mm=2.0)
FINDINGS = ("emphysema", "lung_nodule", "emphysema")


def write_masks(path: Path, highest: int = 3) -> None:
    series = textured_series(6)
    labels = np.random.default_rng(0).integers(0, highest + 1, series.voxels.shape).astype(np.int16)
    labels[labels == 2] *= np.random.default_rng(1).random(int((labels == 2).sum())) < 0.1
    write_nifti(replace(series, voxels=labels), path)


@pytest.mark.parametrize("flips", [(True, False, False), (False, True, True), (True, True, False)])
@pytest.mark.parametrize("transposed", [True, False])
def test_how_the_study_is_stored_does_not_matter(
    tmp_path: Path, flips: tuple[bool, bool, bool], transposed: bool
) -> None:
    write_masks(tmp_path / "masks.nii.gz")
    series = textured_series(6)
    stored_otherwise = Study("a", (flipped(series, flips, transposed),))
    expected = lesion_regions(Study("a", (series,)), tmp_path / "masks.nii.gz", FINDINGS, CHEST, CONFIG, (4, 2))
    found = lesion_regions(stored_otherwise, tmp_path / "masks.nii.gz", FINDINGS, CHEST, CONFIG, (4, 2))
    np.testing.assert_array_equal(found, expected)
    assert found.shape == (6, len(CHEST.names), 4, 2)


def test_several_lesions_of_a_finding_are_joined(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks.nii.gz")
    study = Study("a", (textured_series(6),))
    regions = lesion_regions(study, tmp_path / "masks.nii.gz", FINDINGS, CHEST, CONFIG, (4, 2))
    found = [CHEST.names[index] for index in np.flatnonzero(regions.any(axis=(0, 2, 3)))]
    assert found == ["emphysema", "lung_nodule"]
    one = lesion_regions(
        study, tmp_path / "masks.nii.gz", ("emphysema", "lung_nodule", "atelectasis"), CHEST, CONFIG, (4, 2)
    )
    emphysema, atelectasis = CHEST.names.index("emphysema"), CHEST.names.index("atelectasis")
    assert (regions[:, emphysema] >= (one[:, emphysema] | one[:, atelectasis])).all()


def test_masks_that_do_not_belong_to_the_study_are_refused(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks.nii.gz")
    series = textured_series(6)
    elsewhere = replace(series, positions_ras_mm=series.positions_ras_mm + (0.0, 0.0, 300.0))
    with pytest.raises(DataError, match="a: the masks do not cover the study's first series"):
        lesion_regions(Study("a", (elsewhere,)), tmp_path / "masks.nii.gz", FINDINGS, CHEST, CONFIG, (4, 2))


def test_values_and_findings_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    write_masks(tmp_path / "masks.nii.gz")
    study = Study("a", (textured_series(6),))
    with pytest.raises(DataError, match=r"masks hold values from 0 to 3; must be 0 \(background\) to 2"):
        lesion_regions(study, tmp_path / "masks.nii.gz", FINDINGS[:2], CHEST, CONFIG, (4, 2))
    with pytest.raises(DataError, match="masks of tumour; not in vocabulary chest"):
        lesion_regions(study, tmp_path / "masks.nii.gz", ("tumour",), CHEST, CONFIG, (4, 2))
