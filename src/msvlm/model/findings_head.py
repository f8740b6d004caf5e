"""The findings head: for each finding its probability, side, lobe, degree and size, and the slices that show it.

A departure from MS-VLM (arXiv 2412.13558), which has no findings head: its vectors join the visual tokens, and its
positive findings enter the prompt as text (`MsVlmConfig.cues`).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.errors import ConfigError, ModelError
from msvlm.model.transformer import INITIAL_STD, TransformerLayer, check_width, initialise
from msvlm.vocabulary.vocabulary import Vocabulary

_OUTPUT_STD = 0.005
_INITIAL_MAXIMUM_WEIGHT = 0.5
_MAXIMUM_SHARPNESS = 3.0
_TYPICAL_SIZE_MM = 10.0
_NEVER = -1e4
"""A logit whose weight is 0 beside any other, and 1 where it is the only one."""


@dataclass(frozen=True)
class FindingsHeadConfig:
    """Size of the findings head; which findings it predicts is a matter of the model's vocabulary."""

    heads: int = 4
    layers: int = 1

    def __post_init__(self) -> None:
        if self.heads < 1 or self.layers < 0:
            raise ConfigError(
                f"findings_head: {self.heads} heads, {self.layers} layers; heads must be at least 1, layers 0 or more"
            )


@dataclass(frozen=True)
class FindingsOutput:
    """Predictions for the findings of each study. All logits are float32.

    Attributes:
        presence_logits: the finding is present.
        attribute_logits: in the order of `Vocabulary.attributes`, given that the finding is present.
        log_sizes_mm: natural logarithm of the largest diameter, depth or width.
        vectors: one vector per finding, for the language model.
        slice_attention: attention of each finding to each slice; over a study it sums to 1 minus the attention on the
            null key.
        region_logits: the finding touches this cell of this slice.
    """

    presence_logits: Float[Tensor, "studies findings"]
    attribute_logits: Float[Tensor, "studies findings attributes"]
    log_sizes_mm: Float[Tensor, "studies findings"]
    vectors: Float[Tensor, "studies findings z_width"]
    slice_attention: Float[Tensor, "slices findings"]
    region_logits: Float[Tensor, "slices findings grid_rows grid_columns"]


