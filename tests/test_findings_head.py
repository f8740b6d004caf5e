"""The findings head: its attention against a plain one, hidden slices, what it starts from, what it can learn."""

import math
from dataclasses import replace

import pytest
import torch

from msvlm.errors import ConfigError, ModelError
from msvlm.model.findings_head import (
    FindingsHead,
    FindingsHeadConfig,
    sharp_mean_within_studies,
    softmax_within_studies,
)
from msvlm.vocabulary.chest import CHEST

STUDY_INDEX = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1])
VOCABULARY = replace(CHEST, findings=tuple(map(CHEST.kind, ("lung_nodule", "pleural_effusion", "hiatal_hernia"))))
CONFIG = FindingsHeadConfig(heads=2, layers=1)
GRID = (2, 3)


def head(loud: bool = False) -> FindingsHead:
    torch.manual_seed(0)
    model = FindingsHead(CONFIG, VOCABULARY, 24, 5, GRID)
    if loud:
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return model


def random_input(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(8, 24, generator=generator), torch.randn(8, 7, 5, generator=generator)


def seen(*hidden: int) -> torch.Tensor:
    visible = torch.ones(8, dtype=torch.bool)
    visible[list(hidden)] = False
    return visible


@torch.no_grad()
def test_factored_attention_equals_plain_attention_over_all_places() -> None:
    model = head(loud=True)
    z_vectors, vectors = random_input()
    visible = seen(1)
    cells = vectors[:, 1:]
    regions = model.region_classifier(cells)
    context, slice_attention = model._attend(
        z_vectors * visible[:, None], cells * visible[:, None, None], regions, STUDY_INDEX, visible, 2
    )
    chosen = [0, 2]
    for finding in range(3):
        for number in range(2):
            own = slice(12 * number, 12 * number + 12)
            query, weight = model.queries[finding, own], model.values.weight[own]
            places, values = [], []
            for slice_ in chosen:
                for cell in range(6):
                    term = model.region_scale[finding] * regions[slice_, cell, finding]
                    places.append(term + query @ model.keys(z_vectors[slice_])[own] * 12**-0.5)
                    at = torch.nn.functional.one_hot(torch.tensor(cell), 6).float()
                    values.append(weight @ torch.cat([cells[slice_, cell], at, z_vectors[slice_]]))
            places.append(query @ model.null_key[own] * 12**-0.5)
            values.append(model.null_value[own])
            expected = torch.stack(places).softmax(0) @ torch.stack(values)
            torch.testing.assert_close(context[0, finding, own], expected, rtol=1e-4, atol=1e-4)
    assert (slice_attention[1] == 0).all()


@torch.no_grad()
def test_attention_over_a_study_and_its_null_sums_to_one() -> None:
    logits = torch.randn(8, 3, 2, generator=torch.Generator().manual_seed(0)) * 30
    null = torch.zeros(2, 3, 2)
    weights = softmax_within_studies(logits, STUDY_INDEX, seen(0, 5), null)
    for study in range(2):
        own = (study == STUDY_INDEX) & seen(0, 5)
        expected = torch.cat([logits[own], null[study : study + 1]]).softmax(0)[:-1]
        torch.testing.assert_close(weights[own], expected)
    assert (weights[[0, 5]] == 0).all()


@torch.no_grad()
def test_the_smooth_maximum_lies_near_the_maximum_and_does_not_grow_with_slices() -> None:
    values = torch.randn(8, 6, 3, generator=torch.Generator().manual_seed(0)) * 3
    soft = sharp_mean_within_studies(values, STUDY_INDEX, seen(), 2, 3.0)
    hard = torch.stack([values[:3].amax((0, 1)), values[3:].amax((0, 1))])
    assert ((soft <= hard) & (soft > hard - 1.0)).all()
    twice = sharp_mean_within_studies(values.repeat(2, 1, 1), torch.zeros(16).long(), torch.ones(16).bool(), 1, 3.0)
    once = sharp_mean_within_studies(values, torch.zeros(8).long(), seen(), 1, 3.0)
    torch.testing.assert_close(twice, once)
    assert (sharp_mean_within_studies(values, STUDY_INDEX, seen(0, 1, 2), 2, 3.0)[0] == 0).all()


@torch.no_grad()
def test_hidden_slices_are_as_if_they_were_not_there() -> None:
    model = head(loud=True)
    z_vectors, vectors = random_input()
    kept = seen(1, 4)
    vectors[4], z_vectors[1] = float("nan"), float("nan")
    with_hidden = model(z_vectors, vectors, STUDY_INDEX, kept)
    without = model(z_vectors[kept], vectors[kept], STUDY_INDEX[kept], torch.ones(6).bool())
    for name in ("presence_logits", "attribute_logits", "log_sizes_mm", "vectors"):
        torch.testing.assert_close(getattr(with_hidden, name), getattr(without, name), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_shapes_are_those_of_findings_attributes_and_cells() -> None:
    output = head()(*random_input(), STUDY_INDEX, seen())
    assert output.presence_logits.shape == (2, 3)
    assert output.attribute_logits.shape == (2, 3, len(CHEST.attributes))
    assert output.region_logits.shape == (8, 3, *GRID)
    assert output.slice_attention.shape == (8, 3)


@torch.no_grad()
def test_a_region_logit_stands_in_its_cell() -> None:
    model = head()
    z_vectors, vectors = random_input()
    output = model(z_vectors, vectors, STUDY_INDEX, seen())
    torch.testing.assert_close(output.region_logits[4, :, 1, 2], model.region_classifier(vectors[4, 1 + 1 * 3 + 2]))


@torch.no_grad()
def test_with_cls_only_the_slice_is_the_one_cell() -> None:
    model = FindingsHead(CONFIG, VOCABULARY, 24, 5, (1, 1))
    z_vectors, vectors = random_input()
    output = model(z_vectors, vectors[:, :1], STUDY_INDEX, seen())
    torch.testing.assert_close(output.region_logits[:, :, 0, 0], model.region_classifier(vectors[:, 0]))


@torch.no_grad()
def test_it_starts_at_what_is_usual_and_at_a_typical_size() -> None:
    model = head()
    rates, cells = torch.tensor([0.45, 0.12, 0.14]), torch.tensor([0.2, 0.03, 0.01])
    model.set_priors(rates, cells)
    output = model(*random_input(), STUDY_INDEX, seen())
    torch.testing.assert_close(output.presence_logits.sigmoid(), rates.expand(2, 3), atol=0.1, rtol=0)
    torch.testing.assert_close(output.region_logits.mean(dim=(0, 2, 3)), torch.logit(cells), atol=0.3, rtol=0)
    assert (output.log_sizes_mm - math.log(10.0)).abs().max() < 0.3


def test_what_is_usual_is_told_wherever_the_head_lies() -> None:
    model = head().to("meta")
    model.set_priors(torch.tensor([0.45, 0.12, 0.14]), torch.tensor([0.2, 0.03, 0.01]))  # rates lie on the CPU
    assert model.output_bias.is_meta


def test_it_learns_which_study_has_what_from_study_labels_alone() -> None:
    model = head()
    generator = torch.Generator().manual_seed(1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        z_vectors = torch.randn(24, 24, generator=generator)
        vectors = torch.randn(24, 7, 5, generator=generator)
        study_index = torch.arange(24) // 3
        labels = (torch.rand(8, 3, generator=generator) < 0.5).float()
        for finding in range(3):
            cell = torch.randint(1, 7, (8,), generator=generator)
            vectors[torch.arange(8) * 3 + 1, cell, finding] += 6.0 * labels[:, finding]
        output = model(z_vectors, vectors, study_index, torch.ones(24).bool())
        loss = torch.nn.functional.binary_cross_entropy_with_logits(output.presence_logits, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = ((output.presence_logits > 0) == labels.bool()).float().mean()
    assert float(right) > 0.85
    assert float(output.slice_attention.detach()[1::3][labels[:, 0] == 1, 0].mean()) > 0.5


def test_thresholds_are_kept_and_checked() -> None:
    model = head()
    assert model.thresholds.tolist() == [0.5] * 3
    model.set_thresholds(torch.tensor([0.1, 0.2, 0.9]))
    assert model.state_dict()["thresholds"].tolist() == pytest.approx([0.1, 0.2, 0.9])
    with pytest.raises(ModelError, match="wanted 3 probabilities"):
        model.set_thresholds(torch.tensor([0.1, 0.2, 1.9]))
    with pytest.raises(ModelError, match="2 rates for 3 findings"):
        model.set_priors(torch.tensor([0.1, 0.2]), torch.tensor([0.1, 0.2]))


def test_a_head_without_attention_heads_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 heads"):
        FindingsHeadConfig(heads=0)
