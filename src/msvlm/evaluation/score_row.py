"""One way of answering the same studies, and all its scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.agreement import Agreement, DiameterRecall, nodule_recall, score_agreement
from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.clinical_metrics import AreaScores, PresenceScores, presence_matrix, score_areas, score_presence
from msvlm.evaluation.diversity import Diversity, score_diversity
from msvlm.evaluation.text_metrics import TextScores, score_texts
from msvlm.findings import Statements
from msvlm.labeling import label_report

GENERATED = "generated report"
FINDINGS_HEAD = "findings head"
NO_IMAGE = "no image"
ANOTHER_IMAGE = "another patient's image"
ALL_NEGATIVE = "all negative"
ALL_POSITIVE = "all positive"
COMMONEST_REPORT = "commonest report"
HU_RIDGE = "HU ridge"


@dataclass(frozen=True)
class Answer:
    """What one way of answering says of every study.

    Attributes:
        name: as it stands in the table.
        presence: (studies, findings), which findings it says are there.
        statements: the same with places and sizes, where it has any.
        texts: the reports, where it writes any.
        scores: (studies, findings), higher is more likely, where it gives any.
    """

    name: str
    presence: NDArray[np.bool_]
    statements: tuple[Statements, ...] | None = None
    texts: tuple[str, ...] | None = None
    scores: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class ScoredStudies:
    """What answers are scored against, study by study.

    Attributes:
        truth: what is there.
        reports: the true reports; empty texts where there is none.
        draws: of the studies' patients.
    """

    truth: tuple[Statements, ...]
    reports: tuple[str, ...]
    draws: PatientDraws


@dataclass(frozen=True)
class ScoreRow:
    """One answer's scores. None where the answer has nothing to score in that way.

    Attributes:
        nodules: recall of lung nodules by diameter; empty where no true diameter is known.
        likeness: how like the true reports the texts are, over the studies that have one.
    """

    name: str
    scores: PresenceScores
    areas: AreaScores | None = None
    agreement: Agreement | None = None
    nodules: tuple[DiameterRecall, ...] = ()
    diversity: Diversity | None = None
    likeness: TextScores | None = None


def answer_of_texts(name: str, texts: Sequence[str]) -> Answer:
    """The answer that reports give, as the rule labeler reads them."""
    statements = tuple(label_report(text) for text in texts)
    return Answer(name, presence_matrix(statements), statements, tuple(texts))


def score_answer(answer: Answer, studies: ScoredStudies) -> ScoreRow:
    """Scores an answer to the same studies, in the same order."""
    there, draws = presence_matrix(studies.truth), studies.draws
    return ScoreRow(
        name=answer.name,
        scores=score_presence(there, answer.presence, draws),
        areas=score_areas(there, answer.scores, draws) if answer.scores is not None else None,
        agreement=score_agreement(studies.truth, answer.statements, draws) if answer.statements is not None else None,
        nodules=nodule_recall(studies.truth, answer.presence, draws),
        diversity=score_diversity(answer.texts, studies.reports) if answer.texts is not None else None,
        likeness=_likeness(answer.texts, studies.reports) if answer.texts is not None else None,
    )


def score_reports(texts: Sequence[str], truth: Sequence[Statements], patients: Sequence[str]) -> ScoreRow:
    """Scores drafts against the truth of the same studies: what they state, where, and how much they differ."""
    studies = ScoredStudies(tuple(truth), ("",) * len(texts), PatientDraws.of(patients))
    return score_answer(answer_of_texts(GENERATED, texts), studies)


def _likeness(texts: Sequence[str], reports: Sequence[str]) -> TextScores | None:
    pairs = [(text, report) for text, report in zip(texts, reports, strict=True) if report.split()]
    return score_texts([text for text, _ in pairs], [[report] for _, report in pairs]) if pairs else None