class FindingsHead(nn.Module):
    """One query per finding, which attends to all cells of the visible slices of a study, and to a null key."""

    def __init__(
        self,
        config: FindingsHeadConfig,
        vocabulary: Vocabulary,
        z_width: int,
        vector_width: int,
        region_grid: tuple[int, int],
    ) -> None:
        super().__init__()
        check_width("findings_head", z_width, config.heads, max(config.layers, 1))
        findings, cells = len(vocabulary.findings), math.prod(region_grid)
        self.region_grid = region_grid
        self.heads = config.heads
        self.queries = nn.Parameter(torch.zeros(findings, z_width))
        self.null_key = nn.Parameter(torch.zeros(z_width))
        self.null_value = nn.Parameter(torch.zeros(z_width))
        self.region_classifier = nn.Linear(vector_width, findings)
        self.region_scale = nn.Parameter(torch.ones(findings))
        self.maximum_weight = nn.Parameter(torch.full((findings,), _INITIAL_MAXIMUM_WEIGHT))
        self.keys = nn.Linear(z_width, z_width)
        self.values = nn.Linear(vector_width + cells + z_width, z_width, bias=False)
        self.context_output = nn.Linear(z_width, z_width)
        self.layers = nn.ModuleList(TransformerLayer(z_width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(z_width)
        self.output_weights = nn.Parameter(torch.zeros(findings, 2 + len(vocabulary.attributes), z_width))
        self.output_bias = nn.Parameter(torch.zeros(findings, 2 + len(vocabulary.attributes)))
        self.register_buffer("thresholds", torch.full((findings,), 0.5))
        self.thresholds: Float[Tensor, " findings"]
        self._initialise()

    def _initialise(self) -> None:
        self.apply(initialise)
        for parameter in (self.queries, self.null_key, self.null_value):
            nn.init.trunc_normal_(parameter, std=INITIAL_STD)
        nn.init.trunc_normal_(self.output_weights, std=_OUTPUT_STD)
        with torch.no_grad():
            self.output_bias[:, 1] = math.log(_TYPICAL_SIZE_MM)

    @property
    def has_priors(self) -> bool:
        """Whether `set_priors` was called, or the head was trained."""
        return bool(self.region_classifier.bias.any())

    def set_priors(self, presence: Float[Tensor, " findings"], cells: Float[Tensor, " findings"]) -> None:
        """Sets the biases so that each finding starts at its prevalence and training need not learn it.

        Args:
            presence: share of studies that have the finding.
            cells: prior probability that the finding touches a cell.
        """
        for rates in (presence, cells):
            if rates.shape != self.thresholds.shape:
                raise ModelError(
                    f"findings_head: {len(rates)} rates for {len(self.thresholds)} findings; wanted one for each"
                )
        device = self.thresholds.device
        with torch.no_grad():
            self.region_classifier.bias.copy_(torch.logit(cells.float().clamp(1e-4, 0.5)))
            prior = torch.logit(presence.float().clamp(0.01, 0.99)).to(device)
            self.output_bias[:, 0] = prior - self.maximum_weight * self.region_classifier.bias

    def set_thresholds(self, thresholds: Float[Tensor, " findings"]) -> None:
        """Sets the probability above which each finding counts as present."""
        if thresholds.shape != self.thresholds.shape or not bool(((thresholds >= 0) & (thresholds <= 1)).all()):
            raise ModelError(
                f"findings_head: thresholds {thresholds.tolist()}; wanted {len(self.thresholds)} probabilities"
            )
        self.thresholds.copy_(thresholds)

    def forward(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        vectors: Float[Tensor, "slices tokens width"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
    ) -> FindingsOutput:
        """Returns the predictions for each study from its visible slices; `vectors` are standardised slice vectors."""
        # In float32 throughout: the sums run over thousands of places, and the outputs are logits.
        with torch.autocast(device_type=z_vectors.device.type, enabled=False):
            dtype = self.queries.dtype
            studies = int(study_index[-1]) + 1
            cells = vectors[:, 1:] if vectors.shape[1] > 1 else vectors
            # Masked slices are zeroed too: an attention weight of 0 does not remove a NaN.
            cells = cells.to(dtype).masked_fill(~visible[:, None, None], 0.0)
            z_vectors = z_vectors.to(dtype).masked_fill(~visible[:, None], 0.0)
            regions = self.region_classifier(cells)
            context, slice_attention = self._attend(z_vectors, cells, regions, study_index, visible, studies)
            tokens = (self.queries + self.context_output(context)).flatten(0, 1)
            for layer in self.layers:
                tokens = layer(tokens, [len(self.queries)] * studies)
            finding_vectors = self.norm(tokens).unflatten(0, (studies, -1))
            outputs = (torch.einsum("sfw,fow->sfo", finding_vectors, self.output_weights) + self.output_bias).float()
            maximum = sharp_mean_within_studies(regions.float(), study_index, visible, studies, _MAXIMUM_SHARPNESS)
        return FindingsOutput(
            presence_logits=outputs[:, :, 0] + self.maximum_weight.float() * maximum,
            attribute_logits=outputs[:, :, 2:],
            log_sizes_mm=outputs[:, :, 1],
            vectors=finding_vectors,
            slice_attention=slice_attention,
            region_logits=regions.float().transpose(1, 2).unflatten(2, self.region_grid),
        )

    def _attend(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        cells: Float[Tensor, "slices cells width"],
        regions: Float[Tensor, "slices cells findings"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
        studies: int,
    ) -> tuple[Float[Tensor, "studies findings z_width"], Float[Tensor, "slices findings"]]:
        """Returns the context that each finding gathers in each study, and its attention to each slice.

        The attention logit of a cell is a term of the cell plus a term of its slice, so the softmax over all cells of a
        study factorises into one over the cells of a slice and one over slices. The first is shared by all attention
        heads, and values are averaged before they are projected.
        """
        cell_logits = regions * self.region_scale
        slice_logits = torch.logsumexp(cell_logits, dim=1)
        cell_attention = torch.exp(cell_logits - slice_logits[:, None]).transpose(1, 2)
        queries = self.queries.unflatten(1, (self.heads, -1))
        keys = self.keys(z_vectors).unflatten(1, (self.heads, -1))
        depth = queries.shape[2]
        logits = slice_logits[:, :, None] + torch.einsum("shd,fhd->sfh", keys, queries) * depth**-0.5
        null_logits = torch.einsum("hd,fhd->fh", self.null_key.unflatten(0, (self.heads, -1)), queries) * depth**-0.5
        attention = softmax_within_studies(logits, study_index, visible, null_logits.expand(studies, -1, -1))
        slice_values = torch.cat(
            [cell_attention @ cells, cell_attention, z_vectors[:, None].expand(-1, len(queries), -1)], dim=2
        )
        lengths = torch.bincount(study_index, minlength=studies).tolist()
        pieces = zip(attention.split(lengths), slice_values.split(lengths), strict=True)
        gathered = torch.stack([torch.einsum("sfh,sfv->fhv", weights, values) for weights, values in pieces])
        context = torch.einsum("bfhv,hdv->bfhd", gathered, self.values.weight.unflatten(0, (self.heads, -1)))
        total = attention.new_zeros(studies, *attention.shape[1:]).index_add(0, study_index, attention)
        null_value = self.null_value.unflatten(0, (self.heads, -1))
        context = context + (1.0 - total)[..., None] * null_value
        return context.flatten(2), attention.mean(dim=2)


def softmax_within_studies(
    logits: Float[Tensor, "slices findings heads"],
    study_index: Int[Tensor, " slices"],
    visible: Bool[Tensor, " slices"],
    null_logits: Float[Tensor, "studies findings heads"],
) -> Float[Tensor, "slices findings heads"]:
    """Returns weights that sum to 1 over the visible slices of a study and the null; masked slices have weight 0."""
    logits = logits.masked_fill(~visible[:, None, None], -torch.inf)
    where = study_index[:, None, None].expand_as(logits)
    peak = null_logits.detach().scatter_reduce(0, where, logits.detach(), "amax", include_self=True)
    weights = torch.exp(logits - peak[study_index])
    total = torch.exp(null_logits - peak).index_add(0, study_index, weights)
    return weights / total[study_index]


def sharp_mean_within_studies(
    values: Float[Tensor, "slices cells findings"],
    study_index: Int[Tensor, " slices"],
    visible: Bool[Tensor, " slices"],
    studies: int,
    sharpness: float,
) -> Float[Tensor, "studies findings"]:
    """Returns a smooth maximum over the visible cells of a study: their mean, weighted by exp(sharpness x value).

    Unlike a log-sum-exp it does not grow with the number of slices. It is 0 where every slice is masked.
    """
    logits = values * sharpness
    slice_logits = torch.logsumexp(logits, dim=1, keepdim=True)
    slice_means = (torch.exp(logits - slice_logits) * values).sum(dim=1)
    null = values.new_full((studies, values.shape[2], 1), _NEVER)
    weights = softmax_within_studies(slice_logits.transpose(1, 2), study_index, visible, null)[:, :, 0]
    return values.new_zeros(studies, values.shape[2]).index_add(0, study_index, weights * slice_means)
