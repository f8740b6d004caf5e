"""Views of slices for self-distillation."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from msvlm.data.crops import CropConfig, SliceCrops, cut_crops, sample_masks
from msvlm.errors import ConfigError

CONFIG = CropConfig(global_pixels=(48, 64), local_pixels=(24, 32))
PLAIN = replace(CONFIG, rotation_degrees=0.0, window_jitter=0.0, gamma=1.0, noise=0.0, aspect=1.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ramps(slices: int = 5) -> Tensor:
    """Returns two channels: the position across and down the slice, both -1..1."""
    down, across = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 64), indexing="ij")
    return torch.stack([across, down]).repeat(slices, 1, 1, 1)


def parts(crops: SliceCrops) -> tuple[Tensor, ...]:
    return crops.global_views, crops.local_views, crops.masked


def test_the_generator_alone_decides() -> None:
    first, again, other = (cut_crops(ramps(), CONFIG, seeded(seed)) for seed in (0, 0, 1))
    for own, same, different in zip(parts(first), parts(again), parts(other), strict=True):
        assert torch.equal(own, same)
        assert not torch.equal(own, different)


def test_views_have_their_sizes_and_slices_stay_unmodified() -> None:
    slices = ramps()
    crops = cut_crops(slices, CONFIG, seeded())
    assert crops.global_views.shape == (2, 5, 2, 48, 64)
    assert crops.local_views.shape == (4, 5, 2, 24, 32)
    assert crops.masked.shape == (2, 5, 6 * 8)
    assert torch.equal(slices, ramps())
    assert cut_crops(slices, replace(CONFIG, local_crops=0), seeded()).local_views.shape == (0, 5, 2, 24, 32)


def test_the_whole_slice_unchanged_is_the_slice() -> None:
    whole = replace(PLAIN, global_area=(1.0, 1.0))
    slices = torch.rand(3, 3, 48, 64, generator=seeded()) * 2 - 1
    torch.testing.assert_close(cut_crops(slices, whole, seeded()).global_views[1], slices, atol=1e-5, rtol=0)
    mirrored = cut_crops(slices, replace(whole, mirrored=1.0), seeded()).global_views[0]
    torch.testing.assert_close(mirrored, slices.flip(-1), atol=1e-5, rtol=0)


def test_a_crop_covers_the_configured_fraction_of_the_slice() -> None:
    crops = cut_crops(ramps(200), replace(PLAIN, aspect=4 / 3), seeded())
    for views, (low, high) in ((crops.global_views, (0.6, 1.0)), (crops.local_views, (0.2, 0.5))):
        inner = views[..., 1:-1, 1:-1]  # the rim is interpolated with the air outside
        rows, columns = inner.shape[-2:]
        width = (inner[:, :, 0, 0, -1] - inner[:, :, 0, 0, 0]) / 2 * views.shape[-1] / (columns - 1) * 63 / 64
        height = (inner[:, :, 1, -1, 0] - inner[:, :, 1, 0, 0]) / 2 * views.shape[-2] / (rows - 1) * 47 / 48
        fraction = width * height
        assert low - 0.02 <= fraction.min() < low + 0.05 and high - 0.08 < fraction.max() <= high + 0.02


def test_a_rotated_crop_keeps_angles() -> None:
    turned = cut_crops(ramps(50), replace(PLAIN, rotation_degrees=30.0, local_area=(0.2, 0.2)), seeded()).local_views
    centre = turned[..., 10:14, 14:18]
    across_pixels = (centre[:, :, 0, 0, 1:] - centre[:, :, 0, 0, :-1]).mean(-1) * 63 / 2
    down_pixels = (centre[:, :, 1, 0, 1:] - centre[:, :, 1, 0, :-1]).mean(-1) * 47 / 2
    angles = torch.rad2deg(torch.atan2(down_pixels, across_pixels))
    assert angles.min() < -15 and angles.max() > 15 and angles.abs().max() <= 30.5
    step_down = (centre[:, :, 0, 1:, 0] - centre[:, :, 0, :-1, 0]).mean(-1) * 63 / 2
    step_down_rows = (centre[:, :, 1, 1:, 0] - centre[:, :, 1, :-1, 0]).mean(-1) * 47 / 2
    dot = across_pixels * step_down + down_pixels * step_down_rows
    torch.testing.assert_close(dot, torch.zeros_like(dot), atol=2e-3, rtol=0)


def test_outside_a_slice_is_air() -> None:
    bright = torch.ones(20, 1, 48, 64)
    turned = cut_crops(bright, replace(PLAIN, rotation_degrees=20.0, global_area=(1.0, 1.0)), seeded()).global_views
    assert turned.min() == -1.0 and turned.max() == 1.0


def test_changed_pixels_stay_within_their_range_but_for_the_noise() -> None:
    slices = torch.rand(10, 3, 48, 64, generator=seeded()) * 2 - 1
    quiet = cut_crops(slices, replace(CONFIG, noise=0.0), seeded())
    assert quiet.global_views.min() >= -1 and quiet.local_views.max() <= 1
    loud = cut_crops(slices, CONFIG, seeded())
    assert loud.global_views.isfinite().all() and loud.global_views.abs().max() < 1.5


def test_masks_cover_the_sampled_fraction_of_the_sampled_fraction_of_crops() -> None:
    masked = sample_masks(2000, (12, 12), CONFIG, seeded())
    fractions = masked.float().mean(dim=1)
    above_zero = fractions[fractions > 0]
    assert 0.45 < len(above_zero) / 2000 < 0.55
    assert 0.09 < above_zero.min() < 0.12 and 0.48 < above_zero.max() < 0.51
    assert 0.28 < above_zero.mean() < 0.32


def test_masks_are_blocks() -> None:
    masked = sample_masks(500, (12, 12), replace(CONFIG, masked_crops=1.0), seeded()).view(500, 12, 12)
    alike = (masked[:, :, 1:] == masked[:, :, :-1]).float().mean()
    scattered = masked.flatten(1)[:, torch.randperm(144, generator=seeded())].view(500, 12, 12)
    assert alike > 0.85 > (scattered[:, :, 1:] == scattered[:, :, :-1]).float().mean() + 0.1


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"global_pixels": (50, 64)}, "multiples of patch_pixels, 8"),
        ({"local_pixels": (0, 32)}, "multiples of patch_pixels"),
        ({"global_area": (0.9, 0.5)}, r"global_area \(0.9, 0.5\)"),
        ({"masked_patches": (0.0, 0.5)}, r"masked_patches \(0.0, 0.5\)"),
        ({"masked_crops": 1.5}, "masked_crops 1.5"),
        ({"window_jitter": 0.5}, "window_jitter 0.5"),
        ({"gamma": 0.9}, "gamma 0.9"),
        ({"local_crops": -1}, "local_crops -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        replace(CONFIG, **changes)
