"""The systems that are scored (a model's reports, its findings head, baselines), and their scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.bootstrap import PatientBootstrap
from msvlm.evaluation.finding_metrics import (
    AucScores,
    PresenceScores,
    presence_matrix,
    score_auc,
    score_presence,
    truth_matrix,
)
from msvlm.evaluation.location_metrics import DiameterRecall, LocationScores, nodule_recall, score_locations
from msvlm.evaluation.text_metrics.bleu_rouge_cider import TextScores, score_texts
from msvlm.evaluation.text_metrics.diversity import Diversity, score_diversity
from msvlm.labeling.label import label_report
from msvlm.vocabulary.vocabulary import Statements, Vocabulary

GENERATED = "generated report"
FINDINGS_HEAD = "findings head"
NO_IMAGE = "no image"
ANOTHER_IMAGE = "another patient's image"
ALL_NEGATIVE = "all negative"
ALL_POSITIVE = "all positive"
COMMONEST_REPORT = "commonest report"
HU_RIDGE = "HU ridge"


@dataclass(frozen=True)
class SystemOutput:
    """What one system states about each study.

    Attributes:
        name: as in the tables.
        presence: (studies, findings), the findings that it predicts.
        statements: the same with locations and sizes; None where it gives none.
        texts: the reports; None where it writes none.
        scores: (studies, findings), higher is more likely; None where it gives none.
    """

    name: str
    presence: NDArray[np.bool_]
    statements: tuple[Statements, ...] | None = None
    texts: tuple[str, ...] | None = None
    scores: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class References:
    """What systems are scored against, study by study.

    Attributes:
        vocabulary: of the findings.
        truth: the ground truth.
        reports: reference reports; empty texts where a study has none.
        bootstrap: of the studies' patients.
    """

    vocabulary: Vocabulary
    truth: tuple[Statements, ...]
    reports: tuple[str, ...]
    bootstrap: PatientBootstrap


@dataclass(frozen=True)
class SystemScores:
    """The scores of one system; None where it has no output of that type.

    Attributes:
        nodules: recall of lung nodules by diameter; empty where no true diameter is known.
        text: similarity of the texts to the reference reports, over the studies that have one.
    """

    name: str
    presence: PresenceScores
    auc: AucScores | None = None
    locations: LocationScores | None = None
    nodules: tuple[DiameterRecall, ...] = ()
    diversity: Diversity | None = None
    text: TextScores | None = None


def output_of_texts(name: str, texts: Sequence[str], vocabulary: Vocabulary) -> SystemOutput:
    """Returns the output of a system that writes reports, with the findings that the rule labeler reads in them."""
    statements = tuple(label_report(text, vocabulary) for text in texts)
    return SystemOutput(name, presence_matrix(statements, vocabulary), statements, tuple(texts))


def score_system(output: SystemOutput, references: References) -> SystemScores:
    """Scores a system on the same studies, in the same order."""
    vocabulary, bootstrap, texts = references.vocabulary, references.bootstrap, output.texts
    truth = truth_matrix(references.truth, vocabulary)
    return SystemScores(
        name=output.name,
        presence=score_presence(truth, output.presence, bootstrap, vocabulary.names),
        auc=score_auc(truth, output.scores, bootstrap) if output.scores is not None else None,
        locations=(
            score_locations(references.truth, output.statements, bootstrap, vocabulary)
            if output.statements is not None
            else None
        ),
        nodules=nodule_recall(references.truth, output.presence, bootstrap, vocabulary),
        diversity=score_diversity(texts, references.reports) if texts is not None else None,
        text=_score_texts(texts, references.reports) if texts is not None else None,
    )


def score_reports(
    texts: Sequence[str], truth: Sequence[Statements], patients: Sequence[str], vocabulary: Vocabulary
) -> SystemScores:
    """Scores drafts against the truth of the same studies: findings, locations and diversity."""
    references = References(vocabulary, tuple(truth), ("",) * len(texts), PatientBootstrap.of(patients))
    return score_system(output_of_texts(GENERATED, texts, vocabulary), references)


def _score_texts(texts: Sequence[str], reports: Sequence[str]) -> TextScores | None:
    pairs = [(text, report) for text, report in zip(texts, reports, strict=True) if report.split()]
    return score_texts([text for text, _ in pairs], [[report] for _, report in pairs]) if pairs else None
