"""Reporter: a model, its tokenizer and how it wants its input, behind one door. Study -> Report."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from msvlm.batch import StudyBatch
from msvlm.data.dataset import to_study_batch
from msvlm.data.text import ReportText
from msvlm.errors import ConfigError, ModelError, StudyError
from msvlm.files import replaced_folder
from msvlm.findings import Certainty
from msvlm.imaging.field_of_view import fraction_outside_field
from msvlm.imaging.preprocess import PreparedStudy, prepare_study
from msvlm.model.model_folder import CONFIG_FILE, LANGUAGE_MODEL_FOLDER, find_folder, push_saved
from msvlm.model.ms_vlm import MsVlm
from msvlm.report import Evidence, Report, Sentence
from msvlm.reporting.drafting import draft
from msvlm.reporting.evidence import GroundedSentence, Grounds, StudyDraft, ground_draft
from msvlm.reporting.out_of_domain import TrainingDomain, summarise
from msvlm.study import Study

BUNDLED_WEIGHTS = Path(__file__).parent.parent / "weights"
UNSEEN_SHARE = 0.01
"""A reader is warned where more of the body than this lies outside what the model sees."""


class Reporter:
    """Reads studies and drafts their reports.

    Attributes:
        name: of the model, with the hash of its weights.
        model, text: the model, and how prompts and reports become its tokens.
        domain: what the model was trained on, where its folder tells.
    """

    def __init__(self, model: MsVlm, text: ReportText, name: str, domain: TrainingDomain | None = None) -> None:
        self.model = model.eval()
        self.text = text
        self.name = f"{name} {model.weights_hash()}"
        self.domain = domain

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path | None = None, device: str = "auto") -> "Reporter":
        """A reporter around a saved model: a folder, a name on the hub, or None for the bundled one.

        `device` is a torch device; `auto` takes a GPU where there is one.

        Raises:
            ModelError: there is no such model, it is incomplete, or it has no language model.
        """
        folder = model_folder(name_or_folder)
        model = MsVlm.from_pretrained(folder)
        if model.language_model is None:
            raise ModelError(f"{folder.name} has no language model and writes no reports; align or finetune it first")
        text = ReportText.from_pretrained(folder / LANGUAGE_MODEL_FOLDER, model.visual_tokens)
        model.to(pick_device(device))
        name = "bundled" if name_or_folder is None else Path(name_or_folder).name
        return cls(model, text, name, TrainingDomain.load(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes all that `from_pretrained` takes: the model, its tokenizer, and what it was trained on."""
        with replaced_folder(Path(folder)) as temporary:
            self.model.save_pretrained(temporary, self.text.tokenizer)
            if self.domain is not None:
                self.domain.save(temporary)

    def push_to_hub(self, repo_id: str) -> None:
        """Uploads the same to the hub under `owner/name`, a private one unless it is there already."""
        push_saved(self.save_pretrained, repo_id)

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.findings_head.thresholds.device

    def write(self, study: Study) -> Report:
        """The drafted report of one study, each sentence with the slices that it rests on.

        Raises:
            StudyError: the study has no series to read.
        """
        if not study.series:
            raise StudyError(f"{study.key}: no series to read; `msvlm inspect` tells why each was left out")
        prepared = prepare_study(study, self.model.config.input)
        with torch.inference_mode():
            batch = self.model.encode(to_study_batch([prepared], self.model.config.input).to(self.device))
        drafts = draft(self.model, self.text, batch)
        attention = drafts.findings.slice_attention.float().cpu().numpy()
        drafted = StudyDraft(drafts.cues[0], drafts.texts[0], attention)
        grounded = ground_draft(self.model, self.text, batch, drafted)
        sentences = self._with_evidence(_places(prepared, study), grounded, drafts.probabilities[0])
        names = self.model.config.findings_head.findings
        return Report(
            study_key=study.key,
            findings_sentences=tuple(
                own for own, of in zip(sentences, grounded, strict=True) if not of.written.is_impression
            ),
            impression_sentences=tuple(
                own for own, of in zip(sentences, grounded, strict=True) if of.written.is_impression
            ),
            probabilities=dict(zip(names, drafts.probabilities[0].tolist(), strict=True)),
            model=self.name,
            series_used=tuple(series.key for series in prepared.series),
            left_out=study.left_out,
            warnings=self._warnings(study),
            trained_on=self.domain.trained_on if self.domain is not None else "",
            outside_training=self._outside_training(study, batch),
        )

    def _with_evidence(
        self, places: list[Evidence], grounded: tuple[GroundedSentence, ...], probabilities: NDArray[np.float32]
    ) -> tuple[Sentence, ...]:
        return tuple(
            Sentence(
                text=one.written.span.text,
                evidence=_evidence(one.grounds, places),
                support=self._support(one, probabilities),
                finding=one.written.subject.name if one.written.subject else "",
                is_positive=one.written.subject is not None and one.written.subject.certainty is not Certainty.ABSENT,
            )
            for one in grounded
        )

    def _support(self, sentence: GroundedSentence, probabilities: NDArray[np.float32]) -> float:
        """The least probability of all that the sentence states or denies; of its words where that is nothing."""
        names = self.model.config.findings_head.findings
        odds = []
        for item in sentence.written.statements:
            if item.name in names:
                there = float(probabilities[names.index(item.name)])
                odds.append(1.0 - there if item.certainty is Certainty.ABSENT else there)
        return min(odds, default=sentence.fluency)

    def _warnings(self, study: Study) -> tuple[str, ...]:
        found = []
        if self.domain is None:
            found.append(
                "nothing is known of what this model was trained on, so that no series could be compared with it"
            )
        config = self.model.config.input
        high_mm, wide_mm = config.rows * config.pixel_spacing_mm, config.columns * config.pixel_spacing_mm
        for series in study.series:
            share = fraction_outside_field(series, config)
            if share > UNSEEN_SHARE:
                found.append(
                    f"{series.key}: {share:.0%} of the body lies outside the {wide_mm:.0f} x {high_mm:.0f} mm that the "
                    "model sees about the middle of each slice"
                )
        return tuple(found)

    def _outside_training(self, study: Study, batch: StudyBatch) -> tuple[str, ...]:
        if self.domain is None:
            return ()
        assert batch.slice_vectors is not None
        vectors = batch.slice_vectors.float().cpu().numpy()
        series_index = batch.series_index.cpu().numpy()
        return tuple(
            reason
            for index, series in enumerate(study.series)
            for reason in self.domain.reasons_outside(series, summarise(vectors[series_index == index]))
        )


