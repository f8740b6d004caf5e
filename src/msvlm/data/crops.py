"""DINO and iBOT views of slices: large and small crops, turned, windowed and noised; blocks of patches hidden.

Method: DINO (arXiv 2104.14294) multi-crop, iBOT (arXiv 2111.07832) block-wise masks. Every slice draws for itself, all
slices at once; the generator alone decides what is drawn.
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
"""How many blocks are drawn to hide patches with; the last ones are rarely needed."""
_AIR = -1.0
"""What lies outside a slice: the low end of every window."""


@dataclass(frozen=True)
class CropConfig:
    """How slices are cut and changed. All sizes (rows, columns) are multiples of the slice encoder's patch.

    Attributes:
        patch_pixels: side of the slice encoder's patches.
        global_pixels, local_pixels: sizes of the crops.
        local_crops: how many small crops of each slice, beside the two large ones.
        global_area, local_area: least and largest share of the slice's area that a crop shows.
        aspect: largest ratio of a crop's sides before it is brought to its size, in either direction.
        rotation_degrees: crops are turned by up to so much, either way.
        mirrored: share of the crops that are mirrored left to right. 0 where the side matters, as in the chest.
        window_jitter: each channel's window is moved and stretched by up to this share of its width.
        gamma: each channel is raised to a power from 1 / gamma to gamma.
        noise: standard deviation of what is added to each pixel, up to this, in units of -1..1.
        masked_crops: share of the large crops in which patches are hidden.
        masked_patches: least and largest share of the patches that are hidden in those.
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
                    f"crops {self.global_pixels} and {self.local_pixels}; multiples of the patch, "
                    f"{self.patch_pixels} pixels, are wanted"
                )
        for low, high in (self.global_area, self.local_area, self.masked_patches):
            if not 0.0 < low <= high <= 1.0:
                raise ConfigError(f"shares from {low} to {high}; 0 < low <= high <= 1 is wanted")
        if not 0.0 <= self.mirrored <= 1.0 or not 0.0 <= self.masked_crops <= 1.0:
            raise ConfigError(
                f"mirrored {self.mirrored} and masked_crops {self.masked_crops}; shares from 0 to 1 are wanted"
            )
        if not 0.0 <= self.window_jitter < 0.5 or self.noise < 0.0:
            raise ConfigError(
                f"window_jitter {self.window_jitter} and noise {self.noise}; 0 to below 0.5, and 0 or more, are wanted"
            )
        if self.gamma < 1.0 or self.aspect < 1.0 or self.local_crops < 0:
            raise ConfigError(
                f"gamma {self.gamma}, aspect {self.aspect} and {self.local_crops} local crops; 1, 1 and 0 at least"
            )


@dataclass(frozen=True)
class SliceCrops:
    """Views of some slices.

    Attributes:
        global_views: large crops, twice each slice.
        local_views: small crops; no view where none are asked for.
        masked: which patches of the large crops are hidden from the student, row by row.
    """

    global_views: Float[Tensor, "2 slices channels global_rows global_columns"]
    local_views: Float[Tensor, "local_crops slices channels local_rows local_columns"]
    masked: Bool[Tensor, "2 slices patches"]


