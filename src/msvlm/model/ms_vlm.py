"""MsVlm: the whole model. Slices of a study in; findings and the tokens of a report out.

Method: MS-VLM (arXiv 2412.13558). Departures, each described where it is made: region vectors with HU statistics
(slice_encoder.py), poses and full attention (z_former.py), a findings head whose vectors are visual tokens too.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from msvlm.batch import StudyBatch, TextBatch
from msvlm.errors import ConfigError, InputMismatchError, ModelError
from msvlm.files import replaced_folder
from msvlm.imaging.preprocess import InputConfig
from msvlm.model.findings_head import FindingsHead, FindingsHeadConfig, FindingsOutput
from msvlm.model.language_model import (
    LanguageModelConfig,
    load_language_model,
    splice,
    text_logits,
    word_embeddings,
    write_greedily,
)
from msvlm.model.model_folder import (
    LANGUAGE_MODEL_FOLDER,
    SLICE_ENCODER_FOLDER,
    find_folder,
    push_saved,
    read_config,
    read_rest,
    weights_hash,
    write_config,
    write_rest,
)
from msvlm.model.resampler import Resampler, ResamplerConfig
from msvlm.model.slice_backbone import load_backbone
from msvlm.model.slice_encoder import SliceEncoder, SliceEncoderConfig
from msvlm.model.standardiser import VectorStandardiser
from msvlm.model.transformer import check_width, initialise
from msvlm.model.z_former import ZFormer, ZFormerConfig
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.chest import CHEST


@dataclass(frozen=True)
class MsVlmConfig:
    """Configuration of a whole model.

    Attributes:
        vocabulary: name of the vocabulary of its findings head and its reports.
        input: how slices are prepared for it.
        language_model: None until one is attached.
        visual_token_id: token id of the visual placeholder; -1 without a language model.
        cues: whether prompts contain the positive findings of the findings head as text; the paper's do not.
    """

    vocabulary: str = CHEST.name
    input: InputConfig = field(default_factory=InputConfig)
    slice_encoder: SliceEncoderConfig = field(default_factory=SliceEncoderConfig)
    z_former: ZFormerConfig = field(default_factory=ZFormerConfig)
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    findings_head: FindingsHeadConfig = field(default_factory=FindingsHeadConfig)
    language_model: LanguageModelConfig | None = None
    visual_token_id: int = -1
    cues: bool = True

    def __post_init__(self) -> None:
        find_vocabulary(self.vocabulary)
        check_width("resampler", self.z_former.width, self.resampler.heads, self.resampler.layers)
        check_width("findings_head", self.z_former.width, self.findings_head.heads, 1)
        if self.language_model is not None and self.visual_token_id < 0:
            raise ConfigError(
                f"visual_token_id {self.visual_token_id} with a language model; wanted the placeholder's id"
            )


@dataclass(frozen=True)
class VisionOutput:
    """Outputs of the vision part of the model for a batch of studies.

    Attributes:
        visual_tokens: the resampler's outputs, then the vectors of the findings; None without a language model.
        findings: the predictions of the findings head.
        z_vectors: one vector per slice, from the Z-former.
    """

    visual_tokens: Float[Tensor, "studies visual_tokens lm_width"] | None
    findings: FindingsOutput
    z_vectors: Float[Tensor, "slices z_width"]


@dataclass(frozen=True)
class ReportOutput:
    """Logits of the token after each position of the text, and the predictions of the findings head."""

    logits: Float[Tensor, "studies positions vocabulary"]
    findings: FindingsOutput


class MsVlm(nn.Module):
    """The model that reads studies and writes reports; its parts are named as in the paper's figure."""

    def __init__(
        self,
        config: MsVlmConfig,
        backbone: PreTrainedModel | None = None,
        language_model: PreTrainedModel | None = None,
    ) -> None:
        """Builds or loads every part that the config names; a part that is passed in is used unmodified."""
        super().__init__()
        self.config = config
        self.slice_encoder = SliceEncoder(config.slice_encoder, config.input, backbone)
        tokens, vector_width = self.slice_encoder.tokens, self.slice_encoder.vector_width
        z_width = config.z_former.width
        self.standardiser = VectorStandardiser(tokens, vector_width)
        self.z_former = ZFormer(config.z_former, tokens, vector_width)
        self.resampler = Resampler(config.resampler, z_width)
        self.vocabulary = find_vocabulary(config.vocabulary)
        self.findings_head = FindingsHead(
            config.findings_head, self.vocabulary, z_width, vector_width, self.slice_encoder.region_grid
        )
        self.visual_projection: nn.Module | None = None
        self.language_model: PreTrainedModel | None = None
        if config.language_model is not None:
            self._attach(language_model if language_model is not None else load_language_model(config.language_model))

    @property
    def visual_tokens(self) -> int:
        """Number of visual placeholders that each prompt must have."""
        return self.config.resampler.queries + len(self.vocabulary.findings)

    def attach_language_model(self, config: LanguageModelConfig, visual_token_id: int) -> None:
        """Attaches a language model and a new projection into it; replaces an earlier one."""
        self.config = replace(self.config, language_model=config, visual_token_id=visual_token_id)
        self._attach(load_language_model(config))
        self.train(self.training)

    def _attach(self, language_model: PreTrainedModel) -> None:
        embeddings = word_embeddings(language_model)
        norm = nn.LayerNorm(embeddings.embedding_dim)
        # Visual tokens start with the same deviation as the embeddings of words.
        nn.init.constant_(norm.weight, float(embeddings.weight.detach().float().std()))
        self.visual_projection = nn.Sequential(nn.Linear(self.config.z_former.width, embeddings.embedding_dim), norm)
        self.visual_projection.apply(initialise)
        like = self.z_former.mask_token
        self.visual_projection.to(device=like.device, dtype=like.dtype)
        self.language_model = language_model
        if not like.is_meta:
            self.to(like.device)

    def encode(self, batch: StudyBatch) -> StudyBatch:
        """Returns the batch with its slices encoded, chunk by chunk; gradients only where the encoder is trained."""
        if batch.slices is None:
            raise ModelError("the batch has no slices; pass slices, or slice_vectors of this model's slice encoder")
        trained = self.training and any(parameter.requires_grad for parameter in self.slice_encoder.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            return batch.with_vectors(torch.cat(list(self.slice_encoder.chunks(batch.slices))))

    def read(self, batch: StudyBatch, masked: Bool[Tensor, " slices"] | None = None) -> VisionOutput:
        """Runs the vision part on studies of slices or slice vectors; of masked slices only the pose enters."""
        encoded = batch if batch.slice_vectors is not None else self.encode(batch)
        assert encoded.slice_vectors is not None
        vectors = self.standardiser(encoded.slice_vectors)
        z_vectors = self.z_former(vectors, batch, masked)
        visible = torch.ones_like(batch.study_index, dtype=torch.bool) if masked is None else ~masked
        findings = self.findings_head(z_vectors, vectors, batch.study_index, visible)
        visual_tokens = None
        if self.visual_projection is not None:
            visual_tokens = self.bridge(z_vectors, findings.vectors, batch.study_index, visible)
        return VisionOutput(visual_tokens, findings, z_vectors)

    def bridge(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        finding_vectors: Float[Tensor, "studies findings z_width"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
    ) -> Float[Tensor, "studies visual_tokens lm_width"]:
        """Returns the visual tokens of studies whose slice and finding vectors were computed before."""
        if self.visual_projection is None:
            raise ModelError("the model has no language model; call attach_language_model() first")
        queries = self.resampler(z_vectors, study_index, visible)
        projected: Tensor = self.visual_projection(torch.cat([queries, finding_vectors.to(queries.dtype)], dim=1))
        return projected

    def forward(
        self, batch: StudyBatch, text: TextBatch, masked: Bool[Tensor, " slices"] | None = None
    ) -> ReportOutput:
        """Returns the logits of a text about each study."""
        reading = self.read(batch, masked)
        if reading.visual_tokens is None:
            raise ModelError("the model has no language model; call attach_language_model() first")
        return ReportOutput(self.logits(reading.visual_tokens, text), reading.findings)

    def logits(
        self, visual_tokens: Float[Tensor, "studies visual_tokens lm_width"], text: TextBatch
    ) -> Float[Tensor, "studies positions vocabulary"]:
        """Returns the logits of the token after each position of texts about studies that were read before."""
        language_model = self._language_model()
        embedded = splice(language_model, visual_tokens, text, self.config.visual_token_id)
        return text_logits(language_model, embedded, text)

    def generate(
        self,
        visual_tokens: Float[Tensor, "studies visual_tokens lm_width"],
        prompts: TextBatch,
        max_new_tokens: int,
        end_token_id: int,
    ) -> Int[Tensor, "studies new_tokens"]:
        """Returns greedily decoded texts after left-padded prompts; shorter ones are filled up with end tokens."""
        if not bool(prompts.attention_mask[:, -1].all()):
            raise ModelError("prompts are padded on the right; generation requires them padded on the left")
        language_model = self._language_model()
        embedded = splice(language_model, visual_tokens, prompts, self.config.visual_token_id)
        return write_greedily(
            language_model, embedded, prompts, max_new_tokens, end_token_id, self.config.visual_token_id
        )

    def _language_model(self) -> PreTrainedModel:
        if self.language_model is None:
            raise ModelError("the model has no language model; call attach_language_model() first")
        return self.language_model

    def save_pretrained(self, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Writes the model, with its tokenizer where one is given, and replaces the folder as a whole.

        The folder then holds what `from_pretrained` needs and nothing else.
        """
        with replaced_folder(Path(folder)) as temporary:
            write_config(self.config, temporary)
            self.slice_encoder.backbone.save_pretrained(temporary / SLICE_ENCODER_FOLDER)
            if self.language_model is not None:
                self.language_model.save_pretrained(temporary / LANGUAGE_MODEL_FOLDER)
            if tokenizer is not None:
                tokenizer.save_pretrained(temporary / LANGUAGE_MODEL_FOLDER)
            write_rest(self, temporary)

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path) -> "MsVlm":
        """Loads a saved model from a folder or the hub, in evaluation mode and in the types it was saved in.

        Raises:
            ModelError: the model is not found or incomplete; names what is unknown or missing.
        """
        folder = find_folder(name_or_folder)
        config = read_config(folder, MsVlmConfig)
        backbone = load_backbone(str(folder / SLICE_ENCODER_FOLDER), config.slice_encoder.kind, ours=True)
        language_model = None
        if config.language_model is not None:
            language_model = load_language_model(config.language_model, folder / LANGUAGE_MODEL_FOLDER)
        with torch.device("meta"):
            model = cls(config, backbone, language_model)
        read_rest(model, folder)
        return model.eval()

    def push_to_hub(self, repo_id: str) -> None:
        """Uploads the model to the hub under `owner/name`; the repository is made private where it does not exist.

        Use `Reporter.push_to_hub` to upload a model together with its tokenizer.
        """
        push_saved(self.save_pretrained, repo_id)

    def weights_hash(self) -> str:
        """Returns a short sha256 of all weights."""
        return weights_hash(self)


def check_input(config: MsVlmConfig, input_config: InputConfig) -> None:
    """Checks that input was prepared with the model's settings.

    Raises:
        InputMismatchError: names each setting that differs.
    """
    differing = [
        f"{item.name} {getattr(input_config, item.name)} where the model requires {getattr(config.input, item.name)}"
        for item in fields(InputConfig)
        if getattr(input_config, item.name) != getattr(config.input, item.name)
    ]
    if differing:
        raise InputMismatchError(f"input prepared with {'; '.join(differing)}; prepare it again for this model")