def model_folder(name_or_folder: str | Path | None) -> Path:
    """Where a saved model lies on this machine; one on the hub is fetched first.

    Raises:
        ModelError: there is no such model.
    """
    if name_or_folder is not None:
        return find_folder(name_or_folder)
    folder = bundled_folder()
    if folder is None:
        raise ModelError("no bundled model is installed; make one with `make weights`, or name a model")
    return folder


def bundled_folder() -> Path | None:
    """Where the bundled model lies; None where none is installed."""
    return BUNDLED_WEIGHTS if (BUNDLED_WEIGHTS / CONFIG_FILE).exists() else None


def pick_device(device: str) -> torch.device:
    """`auto` is a GPU where there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without that kind of device
        raise ConfigError(
            f"device {device!r} cannot be used here; pass auto, cpu, or cuda where there is one"
        ) from error


def _places(prepared: PreparedStudy, study: Study) -> list[Evidence]:
    """Of each slice of the batch: its series, and where it stood in the series as it was read; no score yet."""
    read = {series.key: series for series in study.series}
    return [
        Evidence(
            series_key=series.key,
            slice_index=index,
            score=0.0,
            instance_number=None if numbers is None else int(numbers[index]),
            slice_count=len(read[series.key].voxels),
        )
        for series in prepared.series
        for numbers in (read[series.key].instance_numbers,)
        for index in series.slice_indices.tolist()
    ]


def _evidence(grounds: Grounds, places: list[Evidence]) -> tuple[Evidence, ...]:
    return tuple(
        replace(places[index], score=drop) for index, drop in zip(grounds.slices, grounds.drops_nats, strict=True)
    )
