"""Reporter: Study -> Report, with a saved model, its tokenizer and its training domain."""

from dataclasses import replace
from pathlib import Path

import torch

from msvlm.batch import StudyBatch
from msvlm.data.dataset import to_study_batch
from msvlm.data.text import ReportText, Section
from msvlm.errors import ConfigError, ModelError, OutsideTrainingError, StudyError
from msvlm.files import replaced_folder
from msvlm.imaging.field_of_view import fraction_outside_field
from msvlm.imaging.preprocess import PreparedStudy, prepare_study
from msvlm.model.model_folder import CONFIG_FILE, LANGUAGE_MODEL_FOLDER, find_folder, push_saved
from msvlm.model.ms_vlm import MsVlm
from msvlm.report import Evidence, Report, Sentence
from msvlm.reporting.drafting import draft_reports
from msvlm.reporting.evidence import SentenceEvidence, find_evidence
from msvlm.reporting.out_of_domain import TrainingDomain, summarise
from msvlm.study import LeftOut, Study
from msvlm.vocabulary.vocabulary import Certainty

BUNDLED_WEIGHTS = Path(__file__).parent.parent / "weights"
LARGEST_FRACTION_OUTSIDE = 0.01
"""A larger fraction of the body outside the model's field of view gets a warning."""


class Reporter:
    """Reads studies and drafts their reports.

    Attributes:
        name: name of the model, with the hash of its weights.
        model: the model.
        text: converts prompts and reports to the model's tokens.
        domain: the model's training domain; None where its folder has none.
    """

    def __init__(self, model: MsVlm, text: ReportText, name: str, domain: TrainingDomain | None = None) -> None:
        self.model = model.eval()
        self.text = text
        self.name = f"{name} {model.weights_hash()}"
        self.domain = domain

    @classmethod
    def from_pretrained(cls, name_or_folder: str | Path | None = None, device: str = "auto") -> "Reporter":
        """Loads a saved model: a folder, a name on the hub, or None for the bundled one.

        `device` is a torch device; `auto` takes a GPU where there is one.

        Raises:
            ModelError: the model is not found or incomplete, or it has no language model.
        """
        folder = model_folder(name_or_folder)
        model = MsVlm.from_pretrained(folder)
        if model.language_model is None:
            raise ModelError(
                f"{folder.name} has no language model and cannot write reports; run the align or finetune stage first"
            )
        text = ReportText.from_pretrained(folder / LANGUAGE_MODEL_FOLDER, model.visual_tokens, model.vocabulary)
        model.to(pick_device(device))
        name = "bundled" if name_or_folder is None else Path(name_or_folder).name
        return cls(model, text, name, TrainingDomain.load(folder))

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes all that `from_pretrained` reads: the model, its tokenizer and its training domain."""
        with replaced_folder(Path(folder)) as temporary:
            self.model.save_pretrained(temporary, self.text.tokenizer)
            if self.domain is not None:
                self.domain.save(temporary)

    def push_to_hub(self, repo_id: str) -> None:
        """Uploads the same to the hub under `owner/name`; the repository is made private where it does not exist."""
        push_saved(self.save_pretrained, repo_id)

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.model.findings_head.thresholds.device

    def write(self, study: Study, outside_training: bool = False) -> Report:
        """Drafts the report of one study, each sentence with the slices on which it rests.

        Series outside the model's training domain are left out of the report.

        Args:
            study: the study.
            outside_training: whether to draft a report even where all series lie outside the training domain; then
                all are read, and no sentence has a support.

        Raises:
            StudyError: the study has no series to read.
            OutsideTrainingError: no series lies inside the training domain.
        """
        if not study.series:
            raise StudyError(f"{study.key}: no series to read; `msvlm inspect` shows why each was left out")
        reasons = self._outside_by_header(study)
        if not outside_training:
            study, reasons = _keep_inside(study, reasons), {}
        prepared, batch = self._encode(study)
        reasons = {**self._outside_by_distance(study, batch), **reasons}
        if reasons and not outside_training:
            study, reasons = _keep_inside(study, reasons), {}
            prepared, batch = self._encode(study)
        draft = draft_reports(self.model, self.text, batch)[0]
        probabilities = dict(zip(self.model.vocabulary.names, draft.probabilities.tolist(), strict=True))
        slices = _slices(prepared, study)
        sentences: dict[Section, list[Sentence]] = {section: [] for section in Section}
        for found in find_evidence(self.model, self.text, batch, draft):
            sentence = _with_evidence(found, slices, None if reasons else _support(found, probabilities))
            sentences[found.sentence.section].append(sentence)
        return Report(
            study_key=study.key,
            findings_sentences=tuple(sentences[Section.FINDINGS]),
            impression_sentences=tuple(sentences[Section.IMPRESSION]),
            probabilities=probabilities,
            vocabulary=self.model.vocabulary.name,
            model=self.name,
            series_used=tuple(series.key for series in prepared.series),
            left_out=study.left_out,
            warnings=self._warnings(study),
            trained_on=self.domain.trained_on if self.domain is not None else "",
            study_instance_uid=study.series[0].dicom.study_instance_uid,
            outside_training=tuple(f"{key}: {reason}" for key, reason in sorted(reasons.items())),
        )

    def _warnings(self, study: Study) -> tuple[str, ...]:
        found = []
        if self.domain is None:
            found.append("the model's training domain is not known, so no series could be compared with it")
        config = self.model.config.input
        high_mm, wide_mm = config.rows * config.pixel_spacing_mm, config.columns * config.pixel_spacing_mm
        for series in study.series:
            share = fraction_outside_field(series, config)
            if share > LARGEST_FRACTION_OUTSIDE:
                found.append(
                    f"{series.key}: {share:.0%} of the body lies outside the {wide_mm:.0f} x {high_mm:.0f} mm of the "
                    "model's field of view, centred on each slice"
                )
        return tuple(found)

    def _encode(self, study: Study) -> tuple[PreparedStudy, StudyBatch]:
        prepared = prepare_study(study, self.model.config.input)
        with torch.inference_mode():
            batch = to_study_batch([prepared], self.model.config.input).to(self.device)
            return prepared, self.model.encode(batch)

    def _outside_by_header(self, study: Study) -> dict[str, str]:
        """Returns, by series key, why series lie outside the training domain by their headers."""
        if self.domain is None:
            return {}
        reasons = {series.key: self.domain.outside_by_header(series) for series in study.series}
        return {key: reason for key, reason in reasons.items() if reason}

    def _outside_by_distance(self, study: Study, batch: StudyBatch) -> dict[str, str]:
        """Returns, by series key, why encoded series lie outside the training domain by their content."""
        if self.domain is None:
            return {}
        assert batch.slice_vectors is not None
        vectors = batch.slice_vectors.float().cpu().numpy()
        series_index = batch.series_index.cpu().numpy()
        reasons = {
            series.key: self.domain.outside_by_distance(summarise(vectors[series_index == index]))
            for index, series in enumerate(study.series)
        }
        return {key: reason for key, reason in reasons.items() if reason}


def _keep_inside(study: Study, reasons: dict[str, str]) -> Study:
    """Returns the study without the series outside the training domain, which join what was left out.

    Raises:
        OutsideTrainingError: no series is left.
    """
    inside = tuple(series for series in study.series if series.key not in reasons)
    if not inside:
        first = study.series[0].key
        more = len(study.series) - 1
        others = f" ({more} more series {'is' if more == 1 else 'are'} outside too)" if more else ""
        raise OutsideTrainingError(
            f"{study.key} lies outside what the model was trained on, so no report is drafted: {first} is "
            f"{reasons[first]}{others}; pass --outside-training (in Python outside_training=True) to draft one"
        )
    left_out = [
        LeftOut(series.key, f"outside the training domain: {reasons[series.key]}")
        for series in study.series
        if series.key in reasons
    ]
    return replace(study, series=inside, left_out=(*study.left_out, *left_out))


def model_folder(name_or_folder: str | Path | None) -> Path:
    """Returns the folder of a saved model; one on the hub is downloaded first.

    Raises:
        ModelError: the model is not found.
    """
    if name_or_folder is not None:
        return find_folder(name_or_folder)
    folder = bundled_folder()
    if folder is None:
        raise ModelError("no bundled model is installed; make one with `make weights`, or name a model")
    return folder


def bundled_folder() -> Path | None:
    """Returns the folder of the bundled model; None where none is installed."""
    return BUNDLED_WEIGHTS if (BUNDLED_WEIGHTS / CONFIG_FILE).exists() else None


def pick_device(device: str) -> torch.device:
    """Returns a torch device; `auto` is a GPU where there is one.

    Raises:
        ConfigError: the device cannot be used.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:  # torch asserts where it was built without that kind of device
        raise ConfigError(f"device {device!r} cannot be used here; pass auto, cpu or (with a GPU) cuda") from error


