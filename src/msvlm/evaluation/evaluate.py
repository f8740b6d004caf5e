"""A saved model against a split of a manifest: its reports beside what any score must be read beside."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from msvlm.data.dataset import StudyDataset, statements_of
from msvlm.data.embeddings import VectorStore
from msvlm.data.manifest import Manifest, ManifestStudy, read_manifest
from msvlm.data.prepared import PreparedStore
from msvlm.data.text import join_report
from msvlm.errors import ConfigError, DataError
from msvlm.evaluation.baselines import RidgeData, another_patients, commonest_report, fit_hu_ridge, hu_statistics
from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.clinical_metrics import presence_matrix
from msvlm.evaluation.evidence_agreement import score_evidence
from msvlm.evaluation.model_answers import answer_studies
from msvlm.evaluation.paired_test import check_same_studies, paired_difference
from msvlm.evaluation.reconstructions import one_of_each
from msvlm.evaluation.score_picture import draw_scores
from msvlm.evaluation.score_row import (
    ALL_NEGATIVE,
    ALL_POSITIVE,
    ANOTHER_IMAGE,
    COMMONEST_REPORT,
    HU_RIDGE,
    Answer,
    ScoredStudies,
    answer_of_texts,
    score_answer,
)
from msvlm.evaluation.scoreboard import Evaluation
from msvlm.evaluation.scored_reports import (
    REPORTS_FILE,
    SCORES_FILE,
    ScoredModel,
    ScoredReport,
    lines_of,
    read_scored_model,
)
from msvlm.files import check_writable, replace_files
from msvlm.findings import CHEST_FINDING_NAMES
from msvlm.model.ms_vlm import check_input
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.reporter import Reporter
from msvlm.study import LeftOut

EVIDENCE_STUDIES = 50
"""Seeking the evidence of a study takes longer than drafting it; so many tell enough."""


def evaluate(
    model: str | Path | None,
    manifest: Path,
    prepared: Path,
    output: Path,
    split: str = "test",
    limit: int | None = None,
    vectors: Path | None = None,
    evidence_studies: int = EVIDENCE_STUDIES,
    against: Path | None = None,
) -> Evaluation:
    """Scores a saved model on a split; writes the table, JSON, CSV, a picture and all reports into `output`.

    Args:
        model: a folder, a name on the hub, or None for the bundled model.
        manifest: the list of studies.
        prepared: the folder of their model-ready slices.
        output: the folder for scores.txt, scores.json, scores.csv, scores.png and reports.jsonl.
        split: which studies.
        limit: the first studies of the split only.
        vectors: a folder of slice vectors that the same encoder made; without it the slices are encoded here.
        evidence_studies: of how many studies with lesion masks the evidence is sought.
        against: the output folder of another model's evaluation, to be compared with.

    Raises:
        ConfigError: fewer than no studies are asked for.
        DataError: the split is empty, none of its studies is prepared, `output` cannot be written, or `against` is of
            other studies.
        InputMismatchError: the slices were prepared, or the vectors made, for another model.
    """
    if evidence_studies < 0 or (limit is not None and limit < 1):
        raise ConfigError(
            f"limit {limit} and evidence of {evidence_studies} studies; 1 study at least, and no fewer than 0"
        )
    check_writable(output)
    listed = read_manifest(manifest)
    chosen = listed.split(split)[:limit]
    store = PreparedStore.open(prepared)
    other = read_scored_model(against) if against is not None else None
    reporter = Reporter.from_pretrained(model)
    check_input(reporter.model.config, store.input_config)
    vector_store = VectorStore.open(vectors, vectors_hash(reporter.model)) if vectors else None
    each = one_of_each([study for study in chosen if study.key in store])
    studies = each.studies
    if not studies:
        raise DataError(f"none of {len(chosen)} {split} studies is prepared; run `msvlm prepare` on this manifest")
    other = _of_the_same_studies(other, studies) if other is not None else None
    answers = answer_studies(reporter, StudyDataset(studies, store, vector_store), evidence_studies)
    patients = [study.patient for study in studies]
    others, no_others = _others(patients)
    scored = ScoredStudies(
        truth=tuple(statements_of(study) for study in studies),
        reports=tuple(_true_report(study) for study in studies),
        draws=PatientDraws.of(patients),
    )
    reports = _scored_reports(studies, answers.texts, answers.blind_texts)
    trivial, no_commonest = _trivial_answers(listed, len(studies))
    ridge, no_ridge = _ridge_answers(listed, store, studies)
    rows = answers.rows(others) + trivial + ridge
    evaluation = Evaluation(
        model=reporter.name,
        split=split,
        studies=len(studies),
        patients=len(set(patients)),
        rows=tuple(score_answer(answer, scored) for answer in rows),
        evidence=score_evidence(answers.top_slices, [patients[row] for row in answers.grounded]),
        calibration=answers.calibration(scored.truth),
        against=paired_difference(other.model, reports, other.reports, scored.draws) if other is not None else None,
        not_prepared=tuple(study.key for study in chosen if study.key not in store),
        reconstructions=each.left_out,
        outside=answers.outside,
        rows_left_out=no_others + no_commonest + no_ridge,
    )
    _write(evaluation, reports, output)
    return evaluation


def _true_report(study: ManifestStudy) -> str:
    return join_report(study.findings, study.impression)


def _of_the_same_studies(other: ScoredModel, studies: Sequence[ManifestStudy]) -> ScoredModel:
    """The other model's reports in the order of these studies; refused before anything is drafted."""
    nothing = [""] * len(studies)
    return replace(other, reports=check_same_studies(_scored_reports(studies, nothing, nothing), other.reports))


