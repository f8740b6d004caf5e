"""The resampler: a fixed number of vectors from any number of slices."""

import pytest
import torch

from msvlm.errors import ConfigError
from msvlm.model.resampler import Resampler, ResamplerConfig

STUDY_INDEX = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])


def resampler() -> Resampler:
    torch.manual_seed(0)
    return Resampler(ResamplerConfig(queries=3, layers=2, heads=2), 24).eval()


def z_vectors(seed: int = 0) -> torch.Tensor:
    return torch.randn(8, 24, generator=torch.Generator().manual_seed(seed))


def seen(*hidden: int) -> torch.Tensor:
    visible = torch.ones(8, dtype=torch.bool)
    visible[list(hidden)] = False
    return visible


@torch.no_grad()
def test_any_number_of_slices_becomes_the_same_number_of_vectors() -> None:
    assert resampler()(z_vectors(), STUDY_INDEX, seen()).shape == (2, 3, 24)


@torch.no_grad()
def test_hidden_slices_are_as_if_they_were_not_there() -> None:
    vectors = resampler()(z_vectors(), STUDY_INDEX, seen(1, 4, 5))
    kept = seen(1, 4, 5)
    torch.testing.assert_close(vectors, resampler()(z_vectors()[kept], STUDY_INDEX[kept], torch.ones(5).bool()))


@torch.no_grad()
def test_studies_of_one_length_and_of_several_are_resampled_alike() -> None:
    equal = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    together = resampler()(z_vectors(), equal, seen())
    alone = [resampler()(part, torch.zeros(4).long(), torch.ones(4).bool()) for part in z_vectors().split(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    uneven = resampler()(z_vectors(), STUDY_INDEX, seen())
    torch.testing.assert_close(
        uneven[1:], resampler()(z_vectors()[3:], torch.zeros(5).long(), torch.ones(5).bool()), rtol=1e-4, atol=1e-5
    )


@torch.no_grad()
def test_a_study_with_every_slice_hidden_has_an_answer() -> None:
    hidden = resampler()(z_vectors(), STUDY_INDEX, seen(0, 1, 2))
    assert torch.isfinite(hidden).all()
    torch.testing.assert_close(hidden[0], resampler()(z_vectors(1), STUDY_INDEX, seen(0, 1, 2))[0])


@torch.no_grad()
def test_the_order_of_slices_does_not_matter() -> None:
    order = torch.tensor([2, 0, 1, 7, 6, 5, 4, 3])
    torch.testing.assert_close(
        resampler()(z_vectors(), STUDY_INDEX, seen()), resampler()(z_vectors()[order], STUDY_INDEX, seen())
    )


@torch.no_grad()
def test_slices_and_other_queries_both_reach_a_query() -> None:
    model = resampler()
    plain = model(z_vectors(), STUDY_INDEX, seen())
    assert not torch.allclose(plain, model(z_vectors(1), STUDY_INDEX, seen()), atol=1e-4)
    model.queries[2] = torch.randn(24, generator=torch.Generator().manual_seed(3))
    assert not torch.allclose(plain[:, 0], model(z_vectors(), STUDY_INDEX, seen())[:, 0], atol=1e-5)


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 queries"):
        ResamplerConfig(queries=0)
    with pytest.raises(ConfigError, match="width 24, 5 heads"):
        Resampler(ResamplerConfig(heads=5), 24)
