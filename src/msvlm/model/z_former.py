"""Slice vectors of all series, standardised and with their poses -> slice vectors that know each other.

Method: MS-VLM (arXiv 2412.13558), Z-former. Departures: full attention within a study instead of BigBird's blocks
(over some hundred slices it costs next to nothing beside slice encoding), and, as a setting, poses.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.batch import StudyBatch
from msvlm.errors import ConfigError, ModelError
from msvlm.study import Role

INITIAL_STD = 0.02
SMALLEST_SCALE = 1e-2
"""A channel that hardly varies over the training slices (air in a corner) is not blown up beyond this."""
FARTHEST = 20.0
"""Standard deviations beyond which a value says only that nothing like it was seen in training."""
_SHORTEST_WAVE_MM = 4.0
_LONGEST_WAVE_MM = 1000.0
_WAVES = 12
_ROLE_WIDTH = 32


class Pose(StrEnum):
    """How a slice is told where it lies."""

    MILLIMETRES = "millimetres"
    """Position and normal in the patient and the role of its series. A departure from the paper."""
    SEQUENCE = "sequence"
    """The running number of the slice in its study: the paper's plain concatenation of series."""


@dataclass(frozen=True)
class ZFormerConfig:
    """The transformer between slices; the paper's is 768 wide with 12 layers.

    Attributes:
        region_width: what the vector of each region is brought to before all of a slice are joined; the vector of the
            whole slice is joined as it is.
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
                "an even width, 1 at least, dropout in 0..1"
            )


class VectorStandardiser(nn.Module):
    """Without it a Z-former learned nothing from slice vectors in 400 steps: their channels differ too much in size."""

    def __init__(self, tokens: int, vector_width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(tokens, vector_width))
        self.register_buffer("scale", torch.ones(tokens, vector_width))
        self.register_buffer("fitted", torch.tensor(False))
        self.mean: Tensor
        self.scale: Tensor
        self.fitted: Tensor

    def fit(self, mean: Float[Tensor, "tokens width"], scale: Float[Tensor, "tokens width"]) -> None:
        """Takes the mean and standard deviation of each channel over the training slices.

        Raises:
            ModelError: another shape than the slice vectors', or a value that is no number.
        """
        for name, value in (("mean", mean), ("scale", scale)):
            if value.shape != self.mean.shape:
                raise ModelError(
                    f"standardiser: {name} of shape {tuple(value.shape)}, wanted {tuple(self.mean.shape)}; "
                    "measure it on vectors of this slice encoder"
                )
            if not torch.isfinite(value).all():
                raise ModelError(f"standardiser: {name} holds values that are no numbers; look at the slice vectors")
        self.mean.copy_(mean)
        self.scale.copy_(scale.clamp(min=SMALLEST_SCALE))
        self.fitted.fill_(True)

    def forward(self, vectors: Float[Tensor, "slices tokens width"]) -> Float[Tensor, "slices tokens width"]:
        """The standardised vectors, in float32.

        Raises:
            ModelError: it was never fitted.
        """
        if not bool(self.fitted):
            raise ModelError(
                "standardiser: not fitted; call fit() with the mean and scale of the training slices' vectors first"
            )
        return ((vectors.float() - self.mean.float()) / self.scale.float()).clamp(-FARTHEST, FARTHEST)


class ZFormer(nn.Module):
    """Relates the slices of a study along and across its series."""

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
            # A role that no training study has is read as no role.
            nn.init.zeros_(self.pose.role.weight)

    def forward(
        self,
        vectors: Float[Tensor, "slices tokens width"],
        batch: StudyBatch,
        hidden: Bool[Tensor, " slices"] | None = None,
    ) -> Float[Tensor, "slices z_width"]:
        """One vector a slice.

        Args:
            vectors: standardised slice vectors.
            batch: whose slices they are and where they lie.
            hidden: slices of which only the place is told.
        """
        rows = self.embed_slices(vectors)
        # Masked even where nothing is hidden, so that no parameter is ever left without a gradient.
        shown = torch.ones_like(batch.study_index, dtype=torch.bool) if hidden is None else ~hidden
        rows = torch.where(shown[:, None], rows, self.mask_token.to(rows.dtype)) + self.pose(batch).to(rows.dtype)
        lengths = study_lengths(batch.study_index, batch.studies)
        for layer in self.layers:
            rows = layer(rows, lengths)
        return self.norm(rows)

    def embed_slices(self, vectors: Float[Tensor, "slices tokens width"]) -> Float[Tensor, "slices z_width"]:
        """One row a slice, before it is told its place and its neighbours."""
        vectors = vectors.to(self.mask_token.dtype)
        joined = vectors[:, 0]
        if self.embed_regions is not None:
            joined = torch.cat([joined, self.embed_regions(vectors[:, 1:]).flatten(1)], dim=1)
        return self.embed(joined)


class _MillimetrePose(nn.Module):
    """Fourier features of the position, the normal and the series' role, mixed.

    Neither the series' number nor the slice's, so that one patient space holds all series in any order.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.role = nn.Embedding(Role.COUNT, _ROLE_WIDTH)
        self.mix = nn.Sequential(nn.Linear(3 * 2 * _WAVES + 3 + _ROLE_WIDTH, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, batch: StudyBatch) -> Float[Tensor, "slices z_width"]:
        """What is added to each slice."""
        position_mm = batch.position_mm.float()
        steps = torch.linspace(0.0, 1.0, _WAVES, device=position_mm.device)
        waves_mm = _SHORTEST_WAVE_MM * (_LONGEST_WAVE_MM / _SHORTEST_WAVE_MM) ** steps
        angles = (position_mm[:, :, None] * (2.0 * math.pi / waves_mm)).flatten(1)
        places = torch.cat([angles.sin(), angles.cos(), batch.normal_ras.float()], dim=1)
        roles = self.role(batch.role_index)
        return self.mix(torch.cat([places.to(roles.dtype), roles], dim=1))


class _SequencePose(nn.Module):
    """Sinusoids of the slice's running number in its study, and nothing else."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def forward(self, batch: StudyBatch) -> Float[Tensor, "slices z_width"]:
        """What is added to each slice."""
        number = _running_number(batch.study_index, batch.studies).float()
        rates = 1e4 ** (-torch.arange(0, self.width, 2, device=number.device).float() / self.width)
        angles = number[:, None] * rates
        return torch.cat([angles.sin(), angles.cos()], dim=1)


def _running_number(study_index: Int[Tensor, " slices"], studies: int) -> Int[Tensor, " slices"]:
    lengths = torch.bincount(study_index, minlength=studies)
    first = torch.cumsum(lengths, 0) - lengths
    return torch.arange(len(study_index), device=study_index.device) - first[study_index]


class TransformerLayer(nn.Module):
    """A pre-norm transformer layer in which a study never sees its neighbour."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.feed_forward = FeedForward(width, dropout)

    def forward(self, rows: Float[Tensor, "rows width"], lengths: list[int]) -> Float[Tensor, "rows width"]:
        """The rows after attention within each study, whose rows stand together and are counted in `lengths`."""
        packed = self.queries_keys_values(self.attention_norm(rows)).unflatten(1, (3, self.heads, -1))
        dropout = self.dropout if self.training else 0.0
        attended = attend_within_studies(packed[:, 0], packed[:, 1], packed[:, 2], lengths, dropout)
        rows = rows + F.dropout(self.attention_output(attended.flatten(1)), self.dropout, self.training)
        return rows + self.feed_forward(rows)


class FeedForward(nn.Module):
    """What a pre-norm transformer layer adds to each row on its own."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, rows: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
        """What is to be added to the rows."""
        return self.layers(rows)


def attend_within_studies(
    queries: Float[Tensor, "rows heads depth"],
    keys: Float[Tensor, "rows heads depth"],
    values: Float[Tensor, "rows heads depth"],
    lengths: list[int],
    dropout: float,
) -> Float[Tensor, "rows heads depth"]:
    """Each row attends to the rows of its own study; studies of one length go together, others one by one."""
    if len(set(lengths)) == 1:
        studies = len(lengths)
        query, key, value = (
            tensor.unflatten(0, (studies, lengths[0])).transpose(1, 2) for tensor in (queries, keys, values)
        )
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return attended.transpose(1, 2).flatten(0, 1)
    pieces = zip(queries.split(lengths), keys.split(lengths), values.split(lengths), strict=True)
    attended_pieces = [attend_within_studies(query, key, value, [len(query)], dropout) for query, key, value in pieces]
    return torch.cat(attended_pieces)


def study_lengths(study_index: Int[Tensor, " slices"], studies: int) -> list[int]:
    """How many slices each study has, none included."""
    return torch.bincount(study_index, minlength=studies).tolist()


def initialise(module: nn.Module) -> None:
    """Weights of linear and embedding layers from a narrow truncated normal, no wider than keeps the input's size."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=min(INITIAL_STD, module.in_features**-0.5))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.trunc_normal_(module.weight, std=INITIAL_STD)


def check_width(name: str, width: int, heads: int, layers: int) -> None:
    """Refuses a transformer that cannot be built.

    Raises:
        ConfigError: a number below 1, or a width that the heads cannot share.
    """
    if min(width, heads, layers) < 1 or width % heads:
        raise ConfigError(
            f"{name}: width {width}, {heads} heads, {layers} layers; all 1 at least, and width a multiple of heads"
        )


class EmbeddingDecoder(nn.Module):
    """Guesses a hidden slice's standardised vectors from what the Z-former makes of its place; thrown away later.

    Method: MS-VLM (arXiv 2412.13558), masked embedding modelling.
    """

    def __init__(self, z_width: int, tokens: int, vector_width: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.decode = nn.Linear(z_width, tokens * vector_width)
        self.apply(initialise)

    def forward(self, z_vectors: Float[Tensor, "slices z_width"]) -> Float[Tensor, "slices tokens width"]:
        """The guessed vectors."""
        return self.decode(z_vectors).unflatten(1, (self.tokens, -1))
