"""What was trained on is within; other modalities, other body parts and other looks are outside."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from msvlm.errors import DataError, ModelError
from msvlm.reporting.out_of_domain import FILE_NAME, TrainingDomain, fit_training_domain, summarise
from msvlm.study import Modality, Series, Weighting

FEATURES = 60


def summaries(count: int, seed: int, shift: float = 0.0) -> NDArray[np.float32]:
    """Five hidden causes move sixty features that have scales of their own."""
    causes = np.random.default_rng(0).normal(size=(5, FEATURES))
    random = np.random.default_rng(seed)
    looks = random.normal(size=(count, 5)) @ causes + 0.1 * random.normal(size=(count, FEATURES)) + shift
    return (looks * np.logspace(-2, 2, FEATURES)).astype(np.float32)


def chest_series(modality: Modality = Modality.CT, body_part: str = "chest") -> Series:
    steps = np.tile((0.0, -1.0, 0.0), (2, 1))
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 5.0]])
    return Series(
        key="s1",
        voxels=np.zeros((2, 4, 4), dtype=np.int16),
        positions_ras_mm=positions,
        row_steps_ras_mm=steps,
        column_steps_ras_mm=np.tile((-1.0, 0.0, 0.0), (2, 1)),
        modality=modality,
        weighting=Weighting.CT,
        body_part=body_part,
    )


@pytest.fixture(scope="module")
def domain() -> TrainingDomain:
    return fit_training_domain(summaries(200, 1), summaries(200, 2), ("CT",), ("chest", "thorax"), "phantoms")


def test_few_unseen_series_of_the_same_kind_are_flagged(domain: TrainingDomain) -> None:
    flagged = [bool(domain.outside_by_distance(summary)) for summary in summaries(400, 3)]
    assert np.mean(flagged) <= 0.05


def test_a_look_that_training_never_showed_is_flagged(domain: TrainingDomain) -> None:
    odd = summaries(50, 4, shift=2.0)
    assert all("unlike the training data" in domain.outside_by_distance(summary) for summary in odd)


def test_a_value_that_is_not_a_number_is_flagged(domain: TrainingDomain) -> None:
    assert domain.outside_by_distance(np.full(FEATURES, np.nan, dtype=np.float32))


def test_the_header_is_heard(domain: TrainingDomain) -> None:
    assert domain.outside_by_header(chest_series(Modality.MR)) == "MR, where the model was trained on CT"
    assert "body part 'head'" in domain.outside_by_header(chest_series(body_part="head"))
    assert domain.outside_by_header(chest_series(body_part="thorax")) == ""
    assert domain.outside_by_header(chest_series(body_part="")) == ""


def test_reading_what_was_saved_is_identity(domain: TrainingDomain, tmp_path: Path) -> None:
    domain.save(tmp_path)
    read = TrainingDomain.load(tmp_path)
    assert read is not None
    unseen = summaries(1, 5)[0]
    assert read.distance(unseen) == pytest.approx(domain.distance(unseen), rel=1e-5)
    assert replace(read, centre=domain.centre).modalities == ("CT",)
    assert read.trained_on == "phantoms"


def test_a_folder_without_a_record_has_none(tmp_path: Path) -> None:
    assert TrainingDomain.load(tmp_path) is None


def test_a_broken_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="cannot be read as a training domain"):
        TrainingDomain.load(tmp_path)


def test_too_few_series_are_refused() -> None:
    with pytest.raises(DataError, match="3 training series are too few"):
        fit_training_domain(summaries(3, 1), summaries(200, 2), ("CT",), ())


def test_a_summary_does_not_depend_on_the_order_of_slices() -> None:
    vectors = np.random.default_rng(0).normal(size=(9, 3, 4)).astype(np.float32)
    assert summarise(vectors) == pytest.approx(summarise(vectors[::-1]), abs=1e-5)
    assert summarise(vectors).shape == (24,)
