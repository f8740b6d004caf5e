"""Samples become packed tensors."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_dataset import STUDIES, VECTORS, filled_store
from test_slice_store import CONFIG, GRID, prepared_study, random_regions

from msvlm.data.dataset import StudyDataset, StudySample, to_finding_targets, to_study_batch
from msvlm.data.manifest import LesionMasks
from msvlm.errors import DataError, InputMismatchError
from msvlm.imaging.preprocess import PreparedStudy, to_channels
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

NODULE = FindingStatement("lung_nodule", Certainty.UNCERTAIN, frozenset({"right", "right upper lobe"}), 14.0)
HERNIA = FindingStatement("hiatal_hernia", Certainty.PRESENT)
NO_EMPHYSEMA = FindingStatement("emphysema", Certainty.ABSENT)


def samples(folder: Path, slices: int | None = None) -> list[StudySample]:
    dataset = StudyDataset(STUDIES, filled_store(folder))
    return [dataset.sample(index, slices, np.random.default_rng(index)) for index in range(2)]


def test_packed_equals_one_by_one(tmp_path: Path) -> None:
    both = samples(tmp_path)
    packed, single = to_study_batch(both, CONFIG), [to_study_batch([sample], CONFIG) for sample in both]
    assert packed.studies == 2 and packed.slices is not None and packed.slice_vectors is None
    for name in ("series_index", "position_mm", "normal_ras", "role_index", "slices"):
        assert torch.equal(getattr(packed, name), torch.cat([getattr(one, name) for one in single]))
    assert packed.study_index.tolist() == [0] * 9 + [1] * 11
    assert packed.series_index.tolist() == [0] * 5 + [1] * 4 + [0] * 7 + [1] * 4


def test_a_prepared_study_gives_the_same_batch_as_its_whole_sample(tmp_path: Path) -> None:
    prepared, sample = to_study_batch([prepared_study()], CONFIG), to_study_batch(samples(tmp_path)[:1], CONFIG)
    for name in ("study_index", "series_index", "position_mm", "normal_ras", "role_index", "slices"):
        assert torch.equal(getattr(prepared, name), getattr(sample, name))
    study = prepared_study()
    expected = np.concatenate([to_channels(series, CONFIG) for series in study.series])
    np.testing.assert_array_equal(prepared.slices, expected)


def test_slices_lie_where_they_lie_in_the_whole_study(tmp_path: Path) -> None:
    whole, part = to_study_batch(samples(tmp_path), CONFIG), to_study_batch(samples(tmp_path, 4), CONFIG)
    chosen = np.concatenate([sample.slices + 9 * index for index, sample in enumerate(samples(tmp_path, 4))])
    for name in ("study_index", "series_index", "position_mm", "normal_ras", "role_index", "slices"):
        assert torch.equal(getattr(part, name), getattr(whole, name)[torch.from_numpy(chosen)])
    for study in range(2):
        mean = whole.position_mm[whole.study_index == study].mean(dim=0)
        torch.testing.assert_close(mean, torch.zeros(3), atol=1e-4, rtol=0)


def test_vectors_are_packed_where_all_samples_have_them(tmp_path: Path) -> None:
    first, second = samples(tmp_path)
    with_vectors = replace(first, vectors=VECTORS)
    batch = to_study_batch([with_vectors, replace(second, vectors=np.zeros((11, 2, 3), np.float32))], CONFIG)
    assert batch.slices is None and batch.slice_vectors is not None
    np.testing.assert_array_equal(batch.slice_vectors[:9], VECTORS)
    with pytest.raises(DataError, match="1 of 2 samples have slice vectors"):
        to_study_batch([with_vectors, second], CONFIG)


def test_samples_without_a_valid_batch_are_refused() -> None:
    with pytest.raises(DataError, match="no study for a batch"):
        to_study_batch([], CONFIG)
    with pytest.raises(DataError, match="a: no slice; every study"):
        to_study_batch([PreparedStudy("a", ())], CONFIG)
    with pytest.raises(InputMismatchError, match=r"a: slices of \(16, 24\) pixels; the model reads \(32, 24\)"):
        to_study_batch([prepared_study()], replace(CONFIG, rows=32))


def test_targets_are_nan_where_nothing_is_known(tmp_path: Path) -> None:
    first, second = samples(tmp_path)
    first = replace(first, statements=(NODULE, HERNIA, NO_EMPHYSEMA))
    second = replace(second, statements=(FindingStatement("lung_nodule", Certainty.UNKNOWN),))
    targets = to_finding_targets([first, second], CHEST)
    columns = [CHEST.names.index(name) for name in ("emphysema", "lung_nodule", "hiatal_hernia", "atelectasis")]
    np.testing.assert_array_equal(targets.presence[:, columns], [[0, 1, 1, np.nan], [np.nan] * 4])
    np.testing.assert_array_equal(targets.sizes_mm[:, columns], [[np.nan, 14, np.nan, np.nan], [np.nan] * 4])
    nodule = dict(zip(CHEST.attributes, targets.attributes[0, columns[1]].tolist(), strict=True))
    assert {word for word, value in nodule.items() if value == 1} == {"right", "right upper lobe"}
    assert {word for word, value in nodule.items() if np.isnan(value)} == {"mild", "moderate", "severe"}
    hernia = dict(zip(CHEST.attributes, targets.attributes[0, columns[2]].tolist(), strict=True))
    assert [word for word, value in hernia.items() if value == 0] == ["mild", "moderate", "severe"]
    assert targets.attributes[0, columns[0]].isnan().all() and targets.attributes[1].isnan().all()


def test_regions_follow_the_slices(tmp_path: Path) -> None:
    both = samples(tmp_path, 4)
    targets = to_finding_targets(both, CHEST)
    assert targets.regions is not None
    assert targets.regions.shape == (8, 18, *GRID)
    np.testing.assert_array_equal(targets.regions[:4], random_regions(9)[both[0].slices])
    assert not targets.regions[4:].any()
    assert to_finding_targets(both[1:], CHEST).regions is None
    assert both[0].regions is not None
    with pytest.raises(DataError, match="one grid is wanted for all"):
        to_finding_targets([both[0], replace(both[1], regions=both[0].regions[..., :1])], CHEST)


def test_where_a_stated_finding_lies_is_known_only_where_the_data_set_masks_it(tmp_path: Path) -> None:
    sample = samples(tmp_path, 4)[0]
    masks = LesionMasks("masks.nii.gz", ("lung_nodule",))
    stated = (NODULE, HERNIA, NO_EMPHYSEMA)
    sample = replace(sample, statements=stated, study=replace(sample.study, masks=masks))
    targets = to_finding_targets([sample, replace(sample, regions=None)], CHEST)
    columns = [CHEST.names.index(name) for name in ("lung_nodule", "hiatal_hernia", "emphysema", "atelectasis")]
    assert targets.has_regions[:, columns].tolist() == [[True, False, True, False], [False] * 4]
