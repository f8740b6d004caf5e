"""The Hugging Face models that can look at a slice: built from numbers, or loaded by name or folder."""

import json
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor
from transformers import (
    AutoModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ConvNextConfig,
    DINOv3ConvNextModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
    PreTrainedModel,
    ViTConfig,
    ViTModel,
)
from transformers.utils.hub import cached_file

from msvlm.errors import ConfigError, ModelError
from msvlm.model.checkpoint import check_complete, read_model_type

_CONVNEXT_STEM_PIXELS = 4
_CONVNEXT_STAGES = 2
_CONVNEXT_LAYER_SCALE = 0.1
"""The usual 1e-6 is for deep networks; four layers would start as none at all."""


class SliceEncoderKind(StrEnum):
    """What a slice encoder is."""

    VIT = "vit"
    DINOV2 = "dinov2"
    DINOV3 = "dinov3"
    DINOV3_CONVNEXT = "dinov3_convnext"


_MODEL_TYPES = {
    SliceEncoderKind.VIT: ("vit",),
    SliceEncoderKind.DINOV2: ("dinov2", "dinov2_with_registers"),
    SliceEncoderKind.DINOV3: ("dinov3_vit",),
    SliceEncoderKind.DINOV3_CONVNEXT: ("dinov3_convnext",),
}
_ROTARY_AXES_DEPTH = 4


@dataclass(frozen=True)
class BackboneShape:
    """The numbers that a backbone is built from."""

    width: int
    layers: int
    heads: int
    patch_pixels: int


def build_backbone(
    kind: SliceEncoderKind, shape: BackboneShape, pixels: tuple[int, int], channels: int
) -> PreTrainedModel:
    """A new backbone with random weights for slices of so many rows and columns.

    Raises:
        ConfigError: the kind cannot be built in that shape.
    """
    # Learned positions are square in these classes and are interpolated to each slice's or crop's grid.
    side = -(-max(pixels) // shape.patch_pixels) * shape.patch_pixels
    if kind is SliceEncoderKind.VIT:
        vit = ViTConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            image_size=side,
            patch_size=shape.patch_pixels,
            num_channels=channels,
        )
        return ViTModel(vit, add_pooling_layer=False, use_mask_token=True)
    if kind is SliceEncoderKind.DINOV2:
        dinov2 = Dinov2Config(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            image_size=side,
            patch_size=shape.patch_pixels,
            num_channels=channels,
            use_mask_token=True,
        )
        return Dinov2Model(dinov2)
    if kind is SliceEncoderKind.DINOV3:
        if shape.width // shape.heads % _ROTARY_AXES_DEPTH:
            raise ConfigError(
                f"slice_encoder: {shape.width // shape.heads} numbers a head in a dinov3; "
                f"its rotary positions want a multiple of {_ROTARY_AXES_DEPTH}"
            )
        dinov3 = DINOv3ViTConfig(
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=4 * shape.width,
            image_size=side,
            patch_size=shape.patch_pixels,
            num_channels=channels,
            pos_embed_rescale=None,
        )
        return DINOv3ViTModel(dinov3)
    return _build_convnext(shape, channels)


