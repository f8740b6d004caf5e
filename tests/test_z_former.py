"""The Z-former and the decoder of masked embedding modelling; its laws over studies stand in test_laws.py."""

from dataclasses import replace

import pytest
import torch
from tiny_model import packed, random_study

from msvlm.errors import ConfigError
from msvlm.model.transformer import attend_within_studies
from msvlm.model.z_former import Pose, ZFormer, ZFormerConfig
from msvlm.training.pretrain_z_former import EmbeddingDecoder

CONFIG = ZFormerConfig(width=24, layers=2, heads=2)


def random_vectors(slices: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(slices, 3, 5, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("lengths", [[4, 4, 4], [1, 6, 2]])
def test_attention_within_studies_is_attention_with_a_block_mask(lengths: list[int]) -> None:
    rows = sum(lengths)
    generator = torch.Generator().manual_seed(0)
    queries, keys, values = (torch.randn(rows, 2, 8, generator=generator) for _ in range(3))
    owner = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
    logits = torch.einsum("qhd,khd->hqk", queries, keys) * 8**-0.5
    logits = logits.masked_fill(owner[:, None] != owner, -torch.inf)
    expected = torch.einsum("hqk,khd->qhd", logits.softmax(-1), values)
    torch.testing.assert_close(attend_within_studies(queries, keys, values, lengths, 0.0), expected)


def test_masked_embeddings_can_be_learned() -> None:
    torch.manual_seed(0)
    z_former, decoder = ZFormer(CONFIG, 3, 5), EmbeddingDecoder(24, 3, 5)
    study = random_study(12, 1)
    # What a slice holds depends on where it lies, so that its neighbours' places and its own tell it.
    vectors = torch.sin(study.position_mm[:, 2] / 40)[:, None, None] * torch.ones(12, 3, 5)
    parameters = [*z_former.parameters(), *decoder.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=3e-3)
    hidden = torch.arange(12) % 3 == 0
    losses = []
    for _ in range(60):
        guess = decoder(z_former(vectors, study, hidden))
        loss = (guess - vectors)[hidden].abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_the_role_and_the_normal_of_a_slice_matter() -> None:
    torch.manual_seed(0)
    z_former = ZFormer(CONFIG, 3, 5).eval()
    study, vectors = random_study(4, 1), random_vectors(4)
    with torch.no_grad():
        other_role = replace(study, role_index=(study.role_index + 1) % 5)
        torch.testing.assert_close(z_former(vectors, other_role), z_former(vectors, study))  # none was seen in training
        z_former.pose.role.weight.normal_()
        plain = z_former(vectors, study)
        for change in ({"role_index": (study.role_index + 1) % 5}, {"normal_ras": -study.normal_ras}):
            assert not torch.allclose(plain, z_former(vectors, replace(study, **change)), atol=1e-4)
        again = replace(study, series_index=study.series_index + 3)
        torch.testing.assert_close(plain, z_former(vectors, again))


def test_the_sequence_pose_starts_anew_in_each_study() -> None:
    torch.manual_seed(0)
    z_former = ZFormer(replace(CONFIG, pose=Pose.SEQUENCE), 3, 5).eval()
    studies, vectors = [random_study(count, count) for count in (3, 5)], random_vectors(8)
    with torch.no_grad():
        together = z_former(vectors, packed(*studies))
        torch.testing.assert_close(together[3:], z_former(vectors[3:], studies[1]), rtol=1e-4, atol=1e-5)


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    z_former = ZFormer(replace(CONFIG, dropout=0.5), 3, 5)
    study, vectors = random_study(4, 1), random_vectors(4)
    assert not torch.equal(z_former(vectors, study), z_former(vectors, study))
    z_former.eval()
    assert torch.equal(z_former(vectors, study), z_former(vectors, study))


def test_many_token_vectors_do_not_make_large_inputs() -> None:
    torch.manual_seed(0)
    embedded = ZFormer(CONFIG, 49, 265).embed_slices(torch.randn(64, 49, 265))
    assert 0.2 < float(embedded.detach().std()) < 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [({"heads": 5}, "width 24, 5 heads"), ({"dropout": 1.0}, "dropout 1.0"), ({"width": 9, "heads": 3}, "even width")],
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, int | float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG, **change)
