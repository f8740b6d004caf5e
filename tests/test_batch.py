"""StudyBatch: packed studies."""

from dataclasses import replace

import torch

from msvlm.batch import StudyBatch, TrainingBatch


def packed_batch() -> StudyBatch:
    return StudyBatch(
        study_index=torch.tensor([0, 0, 1]),
        series_index=torch.tensor([0, 0, 0]),
        position_mm=torch.zeros(3, 3),
        normal_ras=torch.zeros(3, 3),
        role_index=torch.zeros(3, dtype=torch.long),
        slices=torch.zeros(3, 1, 8, 8),
    )


def test_a_batch_counts_its_studies() -> None:
    assert packed_batch().studies == 2


def test_a_study_taken_from_a_batch_is_that_study_by_itself() -> None:
    batch = replace(packed_batch(), position_mm=torch.arange(9.0).view(3, 3))
    first, second = batch.study(0), batch.study(1)
    assert (first.studies, second.studies, len(first.study_index), len(second.study_index)) == (1, 1, 2, 1)
    assert torch.equal(torch.cat([first.position_mm, second.position_mm]), batch.position_mm)
    assert second.slices is not None and second.slices.shape == (1, 1, 8, 8) and second.slice_vectors is None


def test_vectors_take_the_place_of_pixels() -> None:
    encoded = packed_batch().with_vectors(torch.ones(3, 5, 7))
    assert encoded.slices is None
    assert encoded.slice_vectors is not None and encoded.slice_vectors.shape == (3, 5, 7)


def test_moving_a_batch_keeps_its_values() -> None:
    moved = TrainingBatch(packed_batch(), torch.zeros(3, dtype=torch.bool)).to(torch.device("cpu"))
    assert torch.equal(moved.studies.study_index, packed_batch().study_index)
    assert moved.findings is None and not moved.masked.any()
