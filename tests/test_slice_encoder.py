"""The slice encoder: what a token vector holds, masks, crops, checkpoints, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_model import TINY_INPUT, tiny_encoder
from transformers import (
    BertConfig,
    BertModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)

from msvlm.errors import ConfigError, ModelError
from msvlm.model.slice_backbone import SliceEncoderKind
from msvlm.model.slice_encoder import SliceEncoder, SliceEncoderConfig

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
WIDTH = 16


def random_slices(count: int = 5, rows: int = 32, columns: int = 48, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, rows, columns, generator=generator) * 2 - 1


def encoder(kind: SliceEncoderKind = SliceEncoderKind.VIT) -> SliceEncoder:
    torch.manual_seed(0)
    return SliceEncoder(tiny_encoder(kind), TINY_INPUT).eval()


@pytest.mark.parametrize("kind", list(SliceEncoderKind))
def test_a_slice_is_encoded_the_same_whoever_stands_beside_it(kind: SliceEncoderKind) -> None:
    slices = random_slices()
    with torch.no_grad():
        together = encoder(kind)(slices)
        alone = torch.cat([encoder(kind)(one) for one in slices.split(1)])
    assert together.shape == (5, 7, 2 * WIDTH + 9)
    torch.testing.assert_close(together, alone, **CLOSE)


@pytest.mark.parametrize("kind", list(SliceEncoderKind))
def test_learned_vectors_are_mean_and_maximum_of_a_regions_patches(kind: SliceEncoderKind) -> None:
    model, slices = encoder(kind), random_slices()
    with torch.no_grad():
        vectors, features = model(slices), model.features(slices)
    assert model.patch_grid(32, 48) == (4, 6)
    patches = features.patches.reshape(5, 4, 6, WIDTH)
    torch.testing.assert_close(vectors[:, 0, :WIDTH], features.cls, **CLOSE)
    torch.testing.assert_close(vectors[:, 0, WIDTH : 2 * WIDTH], features.patches.amax(1), **CLOSE)
    region = patches[:, 2:4, 4:6].reshape(5, 4, WIDTH)
    torch.testing.assert_close(vectors[:, 6, :WIDTH], region.mean(1), **CLOSE)
    torch.testing.assert_close(vectors[:, 6, WIDTH : 2 * WIDTH], region.amax(1), **CLOSE)


def test_statistics_are_those_of_the_raw_pixels() -> None:
    slices = random_slices()
    with torch.no_grad():
        statistics = encoder()(slices)[:, :, 2 * WIDTH :]
    for token, pixels in ((0, slices), (2, slices[:, :, :16, 16:32]), (4, slices[:, :, 16:, :16])):
        flat = pixels.flatten(2)
        expected = torch.cat([flat.mean(2), flat.amax(2), flat.std(2, correction=0)], dim=1)
        torch.testing.assert_close(statistics[:, token], expected, **CLOSE)


def test_statistics_of_a_flat_slice_have_no_deviation() -> None:
    with torch.no_grad():
        statistics = encoder()(torch.full((1, 3, 32, 48), 0.7))[:, :, 2 * WIDTH :]
    assert statistics[:, :, 6:].abs().max() < 1e-6
    assert statistics[:, :, :6].sub(0.7).abs().max() < 1e-6


@pytest.mark.parametrize(("statistics", "width"), [(True, WIDTH + 9), (False, WIDTH)])
def test_without_regions_the_papers_cls_vector_is_kept(statistics: bool, width: int) -> None:
    config = replace(tiny_encoder(), region_grid=(0, 0), statistics=statistics)
    model = SliceEncoder(config, TINY_INPUT).eval()
    assert (model.tokens, model.vector_width, model.region_grid) == (1, width, (1, 1))
    slices = random_slices()
    with torch.no_grad():
        vectors = model(slices)
        torch.testing.assert_close(vectors[:, 0, :WIDTH], model.features(slices).cls, **CLOSE)
    assert vectors.shape == (5, 1, width)


@pytest.mark.parametrize("kind", list(SliceEncoderKind))
def test_what_lies_under_a_mask_does_not_matter(kind: SliceEncoderKind) -> None:
    model, slices = encoder(kind), random_slices()
    masked = torch.zeros(5, 24, dtype=torch.bool)
    masked[:, [0, 9]] = True
    changed = slices.clone()
    changed[:, :, 0:8, 0:8] += 1.0
    changed[:, :, 8:16, 24:32] -= 1.0
    with torch.no_grad():
        left, right = model.features(slices, masked), model.features(changed, masked)
        torch.testing.assert_close(left.patches, right.patches, **CLOSE)
        torch.testing.assert_close(left.cls, right.cls, **CLOSE)
        assert not torch.allclose(model.features(slices).patches, left.patches, atol=1e-4)


@pytest.mark.parametrize("kind", list(SliceEncoderKind))
@pytest.mark.parametrize(("rows", "columns"), [(16, 16), (24, 64), (48, 48)])
def test_crops_of_any_size_that_patches_divide_have_features(kind: SliceEncoderKind, rows: int, columns: int) -> None:
    model = encoder(kind)
    features = model.features(random_slices(2, rows, columns))
    assert features.patches.shape == (2, rows * columns // 64, WIDTH)
    assert features.cls.shape == (2, WIDTH)


def test_learned_positions_tell_places_apart() -> None:
    same_everywhere = torch.zeros(1, 3, 32, 48)
    for kind in (SliceEncoderKind.VIT, SliceEncoderKind.DINOV2):
        with torch.no_grad():
            patches = encoder(kind).features(same_everywhere).patches[0]
        assert patches.std(dim=0).max() > 1e-4


@pytest.mark.parametrize("kind", [SliceEncoderKind.VIT, SliceEncoderKind.DINOV2, SliceEncoderKind.DINOV3])
def test_attention_is_the_fused_one(kind: SliceEncoderKind) -> None:
    assert encoder(kind).backbone.config._attn_implementation == "sdpa"


def saved_vit(folder: Path, **changes: int) -> PreTrainedModel:
    numbers = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}
    return save(ViTModel(ViTConfig(**(numbers | {"intermediate_size": 32, "patch_size": 8} | changes))), folder)


def save(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    model.save_pretrained(folder)
    return model.eval()


def saved_checkpoint(kind: str, folder: Path) -> PreTrainedModel:
    numbers = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "patch_size": 8}
    if kind == "dinov2":
        return save(Dinov2Model(Dinov2Config(**numbers, image_size=32)), folder)
    if kind == "dinov2_with_registers":
        config = Dinov2WithRegistersConfig(**numbers, image_size=32, num_register_tokens=3)
        return save(Dinov2WithRegistersModel(config), folder)
    if kind == "dinov3_vit":
        return save(DINOv3ViTModel(DINOv3ViTConfig(**numbers, intermediate_size=32, num_register_tokens=2)), folder)
    if kind == "dinov3_convnext":
        return save(DINOv3ConvNextModel(DINOv3ConvNextConfig(hidden_sizes=[8, WIDTH], depths=[1, 1])), folder)
    return saved_vit(folder)


@pytest.mark.parametrize(
    ("saved", "kind", "before_patches"),
    [
        ("vit", "vit", 1),
        ("dinov2", "dinov2", 1),
        ("dinov2_with_registers", "dinov2", 4),
        ("dinov3_vit", "dinov3", 3),
        ("dinov3_convnext", "dinov3_convnext", 1),
    ],
)
def test_checkpoints_saved_by_hugging_face_are_read_as_they_were(
    saved: str, kind: str, before_patches: int, tmp_path: Path
) -> None:
    theirs = saved_checkpoint(saved, tmp_path / "checkpoint")
    config = SliceEncoderConfig(
        checkpoint=str(tmp_path / "checkpoint"), kind=SliceEncoderKind(kind), width=64, region_grid=(2, 2)
    )
    ours = SliceEncoder(config, replace(TINY_INPUT, columns=32)).eval()
    assert (ours.width, ours.patch_pixels) == (WIDTH, 8)
    slices = random_slices(columns=32)
    with torch.no_grad():
        states = theirs(pixel_values=slices).last_hidden_state
        features = ours.features(slices)
    torch.testing.assert_close(features.cls, states[:, 0], **CLOSE)
    torch.testing.assert_close(features.patches, states[:, before_patches:], **CLOSE)


def test_a_checkpoint_without_mask_token_gets_one(tmp_path: Path) -> None:
    saved_vit(tmp_path / "vit")
    model = SliceEncoder(tiny_encoder(checkpoint=str(tmp_path / "vit")), TINY_INPUT)
    masked = torch.ones(5, 24, dtype=torch.bool)
    assert torch.isfinite(model.features(random_slices(), masked).patches).all()


def test_pixels_are_scaled_as_a_checkpoint_wants_them(tmp_path: Path) -> None:
    theirs = saved_vit(tmp_path / "vit")
    mean, deviation = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.25, 0.3])
    settings = {"image_mean": mean.tolist(), "image_std": deviation.tolist()}
    (tmp_path / "vit" / "preprocessor_config.json").write_text(json.dumps(settings))
    model = SliceEncoder(tiny_encoder(checkpoint=str(tmp_path / "vit")), TINY_INPUT).eval()
    slices = random_slices()
    pixels = ((slices + 1) / 2 - mean[:, None, None]) / deviation[:, None, None]
    with torch.no_grad():
        expected = theirs(pixel_values=pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]
        torch.testing.assert_close(model.features(slices).cls, expected, **CLOSE)
        statistics = model(slices)[:, 0, 2 * WIDTH : 2 * WIDTH + 3]
    torch.testing.assert_close(statistics, slices.mean(dim=(2, 3)), **CLOSE)


def test_a_checkpoint_of_another_kind_is_refused_with_the_kinds_that_there_are(tmp_path: Path) -> None:
    saved_vit(tmp_path / "vit")
    with pytest.raises(ModelError, match=r"a vit, but the config has dinov2; .*dinov3 \(dinov3_vit\)"):
        SliceEncoder(tiny_encoder(SliceEncoderKind.DINOV2, str(tmp_path / "vit")), TINY_INPUT)
    bert = BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16))
    save(bert, tmp_path / "bert")
    with pytest.raises(ModelError, match="a bert, but the config has vit"):
        SliceEncoder(tiny_encoder(checkpoint=str(tmp_path / "bert")), TINY_INPUT)


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    theirs = saved_vit(tmp_path / "vit")
    (tmp_path / "vit" / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "vit" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded as safetensors"):
        SliceEncoder(tiny_encoder(checkpoint=str(tmp_path / "vit")), TINY_INPUT)


def test_code_that_comes_with_a_checkpoint_is_never_run(tmp_path: Path) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "foreign", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}})
    )
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with pytest.raises(ModelError, match="no config of a known model"):
        SliceEncoder(tiny_encoder(checkpoint=str(folder)), TINY_INPUT)
    assert not (tmp_path / "ran").exists()


def test_a_checkpoint_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no config of a known model"):
        SliceEncoder(tiny_encoder(checkpoint=str(tmp_path / "nowhere")), TINY_INPUT)


def test_a_checkpoint_of_other_channels_is_refused(tmp_path: Path) -> None:
    saved_vit(tmp_path / "vit", num_channels=1)
    with pytest.raises(ConfigError, match="needs 1 channels, but the input has 3 windows"):
        SliceEncoder(tiny_encoder(checkpoint=str(tmp_path / "vit")), TINY_INPUT)


def test_grids_that_do_not_divide_are_refused_with_both_numbers() -> None:
    with pytest.raises(ConfigError, match=r"region_grid \(3, 3\) on a patch grid \(4, 6\)"):
        SliceEncoder(replace(tiny_encoder(), region_grid=(3, 3)), TINY_INPUT)
    with pytest.raises(ConfigError, match="36 x 48 pixels in patches of 8"):
        SliceEncoder(tiny_encoder(), replace(TINY_INPUT, rows=36))
    with pytest.raises(ConfigError, match="20 x 16 pixels"):
        encoder().features(random_slices(1, 20, 16))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": 3}, "width 16, 3 heads"),
        ({"layers": 0}, "0 layers"),
        ({"patch_pixels": 0}, "patch_pixels 0"),
        ({"chunk_slices": 0}, "chunk_slices 0"),
        ({"region_grid": (0, 3)}, r"region_grid \(0, 3\)"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(tiny_encoder(), **change)


def test_kinds_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ConfigError, match="dinov3_convnext with patch_pixels 16"):
        SliceEncoder(replace(tiny_encoder(SliceEncoderKind.DINOV3_CONVNEXT), patch_pixels=16), TINY_INPUT)
    with pytest.raises(ConfigError, match="2 channels per head in a dinov3"):
        SliceEncoder(replace(tiny_encoder(SliceEncoderKind.DINOV3), heads=8), TINY_INPUT)


def test_chunks_join_to_the_whole() -> None:
    model, slices = encoder(), random_slices(10)
    with torch.no_grad():
        chunks = list(model.chunks(slices))
        torch.testing.assert_close(torch.cat(chunks), model(slices), **CLOSE)
    assert [len(chunk) for chunk in chunks] == [4, 4, 2]


def test_the_hash_tells_what_is_kept_of_a_slice() -> None:
    torch.manual_seed(0)
    without = SliceEncoder(replace(tiny_encoder(), statistics=False), TINY_INPUT)
    assert without.weights_hash() != encoder().weights_hash() == encoder().weights_hash()
