"""Report, Sentence, Evidence: what was written, by which model, and on which slices it rests."""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum

from msvlm.errors import ReportError
from msvlm.study import LeftOut

DISCLAIMER = (
    "AI draft, unverified. msvlm is research software, not a medical device; a radiologist must check every word."
)


FAINT_NATS = 0.05
"""Where hiding a slice makes a sentence less likely by less than this, the slice is no evidence."""


class Status(StrEnum):
    """Only a person's signature moves a report out of `draft`."""

    DRAFT = "draft"
    SIGNED = "signed"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Evidence:
    """One slice on which a sentence rests.

    Attributes:
        series_key: the series that the slice belongs to.
        slice_index: counted from 0 in the order of the series' voxels.
        instance_number: DICOM Instance Number, by which viewers name the slice; None where the source has none.
        score: how much less likely the sentence becomes without the slice and its neighbours, in nats;
            larger is stronger.
        slice_count: how many slices the series has; None where that is not known.
    """

    series_key: str
    slice_index: int
    score: float
    instance_number: int | None = None
    slice_count: int | None = None

    @property
    def is_faint(self) -> bool:
        """Whether the sentence is as likely without the slice: it was looked at, and decides nothing by itself."""
        return self.score < FAINT_NATS


@dataclass(frozen=True)
class Sentence:
    """One sentence of a report.

    Attributes:
        text: as written.
        evidence: the slices that it rests on, strongest first.
        support: probability, 0 to 1, that the model itself gives to what the sentence states.
        finding: the finding that the sentence is about, a name of `msvlm.findings`; empty where it is about none.
        is_positive: whether the sentence states that the finding is there.
    """

    text: str
    evidence: tuple[Evidence, ...] = ()
    support: float = 0.0
    finding: str = ""
    is_positive: bool = False


@dataclass(frozen=True)
class Report:
    """A drafted report.

    Attributes:
        study_key: the study that was read.
        findings_sentences, impression_sentences: the two sections, in reading order.
        probabilities: finding name -> probability from the findings head.
        model: name and weights hash of the model that wrote it.
        series_used: keys of the series that the model read.
        left_out: what of the study was not read, and why.
        warnings: what a reader must know, for example that part of the body lies outside what the model sees.
        trained_on: what the model was trained on, in a reader's words; empty where that is not known.
        outside_training: why the study lies outside what the model was trained on; empty where it does not, or where
            nothing is known of that.
    """

    study_key: str
    findings_sentences: tuple[Sentence, ...]
    impression_sentences: tuple[Sentence, ...]
    probabilities: dict[str, float]
    model: str
    series_used: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    warnings: tuple[str, ...] = ()
    trained_on: str = ""
    outside_training: tuple[str, ...] = ()
    status: Status = Status.DRAFT
    disclaimer: str = DISCLAIMER

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """All sentences, findings before impression."""
        return self.findings_sentences + self.impression_sentences

    @property
    def findings(self) -> str:
        return " ".join(sentence.text for sentence in self.findings_sentences)

    @property
    def impression(self) -> str:
        return " ".join(sentence.text for sentence in self.impression_sentences)

    def to_json(self) -> str:
        """The whole report as JSON text; `from_json` gives it back unchanged."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Reads what `to_json` wrote.

        Raises:
            ReportError: the text is not such a report.
        """
        try:
            fields = json.loads(text)
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
        Sentence(**{**item, "evidence": tuple(Evidence(**piece) for piece in item["evidence"])}) for item in items
    )