def _scored_reports(
    studies: Sequence[ManifestStudy], texts: Sequence[str], blind_texts: Sequence[str]
) -> tuple[ScoredReport, ...]:
    there = presence_matrix([statements_of(study) for study in studies])
    return tuple(
        ScoredReport(
            key=study.key,
            patient=study.patient,
            true_findings=tuple(name for name, is_there in zip(CHEST_FINDING_NAMES, row, strict=True) if is_there),
            true=_true_report(study),
            generated=text,
            without_image=blind,
        )
        for study, row, text, blind in zip(studies, there, texts, blind_texts, strict=True)
    )


def _others(patients: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[LeftOut, ...]]:
    """For each study the row of another patient's; where there are too few others, the row that is left out and why."""
    try:
        return another_patients(patients), ()
    except DataError as error:
        return None, (LeftOut(ANOTHER_IMAGE, str(error)),)


def _trivial_answers(manifest: Manifest, studies: int) -> tuple[list[Answer], tuple[LeftOut, ...]]:
    """All negative, all positive, and the commonest report of the training split where there is one."""
    nothing = np.zeros((studies, len(CHEST_FINDING_NAMES)), dtype=bool)
    answers = [Answer(ALL_NEGATIVE, nothing), Answer(ALL_POSITIVE, ~nothing)]
    training = _split(manifest, "train")
    if not training:
        return answers, (LeftOut(COMMONEST_REPORT, "the manifest has no training study"),)
    commonest = commonest_report([_true_report(study) for study in training])
    return [*answers, answer_of_texts(COMMONEST_REPORT, (commonest,) * studies)], ()


def _ridge_answers(
    manifest: Manifest, store: PreparedStore, studies: Sequence[ManifestStudy]
) -> tuple[list[Answer], tuple[LeftOut, ...]]:
    """The HU ridge, where a training and a validation split are prepared for it to learn from."""
    training, validation = (
        [study for study in _split(manifest, split) if study.key in store] for split in ("train", "validation")
    )
    if not training or not validation:
        counts = f"{len(training)} training and {len(validation)} validation studies are prepared"
        return [], (LeftOut(HU_RIDGE, f"{counts}; it learns from both"),)
    ridge = fit_hu_ridge(_ridge_data(training, store), _ridge_data(validation, store))
    features = _ridge_data(studies, store).features
    return [Answer(HU_RIDGE, ridge.predict(features), scores=ridge.scores(features))], ()


def _ridge_data(studies: Sequence[ManifestStudy], store: PreparedStore) -> RidgeData:
    shown = tqdm(studies, desc="HU statistics", unit="study", disable=None)
    features = np.stack([hu_statistics(store.read(study.key), store.input_config) for study in shown])
    return RidgeData(features, presence_matrix([statements_of(study) for study in studies]))


def _split(manifest: Manifest, split: str) -> tuple[ManifestStudy, ...]:
    return tuple(study for study in manifest.studies if study.split == split)


def _write(evaluation: Evaluation, reports: Sequence[ScoredReport], output: Path) -> None:
    picture = io.BytesIO()
    draw_scores(evaluation).save(picture, "PNG", optimize=True)
    texts = {
        "scores.txt": evaluation.to_text(),
        SCORES_FILE: evaluation.to_json() + "\n",
        "scores.csv": evaluation.to_csv(),
        REPORTS_FILE: lines_of(reports),
    }
    replace_files(output, {**{name: text.encode() for name, text in texts.items()}, "scores.png": picture.getvalue()})
