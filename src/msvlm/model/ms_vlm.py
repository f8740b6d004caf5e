"""The parts joined: slices of a study in, findings and the tokens of a report out.

Method: MS-VLM (arXiv 2412.13558). Departures, each said where it is made: region vectors with HU statistics
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
    write_config,
    write_rest,
)
from msvlm.model.resampler import Resampler, ResamplerConfig
from msvlm.model.slice_backbone import load_backbone
from msvlm.model.slice_encoder import SliceEncoder, SliceEncoderConfig
from msvlm.model.weights_hash import weights_hash
from msvlm.model.z_former import VectorStandardiser, ZFormer, ZFormerConfig, check_width, initialise


@dataclass(frozen=True)
class MsVlmConfig:
    """A whole model.

    Attributes:
        input: how it wants its slices.
        language_model: None until one is attached.
        visual_token_id: the placeholder token; at -1 there is none.
        cues: whether its prompts carry the head's positive findings as text; the paper's do not.
    """

    input: InputConfig = field(default_factory=InputConfig)
    slice_encoder: SliceEncoderConfig = field(default_factory=SliceEncoderConfig)
    z_former: ZFormerConfig = field(default_factory=ZFormerConfig)
    resampler: ResamplerConfig = field(default_factory=ResamplerConfig)
    findings_head: FindingsHeadConfig = field(default_factory=FindingsHeadConfig)
    language_model: LanguageModelConfig | None = None
    visual_token_id: int = -1
    cues: bool = True

    def __post_init__(self) -> None:
        check_width("resampler", self.z_former.width, self.resampler.heads, self.resampler.layers)
        check_width("findings_head", self.z_former.width, self.findings_head.heads, 1)
        if self.language_model is not None and self.visual_token_id < 0:
            raise ConfigError(
                f"visual_token_id {self.visual_token_id} with a language model; the tokenizer's placeholder is wanted"
            )


@dataclass(frozen=True)
class Reading:
    """What was seen in some studies.

    Attributes:
        visual_tokens: the resampler's queries, then the findings' vectors; None without a language model.
        findings: what the findings head says.
        z_vectors: a vector a slice.
    """

    visual_tokens: Float[Tensor, "studies visual_tokens lm_width"] | None
    findings: FindingsOutput
    z_vectors: Float[Tensor, "slices z_width"]


@dataclass(frozen=True)
class ReportOutput:
    """Logits of the token after each position of the text, and what the findings head says."""

    logits: Float[Tensor, "studies positions vocabulary"]
    findings: FindingsOutput


class MsVlm(nn.Module):
    """Reads studies and writes; its parts are named as in the paper's figure."""

    def __init__(
        self,
        config: MsVlmConfig,
        backbone: PreTrainedModel | None = None,
        language_model: PreTrainedModel | None = None,
    ) -> None:
        """Builds or loads every part that the config names; a part that is given is taken as it is."""
        super().__init__()
        self.config = config
        self.slice_encoder = SliceEncoder(config.slice_encoder, config.input, backbone)
        tokens, vector_width = self.slice_encoder.tokens, self.slice_encoder.vector_width
        z_width = config.z_former.width
        self.standardiser = VectorStandardiser(tokens, vector_width)
        self.z_former = ZFormer(config.z_former, tokens, vector_width)
        self.resampler = Resampler(config.resampler, z_width)
        self.findings_head = FindingsHead(config.findings_head, z_width, vector_width, self.slice_encoder.region_grid)
        self.visual_projection: nn.Module | None = None
        self.language_model: PreTrainedModel | None = None
        if config.language_model is not None:
            self._attach(language_model if language_model is not None else load_language_model(config.language_model))

    @property
    def visual_tokens(self) -> int:
        """How many placeholders each prompt must have."""
        return self.config.resampler.queries + len(self.config.findings_head.findings)

    def attach_language_model(self, config: LanguageModelConfig, visual_token_id: int) -> None:
        """Gives the model a language model, whatever it had before, and a new projection into it."""
        self.config = replace(self.config, language_model=config, visual_token_id=visual_token_id)
        self._attach(load_language_model(config))
        self.train(self.training)

    def _attach(self, language_model: PreTrainedModel) -> None:
        embeddings = word_embeddings(language_model)
        norm = nn.LayerNorm(embeddings.embedding_dim)
        # The visual tokens start as loud as the words that they stand among.
        nn.init.constant_(norm.weight, float(embeddings.weight.detach().float().std()))
        self.visual_projection = nn.Sequential(nn.Linear(self.config.z_former.width, embeddings.embedding_dim), norm)
        self.visual_projection.apply(initialise)
        place = self.z_former.mask_token
        self.visual_projection.to(device=place.device, dtype=place.dtype)
        self.language_model = language_model
        if not place.is_meta:
            self.to(place.device)

    def encode(self, batch: StudyBatch) -> StudyBatch:
        """The batch with its slices encoded, a chunk at a time; with gradients only while the encoder learns."""
        if batch.slices is None:
            raise ModelError("a batch without slices; give slices, or slice_vectors of this model's slice encoder")
        learns = self.training and any(parameter.requires_grad for parameter in self.slice_encoder.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and learns):
            return batch.with_vectors(torch.cat(list(self.slice_encoder.chunks(batch.slices))))

    def read(self, batch: StudyBatch, hidden: Bool[Tensor, " slices"] | None = None) -> Reading:
        """What is seen in studies of slices or of slice vectors; of hidden slices only the place is told."""
        encoded = batch if batch.slice_vectors is not None else self.encode(batch)
        assert encoded.slice_vectors is not None
        vectors = self.standardiser(encoded.slice_vectors)
        z_vectors = self.z_former(vectors, batch, hidden)
        visible = torch.ones_like(batch.study_index, dtype=torch.bool) if hidden is None else ~hidden
        findings = self.findings_head(z_vectors, vectors, batch.study_index, visible)
        visual_tokens = None
        if self.visual_projection is not None:
            visual_tokens = self.bridge(z_vectors, findings.vectors, batch.study_index, visible)
        return Reading(visual_tokens, findings, z_vectors)

    def bridge(
        self,
        z_vectors: Float[Tensor, "slices z_width"],
        finding_vectors: Float[Tensor, "studies findings z_width"],
        study_index: Int[Tensor, " slices"],
        visible: Bool[Tensor, " slices"],
    ) -> Float[Tensor, "studies visual_tokens lm_width"]:
        """What the language model is shown of studies of which all else was computed before."""
        if self.visual_projection is None:
            raise ModelError("no language model; attach_language_model() first")
        queries = self.resampler(z_vectors, study_index, visible)
        projected: Tensor = self.visual_projection(torch.cat([queries, finding_vectors.to(queries.dtype)], dim=1))
        return projected

    def forward(
        self, batch: StudyBatch, text: TextBatch, hidden: Bool[Tensor, " slices"] | None = None
    ) -> ReportOutput:
        """Reads studies and scores a text of each."""
        reading = self.read(batch, hidden)
        if reading.visual_tokens is None:
            raise ModelError("no language model; attach_language_model() first")
        return ReportOutput(self.logits(reading.visual_tokens, text), reading.findings)

    def logits(
        self, visual_tokens: Float[Tensor, "studies visual_tokens lm_width"], text: TextBatch
    ) -> Float[Tensor, "studies positions vocabulary"]:
        """The logits of the token after each position of texts about studies that were read before."""
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
        """The likeliest text after left-padded prompts, token by token; end tokens fill what a row does not use."""
        if not bool(prompts.attention_mask[:, -1].all()):
            raise ModelError("prompts padded on the right; to generate they are padded on the left")
        language_model = self._language_model()
        embedded = splice(language_model, visual_tokens, prompts, self.config.visual_token_id)
        return write_greedily(
            language_model, embedded, prompts, max_new_tokens, end_token_id, self.config.visual_token_id
        )

    def _language_model(self) -> PreTrainedModel:
        if self.language_model is None:
            raise ModelError("no language model; attach_language_model() first")
        return self.language_model

    def save_pretrained(self, folder: str | Path, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        """Writes the model, with its tokenizer where one is given, and replaces the folder as a whole.

        The folder holds what `from_pretrained` wants and nothing that was in it before.
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
        """A saved model by its folder or its name on the hub, ready to read, in the types it was saved in.

        Raises:
            ModelError: it is not there, or not whole; names what is unknown or missing.
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
        """Uploads the model to the hub under `owner/name`, a private one unless it is there already.

        A model that writes is uploaded by its `Reporter`, with its tokenizer.
        """
        push_saved(self.save_pretrained, repo_id)

    def weights_hash(self) -> str:
        """Which weights these are: a short sha256 of all of them."""
        return weights_hash(self)


def check_input(config: MsVlmConfig, input_config: InputConfig) -> None:
    """Refuses input that was prepared otherwise than the model was trained to read.

    Raises:
        InputMismatchError: names each setting that differs.
    """
    differing = [
        f"{item.name} {getattr(input_config, item.name)} where the model reads {getattr(config.input, item.name)}"
        for item in fields(InputConfig)
        if getattr(input_config, item.name) != getattr(config.input, item.name)
    ]
    if differing:
        raise InputMismatchError(f"input prepared with {'; '.join(differing)}; prepare it again for this model")