def _slices(prepared: PreparedStudy, study: Study) -> list[Evidence]:
    """Returns for each slice of the batch its series and its place in the series as it was read; the score is 0."""
    read = {series.key: series for series in study.series}
    return [
        Evidence(
            series_key=series.key,
            slice_index=index,
            score=0.0,
            instance_number=None if numbers is None else int(numbers[index]),
            slice_count=len(read[series.key].voxels),
            series_instance_uid=read[series.key].dicom.series_instance_uid,
            sop_instance_uid=uids[index] if uids else "",
            acquisition_time=read[series.key].dicom.acquisition_time,
        )
        for series in prepared.series
        for numbers, uids in ((read[series.key].instance_numbers, read[series.key].dicom.sop_instance_uids),)
        for index in series.slice_indices.tolist()
    ]


def _with_evidence(found: SentenceEvidence, slices: list[Evidence], support: float | None) -> Sentence:
    drops = zip(found.slices, found.log_probability_drops, strict=True)
    return Sentence(
        text=found.sentence.text,
        evidence=tuple(replace(slices[index], score=drop) for index, drop in drops),
        support=support,
        statements=found.sentence.statements,
    )


def _support(found: SentenceEvidence, probabilities: dict[str, float]) -> float:
    """Returns the least probability of all that a sentence states or denies; of its tokens where it states nothing."""
    supports = [
        1.0 - probabilities[item.name] if item.certainty is Certainty.ABSENT else probabilities[item.name]
        for item in found.sentence.statements
        if item.name in probabilities
    ]
    return min(supports, default=found.mean_token_probability)
