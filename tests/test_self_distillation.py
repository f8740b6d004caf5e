"""Self-distillation: losses least where they should be, the same for a batch parted; a teacher that follows."""

import torch
from torch import nn

from msvlm.training.self_distillation import (
    Centre,
    distillation_loss,
    koleo_loss,
    masked_mean,
    reduced_mean,
    update_teacher,
)


def test_a_student_that_says_what_its_teacher_says_pays_least() -> None:
    scores = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    agreeing = distillation_loss(scores, scores, 0.1, 0.1).mean()
    other = distillation_loss(scores.roll(1, dims=1), scores, 0.1, 0.1).mean()
    assert agreeing < other


def test_features_that_lie_together_pay_more_than_those_apart() -> None:
    together = torch.tensor([[1.0, 0.0], [1.0, 0.01], [1.0, -0.01], [1.0, 0.02]])
    assert koleo_loss(torch.eye(4)) < koleo_loss(together)


def test_the_hidden_patches_of_a_batch_parted_have_the_same_mean() -> None:
    masked = torch.zeros(4, 6, dtype=torch.bool)
    masked[0, :3] = True
    masked[3, 1] = True
    losses = torch.tensor([1.0, 2.0, 3.0, 8.0])
    whole = masked_mean(losses, masked, 0.5)
    halves = [masked_mean(losses[:3], masked[:2], 0.5), masked_mean(losses[3:], masked[2:], 0.5)]
    torch.testing.assert_close(whole, torch.stack(halves).mean())
    assert whole == (2.0 + 8.0) / 2


def test_no_hidden_patch_costs_nothing() -> None:
    assert masked_mean(torch.zeros(0), torch.zeros(4, 6, dtype=torch.bool), 0.5) == 0


def test_a_teacher_goes_a_step_towards_its_student() -> None:
    teacher, student = nn.Linear(2, 1), nn.Linear(2, 1)
    before = teacher.weight.detach().clone()
    update_teacher(teacher, student, 0.9)
    torch.testing.assert_close(teacher.weight.detach(), 0.9 * before + 0.1 * student.weight.detach())


def test_a_centre_follows_the_mean_score() -> None:
    centre = Centre(3, momentum=0.5)
    centre.update(reduced_mean(torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]])))
    assert centre.mean.tolist() == [1.0, 1.5, 2.0]
