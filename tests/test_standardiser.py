"""The standardiser of slice vectors."""

import pytest
import torch

from msvlm.errors import ModelError
from msvlm.model.standardiser import CLIP_DEVIATIONS, SMALLEST_SCALE, VectorStandardiser


def test_training_vectors_come_out_with_mean_0_and_deviation_1() -> None:
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(200, 3, 4, generator=generator) * torch.tensor([0.1, 1.0, 5.0, 100.0]) + 7
    standardiser = VectorStandardiser(3, 4)
    standardiser.fit(vectors.mean(0), vectors.std(0))
    standard = standardiser(vectors)
    torch.testing.assert_close(standard.mean(0), torch.zeros(3, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(standard.std(0), torch.ones(3, 4), atol=1e-4, rtol=0)


def test_a_channel_that_never_varied_is_not_blown_up() -> None:
    standardiser = VectorStandardiser(1, 2)
    standardiser.fit(torch.zeros(1, 2), torch.zeros(1, 2))
    standard = standardiser(torch.tensor([[[SMALLEST_SCALE, 1e6]]]))
    assert standard[0, 0].tolist() == pytest.approx([1.0, CLIP_DEVIATIONS])


def test_half_precision_vectors_are_standardised_in_float32() -> None:
    standardiser = VectorStandardiser(1, 1)
    standardiser.fit(torch.ones(1, 1), torch.ones(1, 1))
    assert standardiser(torch.ones(2, 1, 1, dtype=torch.float16)).dtype == torch.float32


def test_unfitted_it_refuses() -> None:
    with pytest.raises(ModelError, match="not fitted"):
        VectorStandardiser(1, 2)(torch.zeros(1, 1, 2))


def test_what_was_fitted_is_saved_with_the_weights() -> None:
    standardiser = VectorStandardiser(1, 2)
    standardiser.fit(torch.tensor([[1.0, 2.0]]), torch.ones(1, 2))
    other = VectorStandardiser(1, 2)
    other.load_state_dict(standardiser.state_dict())
    assert torch.equal(other(torch.zeros(1, 1, 2)), standardiser(torch.zeros(1, 1, 2)))


def test_moments_of_other_vectors_or_no_numbers_are_refused() -> None:
    with pytest.raises(ModelError, match=r"shape \(2, 2\), wanted \(1, 2\)"):
        VectorStandardiser(1, 2).fit(torch.zeros(2, 2), torch.ones(2, 2))
    with pytest.raises(ModelError, match="scale has values that are not finite"):
        VectorStandardiser(1, 2).fit(torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]]))
