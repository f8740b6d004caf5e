"""The documents hold what the report holds, and the picture shows the slices that the sentences rest on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from msvlm.report import Evidence, Report, Sentence
from msvlm.reporting.documents import evidence_text, to_markdown, write_documents
from msvlm.reporting.key_slices import TILE_PIXELS, draw_key_slices, key_sentences
from msvlm.study import LeftOut, Modality, Series, Study, Weighting


def study_with_bright_slices() -> Study:
    """Twelve slices of lung; slice 7 is dense. Stored with columns to the patient's right and slices downwards."""
    voxels = np.full((12, 40, 60), -850, dtype=np.int16)
    voxels[7] = 400
    positions = np.zeros((12, 3))
    positions[:, 2] = -5.0 * np.arange(12)
    series = Series(
        key="s2",
        voxels=voxels,
        positions_ras_mm=positions,
        row_steps_ras_mm=np.tile((0.0, -2.0, 0.0), (12, 1)),
        column_steps_ras_mm=np.tile((2.0, 0.0, 0.0), (12, 1)),
        modality=Modality.CT,
        weighting=Weighting.CT,
    )
    return Study("a1b2", (series,))


def report_on(slice_index: int) -> Report:
    nodule = Sentence(
        "There is a 9 mm nodule in the right *upper* lobe.",
        (Evidence("s2", slice_index, 4.5), Evidence("s2", 3, 1.0)),
        0.8,
        "lung_nodule",
        True,
    )
    effusion = Sentence("No pleural effusion.", (), 0.9, "pleural_effusion", False)
    return Report(
        study_key="a1b2",
        findings_sentences=(nodule, effusion),
        impression_sentences=(replace(nodule, text="Lung nodule."),),
        probabilities={"lung_nodule": 0.8, "pleural_effusion": 0.1},
        model="bundled",
        series_used=("s2",),
        left_out=(LeftOut("s1", "localiser"),),
        warnings=("s2 shows 'head'; the model was trained on chest",),
    )


def brightness_of_first_tile(picture: Image.Image) -> float:
    pixels = np.asarray(picture.convert("L"))
    return float(pixels[44 + TILE_PIXELS // 2 - 20 : 44 + TILE_PIXELS // 2 + 20, 60:200].mean())


def test_markdown_tells_all_that_the_report_tells() -> None:
    report = report_on(7)
    text = to_markdown(report, "key_slices.png")
    for told in (report.disclaimer, "No pleural effusion.", "s2 slices 8, 4; support 0.80", "left out: s1: localiser"):
        assert told in text
    assert "Warning: s2 shows 'head'" in text
    assert "| Lung nodule | 0.80 |" in text
    assert "(key_slices.png)" in text


def test_a_models_words_cannot_become_markup() -> None:
    assert r"right \*upper\* lobe" in to_markdown(report_on(7))


def test_evidence_is_counted_from_one() -> None:
    assert evidence_text(report_on(0).findings_sentences[0]) == "s2 slices 1, 4"
    assert evidence_text(report_on(0).findings_sentences[1]) == ""


def test_each_positive_finding_has_one_key_sentence() -> None:
    assert [sentence.text for sentence in key_sentences(report_on(7))] == [
        "There is a 9 mm nodule in the right *upper* lobe."
    ]


def test_the_picture_shows_the_slice_that_the_evidence_names() -> None:
    study = study_with_bright_slices()
    assert brightness_of_first_tile(draw_key_slices(report_on(7), study)) == pytest.approx(255, abs=1)
    assert brightness_of_first_tile(draw_key_slices(report_on(6), study)) == pytest.approx(85, abs=1)


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_documents(report_on(7), study_with_bright_slices(), tmp_path / "a")
    second = write_documents(report_on(7), study_with_bright_slices(), tmp_path / "b")
    assert first.key_slices.read_bytes() == second.key_slices.read_bytes()
    assert first.report_markdown.read_bytes() == second.report_markdown.read_bytes()
    assert Report.from_json(first.report_json.read_text(encoding="utf-8")) == report_on(7)


def test_a_report_without_a_positive_finding_has_a_picture_too() -> None:
    report = replace(report_on(7), findings_sentences=(), impression_sentences=())
    assert np.asarray(draw_key_slices(report, study_with_bright_slices())).max() == 255
