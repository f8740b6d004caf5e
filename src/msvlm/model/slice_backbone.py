"""The Hugging Face models that can encode a slice: built from a config, or loaded by name or folder."""

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
from msvlm.model.hub import check_complete, read_model_type

_CONVNEXT_STEM_PIXELS = 4
_CONVNEXT_STAGES = 2
_CONVNEXT_LAYER_SCALE = 0.1
"""The usual 1e-6 is for deep networks; with four layers it would nearly switch them off at the start."""


class SliceEncoderKind(StrEnum):
    """Architecture of a slice encoder."""

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
    """Sizes from which a backbone is built."""

    width: int
    layers: int
    heads: int
    patch_pixels: int


def build_backbone(
    kind: SliceEncoderKind, shape: BackboneShape, pixels: tuple[int, int], channels: int
) -> PreTrainedModel:
    """Builds a backbone with random weights for slices of (rows, columns) pixels.

    Raises:
        ConfigError: the architecture cannot be built in that shape.
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
                f"slice_encoder: {shape.width // shape.heads} channels per head in a dinov3; "
                f"its rotary positions need a multiple of {_ROTARY_AXES_DEPTH}"
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
    """Loads a backbone from the hub or a folder: safetensors only, and never remote code.

    Args:
        checkpoint: name or folder.
        kind: the architecture it must have.
        ours: whether msvlm saved it, so that it must hold every weight and no other.

    Raises:
        ModelError: the checkpoint is not found, is of another kind, or lacks weights.
    """
    found = read_model_type(checkpoint)
    if found not in _MODEL_TYPES[kind]:
        wanted = ", ".join(f"{kind} ({' or '.join(types)})" for kind, types in _MODEL_TYPES.items())
        raise ModelError(
            f"slice encoder {checkpoint}: a {found}, but the config has {kind}; known are {wanted}: "
            "name another checkpoint, or set kind to match it"
        )
    # For a ViT these are arguments; for the others they stand in the config.
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
        # A ViT trained without masking has no mask token, and a new one is harmless; poolers and heads are not used.
        missing, unexpected = missing - {"embeddings.mask_token"}, frozenset()
    check_complete(f"slice encoder {checkpoint}", missing, unexpected)
    return model


def shape_of(backbone: PreTrainedModel, kind: SliceEncoderKind) -> tuple[BackboneShape, int]:
    """Returns the shape of a backbone, and how many tokens (CLS, registers) precede its patches."""
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
    """Returns the offset and the factor that bring our channels (-1 to 1) to the scale that a checkpoint wants.

    A checkpoint with a `preprocessor_config.json` was trained on ((x + 1) / 2 - mean) / deviation. Without one, the
    offset is 0 and the factor 1.
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
