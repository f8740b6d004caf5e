"""Report, Sentence and Evidence: a drafted report, the slices each sentence rests on, and the model that wrote it."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from msvlm.errors import ReportError
from msvlm.study import LeftOut
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements

DISCLAIMER = (
    "AI draft, unverified. msvlm is research software, not a medical device; a radiologist must check every word."
)


FAINT_NATS = 0.05
"""A slice whose masking lowers a sentence's log-probability by less than this is no evidence."""


class Status(StrEnum):
    """Status of a report; only a person's signature changes it from `draft`."""

    DRAFT = "draft"
    SIGNED = "signed"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Evidence:
    """One slice on which a sentence rests.

    Attributes:
        series_key: the series of the slice.
        slice_index: counted from 0 in the order of the series' voxels.
        score: drop of the sentence's log-probability in nats when the slice and its neighbours are masked.
        instance_number: DICOM Instance Number, by which viewers name the slice; None where the source has none.
        slice_count: number of slices of the series; None where it is not known.
        series_instance_uid, sop_instance_uid, acquisition_time: of the slice in DICOM; empty for other sources.
    """

    series_key: str
    slice_index: int
    score: float
    instance_number: int | None = None
    slice_count: int | None = None
    series_instance_uid: str = ""
    sop_instance_uid: str = ""
    acquisition_time: str = ""

    @property
    def is_faint(self) -> bool:
        """Whether masking the slice lowers the log-probability of the sentence by less than `FAINT_NATS`."""
        return self.score < FAINT_NATS


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report.

    Attributes:
        text: as written.
        evidence: the slices on which it rests, strongest first.
        support: probability, 0 to 1, that the model itself gives to what the sentence states; None outside the training
            domain, where it means nothing.
        statements: its statements about findings, read by the rule-based labeler.
    """

    text: str
    evidence: tuple[Evidence, ...] = ()
    support: float | None = None
    statements: Statements = ()

    @property
    def positive_findings(self) -> tuple[str, ...]:
        """Names of the findings that it calls present or possible."""
        return tuple(item.name for item in self.statements if item.certainty.is_positive)


@dataclass(frozen=True)
class Report:
    """A drafted report.

    Attributes:
        study_key: the study that was read.
        study_instance_uid: DICOM UID of the study; empty for other sources.
        findings_sentences, impression_sentences: the two sections, in reading order.
        probabilities: finding name -> probability from the findings head.
        vocabulary: name of the vocabulary of its findings.
        model: name and weights hash of the model that wrote it.
        series_used: keys of the series that the model read.
        left_out: series and files of the study that were not read, and why.
        warnings: what a reader must know, for example that part of the body lies outside the model's field of view.
        trained_on: what the model was trained on, in a reader's words; empty where it is not known.
        outside_training: why series lie outside the model's training domain, for a report that was drafted all the
            same; empty where none does, or where the domain is not known.
    """

    study_key: str
    findings_sentences: tuple[Sentence, ...]
    impression_sentences: tuple[Sentence, ...]
    probabilities: dict[str, float]
    vocabulary: str
    model: str
    series_used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    trained_on: str = ""
    outside_training: tuple[str, ...] = ()
    study_instance_uid: str = ""
    status: Status = Status.DRAFT
    disclaimer: str = DISCLAIMER

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """All sentences, findings before impression."""
        return self.findings_sentences + self.impression_sentences

    @property
    def findings(self) -> str:
        """The findings section as plain text."""
        return " ".join(sentence.text for sentence in self.findings_sentences)

    @property
    def impression(self) -> str:
        """The impression section as plain text."""
        return " ".join(sentence.text for sentence in self.impression_sentences)

    def to_json(self) -> str:
        """Returns the whole report as JSON text, with the plain text of both sections; `from_json` reads it back."""
        texts = {"findings": self.findings, "impression": self.impression}
        return json.dumps({**texts, **asdict(self)}, indent=2, ensure_ascii=False, default=sorted)  # sets of attributes

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Reads what `to_json` wrote.

        Raises:
            ReportError: the text is not such a report.
        """
        try:
            fields = json.loads(text)
            del fields["findings"], fields["impression"]  # repeated in the sentences
            return cls(
                **{
                    **fields,
                    "findings_sentences": _sentences(fields["findings_sentences"]),
                    "impression_sentences": _sentences(fields["impression_sentences"]),
                    "series_used": tuple(fields["series_used"]),
                    "left_out": tuple(LeftOut(**item) for item in fields["left_out"]),
                    "warnings": tuple(fields["warnings"]),
                    "outside_training": tuple(fields["outside_training"]),
                    "status": Status(fields["status"]),
                }
            )
        except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise ReportError(f"not a report written by msvlm: {error}; pass a report.json") from error


def _sentences(items: list[dict]) -> tuple[Sentence, ...]:
    return tuple(
        Sentence(
            **{
                **item,
                "evidence": tuple(Evidence(**piece) for piece in item["evidence"]),
                "statements": tuple(_statement(one) for one in item["statements"]),
            }
        )
        for item in items
    )


def _statement(fields: dict) -> FindingStatement:
    certainty, attributes = Certainty(fields["certainty"]), frozenset(fields["attributes"])
    return FindingStatement(**{**fields, "certainty": certainty, "attributes": attributes})
