"""The lines of reports.jsonl: the report of each study beside its reference, for reading and for comparing models."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cattrs

from msvlm.errors import DataError

REPORTS_FILE, SCORES_FILE = "reports.jsonl", "scores.json"
_NAMED = 5


@dataclass(frozen=True)
class SavedReport:
    """The report of one study.

    Attributes:
        true_findings: names of the findings that are present.
        unknown_findings: names of the findings of which it is not known whether they are present.
        true: the reference report.
        without_image: what the same model writes with every slice masked.
    """

    key: str
    patient: str
    true_findings: tuple[str, ...]
    unknown_findings: tuple[str, ...]
    true: str
    generated: str
    without_image: str


@dataclass(frozen=True)
class SavedEvaluation:
    """What an earlier `evaluate` wrote about a model.

    Attributes:
        model: its name, with the hash of its weights.
    """

    model: str
    reports: tuple[SavedReport, ...]


def to_lines(reports: Sequence[SavedReport]) -> str:
    """Returns the text of reports.jsonl."""
    return "".join(json.dumps(asdict(report), ensure_ascii=False) + "\n" for report in reports)


def read_saved_evaluation(folder: Path) -> SavedEvaluation:
    """Reads what `evaluate` wrote into a folder.

    Raises:
        DataError: the files are missing, or have another format.
    """
    try:
        lines = (folder / REPORTS_FILE).read_text(encoding="utf-8").splitlines()
        reports = tuple(cattrs.structure(json.loads(line), SavedReport) for line in lines)
        return SavedEvaluation(json.loads((folder / SCORES_FILE).read_text(encoding="utf-8"))["model"], reports)
    except OSError as error:
        raise DataError(
            f"{folder.name} has no {REPORTS_FILE} and {SCORES_FILE}; name the output folder of an earlier evaluation"
        ) from error
    except (ValueError, KeyError, TypeError, cattrs.BaseValidationError) as error:
        raise DataError(
            f"{folder.name} was not written by this version of `msvlm evaluate`; evaluate that model again"
        ) from error


def match_studies(own: Sequence[SavedReport], other: Sequence[SavedReport]) -> tuple[SavedReport, ...]:
    """Returns another model's reports in the order of one's own; generated texts are not compared.

    Raises:
        DataError: the studies differ, or their ground truth does.
    """
    others = {report.key: report for report in other}
    keys = {report.key for report in own}
    for missing, where in ((keys - set(others), "the other evaluation lacks"), (set(others) - keys, "only it has")):
        if missing:
            named = ", ".join(sorted(missing)[:_NAMED])
            raise DataError(
                f"models are compared on the same studies: {where} {len(missing)} of them ({named}); "
                "evaluate both on one manifest, split and limit"
            )
    changed = [report.key for report in own if _truth(report) != _truth(others[report.key])]
    if changed:
        raise DataError(
            f"{len(changed)} studies have another ground truth in the other evaluation "
            f"({', '.join(changed[:_NAMED])}); evaluate that model again"
        )
    return tuple(others[report.key] for report in own)


def _truth(report: SavedReport) -> tuple[set[str], set[str]]:
    return set(report.true_findings), set(report.unknown_findings)
