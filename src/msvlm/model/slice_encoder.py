"""The slice encoder: a 2D transformer or ConvNeXt of Hugging Face, applied to each slice by itself.

Method: MS-VLM (arXiv 2412.13558), slice encoder. Departures, each a setting: region vectors beside the CLS vector,
which alone lost small findings, and HU statistics, because absolute HU do not survive normalisation layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from msvlm.errors import ConfigError
from msvlm.imaging.preprocess import InputConfig
from msvlm.model.model_folder import weights_hash
from msvlm.model.slice_backbone import (
    BackboneShape,
    SliceEncoderKind,
    build_backbone,
    load_backbone,
    read_pixel_scale,
    shape_of,
)
from msvlm.model.transformer import check_width

_STATISTICS = 3


@dataclass(frozen=True)
class SliceEncoderConfig:
    """Which encoder is used, and which vectors are kept of a slice. The paper: a ViT-B/16, CLS only, no statistics.

    Attributes:
        checkpoint: name on the hub, or folder, of a backbone; where it is empty, a new one is built from `width`,
            `layers`, `heads` and `patch_pixels`, which are ignored otherwise.
        kind: architecture of the checkpoint, or of what is built.
        region_grid: rows and columns of the grid of regions into which a slice is pooled; (0, 0): only the CLS vector.
        statistics: whether mean, maximum and standard deviation of the pixels are appended to the vectors.
        chunk_slices: how many slices are encoded at once, so that memory does not grow with the study.
    """

    checkpoint: str = ""
    kind: SliceEncoderKind = SliceEncoderKind.VIT
    width: int = 128
    layers: int = 4
    heads: int = 4
    patch_pixels: int = 8
    region_grid: tuple[int, int] = (6, 8)
    statistics: bool = True
    chunk_slices: int = 64

    def __post_init__(self) -> None:
        check_width("slice_encoder", self.width, self.heads, self.layers)
        if self.patch_pixels < 1 or self.chunk_slices < 1:
            raise ConfigError(
                f"slice_encoder: patch_pixels {self.patch_pixels}, chunk_slices {self.chunk_slices}; must be at least 1"
            )
        if self.region_grid != (0, 0) and min(self.region_grid) < 1:
            raise ConfigError(
                f"slice_encoder: region_grid {self.region_grid}; wanted (0, 0) for CLS only, or at least (1, 1)"
            )


@dataclass(frozen=True)
class PatchFeatures:
    """The learned vectors of slices: CLS, and one vector per patch, row-major as in `patch_grid`."""

    cls: Float[Tensor, "slices width"]
    patches: Float[Tensor, "slices patches width"]


class SliceEncoder(nn.Module):
    """Slices -> token vectors: first that of the whole slice, then those of its regions, row-major.

    A token's vector is the mean of the patch vectors of its region (the CLS vector for the whole slice), then their
    maximum, both after the backbone's last norm, then, with statistics, the mean, maximum and standard deviation of
    each channel over its pixels, not normalised. With CLS only, there is no maximum.

    Attributes:
        tokens: vectors per slice.
        vector_width: length of a vector.
        region_grid: rows and columns of regions; (1, 1), the whole slice, with CLS only.
        patch_pixels: side of a patch in pixels.
        width: length of a learned vector.
    """

    def __init__(
        self, config: SliceEncoderConfig, input_config: InputConfig, backbone: PreTrainedModel | None = None
    ) -> None:
        """Builds or loads the backbone that the config names, unless one is passed in.

        Raises:
            ConfigError: the patch grid, the region grid and the input's pixels do not divide one another.
            ModelError: the checkpoint is of another kind than the config says.
        """
        super().__init__()
        channels = len(input_config.windows_hu)
        given = backbone is not None
        if backbone is None and config.checkpoint:
            backbone = load_backbone(config.checkpoint, config.kind)
        if backbone is None:
            shape = BackboneShape(config.width, config.layers, config.heads, config.patch_pixels)
            backbone = build_backbone(config.kind, shape, (input_config.rows, input_config.columns), channels)
        self.backbone = backbone
        self.config = config
        shape, self._prefix_tokens = shape_of(backbone, config.kind)
        self.patch_pixels, self.width = shape.patch_pixels, shape.width
        if backbone.config.num_channels != channels:
            raise ConfigError(
                f"slice_encoder: the checkpoint needs {backbone.config.num_channels} channels, but the input has "
                f"{channels} windows; give one window per channel"
            )
        mean, scale = read_pixel_scale("" if given else config.checkpoint, channels)
        self.register_buffer("pixel_mean", mean)
        self.register_buffer("pixel_scale", scale)
        self.pixel_mean: Tensor
        self.pixel_scale: Tensor
        self._cls_only = config.region_grid == (0, 0)
        self.region_grid = (1, 1) if self._cls_only else config.region_grid
        self.tokens = 1 if self._cls_only else 1 + self.region_grid[0] * self.region_grid[1]
        learned = self.width if self._cls_only else 2 * self.width
        self.vector_width = learned + (_STATISTICS * channels if config.statistics else 0)
        self._check_grid(self.patch_grid(input_config.rows, input_config.columns))

    def train(self, mode: bool = True) -> "SliceEncoder":
        """Sets the mode; a frozen encoder stays in evaluation mode, since some jitter positions in training mode."""
        super().train(mode and any(parameter.requires_grad for parameter in self.parameters()))
        return self

    def patch_grid(self, rows: int, columns: int) -> tuple[int, int]:
        """Returns the rows and columns of the patch grid of slices or crops of that many pixels.

        Raises:
            ConfigError: the pixels are no multiple of the patch size.
        """
        if rows % self.patch_pixels or columns % self.patch_pixels:
            raise ConfigError(
                f"slice_encoder: {rows} x {columns} pixels in patches of {self.patch_pixels}; "
                f"choose rows and columns that are multiples of {self.patch_pixels}"
            )
        return rows // self.patch_pixels, columns // self.patch_pixels

    def forward(self, slices: Float[Tensor, "slices channels rows columns"]) -> Float[Tensor, "slices tokens width"]:
        """Returns the token vectors in float32, not standardised."""
        features = self.features(slices)
        parts = [features.cls[:, None].float()]
        if not self._cls_only:
            grid = self.patch_grid(slices.shape[2], slices.shape[3])
            self._check_grid(grid)
            means, maxima = _pooled_patches(features.patches, grid, self.region_grid)
            parts = [torch.cat([parts[0], means.float()], dim=1)]
            parts.append(torch.cat([maxima.amax(dim=1, keepdim=True), maxima], dim=1).float())
        if self.config.statistics:
            parts.append(_pixel_statistics(slices, self.region_grid)[:, : self.tokens])
        return torch.cat(parts, dim=2)

    def features(
        self,
        slices: Float[Tensor, "slices channels rows columns"],
        masked: Bool[Tensor, "slices patches"] | None = None,
    ) -> PatchFeatures:
        """Returns the CLS and patch vectors of slices or crops whose size is a multiple of the patch size.

        Masked patches are replaced by the mask token, for a ConvNeXt by 0.
        """
        grid = self.patch_grid(slices.shape[2], slices.shape[3])
        pixels = slices * self.pixel_scale[:, None, None] + self.pixel_mean[:, None, None]
        if self.config.kind is SliceEncoderKind.DINOV3_CONVNEXT:
            if masked is not None:
                # Convolutions have no mask token: masked pixels are set to 0, the middle of each window.
                visible = ~masked.unflatten(1, grid)[:, None]
                pixels = pixels * visible.repeat_interleave(self.patch_pixels, 2).repeat_interleave(
                    self.patch_pixels, 3
                )
            pixels = pixels.to(self.backbone.dtype, memory_format=torch.channels_last)
            states = self.backbone(pixel_values=pixels).last_hidden_state
        elif self.config.kind is SliceEncoderKind.VIT:
            states = self.backbone(
                pixel_values=pixels, bool_masked_pos=masked, interpolate_pos_encoding=True
            ).last_hidden_state
        else:
            states = self.backbone(pixel_values=pixels, bool_masked_pos=masked).last_hidden_state
        return PatchFeatures(states[:, 0], states[:, self._prefix_tokens :])

    def chunks(self, slices: Float[Tensor, "slices channels rows columns"]) -> "Iterator[Tensor]":
        """Yields the token vectors of `chunk_slices` slices at a time."""
        for chunk in slices.split(self.config.chunk_slices):
            yield self(chunk)

    def weights_hash(self) -> str:
        """Returns a hash of the weights and of which vectors are kept of a slice, to recognise stored vectors."""
        return weights_hash(self, f"{self.config.kind} {self.config.region_grid} {self.config.statistics}")

    def _check_grid(self, patch_grid: tuple[int, int]) -> None:
        if patch_grid[0] % self.region_grid[0] or patch_grid[1] % self.region_grid[1]:
            raise ConfigError(
                f"slice_encoder: region_grid {self.region_grid} on a patch grid {patch_grid}; "
                "choose a region grid that divides the patch grid"
            )


def _pooled_patches(
    patches: Float[Tensor, "slices patches width"], grid: tuple[int, int], region_grid: tuple[int, int]
) -> tuple[Float[Tensor, "slices regions width"], Float[Tensor, "slices regions width"]]:
    """Returns the mean and maximum of the patch vectors in each region."""
    size = (grid[0] // region_grid[0], grid[1] // region_grid[1])
    # In channels-last layout the pooling kernels are 30 times as fast as a reduction over two axes.
    maps = patches.transpose(1, 2).unflatten(2, grid)
    means, maxima = F.avg_pool2d(maps, size), F.max_pool2d(maps, size)
    return means.flatten(2).transpose(1, 2), maxima.flatten(2).transpose(1, 2)


@torch.no_grad()
def _pixel_statistics(
    slices: Float[Tensor, "slices channels rows columns"], region_grid: tuple[int, int]
) -> Float[Tensor, "slices tokens statistics"]:
    """Returns mean, maximum and standard deviation of each channel: over the whole slice, then over each region."""
    rows, columns = slices.shape[2] // region_grid[0], slices.shape[3] // region_grid[1]
    parted = slices.float().unflatten(3, (region_grid[1], columns)).unflatten(2, (region_grid[0], rows))
    # One axis at a time: a reduction over two at once takes three times as long.
    means = parted.mean(dim=5).mean(dim=3)
    variances = (parted - means[:, :, :, None, :, None]).square_().mean(dim=5).mean(dim=3).flatten(2)
    means, maxima = means.flatten(2), parted.amax(dim=5).amax(dim=3).flatten(2)
    mean = means.mean(dim=2, keepdim=True)
    variance = (variances + (means - mean) ** 2).mean(dim=2, keepdim=True)
    whole = [mean, maxima.amax(dim=2, keepdim=True), variance.sqrt()]
    regions = [means, maxima, variances.sqrt()]
    statistics = torch.cat([torch.cat(pair, dim=2) for pair in zip(whole, regions, strict=True)], dim=1)
    return statistics.transpose(1, 2)
