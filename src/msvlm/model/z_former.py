"""The Z-former: relates the slice vectors of a study along and across its series.

Method: MS-VLM (arXiv 2412.13558), Z-former. Departures: full attention within a study instead of BigBird's blocks
(over some hundred slices it costs next to nothing beside slice encoding), and, as a setting, poses.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.batch import StudyBatch
from msvlm.errors import ConfigError
from msvlm.model.transformer import INITIAL_STD, TransformerLayer, check_width, initialise, study_lengths
from msvlm.study import Role

_SHORTEST_WAVE_MM = 4.0
_LONGEST_WAVE_MM = 1000.0
_WAVES = 12
_ROLE_WIDTH = 32


class Pose(StrEnum):
    """How the position of a slice is embedded."""

    MILLIMETRES = "millimetres"
    """Position and normal in the patient and the role of the series. A departure from the paper."""
    SEQUENCE = "sequence"
    """The running number of the slice in its study: the paper's plain concatenation of series."""


@dataclass(frozen=True)
class ZFormerConfig:
    """The transformer between slices; the paper's is 768 wide with 12 layers.

    Attributes:
        region_width: width to which the vector of each region is projected before all of a slice are concatenated;
            the vector of the whole slice is concatenated unprojected.
    """

    width: int = 192
    region_width: int = 32
    layers: int = 3
    heads: int = 4
    pose: Pose = Pose.MILLIMETRES
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_width("z_former", self.width, self.heads, self.layers)
        if self.width % 2 or self.region_width < 1 or not 0.0 <= self.dropout < 1.0:
            raise ConfigError(
                f"z_former: width {self.width}, region_width {self.region_width}, dropout {self.dropout}; "
                "wanted an even width, region_width at least 1, dropout from 0 to below 1"
            )


class ZFormer(nn.Module):
    """A transformer over the slices of a study, with a token for masked slices."""

    def __init__(self, config: ZFormerConfig, tokens: int, vector_width: int) -> None:
        super().__init__()
        self.embed_regions = nn.Linear(vector_width, config.region_width) if tokens > 1 else None
        self.embed = nn.Linear(vector_width + (tokens - 1) * config.region_width, config.width)
        self.mask_token = nn.Parameter(torch.zeros(config.width))
        self.pose: nn.Module = (
            _MillimetrePose(config.width) if config.pose is Pose.MILLIMETRES else _SequencePose(config.width)
        )
        self.layers = nn.ModuleList(
            TransformerLayer(config.width, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(config.width)
        self.apply(initialise)
        nn.init.trunc_normal_(self.mask_token, std=INITIAL_STD)
        if isinstance(self.pose, _MillimetrePose):
            # A role that no training study has then counts as no role.
            nn.init.zeros_(self.pose.role.weight)

    def forward(
        self,
        vectors: Float[Tensor, "slices tokens width"],
        batch: StudyBatch,
        masked: Bool[Tensor, " slices"] | None = None,
    ) -> Float[Tensor, "slices z_width"]:
        """Returns one vector per slice.

        Args:
            vectors: standardised slice vectors.
            batch: the studies that the slices belong to, with the position of each slice.
            masked: slices whose vector is replaced by the mask token; their position stays.
        """
        slices = self.embed_slices(vectors)
        # Selected even where nothing is masked, so that the mask token always has a gradient.
        visible = torch.ones_like(batch.study_index, dtype=torch.bool) if masked is None else ~masked
        slices = torch.where(visible[:, None], slices, self.mask_token.to(slices.dtype))
        slices = slices + self.pose(batch).to(slices.dtype)
        lengths = study_lengths(batch.study_index, batch.studies)
        for layer in self.layers:
            slices = layer(slices, lengths)
        return self.norm(slices)

    def embed_slices(self, vectors: Float[Tensor, "slices tokens width"]) -> Float[Tensor, "slices z_width"]:
        """Returns one embedding per slice, before position and attention."""
        vectors = vectors.to(self.mask_token.dtype)
        joined = vectors[:, 0]
        if self.embed_regions is not None:
            joined = torch.cat([joined, self.embed_regions(vectors[:, 1:]).flatten(1)], dim=1)
        return self.embed(joined)


class _MillimetrePose(nn.Module):
    """Embeds Fourier features of the position in mm, the normal, and the role of the series.

    Neither the number of the series nor that of the slice enters, so that the order of series does not matter.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.role = nn.Embedding(Role.COUNT, _ROLE_WIDTH)
        self.mix = nn.Sequential(nn.Linear(3 * 2 * _WAVES + 3 + _ROLE_WIDTH, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, batch: StudyBatch) -> Float[Tensor, "slices z_width"]:
        """Returns the pose embedding of each slice."""
        position_mm = batch.position_mm.float()
        steps = torch.linspace(0.0, 1.0, _WAVES, device=position_mm.device)
        waves_mm = _SHORTEST_WAVE_MM * (_LONGEST_WAVE_MM / _SHORTEST_WAVE_MM) ** steps
        angles = (position_mm[:, :, None] * (2.0 * math.pi / waves_mm)).flatten(1)
        places = torch.cat([angles.sin(), angles.cos(), batch.normal_ras.float()], dim=1)
        roles = self.role(batch.role_index)
        return self.mix(torch.cat([places.to(roles.dtype), roles], dim=1))


class _SequencePose(nn.Module):
    """Sinusoids of the running number of the slice in its study."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, batch: StudyBatch) -> Float[Tensor, "slices z_width"]:
        """Returns the pose embedding of each slice."""
        number = _running_number(batch.study_index, batch.studies).float()
        rates = 1e4 ** (-torch.arange(0, self.width, 2, device=number.device).float() / self.width)
        angles = number[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def _running_number(study_index: Int[Tensor, " slices"], studies: int) -> Int[Tensor, " slices"]:
    lengths = torch.bincount(study_index, minlength=studies)
    first = torch.cumsum(lengths, 0) - lengths
    return torch.arange(len(study_index), device=study_index.device) - first[study_index]
