"""The bundled model is small, reads real studies to the end, and says what lies outside its training."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from msvlm.errors import OutsideTrainingError
from msvlm.imaging.read import read_study
from msvlm.phantom.chest.chest_ct import draw_chest_ct
from msvlm.reporting.reporter import BUNDLED_WEIGHTS, Reporter

LARGEST_BYTES = 30_000_000


@pytest.fixture(scope="module")
def reporter() -> Reporter:
    return Reporter.from_pretrained(device="cpu")


def test_it_is_small_and_has_a_card() -> None:
    files = [path for path in BUNDLED_WEIGHTS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST_BYTES
    assert (BUNDLED_WEIGHTS / "README.md").exists()
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md", ".txt"}


@dataclass(frozen=True)
class Scores:
    """What `make weights` printed of this model at its end."""

    lines: list[str]

    def cell(self, row: str, column: str) -> str:
        """What stands under a heading of the first table, whose numbers end where their heading ends."""
        heading = next(index for index, line in enumerate(self.lines) if "macro F1 (95 %)" in line)
        end = self.lines[heading].index(column) + len(column)
        return next(line for line in self.lines[heading:] if line.startswith(row))[:end].split()[-1]

    def macro_f1(self, row: str) -> tuple[str, str]:
        """The number, and its interval in brackets."""
        first = next(line for line in self.lines if line.startswith(row)).removeprefix(row).split()
        return first[0], first[1]


@pytest.fixture(scope="module")
def scores() -> Scores:
    return Scores((BUNDLED_WEIGHTS / "scores.txt").read_text(encoding="utf-8").splitlines())


def test_its_scores_are_its_own_and_pass_what_a_trivial_answer_scores(scores: Scores, reporter: Reporter) -> None:
    assert reporter.name.split()[-1] in scores.lines[0].split() and "200 test studies" in scores.lines[0]
    generated = float(scores.macro_f1("generated report")[0])
    for control in ("all positive", "all negative", "commonest report", "no image", "another patient's image"):
        assert generated > float(scores.macro_f1(control)[0])
    assert int(scores.lines[1].split()[0]) <= 0.05 * 200, "said to lie outside"


def test_its_card_tells_its_scores(scores: Scores) -> None:
    card = (BUNDLED_WEIGHTS / "README.md").read_text(encoding="utf-8")
    rows = [
        line.strip("| ").split(" | ") for line in card.splitlines() if re.match(r"\| [a-zA-Z' ]+ \| \d\.\d+ \(", line)
    ]
    assert len(rows) == 8
    for name, *told in rows:
        others = [scores.cell(name, column) for column in ("AUC", "side", "lobe", "size")]
        assert told == [" ".join(scores.macro_f1(name)), *others]
    assert f"{scores.lines[1].split()[0]} of the 200" in card


def test_another_patients_image_changes_the_report(reporter: Reporter) -> None:
    reports = [reporter.write(draw_chest_ct(seed).study) for seed in (900_003, 900_004, 900_005)]
    assert len({report.findings for report in reports}) == 3


def test_every_report_says_what_it_was_trained_on_and_that_it_is_a_draft(reporter: Reporter) -> None:
    report = reporter.write(draw_chest_ct(900_006).study)
    assert "synthetic" in report.trained_on and "not a medical device" in report.disclaimer


def test_evidence_lies_in_the_series_that_were_read(reporter: Reporter) -> None:
    study = draw_chest_ct(900_007).study
    lengths = {series.key: len(series.voxels) for series in study.series}
    for sentence in reporter.write(study).sentences:
        assert not sentence.positive_findings or sentence.evidence
        assert all(piece.slice_index < lengths[piece.series_key] for piece in sentence.evidence)


def test_a_real_chest_ct_is_refused_and_read_to_its_end_on_demand(reporter: Reporter, real_data: Path) -> None:
    study = read_study(real_data / "cmb_crc" / "cmb_crc_lung_nodule.zip")
    with pytest.raises(OutsideTrainingError, match="unlike the training data"):
        reporter.write(study)
    report = reporter.write(study, outside_training=True)
    assert report.findings and report.impression and len(report.probabilities) == 18
    assert len(report.outside_training) == 1, "it was trained on synthetic chests only"
    assert all(sentence.support is None for sentence in report.sentences)


@pytest.mark.parametrize(
    "study",
    [
        "dcm_qa_ct/philips_tilted_study",
        "dcm_qa_ct/ge_tilted_variable_spacing",
        "totalsegmentator/example_ct.nii.gz",
        "totalsegmentator/example_mr_sm.nii.gz",
        "prostatex_0000",
    ],
)
def test_heads_abdomens_and_mri_are_refused(reporter: Reporter, real_data: Path, study: str) -> None:
    with pytest.raises(
        OutsideTrainingError, match="lies outside what the model was trained on, so no report is drafted"
    ):
        reporter.write(read_study(real_data / study))
