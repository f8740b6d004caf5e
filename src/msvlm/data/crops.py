"""Views of slices for DINO and iBOT: random crops with random rotation, windows and noise; masks of patches.

Method: DINO (arXiv 2104.14294) multi-crop, iBOT (arXiv 2111.07832) block-wise masks. Every slice has its own random
values; all slices are processed at once, and the result depends on the generator alone.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from msvlm.errors import ConfigError

GLOBAL_CROPS = 2
_BLOCKS = 12
"""Number of blocks sampled for each mask; the last ones are rarely needed."""
_AIR = -1.0
"""Value outside a slice: the low end of every window."""


@dataclass(frozen=True)
class CropConfig:
    """Sizes and random changes of the crops. All sizes (rows, columns) are multiples of the slice encoder's patch.

    Attributes:
        patch_pixels: side of the slice encoder's patches.
        global_pixels, local_pixels: sizes of the crops.
        local_crops: number of small crops of each slice, in addition to the two large ones.
        global_area, local_area: smallest and largest fraction of the slice's area that a crop covers.
        aspect: largest ratio of a crop's sides before it is resized, in either direction.
        rotation_degrees: largest rotation of a crop, in either direction.
        mirrored: fraction of the crops that are mirrored left to right. 0 where the side matters, as in the chest.
        window_jitter: largest shift and stretch of each channel's window, as a fraction of its width.
        gamma: each channel is raised to a power from 1 / gamma to gamma.
        noise: largest standard deviation of the noise that is added to each pixel, in units of -1..1.
        masked_crops: fraction of the large crops that have masked patches.
        masked_patches: smallest and largest fraction of masked patches in those crops.
    """

    patch_pixels: int = 8
    global_pixels: tuple[int, int] = (96, 96)
    local_pixels: tuple[int, int] = (48, 48)
    local_crops: int = 4
    global_area: tuple[float, float] = (0.6, 1.0)
    local_area: tuple[float, float] = (0.2, 0.5)
    aspect: float = 4 / 3
    rotation_degrees: float = 10.0
    mirrored: float = 0.0
    window_jitter: float = 0.1
    gamma: float = 1.2
    noise: float = 0.05
    masked_crops: float = 0.5
    masked_patches: tuple[float, float] = (0.1, 0.5)

    def __post_init__(self) -> None:
        for size in (*self.global_pixels, *self.local_pixels):
            if size < self.patch_pixels or size % self.patch_pixels:
                raise ConfigError(
                    f"crops of {self.global_pixels} and {self.local_pixels} pixels; must be multiples of patch_pixels, "
                    f"{self.patch_pixels}"
                )
        for name in ("global_area", "local_area", "masked_patches"):
            low, high = getattr(self, name)
            if not 0.0 < low <= high <= 1.0:
                raise ConfigError(f"{name} ({low}, {high}); must be 0 < low <= high <= 1")
        for name, lowest, highest in (
            ("mirrored", 0.0, 1.0),
            ("masked_crops", 0.0, 1.0),
            ("noise", 0.0, math.inf),
            ("gamma", 1.0, math.inf),
            ("aspect", 1.0, math.inf),
            ("local_crops", 0, math.inf),
        ):
            if not lowest <= getattr(self, name) <= highest:
                upper = f" and at most {highest:g}" if highest < math.inf else ""
                raise ConfigError(f"{name} {getattr(self, name)}; must be at least {lowest:g}{upper}")
        if not 0.0 <= self.window_jitter < 0.5:
            raise ConfigError(f"window_jitter {self.window_jitter}; must be at least 0 and below 0.5")


@dataclass(frozen=True)
class SliceCrops:
    """Views of some slices.

    Attributes:
        global_views: large crops, two of each slice.
        local_views: small crops, `local_crops` of each slice.
        masked: patches of the large crops that are masked for the student, row by row.
    """

    global_views: Float[Tensor, "2 slices channels global_rows global_columns"]
    local_views: Float[Tensor, "local_crops slices channels local_rows local_columns"]
    masked: Bool[Tensor, "2 slices patches"]


def cut_crops(
    slices: Float[Tensor, "slices channels rows columns"], config: CropConfig, generator: torch.Generator
) -> SliceCrops:
    """Returns random views of each slice; the generator must be on the device of the slices."""
    rows, columns = (size // config.patch_pixels for size in config.global_pixels)
    return SliceCrops(
        global_views=_views(slices, GLOBAL_CROPS, config.global_pixels, config.global_area, config, generator),
        local_views=_views(slices, config.local_crops, config.local_pixels, config.local_area, config, generator),
        masked=sample_masks(GLOBAL_CROPS * len(slices), (rows, columns), config, generator).view(
            GLOBAL_CROPS, len(slices), rows * columns
        ),
    )


def sample_masks(
    crops: int, patch_grid: tuple[int, int], config: CropConfig, generator: torch.Generator
) -> Bool[Tensor, "crops patches"]:
    """Samples iBOT masks: in some crops, blocks that cover a random fraction of the patches; none in the others.

    Every patch has the number of the first block that covers it, and the patches with the lowest numbers are masked, so
    the fraction is exact without a loop over crops.
    """
    rows, columns = patch_grid
    first = torch.full((crops, rows, columns), float(_BLOCKS), device=generator.device)
    area = rows * columns * _uniform((crops, _BLOCKS), (0.05, 0.3), generator)
    ratio = torch.exp(_uniform((crops, _BLOCKS), (math.log(0.5), math.log(2.0)), generator))
    heights = (area * ratio).sqrt().round().clamp(1, rows)
    widths = (area / ratio).sqrt().round().clamp(1, columns)
    tops = (torch.rand((crops, _BLOCKS), generator=generator, device=generator.device) * (rows - heights + 1)).floor()
    lefts = (
        torch.rand((crops, _BLOCKS), generator=generator, device=generator.device) * (columns - widths + 1)
    ).floor()
    row, column = torch.arange(rows, device=generator.device), torch.arange(columns, device=generator.device)
    for block in reversed(range(_BLOCKS)):
        in_rows = (row >= tops[:, block, None]) & (row < (tops + heights)[:, block, None])
        in_columns = (column >= lefts[:, block, None]) & (column < (lefts + widths)[:, block, None])
        first.masked_fill_(in_rows[:, :, None] & in_columns[:, None, :], block)
    order = first.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    fraction = _uniform((crops,), config.masked_patches, generator)
    masked = (fraction * rows * columns).round().clamp(min=1)
    masked *= torch.rand(crops, generator=generator, device=generator.device) < config.masked_crops
    return order < masked[:, None]


def _views(
    slices: Float[Tensor, "slices channels rows columns"],
    views: int,
    size: tuple[int, int],
    area: tuple[float, float],
    config: CropConfig,
    generator: torch.Generator,
) -> Float[Tensor, "views slices channels crop_rows crop_columns"]:
    """Returns `views` crops of every slice, made one after the other so that slices are not copied."""
    channels = slices.shape[1]
    cut = slices.new_empty((views, *slices.shape[:2], *size))
    for view in range(views):
        transforms = _transforms(len(slices), (slices.shape[2], slices.shape[3]), area, config, generator)
        grid = F.affine_grid(transforms, [len(slices), channels, *size], align_corners=False)
        cut[view] = F.grid_sample(slices - _AIR, grid, padding_mode="zeros", align_corners=False) + _AIR
        cut[view] = _augment(cut[view], config, generator)
    return cut


def _transforms(
    slices: int, size: tuple[int, int], area: tuple[float, float], config: CropConfig, generator: torch.Generator
) -> Float[Tensor, "slices 2 3"]:
    """Returns transforms from positions in a crop to positions in its slice, both -1..1, for `affine_grid`."""
    rows, columns = size
    pixels = rows * columns * _uniform((slices,), area, generator)
    ratio = torch.exp(_uniform((slices,), (-math.log(config.aspect), math.log(config.aspect)), generator))
    height = (pixels / ratio).sqrt().clamp(max=rows)
    width = (pixels / height).clamp(max=columns)
    height = (pixels / width).clamp(max=rows)
    angle = math.radians(config.rotation_degrees) * _uniform((slices,), (-1.0, 1.0), generator)
    mirror = 1.0 - 2.0 * (torch.rand(slices, generator=generator, device=generator.device) < config.mirrored)
    down = (1.0 - height / rows) * _uniform((slices,), (-1.0, 1.0), generator)
    right = (1.0 - width / columns) * _uniform((slices,), (-1.0, 1.0), generator)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.stack([mirror * width * cosine / columns, -height * sine / columns, right], dim=1)
    along = torch.stack([mirror * width * sine / rows, height * cosine / rows, down], dim=1)
    return torch.stack([across, along], dim=1)


def _augment(
    crops: Float[Tensor, "slices channels rows columns"], config: CropConfig, generator: torch.Generator
) -> Float[Tensor, "slices channels rows columns"]:
    """Returns the crops with random windows, gamma and noise; without the noise they are within -1..1."""
    shape = (*crops.shape[:2], 1, 1)
    jitter = config.window_jitter
    low, high = _uniform(shape, (-jitter, jitter), generator), 1.0 + _uniform(shape, (-jitter, jitter), generator)
    power = torch.exp(_uniform(shape, (-math.log(config.gamma), math.log(config.gamma)), generator))
    shown = ((crops * 0.5 + (0.5 - low)) / (high - low)).clamp_(0.0, 1.0).pow_(power).mul_(2.0).sub_(1.0)
    strength = _uniform((len(crops), 1, 1, 1), (0.0, config.noise), generator)
    return shown.addcmul_(torch.randn(crops.shape, generator=generator, device=crops.device), strength)


def _uniform(shape: tuple[int, ...], bounds: tuple[float, float], generator: torch.Generator) -> Float[Tensor, "..."]:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
