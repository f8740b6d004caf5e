"""What self-distillation is made of: projection heads, a teacher that follows its student, and three losses.

Method: DINO (arXiv 2104.14294), iBOT (arXiv 2111.07832) and KoLeo (arXiv 1806.03198) as DINOv2 (arXiv 2304.07193)
joins them.
"""

import torch
from accelerate import PartialState
from accelerate.utils import gather, reduce
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F


class ProjectionHead(nn.Module):
    """A feature -> its scores against learned prototypes: an MLP, a unit-length bottleneck, unit-length prototypes."""

    def __init__(self, width: int, prototypes: int, hidden: int = 512, bottleneck: int = 128) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
        )
        self.prototypes = nn.Parameter(torch.empty(prototypes, bottleneck))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, features: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows prototypes"]:
        return F.linear(F.normalize(self.mlp(features), dim=-1), F.normalize(self.prototypes, dim=-1))


class Centre(nn.Module):
    """A running mean of the teacher's scores; taken off, it keeps one prototype from winning everywhere."""

    mean: Tensor

    def __init__(self, prototypes: int, momentum: float = 0.9) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(prototypes))

    @torch.no_grad()
    def move(self, scores_mean: Float[Tensor, " prototypes"]) -> None:
        """Follows the mean score of one batch, over all processes."""
        self.mean.mul_(self.momentum).add_(scores_mean.to(self.mean.dtype), alpha=1.0 - self.momentum)


def distillation_loss(
    student: Float[Tensor, "rows prototypes"],
    teacher: Float[Tensor, "rows prototypes"],
    student_temperature: float,
    teacher_temperature: float,
) -> Float[Tensor, " rows"]:
    """Cross entropy of the student's distribution under the teacher's; `teacher` scores are already centred."""
    target = torch.softmax(teacher.float() / teacher_temperature, dim=-1)
    return -(target * torch.log_softmax(student.float() / student_temperature, dim=-1)).sum(dim=-1)


def koleo_loss(features: Float[Tensor, "rows width"]) -> Float[Tensor, ""]:
    """Spreads features over the sphere: minus the mean log distance of each one to its nearest neighbour.

    Neighbours are sought among the rows of all processes, and stand still while a row moves away from its own.
    """
    directions = F.normalize(features.float(), dim=-1)
    state = PartialState()
    with torch.no_grad():
        others = gather(directions.contiguous()) if state.num_processes > 1 else directions.detach()
        likeness = directions @ others.T
        own = torch.arange(len(directions), device=directions.device) + state.process_index * len(directions)
        likeness[torch.arange(len(directions), device=directions.device), own] = -1.0
        nearest = others[likeness.argmax(dim=1)]
    distance = (directions - nearest).norm(dim=1)
    return -(distance + 1e-6).log().mean()


def masked_mean(
    losses: Float[Tensor, " hidden_patches"], masked: Bool[Tensor, "crops patches"], expected_share: float
) -> Float[Tensor, ""]:
    """The sum over crops of each one's mean over its hidden patches, row-major, by how many crops should have some.

    Not by how many do: a batch parted among processes must have the same mean.
    """
    of_crop = masked.nonzero()[:, 0]
    counts = masked.sum(dim=1).to(losses.dtype)
    return (losses / counts[of_crop]).sum() / (len(masked) * expected_share)


def reduced_mean(scores: Float[Tensor, "rows prototypes"]) -> Float[Tensor, " prototypes"]:
    """The mean score over the rows of all processes."""
    state = PartialState()
    together = torch.cat([scores.sum(dim=0), scores.new_tensor([len(scores)])])
    together = reduce(together, "sum") if state.num_processes > 1 else together
    return together[:-1] / together[-1].clamp(min=1)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Moves every parameter of the teacher a step towards the student's."""
    for own, lead in zip(teacher.parameters(), student.parameters(), strict=True):
        own.lerp_(lead.to(own.dtype), 1.0 - momentum)
