"""Prepared studies as training samples."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_slice_store import CONFIG, GRID, prepared_study, random_regions

from msvlm.data.dataset import StudyDataset, batch_indices, statements_of
from msvlm.data.manifest import ManifestStudy
from msvlm.data.slice_store import SliceStore
from msvlm.data.vector_store import VectorStore
from msvlm.errors import DataError
from msvlm.vocabulary.chest import CHEST

STUDIES = tuple(ManifestStudy(key, key, "train", ("x",), "A 4 mm nodule in the left lung.") for key in ("a", "b"))
VECTORS = np.random.default_rng(0).normal(size=(9, 2, 3)).astype(np.float16).astype(np.float32)


def filled_store(folder: Path) -> SliceStore:
    store = SliceStore.create(folder, CHEST, CONFIG, GRID)
    store.write(prepared_study("a"), random_regions(9))
    store.write(prepared_study("b", 7), None)
    return store


@given(st.integers(1, 30), st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_each_epoch_sees_every_study_once_however_it_is_cut_into_batches(studies: int, batch: int, seed: int) -> None:
    steps = -(-3 * studies // batch)
    indices = np.concatenate([batch_indices(studies, batch, step, seed) for step in range(steps)])
    for epoch in range(3):
        assert sorted(indices[epoch * studies : (epoch + 1) * studies]) == list(range(studies))


def test_batches_are_a_function_of_step_and_seed_alone() -> None:
    np.testing.assert_array_equal(batch_indices(50, 8, 31, 7), batch_indices(50, 8, 31, 7))
    assert not np.array_equal(batch_indices(50, 8, 31, 7), batch_indices(50, 8, 31, 8))
    first, second = (batch_indices(50, 50, epoch, 7) for epoch in (0, 1))
    assert not np.array_equal(first, second)


def test_a_whole_study_has_all_its_slices(tmp_path: Path) -> None:
    dataset = StudyDataset(STUDIES, filled_store(tmp_path))
    assert len(dataset) == 2
    sample = dataset.sample(0, None, np.random.default_rng(0))
    np.testing.assert_array_equal(sample.slices, np.arange(9))
    np.testing.assert_array_equal(sample.prepared.series[1].intensities, prepared_study().series[1].intensities)
    assert sample.regions is not None and sample.vectors is None
    np.testing.assert_array_equal(sample.regions, random_regions(9))
    assert sample.statements == statements_of(STUDIES[0])
    assert dataset.sample(1, None, np.random.default_rng(0)).regions is None


def test_sampled_slices_are_in_order_and_measured_from_the_whole_study(tmp_path: Path) -> None:
    dataset = StudyDataset(STUDIES, filled_store(tmp_path))
    whole, part = (dataset.sample(0, slices, np.random.default_rng(3)) for slices in (None, 4))
    assert len(part.slices) == 4 and (np.diff(part.slices) > 0).all()
    assert sum(len(series.intensities) for series in part.prepared.series) == 4
    np.testing.assert_array_equal(part.centre_ras_mm, whole.centre_ras_mm)
    assert whole.regions is not None and part.regions is not None
    np.testing.assert_array_equal(part.regions, whole.regions[part.slices])
    again = dataset.sample(0, 4, np.random.default_rng(3))
    np.testing.assert_array_equal(again.slices, part.slices)
    others = {tuple(dataset.sample(0, 4, np.random.default_rng(seed)).slices) for seed in range(8)}
    assert len(others) > 1
    assert len(dataset.sample(0, 100, np.random.default_rng(0)).slices) == 9


def test_with_vectors_a_sample_has_no_pixels(tmp_path: Path) -> None:
    vectors = VectorStore.create(tmp_path / "vectors", "h")
    vectors.write("a", VECTORS)
    dataset = StudyDataset(STUDIES[:1], filled_store(tmp_path / "store"), vectors)
    sample = dataset.sample(0, 4, np.random.default_rng(3))
    np.testing.assert_array_equal(sample.vectors, VECTORS[sample.slices])
    assert {series.intensities.shape[1:] for series in sample.prepared.series} == {(0, 0)}
    pixels = dataset.sample_pixels(0)
    assert pixels.vectors is None and pixels.prepared.series[0].intensities.shape == (5, 16, 24)


def test_missing_studies_and_vectors_are_named(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store")
    with pytest.raises(DataError, match="no study to train or test on"):
        StudyDataset((), store)
    with pytest.raises(DataError, match="1 of 3 studies are not prepared, c first"):
        StudyDataset((*STUDIES, ManifestStudy("c", "c", "train", ("x",))), store)
    vectors = VectorStore.create(tmp_path / "vectors", "h")
    dataset = StudyDataset(STUDIES, store, vectors)
    vectors.write("a", VECTORS[:8])
    with pytest.raises(DataError, match="a: vectors of 8 slices, 9 slices are prepared"):
        dataset.sample(0, None, np.random.default_rng(0))
    with pytest.raises(DataError, match="b: no slice vectors"):
        dataset.sample(1, None, np.random.default_rng(0))
