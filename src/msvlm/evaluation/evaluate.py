"""A saved model against a split of a manifest: its reports beside what any score must be read beside."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from msvlm.batch import StudyBatch
from msvlm.data.atomic_folder import check_writable, replace_files
from msvlm.data.dataset import StudyDataset, statements_of, to_study_batch
from msvlm.data.embeddings import VectorStore
from msvlm.data.manifest import Manifest, ManifestStudy, read_manifest
from msvlm.data.prepared import PreparedStore
from msvlm.data.text import join_report
from msvlm.errors import DataError
from msvlm.evaluation.baselines import RidgeData, another_patients, commonest_report, fit_hu_ridge, hu_statistics
from msvlm.evaluation.clinical_metrics import presence_matrix
from msvlm.evaluation.scoreboard import Answer, Evaluation, ScoreRow, answer_of_texts, score_answer
from msvlm.findings import CHEST_FINDING_NAMES, Statements
from msvlm.model.ms_vlm import check_input
from msvlm.reporting.drafting import draft, vectors_hash
from msvlm.reporting.out_of_domain import summarise
from msvlm.reporting.reporter import Reporter
from msvlm.study import LeftOut

GENERATED = "generated report"
ANOTHER_IMAGE = "another patient's image"
STUDIES_AT_ONCE = 8


@dataclass(frozen=True)
class ScoredReport:
    """What was written of one study, for reading: a line of reports.jsonl.

    Attributes:
        without_image: what the same model writes with every slice hidden.
    """

    key: str
    patient: str
    true: str
    generated: str
    without_image: str


def evaluate(
    model: str | Path | None,
    manifest: Path,
    prepared: Path,
    output: Path,
    split: str = "test",
    limit: int | None = None,
    vectors: Path | None = None,
) -> Evaluation:
    """Scores a saved model on a split; writes scores.txt, scores.json, scores.csv and reports.jsonl into `output`.

    `prepared` is the folder of model-ready slices, `vectors` one of slice vectors that the same encoder made; without
    it the slices are encoded here. `limit` takes the first studies of the split only.

    Raises:
        DataError: the split is empty, none of its studies is prepared, or `output` cannot be written.
        InputMismatchError: the slices were prepared, or the vectors made, for another model.
    """
    check_writable(output)
    listed = read_manifest(manifest)
    chosen = listed.split(split)[:limit]
    store = PreparedStore.open(prepared)
    reporter = Reporter.from_pretrained(model)
    check_input(reporter.model.config, store.input_config)
    vector_store = VectorStore.open(vectors, vectors_hash(reporter.model)) if vectors else None
    studies = tuple(study for study in chosen if study.key in store)
    if not studies:
        raise DataError(f"none of {len(chosen)} {split} studies is prepared; run `msvlm prepare` on this manifest")
    patients = tuple(study.patient for study in studies)
    others, rows_left_out = _others(patients)
    of_model = _answers_of_model(reporter, StudyDataset(studies, store, vector_store), others)
    answers = of_model.answers + _trivial_answers(listed, len(studies)) + _ridge_answers(listed, store, studies)
    truth = tuple(statements_of(study) for study in studies)
    evaluation = Evaluation(
        model=reporter.name,
        split=split,
        studies=len(studies),
        patients=len(set(patients)),
        rows=tuple(score_answer(answer, truth, patients) for answer in answers),
        not_prepared=tuple(study.key for study in chosen if study.key not in store),
        outside=of_model.outside,
        rows_left_out=rows_left_out,
    )
    _write(evaluation, of_model.reports, output)
    return evaluation


def score_reports(texts: Sequence[str], truth: Sequence[Statements], patients: Sequence[str]) -> ScoreRow:
    """Scores drafts against the truth of the same studies: F1 of what they state, and how much they differ."""
    return score_answer(answer_of_texts(GENERATED, tuple(texts)), tuple(truth), tuple(patients))


@dataclass(frozen=True)
class _ModelAnswers:
    answers: list[Answer]
    reports: tuple[ScoredReport, ...]
    outside: int | None


def _others(patients: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[LeftOut, ...]]:
    """For each study the row of another patient's; where there are too few others, the row that is left out and why."""
    try:
        return another_patients(patients), ()
    except DataError as error:
        return None, (LeftOut(ANOTHER_IMAGE, str(error)),)


