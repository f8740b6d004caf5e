"""The causal language model that writes reports: one of the Hugging Face hub, with LoRA or not, or a small new one."""

import math
from dataclasses import dataclass
from pathlib import Path

import peft
import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from msvlm.batch import TextBatch
from msvlm.errors import ConfigError, ModelError
from msvlm.model.hub import check_complete, read_model_type
from msvlm.model.transformer import check_width

_PEFT_PREFIX = "base_model.model."
_ADAPTER_FILE = "adapter_model.safetensors"
_FEED_FORWARD_STEP = 64
_LONGEST_TEXT = 4096


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters of a frozen language model. Method: LoRA (arXiv 2106.09685).

    MS-VLM (arXiv 2412.13558) adapts the query and value projections with alpha 16.
    """

    rank: int = 8
    alpha: int = 16
    targets: tuple[str, ...] = ("q_proj", "v_proj")
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not self.targets or not 0.0 <= self.dropout < 1.0:
            raise ConfigError(
                f"lora: rank {self.rank}, alpha {self.alpha}, targets {self.targets}, dropout {self.dropout}; "
                "wanted rank and alpha of at least 1, a target, dropout from 0 to below 1"
            )


@dataclass(frozen=True)
class LanguageModelConfig:
    """Which language model is used; the paper's is Vicuna-7B-v1.5 with LoRA.

    Attributes:
        checkpoint: name on the hub, or folder, of a causal language model; where it is empty, a small Llama is built
            from `width`, `layers`, `heads` and `vocabulary_size`, which are ignored otherwise.
        vocabulary_size: number of tokens of the tokenizer; 0 until it is known.
        lora: if given, adapters are trained instead of the checkpoint itself.
    """

    checkpoint: str = ""
    width: int = 256
    layers: int = 4
    heads: int = 4
    vocabulary_size: int = 0
    lora: LoraConfig | None = None

    def __post_init__(self) -> None:
        check_width("language_model", self.width, self.heads, self.layers)
        if self.width // self.heads % 2 or self.vocabulary_size < 0:
            raise ConfigError(
                f"language_model: {self.width // self.heads} channels a head, vocabulary_size {self.vocabulary_size}; "
                "wanted an even number per head for rotary positions, and a vocabulary_size of 0 or more"
            )
        if self.lora is not None and not self.checkpoint:
            raise ConfigError("language_model: lora adapts a trained model; name its checkpoint, or remove lora")


def load_language_model(config: LanguageModelConfig, saved: Path | None = None) -> PreTrainedModel:
    """Loads the language model that a config names, or the one that `save_pretrained()` wrote into the folder `saved`.

    Raises:
        ConfigError: neither a vocabulary nor a checkpoint is given.
        ModelError: the checkpoint is not found, is no causal language model, or is incomplete.
    """
    if saved is not None and config.lora is None:
        model = _load_whole(str(saved), ours=True)
    elif config.checkpoint:
        model = _load_whole(config.checkpoint, ours=False)
    else:
        model = _build_llama(config)
    # A checkpoint's own sampling settings are dropped: reports are decoded greedily.
    model.generation_config = GenerationConfig()
    if config.lora is not None:
        _add_adapters(model, config.lora)
        if saved is not None:
            _load_adapters(model, saved)
    return model


def word_embeddings(language_model: PreTrainedModel) -> nn.Embedding:
    """Returns the embedding table of a language model's tokens."""
    embeddings = language_model.get_input_embeddings()
    if not isinstance(embeddings, nn.Embedding):
        raise ModelError(
            f"token embeddings of the language model are a {type(embeddings).__name__}; wanted nn.Embedding"
        )
    return embeddings


