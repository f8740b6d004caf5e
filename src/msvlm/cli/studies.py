"""The verbs that read one study: demo, inspect, report."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msvlm.report import Report as DraftedReport
    from msvlm.study import Study
    from msvlm.vocabulary.vocabulary import FindingStatement

DEMO_SEED = 1_000_003
"""Seed of the demo's patient; training uses far smaller seeds."""


@dataclass(frozen=True)
class Inspect:
    """Lists the series of a study, and the files that cannot be read with their reasons. Runs no model.

    Attributes:
        study: A folder, zip, DICOM file or NIfTI file; or several files of one study.
        json: Print JSON instead of text.
    """

    study: Annotated[Positional[tuple[Path, ...]], arg(metavar="STUDY", help_behavior_hint="(required)")]
    json: bool = False

    def run(self) -> None:
        from msvlm.imaging.inspect import describe_study
        from msvlm.imaging.read import read_study

        described = describe_study(read_study(self.study))
        print(described.to_json() if self.json else described.to_text())


@dataclass(frozen=True)
class Report:
    """Drafts the report of a study, each sentence with its evidence slices.

    Attributes:
        study: A folder, zip, DICOM file or NIfTI file; or several files of one study.
        model: Folder of a model, or its name on the hub.
        output: Folder for report.json, report.md and key_slices.png.
        device: Torch device; auto uses a GPU if there is one.
        outside_training: Draft a report even of a study outside what the model was trained on.
    """

    study: Annotated[Positional[tuple[Path, ...]], arg(metavar="STUDY", help_behavior_hint="(required)")]
    model: Annotated[str | None, arg(metavar="FOLDER|NAME", help_behavior_hint="(default: the bundled model)")] = None
    output: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: report/ and the study's key)")] = (
        None
    )
    device: str = "auto"
    outside_training: bool = False

    def run(self) -> None:
        from msvlm.imaging.read import read_study

        study = read_study(self.study)
        _report(study, self.model, self.output or Path("report") / study.key, self.device, self.outside_training)


@dataclass(frozen=True)
class Demo:
    """Writes a synthetic chest CT as a DICOM folder, reads it back, drafts its report and prints the ground truth.

    Attributes:
        output: Folder for the DICOM files and the report.
        model: Folder of a model, or its name on the hub.
        seed: Seed of the synthetic patient.
    """

    output: Path = Path("demo")
    model: Annotated[str | None, arg(metavar="FOLDER|NAME", help_behavior_hint="(default: the bundled model)")] = None
    seed: int = DEMO_SEED

    def run(self) -> None:
        from msvlm.cli.report_text import wrapped
        from msvlm.imaging.dicom.write import write_dicom
        from msvlm.imaging.read import read_study
        from msvlm.labeling.label import label_report
        from msvlm.phantom.chest.chest_ct import draw_chest_ct
        from msvlm.vocabulary.chest import CHEST

        drawn = draw_chest_ct(self.seed)
        scan = replace(drawn.study.series[0], key="s2")  # the first series of a scan is the localiser
        folder = self.output / f"synthetic-{self.seed}"
        files = write_dicom(replace(drawn.study, series=(scan,)), folder, with_localiser=True)
        print(f"A synthetic chest CT (seed {self.seed}) was written to {folder}, {len(files)} DICOM files.\n")
        report = _report(read_study(folder), self.model, self.output, "auto")
        print("\nGround truth, as a report")
        print(wrapped(drawn.findings_text, 2))
        print(wrapped(f"Impression: {drawn.impression_text}", 2))
        present = _positive_labels(drawn.truth)
        drafted = _positive_labels(label_report(f"{report.findings}\n{report.impression}", CHEST))
        print()
        for title, labels in (
            ("True positives", present & drafted),
            ("Missed", present - drafted),
            ("False positives", drafted - present),
        ):
            print(wrapped(f"{title}: {', '.join(sorted(labels)) or '-'}", 0))


def _positive_labels(statements: "Iterable[FindingStatement]") -> set[str]:
    """Returns the labels of the findings that are called present or possible."""
    from msvlm.vocabulary.chest import CHEST

    return {CHEST.kind(item.name).label.lower() for item in statements if item.certainty.is_positive}


def _report(
    study: "Study", model: str | None, output: Path, device: str, outside_training: bool = False
) -> "DraftedReport":
    """Drafts, prints and writes the report of a study."""
    from msvlm.cli.report_text import report_to_text
    from msvlm.files import check_writable
    from msvlm.imaging.inspect import describe_study
    from msvlm.report import DISCLAIMER
    from msvlm.reporting.documents import write_documents
    from msvlm.reporting.reporter import Reporter

    check_writable(output)
    print(f"{DISCLAIMER}\n\n{describe_study(study).to_text()}\n", flush=True)
    report = Reporter.from_pretrained(model, device).write(study, outside_training)
    print(report_to_text(report))
    documents = write_documents(report, study, output)
    written = (documents.report_json, documents.report_markdown, documents.key_slices)
    print(f"\nWritten: {', '.join(map(str, written))}")
    return report
