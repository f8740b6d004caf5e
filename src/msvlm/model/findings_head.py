"""One query per finding: is it there, where in the lungs, how large, and on which slices and regions it was seen.

A departure from MS-VLM (arXiv 2412.13558), which has no findings head: its vectors stand among the visual tokens and
its positive findings enter the prompt as cues (`MsVlmConfig.cues`).
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from msvlm.errors import ConfigError, ModelError
from msvlm.findings import ATTRIBUTES, CHEST_FINDING_NAMES
from msvlm.model.z_former import INITIAL_STD, TransformerLayer, check_width, initialise

_OUTPUT_STD = 0.005
_INITIAL_MAXIMUM_WEIGHT = 0.5
_MAXIMUM_SHARPNESS = 3.0
_TYPICAL_SIZE_MM = 10.0
_NEVER = -1e4
"""A logit so low that it weighs nothing beside any other, and everything where it stands alone."""


@dataclass(frozen=True)
class FindingsHeadConfig:
    """Which findings are asked for, in the order of all outputs."""

    findings: tuple[str, ...] = CHEST_FINDING_NAMES
    heads: int = 4
    layers: int = 1

    def __post_init__(self) -> None:
        if not self.findings or len(set(self.findings)) < len(self.findings):
            raise ConfigError(f"findings_head: findings {self.findings}; at least one, and none twice")
        if self.heads < 1 or self.layers < 0:
            raise ConfigError(f"findings_head: {self.heads} heads, {self.layers} layers; 1 head at least, 0 layers")


@dataclass(frozen=True)
class FindingsOutput:
    """What the head says of each study's findings. All logits are float32.

    Attributes:
        presence_logits: the finding is there.
        attribute_logits: in the order of `msvlm.findings.ATTRIBUTES`, given that the finding is there.
        log_sizes_mm: natural logarithm of the largest diameter, depth or width.
        vectors: one vector a finding, for the language model.
        slice_attention: how much each finding looked at each slice; over a study it sums to 1, less what the null took.
        region_logits: the finding touches this cell of this slice.
    """

    presence_logits: Float[Tensor, "studies findings"]
    attribute_logits: Float[Tensor, "studies findings attributes"]
    log_sizes_mm: Float[Tensor, "studies findings"]
    vectors: Float[Tensor, "studies findings z_width"]
    slice_attention: Float[Tensor, "slices findings"]
    region_logits: Float[Tensor, "slices findings grid_rows grid_columns"]


class FindingsHead(nn.Module):
    """Each finding attends over all visible (slice, cell) places of its study, and to a null."""

    def __init__(
        self, config: FindingsHeadConfig, z_width: int, vector_width: int, region_grid: tuple[int, int]
    ) -> None:
        super().__init__()
        check_width("findings_head", z_width, config.heads, max(config.layers, 1))
        findings, cells = len(config.findings), math.prod(region_grid)
        self.region_grid = region_grid
        self.heads = config.heads
        self.queries = nn.Parameter(torch.zeros(findings, z_width))
        self.null_key = nn.Parameter(torch.zeros(z_width))
        self.null_value = nn.Parameter(torch.zeros(z_width))
        self.regions = nn.Linear(vector_width, findings)
        self.region_scale = nn.Parameter(torch.ones(findings))
        self.maximum_weight = nn.Parameter(torch.full((findings,), _INITIAL_MAXIMUM_WEIGHT))
        self.keys = nn.Linear(z_width, z_width)
        self.values = nn.Linear(vector_width + cells + z_width, z_width, bias=False)
        self.context_output = nn.Linear(z_width, z_width)
        self.layers = nn.ModuleList(TransformerLayer(z_width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(z_width)
        self.output_weights = nn.Parameter(torch.zeros(findings, 2 + len(ATTRIBUTES), z_width))
        self.output_bias = nn.Parameter(torch.zeros(findings, 2 + len(ATTRIBUTES)))
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

    def set_priors(self, presence: Float[Tensor, " findings"], cells: Float[Tensor, " findings"]) -> None:
        """Starts each finding at what is usual, so that training need not find that out: rare ones start rare.

        Args:
            presence: share of studies that have the finding.
            cells: probability that a cell is to be called the finding's when nothing is known of it.
        """
        for rates in (presence, cells):
            if rates.shape != self.thresholds.shape:
                raise ModelError(f"findings_head: {len(rates)} rates for {len(self.thresholds)} findings; one each")
        device = self.thresholds.device
        with torch.no_grad():
            self.regions.bias.copy_(torch.logit(cells.float().clamp(1e-4, 0.5)))
            usual = torch.logit(presence.float().clamp(0.01, 0.99)).to(device)
            self.output_bias[:, 0] = usual - self.maximum_weight * self.regions.bias

    def set_thresholds(self, thresholds: Float[Tensor, " findings"]) -> None:
        """Takes the probability from which on each finding is called present."""
        if thresholds.shape != self.thresholds.shape or not bool(((thresholds >= 0) & (thresholds <= 1)).all()):
            raise ModelError(
                f"findings_head: thresholds {thresholds.tolist()}; {len(self.thresholds)} probabilities are wanted"
            )
        self.thresholds.copy_(thresholds)

    def forward(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        vectors: Float[Tensor, "slices tokens width"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
    ) -> FindingsOutput:
        """What each study's visible slices say; `vectors` are standardised."""
        # In float32 throughout: the sums run over thousands of places, and the outputs are logits.
        with torch.autocast(device_type=z_vectors.device.type, enabled=False):
            dtype = self.queries.dtype
            studies = int(study_index[-1]) + 1
            cells = vectors[:, 1:] if vectors.shape[1] > 1 else vectors
            # What is hidden is zeroed too: a weight of 0 does not undo a value that is no number.
            cells = cells.to(dtype).masked_fill(~visible[:, None, None], 0.0)
            z_vectors = z_vectors.to(dtype).masked_fill(~visible[:, None], 0.0)
            regions = self.regions(cells)
            context, slice_attention = self._look(z_vectors, cells, regions, study_index, visible, studies)
            rows = (self.queries + self.context_output(context)).flatten(0, 1)
            for layer in self.layers:
                rows = layer(rows, [len(self.queries)] * studies)
            of_findings = self.norm(rows).unflatten(0, (studies, -1))
            outputs = (torch.einsum("sfw,fow->sfo", of_findings, self.output_weights) + self.output_bias).float()
            loudest = sharp_mean_within_studies(regions.float(), study_index, visible, studies, _MAXIMUM_SHARPNESS)
        return FindingsOutput(
            presence_logits=outputs[:, :, 0] + self.maximum_weight.float() * loudest,
            attribute_logits=outputs[:, :, 2:],
            log_sizes_mm=outputs[:, :, 1],
            vectors=of_findings,
            slice_attention=slice_attention,
            region_logits=regions.float().transpose(1, 2).unflatten(2, self.region_grid),
        )

    def _look(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        cells: Float[Tensor, "slices cells width"],
        regions: Float[Tensor, "slices cells findings"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
        studies: int,
    ) -> tuple[Float[Tensor, "studies findings z_width"], Float[Tensor, "slices findings"]]:
        """What each finding gathers in each study, and how much of it on each slice.

        The logit of a place is a term of its cell plus a term of its slice, so the softmax over all places of a study
        is one over the cells of a slice times one over slices: no head needs its own look at the cells, and values are
        averaged before they are projected.
        """
        of_cells = regions * self.region_scale
        of_slices = torch.logsumexp(of_cells, dim=1)
        within = torch.exp(of_cells - of_slices[:, None]).transpose(1, 2)
        queries = self.queries.unflatten(1, (self.heads, -1))
        keys = self.keys(z_vectors).unflatten(1, (self.heads, -1))
        depth = queries.shape[2]
        logits = of_slices[:, :, None] + torch.einsum("shd,fhd->sfh", keys, queries) * depth**-0.5
        null_logits = torch.einsum("hd,fhd->fh", self.null_key.unflatten(0, (self.heads, -1)), queries) * depth**-0.5
        attention = softmax_within_studies(logits, study_index, visible, null_logits.expand(studies, -1, -1))
        seen = torch.cat([within @ cells, within, z_vectors[:, None].expand(-1, len(queries), -1)], dim=2)
        lengths = torch.bincount(study_index, minlength=studies).tolist()
        pieces = zip(attention.split(lengths), seen.split(lengths), strict=True)
        gathered = torch.stack([torch.einsum("sfh,sfv->fhv", weights, values) for weights, values in pieces])
        context = torch.einsum("bfhv,hdv->bfhd", gathered, self.values.weight.unflatten(0, (self.heads, -1)))
        taken = attention.new_zeros(studies, *attention.shape[1:]).index_add(0, study_index, attention)
        null_value = self.null_value.unflatten(0, (self.heads, -1))
        context = context + (1.0 - taken)[..., None] * null_value
        return context.flatten(2), attention.mean(dim=2)


def softmax_within_studies(
    logits: Float[Tensor, "slices findings heads"],
    study_index: Int[Tensor, " slices"],
    visible: Bool[Tensor, " slices"],
    null_logits: Float[Tensor, "studies findings heads"],
) -> Float[Tensor, "slices findings heads"]:
    """Weights that sum to 1 over a study's visible slices and the null; a hidden slice has none."""
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
    """A smooth maximum over a study's visible cells: their mean, each weighted by exp(sharpness x value).

    Unlike a log-sum-exp it does not grow with the number of slices. 0 where every slice is hidden.
    """
    logits = values * sharpness
    of_slice = torch.logsumexp(logits, dim=1, keepdim=True)
    mean_of_slice = (torch.exp(logits - of_slice) * values).sum(dim=1)
    null = values.new_full((studies, values.shape[2], 1), _NEVER)
    weights = softmax_within_studies(of_slice.transpose(1, 2), study_index, visible, null)[:, :, 0]
    return values.new_zeros(studies, values.shape[2]).index_add(0, study_index, weights * mean_of_slice)
