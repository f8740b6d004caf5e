"""What was written of each study beside what is true: the lines of reports.jsonl, for reading and for comparing."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cattrs

from msvlm.errors import DataError

REPORTS_FILE, SCORES_FILE = "reports.jsonl", "scores.json"


@dataclass(frozen=True)
class ScoredReport:
    """What was written of one study.

    Attributes:
        true_findings: names of the findings that are there.
        true: the true report.
        without_image: what the same model writes with every slice hidden.
    """

    key: str
    patient: str
    true_findings: tuple[str, ...]
    true: str
    generated: str
    without_image: str


@dataclass(frozen=True)
class ScoredModel:
    """What an earlier `evaluate` kept of a model.

    Attributes:
        model: its name, with the hash of its weights.
    """

    model: str
    reports: tuple[ScoredReport, ...]


def lines_of(reports: Sequence[ScoredReport]) -> str:
    """The text of reports.jsonl."""
    return "".join(json.dumps(asdict(report), ensure_ascii=False) + "\n" for report in reports)


def read_scored_model(folder: Path) -> ScoredModel:
    """What `evaluate` wrote into a folder.

    Raises:
        DataError: the folder holds no such files, or files of another form.
    """
    try:
        lines = (folder / REPORTS_FILE).read_text(encoding="utf-8").splitlines()
        reports = tuple(cattrs.structure(json.loads(line), ScoredReport) for line in lines)
        return ScoredModel(json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))["model"], reports)
    except OSError as error:
        raise DataError(
            f"{folder.name} holds no {REPORTS_FILE} and {SCORES_FILE}; name the output folder of an earlier evaluation"
        ) from error
    except (ValueError, KeyError, TypeError, cattrs.BaseValidationError) as error:
        raise DataError(
            f"what {folder.name} holds was not written by this version of `msvlm evaluate`; evaluate that model again"
        ) from error
