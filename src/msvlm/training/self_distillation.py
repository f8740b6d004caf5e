"""The parts of self-distillation: projection heads, the teacher's moving average, centring, and the losses.

Method: DINO (arXiv 2104.14294), iBOT (arXiv 2111.07832) and KoLeo (arXiv 1806.03198) as DINOv2 (arXiv 2304.07193)
combines them.
"""

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """Scores of a feature against learned prototypes: an MLP, a normalised bottleneck, normalised prototypes."""

    def __init__(self, width: int, prototypes: int, hidden: int = 512, bottleneck: int = 128) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, features: Float[Tensor, "*features width"]) -> Float[Tensor, "*features prototypes"]:
        return F.linear(F.normalize(self.mlp(features), dim=-1), F.normalize(self.prototypes, dim=-1))


class Centre(nn.Module):
    """A running mean of the teacher's scores; subtracting it keeps one prototype from dominating."""

    mean: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(prototypes))

    @torch.no_grad()
    def update(self, scores_mean: Float[Tensor, " prototypes"]) -> None:
        """Adds the mean score of one batch, over all processes."""
        self.mean.mul_(self.momentum).add_(scores_mean.to(self.mean.dtype), alpha=1.0 - self.momentum)


def distillation_loss(
    student: Float[Tensor, "features prototypes"],
    teacher: Float[Tensor, "features prototypes"],
    student_temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, " features"]:
    """Returns the cross entropy of the student's distribution under the teacher's, whose scores are already centred."""
    target = torch.softmax(teacher.float() / teacher_temperature, dim=-1)
    return -(target * torch.log_softmax(student.float() / student_temperature, dim=-1)).sum(dim=-1)


def koleo_loss(features: Float[Tensor, "features width"]) -> Float[Tensor, ""]:
    """Returns minus the mean log distance of each feature to its nearest neighbour, on the unit sphere.

    Neighbours come from all processes and have no gradient.
    """
    directions = F.normalize(features.float(), dim=-1)
    state = PartialState()
    with torch.no_grad():
        others = gather(directions.contiguous()) if state.num_processes > 1 else directions.detach()
        similarity = directions @ others.T
        own = torch.arange(len(directions), device=directions.device) + state.process_index * len(directions)
        similarity[torch.arange(len(directions), device=directions.device), own] = -1.0
        nearest = others[similarity.argmax(dim=1)]
    distance = (directions - nearest).norm(dim=1)
    return -(distance + 1e-6).log().mean()


def masked_mean(
    losses: Float[Tensor, " masked_patches"], masked: Bool[Tensor, "crops patches"], expected_share: float
) -> Float[Tensor, ""]:
    """Returns the sum over crops of each one's mean over its masked patches, divided by the expected masked crops.

    It is not divided by the actual number of masked crops: a batch split over processes must have the same mean.

    Args:
        losses: the loss of each masked patch, crop after crop, row-major.
        masked: which patches are masked.
        expected_share: expected share of crops that have masked patches.
    """
    of_crop = masked.nonzero()[:, 0]
    counts = masked.sum(dim=1).to(losses.dtype)
    return (losses / counts[of_crop]).sum() / (len(masked) * expected_share)


def reduced_mean(scores: Float[Tensor, "features prototypes"]) -> Float[Tensor, " prototypes"]:
    """Returns the mean score over the features of all processes."""
    state = PartialState()
    sums = torch.cat([scores.sum(dim=0), scores.new_tensor([len(scores)])])
    sums = reduce(sums, "sum") if state.num_processes > 1 else sums
    return sums[:-1] / sums[-1].clamp(min=1)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Updates every parameter of the teacher as an exponential moving average of the student's."""
    for average, current in zip(teacher.parameters(), student.parameters(), strict=True):
        average.lerp_(current.to(average.dtype), 1.0 - momentum)