def cut_crops(
    slices: Float[Tensor, "slices channels rows columns"], config: CropConfig, generator: torch.Generator
) -> SliceCrops:
    """Views of each slice, drawn with the generator, which lives on the slices' device."""
    rows, columns = (size // config.patch_pixels for size in config.global_pixels)
    return SliceCrops(
        global_views=_views(slices, GLOBAL_CROPS, config.global_pixels, config.global_area, config, generator),
        local_views=_views(slices, config.local_crops, config.local_pixels, config.local_area, config, generator),
        masked=draw_masks(GLOBAL_CROPS * len(slices), (rows, columns), config, generator).view(
            GLOBAL_CROPS, len(slices), rows * columns
        ),
    )


def draw_masks(
    crops: int, patch_grid: tuple[int, int], config: CropConfig, generator: torch.Generator
) -> Bool[Tensor, "crops patches"]:
    """For each crop the patches that are hidden: blocks, together the drawn share of it; none in the other crops.

    Every patch is numbered by the first block that covers it, and the lowest numbers are hidden, so the share is met
    exactly without a loop over crops.
    """
    rows, columns = patch_grid
    first = torch.full((crops, rows, columns), float(_BLOCKS), device=generator.device)
    area = rows * columns * _between((crops, _BLOCKS), (0.05, 0.3), generator)
    ratio = torch.exp(_between((crops, _BLOCKS), (math.log(0.5), math.log(2.0)), generator))
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
    share = _between((crops,), config.masked_patches, generator)
    hidden = (share * rows * columns).round().clamp(min=1)
    hidden *= torch.rand(crops, generator=generator, device=generator.device) < config.masked_crops
    return order < hidden[:, None]


def _views(
    slices: Float[Tensor, "slices channels rows columns"],
    views: int,
    size: tuple[int, int],
    area: tuple[float, float],
    config: CropConfig,
    generator: torch.Generator,
) -> Float[Tensor, "views slices channels crop_rows crop_columns"]:
    """So many crops of every slice, one behind the other, so that no slice is copied."""
    channels = slices.shape[1]
    cut = slices.new_empty((views, *slices.shape[:2], *size))
    for view in range(views):
        transforms = _transforms(len(slices), (slices.shape[2], slices.shape[3]), area, config, generator)
        grid = F.affine_grid(transforms, [len(slices), channels, *size], align_corners=False)
        cut[view] = F.grid_sample(slices - _AIR, grid, padding_mode="zeros", align_corners=False) + _AIR
        cut[view] = _changed(cut[view], config, generator)
    return cut


def _transforms(
    slices: int, size: tuple[int, int], area: tuple[float, float], config: CropConfig, generator: torch.Generator
) -> Float[Tensor, "slices 2 3"]:
    """From places in a crop to places in its slice, both -1..1, as `affine_grid` wants them."""
    rows, columns = size
    pixels = rows * columns * _between((slices,), area, generator)
    ratio = torch.exp(_between((slices,), (-math.log(config.aspect), math.log(config.aspect)), generator))
    height = (pixels / ratio).sqrt().clamp(max=rows)
    width = (pixels / height).clamp(max=columns)
    height = (pixels / width).clamp(max=rows)
    angle = math.radians(config.rotation_degrees) * _between((slices,), (-1.0, 1.0), generator)
    mirror = 1.0 - 2.0 * (torch.rand(slices, generator=generator, device=generator.device) < config.mirrored)
    down = (1.0 - height / rows) * _between((slices,), (-1.0, 1.0), generator)
    right = (1.0 - width / columns) * _between((slices,), (-1.0, 1.0), generator)
    cosine, sine = angle.cos(), angle.sin()
    across = torch.stack([mirror * width * cosine / columns, -height * sine / columns, right], dim=1)
    along = torch.stack([mirror * width * sine / rows, height * cosine / rows, down], dim=1)
    return torch.stack([across, along], dim=1)


def _changed(
    crops: Float[Tensor, "slices channels rows columns"], config: CropConfig, generator: torch.Generator
) -> Float[Tensor, "slices channels rows columns"]:
    """The crops as another scanner and window would show them, within -1..1 but for the noise."""
    shape = (*crops.shape[:2], 1, 1)
    jitter = config.window_jitter
    low, high = _between(shape, (-jitter, jitter), generator), 1.0 + _between(shape, (-jitter, jitter), generator)
    power = torch.exp(_between(shape, (-math.log(config.gamma), math.log(config.gamma)), generator))
    shown = ((crops * 0.5 + (0.5 - low)) / (high - low)).clamp_(0.0, 1.0).pow_(power).mul_(2.0).sub_(1.0)
    strength = _between((len(crops), 1, 1, 1), (0.0, config.noise), generator)
    return shown.addcmul_(torch.randn(crops.shape, generator=generator, device=crops.device), strength)


def _between(shape: tuple[int, ...], bounds: tuple[float, float], generator: torch.Generator) -> Float[Tensor, "..."]:
    low, high = bounds
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)
