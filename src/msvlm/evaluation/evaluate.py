"""evaluate(): scores a saved model on a split of a manifest, beside baselines and controls."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msvlm.data.dataset import StudyDataset, check_vocabularies, statements_of
from msvlm.data.manifest import ManifestStudy, read_manifest
from msvlm.data.slice_store import SliceStore
from msvlm.data.text import join_report
from msvlm.data.vector_store import VectorStore
from msvlm.errors import ConfigError, DataError, MetricError
from msvlm.evaluation.baselines import ridge_system, studies_of_other_patients, trivial_systems
from msvlm.evaluation.bootstrap import PairedDifference, PatientBootstrap, paired_difference
from msvlm.evaluation.evidence_metrics import score_evidence
from msvlm.evaluation.finding_metrics import presence_matrix, truth_matrix
from msvlm.evaluation.model_outputs import run_model
from msvlm.evaluation.plot import draw_scores
from msvlm.evaluation.saved_reports import (
    REPORTS_FILE,
    SCORES_FILE,
    SavedEvaluation,
    SavedReport,
    match_studies,
    read_saved_evaluation,
    to_lines,
)
from msvlm.evaluation.systems import ANOTHER_IMAGE, References, score_system
from msvlm.evaluation.tables import Evaluation
from msvlm.files import check_writable, replace_files
from msvlm.labeling.label import label_report
from msvlm.model.ms_vlm import check_input
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.reporter import Reporter
from msvlm.study import LeftOut
from msvlm.vocabulary.vocabulary import Vocabulary

EVIDENCE_STUDIES = 50
"""Computing the evidence of a study takes longer than drafting it."""
_LOG = logging.getLogger(__name__)


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
    """Scores a saved model on a split; writes tables, JSON, CSV, a picture and all reports into `output`.

    Args:
        model: a folder, a name on the hub, or None for the bundled model.
        manifest: the list of studies.
        prepared: folder of their model-ready slices.
        output: folder for scores.txt, scores.json, scores.csv, scores.png and reports.jsonl.
        split: the studies to score.
        limit: scores the first studies of the split only.
        vectors: folder of slice vectors from the same slice encoder; without it the slices are encoded here.
        evidence_studies: number of studies with lesion masks whose evidence is scored.
        against: output folder of another model's evaluation, for a paired test.

    Raises:
        ConfigError: `limit` or `evidence_studies` is out of range.
        DataError: the split is empty, none of its studies is prepared, `output` cannot be written, or `against` has
            other studies.
        InputMismatchError: the slices were prepared, or the vectors computed, for another model.
    """
    if evidence_studies < 0 or (limit is not None and limit < 1):
        raise ConfigError(
            f"limit is {limit}, must be at least 1; evidence_studies is {evidence_studies}, must be 0 or more"
        )
    check_writable(output)
    listed = read_manifest(manifest)
    chosen = listed.split(split)[:limit]
    store = SliceStore.open(prepared)
    other = read_saved_evaluation(against) if against is not None else None
    reporter = Reporter.from_pretrained(model)
    vocabulary = reporter.model.vocabulary
    check_input(reporter.model.config, store.input_config)
    check_vocabularies(listed, store, vocabulary)
    vector_store = VectorStore.open(vectors, vectors_hash(reporter.model)) if vectors else None
    studies, reconstructions = keep_one_reconstruction([study for study in chosen if study.key in store])
    if not studies:
        raise DataError(f"none of {len(chosen)} {split} studies is prepared; run `msvlm prepare` on this manifest")
    other = _match(other, studies, vocabulary) if other is not None else None
    references = _references(studies, vocabulary)
    outputs = run_model(reporter, StudyDataset(studies, store, vector_store), evidence_studies)
    patients = [study.patient for study in studies]
    others, no_others = _others(patients)
    reports = _saved_reports(studies, vocabulary, outputs.texts, outputs.blind_texts)
    trivial, no_commonest = trivial_systems(listed, len(studies), vocabulary)
    ridge, no_ridge = ridge_system(listed, store, studies, vocabulary)
    evaluation = Evaluation(
        model=reporter.name,
        vocabulary=vocabulary.name,
        split=split,
        studies=len(studies),
        patients=len(set(patients)),
        systems=tuple(score_system(system, references) for system in outputs.systems(others) + trivial + ridge),
        evidence=score_evidence(
            outputs.top_slices, [patients[index] for index in outputs.evidence_studies], vocabulary
        ),
        calibration=outputs.calibration(references.truth),
        against=_compare(reports, other, references) if other is not None else None,
        not_prepared=tuple(study.key for study in chosen if study.key not in store),
        reconstructions=reconstructions,
        outside=outputs.outside,
        systems_left_out=no_others + no_commonest + no_ridge,
    )
    _write(evaluation, reports, output)
    return evaluation


def _references(studies: Sequence[ManifestStudy], vocabulary: Vocabulary) -> References:
    """Returns what systems are scored against.

    Raises:
        DataError: nothing is known of any study.
    """
    truth = tuple(statements_of(study) for study in studies)
    if np.isnan(truth_matrix(truth, vocabulary)).all():
        raise DataError("the ground truth of all findings is unknown; give studies with known findings or reports")
    reports = tuple(_reference_report(study) for study in studies)
    return References(vocabulary, truth, reports, PatientBootstrap.of([study.patient for study in studies]))


def keep_one_reconstruction(
    studies: Sequence[ManifestStudy],
) -> tuple[tuple[ManifestStudy, ...], tuple[LeftOut, ...]]:
    """Keeps the first by key of the studies with the same patient, report and truth, and names the others.

    Data sets such as CT-RATE list each reconstruction of a scan with the same report; scored as separate studies,
    scans with many reconstructions would weigh more. Studies without a report are all kept.
    """
    first: dict[object, str] = {}
    for study in sorted(studies, key=lambda study: study.key):
        first.setdefault(_content(study), study.key)
    kept = set(first.values())
    left_out = tuple(
        LeftOut(study.key, f"of the same patient and with the same report as {first[_content(study)]}")
        for study in studies
        if study.key not in kept
    )
    return tuple(study for study in studies if study.key in kept), left_out


def _content(study: ManifestStudy) -> object:
    """Returns a value that is equal for two reconstructions; the key of a study without a report."""
    text = f"{study.findings}\n{study.impression}".split()
    return (study.patient, *text, study.truth) if text else study.key


def _reference_report(study: ManifestStudy) -> str:
    return join_report(study.findings, study.impression)


def _saved_reports(
    studies: Sequence[ManifestStudy], vocabulary: Vocabulary, texts: Sequence[str], blind_texts: Sequence[str]
) -> tuple[SavedReport, ...]:
    truth = truth_matrix([statements_of(study) for study in studies], vocabulary)
    return tuple(
        SavedReport(
            key=study.key,
            patient=study.patient,
            true_findings=tuple(name for name, value in zip(vocabulary.names, row, strict=True) if value == 1.0),
            unknown_findings=tuple(name for name, value in zip(vocabulary.names, row, strict=True) if np.isnan(value)),
            true=_reference_report(study),
            generated=text,
            without_image=blind,
        )
        for study, row, text, blind in zip(studies, truth, texts, blind_texts, strict=True)
    )


def _match(other: SavedEvaluation, studies: Sequence[ManifestStudy], vocabulary: Vocabulary) -> SavedEvaluation:
    """Returns the other evaluation in the order of these studies; refuses other studies before anything is drafted."""
    no_texts = [""] * len(studies)
    return replace(other, reports=match_studies(_saved_reports(studies, vocabulary, no_texts, no_texts), other.reports))


def _compare(own: Sequence[SavedReport], other: SavedEvaluation, references: References) -> PairedDifference:
    """Returns the paired test of two models' reports, both labelled by the present rules."""
    vocabulary = references.vocabulary
    predicted, other_predicted = (
        presence_matrix([label_report(report.generated, vocabulary) for report in reports], vocabulary)
        for reports in (own, other.reports)
    )
    truth, patients = truth_matrix(references.truth, vocabulary), [report.patient for report in own]
    return paired_difference(other.model, truth, (predicted, other_predicted), patients, references.bootstrap)


def _others(patients: Sequence[str]) -> tuple[NDArray[np.int64] | None, tuple[LeftOut, ...]]:
    """Returns for each study the index of another patient's study, or the system that is left out and why."""
    try:
        return studies_of_other_patients(patients), ()
    except DataError as error:
        return None, (LeftOut(ANOTHER_IMAGE, str(error)),)


def _write(evaluation: Evaluation, reports: Sequence[SavedReport], output: Path) -> None:
    files = {
        "scores.txt": evaluation.to_text().encode(),
        SCORES_FILE: (evaluation.to_json() + "\n").encode(),
        "scores.csv": evaluation.to_csv().encode(),
        REPORTS_FILE: to_lines(reports).encode(),
    }
    try:
        files["scores.png"] = draw_scores(evaluation)
    except MetricError as error:
        _LOG.warning("scores.png is not drawn: %s", error)
        (output / "scores.png").unlink(missing_ok=True)
    replace_files(output, files)
