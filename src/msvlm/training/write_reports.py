"""What alignment and finetuning share: visual tokens and cues in, the loss of the report's tokens out."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from msvlm.batch import TextBatch, TrainingBatch
from msvlm.data.dataset import statements_of, to_study_batch
from msvlm.data.text import CueErrors, ReportText, corrupt_cues, join_report, write_cues
from msvlm.errors import ConfigError, ModelError
from msvlm.model.language_model import LanguageModelConfig
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import LossPart, Optimisation, Share, StageLoss, TrainingData, draw_samples, hide_slices


@dataclass(frozen=True)
class ReportSettings:
    """Attributes:
    language_model: attached where the model to start from has none.
    vocabulary: size of the tokenizer that is trained on the reports where the language model brings none.
    cue_drop: share of the studies whose cues are left out altogether, so that the image is looked at.
    misplaced: share of the cues that name another place; how often findings are missed and invented is measured.
    hidden_share: of the slices.
    """

    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    vocabulary: int = 2048
    cue_drop: float = 0.3
    misplaced: float = 0.1
    hidden_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("cue_drop", "misplaced", "hidden_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} {getattr(self, name)}; a share from 0 to 1 is wanted")


@dataclass(frozen=True)
class ReportTraining:
    """What a stage that writes is made of.

    Attributes:
        text: how reports become tokens.
        cue_errors: how wrong the cues are, so that the model learns how far to trust them.
    """

    text: ReportText
    data: TrainingData
    settings: ReportSettings
    optimisation: Optimisation
    cue_errors: CueErrors


class ReportStage(nn.Module):
    """Trains what turns a study into its report; what exactly is the stage's own choice."""

    def __init__(self, model: MsVlm, training: ReportTraining, trained: list[nn.Parameter]) -> None:
        super().__init__()
        if model.language_model is None:
            raise ModelError("the model has no language model; name one in [reports.language_model]")
        self.model = model
        self._training, self._trained = training, trained

    def trained_parameters(self) -> list[nn.Parameter]:
        """What the stage chose."""
        return self._trained

    def batches(self, start: int, share: Share) -> Iterator[TrainingBatch]:
        """Studies with their reports, cues as wrong as the findings head's before them."""
        step = start
        training, settings = self._training, self._training.settings
        while True:
            draws = draw_samples(training.data.training, training.optimisation, step, share, None)
            studies = to_study_batch([draw.sample for draw in draws], self.model.config.input)
            cues, reports = [], []
            for draw in draws:
                study, generator = draw.sample.study, draw.generator
                told = corrupt_cues(statements_of(study), generator, training.cue_errors)
                dropped = generator.random() < settings.cue_drop or not self.model.config.cues
                cues.append("" if dropped else write_cues(told))
                reports.append(join_report(study.findings, study.impression))
            text = training.text.training_batch(cues, reports)
            yield TrainingBatch(studies, text=text, hidden=hide_slices(studies, draws, settings.hidden_share))
            step += 1

    def forward(self, batch: TrainingBatch) -> StageLoss:
        assert batch.text is not None
        output = self.model(batch.studies, batch.text, batch.hidden)
        loss = report_loss(output.logits, batch.text)
        return StageLoss(loss, (LossPart("report", loss),))

    def after_step(self, step: int) -> None:
        """Nothing moves but what the optimiser moves."""


def report_loss(logits: Float[Tensor, "studies positions vocabulary"], text: TextBatch) -> Float[Tensor, ""]:
    """The mean over studies of each report's mean loss a token, in nats."""
    assert text.labels is not None
    labels = text.labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
    ).view(labels.shape)
    counted = labels != -100
    return (losses.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def bridge_parameters(model: MsVlm) -> list[nn.Parameter]:
    """Resampler and visual projection: what the paper calls the bridge."""
    projection = model.visual_projection
    return [*model.resampler.parameters(), *(projection.parameters() if projection is not None else ())]


def language_model_parameters(model: MsVlm) -> list[nn.Parameter]:
    """What of the language model may be trained: its adapters where it has some, else all of it."""
    if model.language_model is None:
        return []
    named = list(model.language_model.named_parameters())
    adapters = [parameter for name, parameter in named if "lora_" in name]
    return adapters or [parameter for _, parameter in named]
