"""Every verb runs, prints its result, and reports a caller's mistake in one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_reader import INPUT, save_tiny_reader, tiny_study

import msvlm
from msvlm.cli import main
from msvlm.cli.studies import DEMO_SEED
from msvlm.data.manifest import ManifestStudy, write_manifest
from msvlm.data.slice_store import SliceStore
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.read import read_study
from msvlm.phantom.chest.chest_ct import draw_chest_ct
from msvlm.report import DISCLAIMER, Report
from msvlm.reporting import reporter
from msvlm.vocabulary.vocabulary import Certainty


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_reader(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    write_nifti(tiny_study(1).series[0], tmp_path / "scan.nii.gz")
    return tmp_path / "scan.nii.gz"


def run_apart(*arguments: str, code: str = "import sys; from msvlm.cli import main; sys.exit(main())") -> str:
    """Returns what a separate process prints, or its exit status and its error."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=environment, check=False
    )
    return done.stdout if done.returncode == 0 else f"{done.returncode}: {done.stderr}"


def test_help_names_every_verb_and_imports_no_torch() -> None:
    code = (
        "import sys; from msvlm.cli import main\n"
        "try: main()\n"
        "except SystemExit: print(sorted(set(sys.modules) & {'torch', 'transformers', 'numpy', 'pydicom', 'nibabel'}))"
    )
    printed = run_apart("--help", code=code)
    for verb in ("demo", "inspect", "report", "phantom", "prepare", "train", "evaluate"):
        assert verb in printed
    assert printed.rstrip().endswith("[]")


def test_inspect_imports_no_torch(scan: Path) -> None:
    code = "import sys; from msvlm.cli import main; main(); print('torch' in sys.modules)"
    assert run_apart("inspect", str(scan), code=code).endswith("False\n")


def test_inspect_tells_the_series(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(scan)]) == 0
    assert "10 slices of 24 x 24, 14 x 14 mm, gaps 5 mm" in capsys.readouterr().out


def test_inspect_prints_the_same_as_json(scan: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(scan), "--json"]) == 0
    series = json.loads(capsys.readouterr().out)["series"][0]
    assert (series["slices"], series["rows"], series["columns"]) == (10, 24, 24)
    assert series["spacing_mm"] == [14.0, 14.0, 5.0]


def test_report_prints_and_writes_the_draft(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(scan), "--model", str(model), "--output", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(DISCLAIMER)
    report = Report.from_json((tmp_path / "out" / "report.json").read_text())
    for sentence in report.sentences:
        assert sentence.text in printed
    first = report.findings_sentences[0].evidence[0]
    assert f"slice {first.slice_index + 1}" in printed.replace("slices", "slice")
    assert "Lung nodule" in printed
    assert "Warning: the model's training domain is not known" in printed
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"report.json", "report.md", "key_slices.png"}