def _answers_of_model(reporter: Reporter, dataset: StudyDataset, others: NDArray[np.int64] | None) -> _ModelAnswers:
    """The rows that need the model: drafts, the findings head, and the controls of the image."""
    model, text = reporter.model, reporter.text
    texts: list[str] = []
    blind_texts: list[str] = []
    statements: list[Statements] = []
    probabilities: list[NDArray[np.float32]] = []
    outside = 0
    for batch in _batches(dataset, reporter):
        drafts = draft(model, text, batch)
        texts += drafts.texts
        statements += drafts.statements
        probabilities.append(drafts.probabilities)
        outside += _outside(reporter, batch)
        blind = torch.ones_like(batch.study_index, dtype=torch.bool)
        blind_texts += draft(model, text, batch, blind).texts
    studies = dataset.studies
    answers = [
        answer_of_texts(GENERATED, tuple(texts)),
        Answer(
            "findings head",
            presence_matrix(statements),
            tuple(statements),
            scores=_of_chest_findings(np.concatenate(probabilities), model.config.findings_head.findings),
        ),
        answer_of_texts("no image", tuple(blind_texts)),
    ]
    if others is not None:
        answers.append(answer_of_texts(ANOTHER_IMAGE, tuple(texts[row] for row in others)))
    reports = tuple(
        ScoredReport(study.key, study.patient, join_report(study.findings, study.impression), text, blind)
        for study, text, blind in zip(studies, texts, blind_texts, strict=True)
    )
    return _ModelAnswers(answers, reports, outside if reporter.domain is not None else None)


def _outside(reporter: Reporter, batch: StudyBatch) -> int:
    """How many of a batch's studies have a series that does not look like what the model was trained on."""
    if reporter.domain is None:
        return 0
    assert batch.slice_vectors is not None
    vectors = batch.slice_vectors.float().cpu().numpy()
    study_index, series_index = batch.study_index.cpu().numpy(), batch.series_index.cpu().numpy()
    far = set()
    for study, series in set(zip(study_index.tolist(), series_index.tolist(), strict=True)):
        summary = summarise(vectors[(study_index == study) & (series_index == series)])
        if not reporter.domain.distance(summary) <= reporter.domain.largest_distance:
            far.add(study)
    return len(far)


def _batches(dataset: StudyDataset, reporter: Reporter) -> Iterator[StudyBatch]:
    """The studies in their order, whole, encoded, a few at a time."""
    generator = np.random.default_rng(0)
    starts = range(0, len(dataset.studies), STUDIES_AT_ONCE)
    for start in tqdm(starts, desc="drafting", unit="batch", disable=None):
        rows = range(start, min(start + STUDIES_AT_ONCE, len(dataset.studies)))
        samples = [dataset.sample(row, None, generator) for row in rows]
        batch = to_study_batch(samples, reporter.model.config.input).to(reporter.device)
        with torch.inference_mode():
            yield batch if batch.slice_vectors is not None else reporter.model.encode(batch)


def _of_chest_findings(probabilities: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
    """(studies, 18) from the columns of a head's own findings; a finding that it does not know is as good as absent."""
    columns = {name: column for column, name in enumerate(names)}
    known = [
        probabilities[:, columns[name]] if name in columns else np.zeros(len(probabilities), np.float32)
        for name in CHEST_FINDING_NAMES
    ]
    return np.stack(known, axis=1)


def _trivial_answers(manifest: Manifest, studies: int) -> list[Answer]:
    """All negative, all positive, and the commonest report of the training split where there is one."""
    nothing = np.zeros((studies, len(CHEST_FINDING_NAMES)), dtype=bool)
    answers = [Answer("all negative", nothing), Answer("all positive", ~nothing)]
    training = _split(manifest, "train")
    if training:
        commonest = commonest_report([join_report(study.findings, study.impression) for study in training])
        answers.append(answer_of_texts("commonest report", (commonest,) * studies))
    return answers


def _ridge_answers(manifest: Manifest, store: PreparedStore, studies: Sequence[ManifestStudy]) -> list[Answer]:
    """The HU ridge, where a training and a validation split are prepared for it to learn from."""
    training, validation = (
        [study for study in _split(manifest, split) if study.key in store] for split in ("train", "validation")
    )
    if not training or not validation:
        return []
    ridge = fit_hu_ridge(_ridge_data(training, store), _ridge_data(validation, store))
    features = _ridge_data(studies, store).features
    return [Answer("HU ridge", ridge.predict(features), scores=ridge.scores(features))]


def _ridge_data(studies: Sequence[ManifestStudy], store: PreparedStore) -> RidgeData:
    shown = tqdm(studies, desc="HU statistics", unit="study", disable=None)
    features = np.stack([hu_statistics(store.read(study.key), store.input_config) for study in shown])
    return RidgeData(features, presence_matrix([statements_of(study) for study in studies]))


def _split(manifest: Manifest, split: str) -> tuple[ManifestStudy, ...]:
    return tuple(study for study in manifest.studies if study.split == split)


def _write(evaluation: Evaluation, reports: Sequence[ScoredReport], output: Path) -> None:
    lines = "".join(json.dumps(asdict(report), ensure_ascii=False) + "\n" for report in reports)
    contents = {
        "scores.txt": evaluation.to_text(),
        "scores.json": evaluation.to_json() + "\n",
        "scores.csv": evaluation.to_csv(),
        "reports.jsonl": lines,
    }
    replace_files(output, {name: content.encode() for name, content in contents.items()})
