"""What is not known is not learned; a rare finding weighs as much as a common one; a batch parted has the same loss."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from msvlm.batch import FindingTargets, StudyBatch, TrainingBatch
from msvlm.errors import ConfigError
from msvlm.model.findings_head import FindingsOutput
from msvlm.training.learn_findings import FindingsSettings, findings_loss, without_invisible
from msvlm.vocabulary.chest import CHEST

SETTINGS = FindingsSettings()
RATES = torch.tensor([0.2, 0.001])
STUDY_INDEX = torch.tensor([0, 0, 0, 1, 1])


def batch(targets: FindingTargets, hidden: Tensor | None = None) -> TrainingBatch:
    slices = len(STUDY_INDEX)
    studies = StudyBatch(
        study_index=STUDY_INDEX,
        series_index=torch.zeros(slices, dtype=torch.long),
        position_mm=torch.zeros(slices, 3),
        normal_ras=torch.tensor([[0.0, 0.0, 1.0]]).repeat(slices, 1),
        role_index=torch.zeros(slices, dtype=torch.long),
        slice_vectors=torch.zeros(slices, 1, 2),
    )
    return TrainingBatch(studies, torch.zeros(slices, dtype=torch.bool) if hidden is None else hidden, targets)


def targets() -> FindingTargets:
    """Two studies of two findings; the first study has the first finding, on its slice 1."""
    regions = torch.zeros(5, 2, 2, 2, dtype=torch.bool)
    regions[1, 0, 0, 1] = True
    return FindingTargets(
        presence=torch.tensor([[1.0, 0.0], [0.0, torch.nan]]),
        attributes=torch.full((2, 2, len(CHEST.attributes)), torch.nan),
        sizes_mm=torch.tensor([[12.0, torch.nan], [torch.nan, torch.nan]]),
        regions=regions,
        has_regions=torch.tensor([[True, True], [True, False]]),
    )


def output(seed: int = 0) -> FindingsOutput:
    random = torch.Generator().manual_seed(seed)
    return FindingsOutput(
        presence_logits=torch.randn(2, 2, generator=random),
        attribute_logits=torch.randn(2, 2, len(CHEST.attributes), generator=random),
        log_sizes_mm=torch.randn(2, 2, generator=random),
        vectors=torch.zeros(2, 2, 3),
        slice_attention=torch.zeros(5, 2),
        region_logits=torch.randn(5, 2, 2, 2, generator=random),
    )


def gradients(told: FindingsOutput, known: FindingTargets, hidden: Tensor | None = None) -> FindingsOutput:
    """What the loss asks of each output."""
    leaves = {
        name: getattr(told, name).clone().requires_grad_()
        for name in ("presence_logits", "attribute_logits", "log_sizes_mm", "region_logits")
    }
    findings_loss(replace(told, **leaves), known, batch(known, hidden), RATES, SETTINGS).total.backward()
    return replace(told, **{name: leaf.grad for name, leaf in leaves.items()})


def test_what_is_not_known_is_not_learned() -> None:
    asked = gradients(output(), targets())
    assert asked.presence_logits[1, 1] == 0 and (asked.presence_logits[0] != 0).all()
    assert (asked.attribute_logits == 0).all()
    assert (asked.log_sizes_mm != 0).tolist() == [[True, False], [False, False]]
    assert (asked.region_logits[3:, 1] == 0).all() and (asked.region_logits[3:, 0] != 0).all()


def test_nothing_is_asked_of_the_cells_of_hidden_slices() -> None:
    hidden = torch.tensor([False, True, False, False, True])
    asked = gradients(output(), targets(), hidden)
    assert (asked.region_logits[hidden] == 0).all()
    assert (asked.region_logits[~hidden, 0] != 0).all()


def test_a_finding_on_hidden_slices_alone_is_neither_present_nor_absent() -> None:
    known = targets()
    hidden = torch.tensor([False, True, False, False, False])
    seen = without_invisible(known, batch(known).studies, hidden)
    assert seen.presence[0, 0].isnan() and seen.sizes_mm[0, 0].isnan()
    assert seen.presence[0, 1] == 0 and seen.presence[1, 0] == 0
    assert without_invisible(known, batch(known).studies, torch.zeros(5, dtype=torch.bool)).presence[0, 0] == 1


def test_a_constant_guess_costs_the_same_for_rare_and_common_findings() -> None:
    costs = []
    for finding, rate in enumerate(RATES.tolist()):
        cells = 20_000
        regions = torch.zeros(5, 2, 1, cells, dtype=torch.bool)
        regions[:, finding, 0, : round(rate * cells)] = True
        known = replace(
            targets(), regions=regions, has_regions=torch.tensor([[finding == 0, finding == 1]]).repeat(2, 1)
        )
        settings = replace(SETTINGS, presence_weight=0.0, attribute_weight=0.0, size_weight=0.0)
        guesses = [
            findings_loss(
                replace(output(), region_logits=torch.full((5, 2, 1, cells), guess)),
                known,
                batch(known),
                RATES,
                settings,
            ).total.item()
            for guess in torch.linspace(-8, 2, 60).tolist()
        ]
        costs.append(min(guesses))
    assert costs == pytest.approx([1.0, 1.0], abs=0.02)


def test_the_loss_of_a_batch_is_the_mean_of_its_studies() -> None:
    together = findings_loss(output(), targets(), batch(targets()), RATES, SETTINGS).total
    apart = []
    for study in range(2):
        own = torch.arange(2) == study
        slices = study == STUDY_INDEX
        known, told = targets(), output()
        part = FindingTargets(
            known.presence[own],
            known.attributes[own],
            known.sizes_mm[own],
            known.regions[slices],
            known.has_regions[own],
        )
        whole = batch(known)
        studies = replace(
            whole.studies,
            **{
                name: getattr(whole.studies, name)[slices]
                for name in ("series_index", "position_mm", "normal_ras", "role_index", "slice_vectors")
            },
            study_index=torch.zeros(int(slices.sum()), dtype=torch.long),
        )
        of_study = FindingsOutput(
            told.presence_logits[own],
            told.attribute_logits[own],
            told.log_sizes_mm[own],
            told.vectors[own],
            told.slice_attention[slices],
            told.region_logits[slices],
        )
        hidden = torch.zeros(int(slices.sum()), dtype=torch.bool)
        apart.append(findings_loss(of_study, part, TrainingBatch(studies, hidden, part), RATES, SETTINGS).total)
    torch.testing.assert_close(together, torch.stack(apart).mean())


def test_weights_below_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="size_weight -1.0"):
        FindingsSettings(size_weight=-1.0)