def test_a_study_outside_the_training_domain_ends_with_status_3_in_one_line(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "report",
        str(real_data / "totalsegmentator" / "example_mr_sm.nii.gz"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 3
    printed = capsys.readouterr()
    assert [line for line in printed.err.splitlines() if "lies outside" in line] == printed.err.splitlines()[-1:]
    assert not (tmp_path / "out").exists()
    assert main([*arguments, "--outside-training"]) == 0
    printed = capsys.readouterr()
    assert printed.out.count("lies outside what the model was trained on") == 1 and "support" not in printed.out


def test_report_goes_into_a_folder_of_the_studys_own(
    model: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["report", str(scan), "--model", str(model)]) == 0
    key = read_study(scan).key
    assert (tmp_path / "report" / key / "report.json").exists()


@pytest.mark.parametrize("verb", ["report", "demo"])
def test_an_output_that_cannot_be_written_is_one_line_and_runs_no_model(
    verb: str, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "patient-17").write_text("")
    arguments = [str(scan)] if verb == "report" else []
    assert main([verb, *arguments, "--model", "no/such/model", "--output", str(tmp_path / "patient-17")]) == 2
    printed = capsys.readouterr()
    assert printed.err.count("\n") == 1 and "patient-17" not in printed.err
    assert "cannot be" in printed.err and "no such folder" not in printed.err


def test_demo_prints_the_ground_truth(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--model", str(model), "--output", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    assert "localiser" in printed.lower()
    assert "s2: CT axial" in printed
    assert "Ground truth" in printed
    present = {item.name for item in draw_chest_ct(DEMO_SEED).truth if item.certainty is not Certainty.ABSENT}
    title = "True positives" if "lung_nodule" in present else "False positives"
    assert f"{title}: lung nodule\n" in printed
    assert (tmp_path / "demo" / "report.json").exists()


def test_phantom_prepare_and_evaluate_follow_one_another(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "phantoms"
    assert main(["phantom", str(data), "--studies", "0", "0", "2", "--workers", "1"]) == 0
    prepared = str(tmp_path / "prepared")
    prepare = ["prepare", str(data / "manifest.jsonl"), prepared, "--model", str(model), "--workers", "1"]
    assert main(prepare) == 0
    assert "2 studies prepared, 0 already prepared" in capsys.readouterr().out
    evaluate = ["evaluate", str(data / "manifest.jsonl"), prepared, "--model", str(model)]
    assert main([*evaluate, "--output", str(tmp_path / "scores")]) == 0
    assert "all positive" in capsys.readouterr().out
    assert len((tmp_path / "scores" / "reports.jsonl").read_text().splitlines()) == 2
    again = ["--output", str(tmp_path / "again"), "--evidence-studies", "0", "--against", str(tmp_path / "scores")]
    assert main([*evaluate, *again]) == 0
    assert "macro F1 +0.000 against tiny" in capsys.readouterr().out
    assert main([*evaluate, "--output", str(tmp_path / "again"), "--against", str(tmp_path / "none")]) == 2
    assert "none has no reports.jsonl and scores.json" in capsys.readouterr().err


def test_prepare_names_what_it_leaves_out(
    model: Path, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studies = [ManifestStudy(key, key, "train", (name,)) for key, name in (("good", scan.name), ("bad", "no.nii"))]
    write_manifest(tmp_path / "manifest.jsonl", studies)
    (tmp_path / "no.nii").write_bytes(b"no image")
    arguments = ["prepare", str(tmp_path / "manifest.jsonl"), str(tmp_path / "prepared"), "--workers", "1"]
    assert main([*arguments, "--model", str(model)]) == 0
    printed = capsys.readouterr().out
    assert "1 studies prepared" in printed
    assert "left out: bad:" in printed


def test_prepare_names_the_parts_of_a_study_that_it_leaves_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dicom(tiny_study(1), tmp_path / "scan", with_localiser=True)
    write_manifest(tmp_path / "m.jsonl", [ManifestStudy(key, key, "train", ("scan",)) for key in ("a", "b")])
    arguments = [str(tmp_path / "m.jsonl"), str(tmp_path / "prepared"), "--workers", "1", "--model", str(model)]
    assert main(["prepare", *arguments]) == 0
    printed = capsys.readouterr().out
    assert "a and 1 more: left out: " in printed and "localiser" in printed.lower()


def test_prepare_fails_where_nothing_could_be_prepared(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path / "m.jsonl", [ManifestStudy("bad", "bad", "train", ("no.nii",))])
    (tmp_path / "no.nii").write_bytes(b"no image")
    arguments = [str(tmp_path / "m.jsonl"), str(tmp_path / "prepared"), "--workers", "1", "--model", str(model)]
    assert main(["prepare", *arguments]) == 2
    printed = capsys.readouterr()
    assert "left out: bad:" in printed.out
    assert "none of 1 studies could be prepared" in printed.err


def test_prepare_takes_the_bundled_models_input_where_it_is_installed(
    model: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporter, "BUNDLED_WEIGHTS", model)
    write_manifest(tmp_path / "m.jsonl", [ManifestStudy("a", "a", "train", (scan.name,))])
    assert main(["prepare", str(tmp_path / "m.jsonl"), str(tmp_path / "prepared"), "--workers", "1"]) == 0
    assert SliceStore.open(tmp_path / "prepared").input_config == INPUT


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["inspect", "nowhere"], "does not exist"),
        (["report", "SCAN", "--model", "a/folder/that/is/not/there"], "no such folder, and not found on the hub"),
        (["train", "nowhere.toml"], "nowhere.toml cannot be read"),
        (["evaluate", "nowhere.jsonl", "prepared"], "manifest nowhere.jsonl not found"),
        (["prepare", "nowhere.jsonl", "prepared"], "manifest nowhere.jsonl not found"),
    ],
)
def test_a_callers_mistake_is_one_line_and_status_2(
    arguments: list[str], words: str, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(scan) if argument == "SCAN" else argument for argument in arguments]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("msvlm: ")
    assert words in printed
    assert printed.count("\n") == 1


def test_a_process_ends_with_the_status_and_without_traceback() -> None:
    printed = run_apart("inspect", "nowhere")
    assert printed.startswith("2: msvlm: ")
    assert "Traceback" not in printed


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("msvlm 0")


def test_every_public_name_loads() -> None:
    assert all(callable(getattr(msvlm, name)) for name in msvlm.__all__)
    with pytest.raises(AttributeError, match="no public name 'lore'"):
        _ = msvlm.lore