def _build_convnext(shape: BackboneShape, channels: int) -> PreTrainedModel:
    stride = _CONVNEXT_STEM_PIXELS * 2 ** (_CONVNEXT_STAGES - 1)
    if shape.patch_pixels != stride or shape.layers < _CONVNEXT_STAGES or shape.width % 2:
        raise ConfigError(
            f"slice_encoder: dinov3_convnext with patch_pixels {shape.patch_pixels}, {shape.layers} layers, "
            f"width {shape.width}; {stride} pixels, {_CONVNEXT_STAGES} layers at least and an even width are wanted"
        )
    return DINOv3ConvNextModel(
        DINOv3ConvNextConfig(
            hidden_sizes=[shape.width // 2, shape.width],
            depths=[shape.layers // 2, shape.layers - shape.layers // 2],
            num_channels=channels,
            layer_scale_init_value=_CONVNEXT_LAYER_SCALE,
        )
    )


def load_backbone(checkpoint: str, kind: SliceEncoderKind, ours: bool = False) -> PreTrainedModel:
    """A backbone by its name on the hub or its folder: safetensors only, and never code from elsewhere.

    Args:
        checkpoint: name or folder.
        kind: what it must be.
        ours: msvlm saved it, so that it must hold each weight and no other.

    Raises:
        ModelError: it is not there, is of another kind, or lacks weights.
    """
    found = read_model_type(checkpoint)
    if found not in _MODEL_TYPES[kind]:
        wanted = ", ".join(f"{kind} ({' or '.join(types)})" for kind, types in _MODEL_TYPES.items())
        raise ModelError(
            f"slice encoder {checkpoint}: a {found}, and the config says {kind}; there can be {wanted}: "
            "name such a checkpoint, or set kind to what it is"
        )
    # A ViT is told here what the others are told by their configs.
    options = {"use_mask_token": True, "add_pooling_layer": False} if kind is SliceEncoderKind.VIT else {}
    attention = {} if kind is SliceEncoderKind.DINOV3_CONVNEXT else {"attn_implementation": "sdpa"}
    try:
        model, info = AutoModel.from_pretrained(
            checkpoint,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **attention,
            **options,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"slice encoder {checkpoint}: cannot be loaded as safetensors ({error})") from error
    missing, unexpected = info["missing_keys"], info["unexpected_keys"]
    if not ours:
        # A ViT trained without masking has no mask token, and a new one does no harm; poolers and heads are not used.
        missing, unexpected = missing - {"embeddings.mask_token"}, frozenset()
    check_complete(f"slice encoder {checkpoint}", missing, unexpected)
    return model


def shape_of(backbone: PreTrainedModel, kind: SliceEncoderKind) -> tuple[BackboneShape, int]:
    """The numbers of a backbone, and how many tokens (CLS, registers) stand before its patches."""
    config = backbone.config
    if kind is SliceEncoderKind.DINOV3_CONVNEXT:
        stages = len(config.hidden_sizes)
        patch_pixels = _CONVNEXT_STEM_PIXELS * 2 ** (stages - 1)
        return BackboneShape(config.hidden_sizes[-1], sum(config.depths), 1, patch_pixels), 1
    registers = config.num_register_tokens if hasattr(config, "num_register_tokens") else 0
    size = config.patch_size
    patch_pixels = size if isinstance(size, int) else size[0]
    shape = BackboneShape(config.hidden_size, config.num_hidden_layers, config.num_attention_heads, patch_pixels)
    return shape, 1 + registers


def read_pixel_scale(checkpoint: str, channels: int) -> tuple[Float[Tensor, " channels"], Float[Tensor, " channels"]]:
    """What is added to each of our channels (-1 to 1) and what it is multiplied with first, as a checkpoint wants it.

    A checkpoint with a `preprocessor_config.json` was trained on (x + 1) / 2 less its mean, over its deviation.
    """
    unchanged = torch.zeros(channels), torch.ones(channels)
    if not checkpoint:
        return unchanged
    path = cached_file(
        checkpoint,
        "preprocessor_config.json",
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_connection_errors=False,
    )
    if path is None:
        return unchanged
    settings = json.loads(Path(path).read_text(encoding="utf-8"))
    if "image_mean" not in settings or "image_std" not in settings or not settings.get("do_normalize", True):
        return unchanged
    mean, deviation = torch.tensor(settings["image_mean"]).float(), torch.tensor(settings["image_std"]).float()
    if len(mean) != channels or len(deviation) != channels:
        raise ConfigError(
            f"slice encoder {checkpoint}: its preprocessor_config.json has {len(mean)} channels, the input {channels}"
        )
    return (0.5 - mean) / deviation, 0.5 / deviation