def splice(
    language_model: PreTrainedModel,
    visual_tokens: Float[Tensor, "studies visual_tokens lm_width"],
    text: TextBatch,
    visual_token_id: int,
) -> Float[Tensor, "studies positions lm_width"]:
    """Returns the embedded text, its placeholder tokens replaced by the visual tokens in order.

    Raises:
        ModelError: a text has another number of placeholders than there are visual tokens.
    """
    embeddings = word_embeddings(language_model)
    placeholders = text.input_ids == visual_token_id
    counts = placeholders.sum(dim=1)
    wanted = visual_tokens.shape[1]
    if not bool((counts == wanted).all()):
        raise ModelError(
            f"prompts with {counts.tolist()} visual placeholders; wanted {wanted} in each: "
            "write them for this model's number of visual tokens"
        )
    # The placeholder may lie beyond the vocabulary of a model from the hub, whose table is not resized for it.
    embedded = embeddings(text.input_ids.clamp(max=embeddings.num_embeddings - 1))
    return embedded.masked_scatter(placeholders[:, :, None], visual_tokens.to(embedded.dtype))


def text_logits(
    language_model: PreTrainedModel, embedded: Float[Tensor, "studies positions lm_width"], text: TextBatch
) -> Float[Tensor, "studies positions vocabulary"]:
    """Returns the logits of the token after each position; they are meaningless on padding."""
    position_ids = (text.attention_mask.long().cumsum(dim=1) - 1).clamp(min=0)
    return language_model(
        inputs_embeds=embedded,
        attention_mask=text.attention_mask.long(),
        position_ids=position_ids,
        use_cache=False,
    ).logits


@torch.no_grad()
def write_greedily(
    language_model: PreTrainedModel,
    embedded: Float[Tensor, "studies positions lm_width"],
    text: TextBatch,
    max_new_tokens: int,
    end_token_id: int,
    visual_token_id: int,
) -> Int[Tensor, "studies new_tokens"]:
    """Returns greedily decoded tokens, up to the end token or the limit; shorter texts are filled with end tokens.

    The visual placeholder is never generated: a text that holds it could not be scored afterwards.
    """
    settings = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_token_id,
        pad_token_id=end_token_id,
        suppress_tokens=[visual_token_id],
        use_cache=True,
    )
    return language_model.generate(  # type: ignore[operator]  # not in the types of PreTrainedModel
        inputs_embeds=embedded, attention_mask=text.attention_mask.long(), generation_config=settings
    )


def _build_llama(config: LanguageModelConfig) -> PreTrainedModel:
    if config.vocabulary_size < 1:
        raise ConfigError(
            "language_model: vocabulary_size 0 and no checkpoint; set it to the number of the tokenizer's tokens"
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=config.vocabulary_size,
            hidden_size=config.width,
            intermediate_size=_FEED_FORWARD_STEP * math.ceil(8 * config.width / 3 / _FEED_FORWARD_STEP),
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            max_position_embeddings=_LONGEST_TEXT,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )


def _load_whole(checkpoint: str, ours: bool) -> PreTrainedModel:
    found = read_model_type(checkpoint)
    if found not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        raise ModelError(
            f"language model {checkpoint}: a {found}; wanted a causal language model, such as llama, mistral, qwen3 "
            f"or another of the {len(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)} that AutoModelForCausalLM knows"
        )
    try:
        loaded: tuple[PreTrainedModel, dict[str, set[str]]] = AutoModelForCausalLM.from_pretrained(  # type: ignore[assignment]  # its types know no loading info
            checkpoint,
            trust_remote_code=False,
            use_safetensors=True,
            attn_implementation="sdpa",
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"language model {checkpoint}: cannot be loaded as safetensors ({error})") from error
    model, info = loaded
    check_complete(f"language model {checkpoint}", info["missing_keys"], info["unexpected_keys"] if ours else set())
    return model


def _add_adapters(model: PreTrainedModel, config: LoraConfig) -> None:
    present = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
    if absent := sorted(set(config.targets) - present):
        raise ConfigError(f"lora: the language model has no {', '.join(absent)}; name its projections in targets")
    model.add_adapter(
        peft.LoraConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules=list(config.targets),
            lora_dropout=config.dropout,
            task_type="CAUSAL_LM",
        )
    )


def _load_adapters(model: PreTrainedModel, saved: Path) -> None:
    path = saved / _ADAPTER_FILE
    try:
        weights = {key.removeprefix(_PEFT_PREFIX): value for key, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"language model: {_ADAPTER_FILE} is missing or damaged ({error})") from error
    check_complete("language model's adapters", set(model.get_adapter_state_dict()) ^ set(weights))
    peft.set_peft_model_state_dict(model, weights)
