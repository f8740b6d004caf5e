"""The documents hold what the report holds, and the picture shows the slices that the sentences rest on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from msvlm.cli.report_text import report_to_text
from msvlm.errors import DataError
from msvlm.labeling.label import label_sentence
from msvlm.report import Evidence, Report, Sentence
from msvlm.reporting.documents import to_markdown, write_documents
from msvlm.reporting.key_slices import TILE_PIXELS, draw_key_slices, key_findings, wrapped
from msvlm.study import LeftOut, Modality, Series, Study, Weighting
from msvlm.vocabulary.chest import CHEST

MARK = 9
"""Pixels from the edge of a tile to the middle of its mark."""


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
        label_sentence("A 9 mm nodule.", CHEST),
    )
    effusion = Sentence("No pleural effusion.", (), 0.9, label_sentence("No pleural effusion.", CHEST))
    return Report(
        study_key="a1b2",
        findings_sentences=(nodule, effusion),
        impression_sentences=(replace(nodule, text="Lung nodule."),),
        probabilities={"lung_nodule": 0.8, "pleural_effusion": 0.1},
        vocabulary="chest",
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


def test_each_positive_finding_has_one_key_slice() -> None:
    assert [(key.finding, key.sentence.text) for key in key_findings(report_on(7))] == [
        ("lung_nodule", "There is a 9 mm nodule in the right *upper* lobe.")
    ]


def test_a_sentence_that_states_two_findings_gives_each_a_tile() -> None:
    text = "There is a lung nodule and coronary artery calcification, without pleural effusion."
    both = Sentence(text, (Evidence("s2", 7, 4.5),), 0.8, label_sentence(text, CHEST))
    report = replace(report_on(7), findings_sentences=(both,))
    assert [key.finding for key in key_findings(report)] == ["coronary_artery_wall_calcification", "lung_nodule"]
    one, two = (draw_key_slices(each, study_with_bright_slices()) for each in (report_on(7), report))
    tiles = np.asarray(two)[44 : 44 + TILE_PIXELS]
    assert np.asarray(one)[44 : 44 + TILE_PIXELS, TILE_PIXELS + 20 :].max() == 0
    assert tiles[:, TILE_PIXELS + 60 : 2 * TILE_PIXELS - 60].mean() > 50


def test_patients_right_is_marked_on_the_left_of_the_picture() -> None:
    study = study_with_bright_slices()
    half = study.series[0].voxels.copy()
    half[:, :, 30:] = -1000  # the columns run to the patient's right, so this half is the right one
    tile = np.asarray(draw_key_slices(report_on(7), Study("a1b2", (replace(study.series[0], voxels=half),))))
    tile = tile[44 : 44 + TILE_PIXELS, 10 : 10 + TILE_PIXELS]
    assert tile[TILE_PIXELS // 2 + 30, 60] < tile[TILE_PIXELS // 2 + 30, TILE_PIXELS - 60]
    left, right = (np.unique(tile[TILE_PIXELS // 2 - 9 : TILE_PIXELS // 2 + 10, place]) for place in (MARK, -MARK))
    assert len(left) > 1 and len(right) > 1
    coronal = replace(study.series[0], row_steps_ras_mm=np.tile((0.0, 0.0, -2.0), (12, 1)))
    sagittal = replace(coronal, column_steps_ras_mm=np.tile((0.0, -2.0, 0.0), (12, 1)))
    pictures = [
        np.asarray(draw_key_slices(report_on(7), Study("a1b2", (series,)))) for series in (study.series[0], coronal)
    ]
    np.testing.assert_array_equal(*(strip(picture) for picture in pictures))
    other = np.asarray(draw_key_slices(report_on(7), Study("a1b2", (sagittal,))))
    assert not np.array_equal(strip(other), strip(pictures[0]))


def strip(picture: np.ndarray) -> np.ndarray:
    """The left edge of the first tile, where its mark stands."""
    return picture[44 + TILE_PIXELS // 2 - 9 : 44 + TILE_PIXELS // 2 + 10, 12:30]


def test_a_slice_that_decides_nothing_is_said_to_decide_nothing() -> None:
    faint = replace(report_on(7).findings_sentences[0], evidence=(Evidence("s2", 7, 0.01),))
    report = replace(report_on(7), findings_sentences=(faint,))
    assert "no single slice changes this sentence; most attention: s2 slice 8; support" in to_markdown(report)
    study = study_with_bright_slices()
    assert draw_key_slices(report, study).tobytes() != draw_key_slices(report_on(7), study).tobytes()


def test_what_the_model_was_trained_on_and_what_lies_outside_is_told() -> None:
    report = replace(report_on(7), trained_on="synthetic chests", outside_training=("s2: MR", "s3: MR", "s4: MR"))
    text = to_markdown(report)
    assert "The model was trained on synthetic chests." in text
    outside = "This study lies outside what the model was trained on: s2: MR (and 2 more series)."
    for expected in ("trained on synthetic chests", outside, "Warning: s2 shows"):
        assert expected in " ".join(report_to_text(report).split())
    assert text.count("lies outside") == 1 and outside in text, "once for the study, not once for each series"
    for words in (text, report_to_text(report)):
        assert "Findings head" not in words and "| Lung nodule |" not in words


def test_a_sentence_without_support_shows_none() -> None:
    report = report_on(7)
    unsupported = replace(report, findings_sentences=tuple(replace(s, support=None) for s in report.findings_sentences))
    for words in (to_markdown(unsupported), report_to_text(unsupported)):
        assert words.count("support") == words.count("support 0.80") == 1, "that of the impression"


def test_the_picture_by_itself_says_that_a_study_lies_outside() -> None:
    study = study_with_bright_slices()
    within = np.asarray(draw_key_slices(report_on(7), study))
    outside = np.asarray(draw_key_slices(replace(report_on(7), outside_training=("s1 is MR",)), study))
    added = len(outside) - len(within)
    assert added >= 0 and np.array_equal(outside[-TILE_PIXELS:], within[-TILE_PIXELS:])
    assert within[:40].max() <= 200 < outside[: 40 + added].max()


def test_a_folder_that_cannot_be_written_is_refused_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the output folder cannot be written") as refused:
        write_documents(report_on(7), study_with_bright_slices(), tmp_path / "file")
    assert str(tmp_path) not in str(refused.value)


def test_a_second_report_replaces_the_first_as_a_whole(tmp_path: Path) -> None:
    write_documents(report_on(7), study_with_bright_slices(), tmp_path)
    other = replace(report_on(6), study_key="b2")
    documents = write_documents(other, study_with_bright_slices(), tmp_path)
    assert Report.from_json(documents.report_json.read_text(encoding="utf-8")) == other
    assert "study b2" in documents.report_markdown.read_text(encoding="utf-8")
    assert len(list(tmp_path.iterdir())) == 3


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


@pytest.mark.parametrize("most_lines", [1, 3])
def test_a_caption_is_no_wider_than_its_tile(most_lines: int) -> None:
    font = ImageFont.load_default(13)
    for text in ("Mediastinal lymphadenopathy measuring up to 28 mm.", "M" * 80, "WWWWW mmmmm " * 20, "Short."):
        lines = wrapped(text, font, most_lines)
        assert 0 < len(lines) <= most_lines
        assert max(font.getlength(line) for line in lines) <= TILE_PIXELS
    assert wrapped("Two nodules of 28 mm.", font, 3) == ["Two nodules of 28 mm."]
