"""A study goes in and a report comes out: sections, sentences, slices that exist, probabilities, warnings."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from tiny_reader import NODULE_REPORT, save_tiny_reader, tiny_batch, tiny_study, untrained_tiny_reader

from msvlm.data.text import join_report
from msvlm.errors import ConfigError, ModelError, OutsideTrainingError, StudyError
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.read import read_study
from msvlm.report import Report
from msvlm.reporting.drafting import draft_reports, state_findings
from msvlm.reporting.evidence import SentenceScorer
from msvlm.reporting.out_of_domain import TrainingDomain, fit_training_domain
from msvlm.reporting.reporter import Reporter
from msvlm.study import Study
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_reader(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def reporter(folder: Path) -> Reporter:
    return Reporter.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def report(reporter: Reporter) -> Report:
    return reporter.write(tiny_study(1))


def test_the_draft_is_the_text_that_the_model_writes(report: Report) -> None:
    assert join_report(report.findings, report.impression) == NODULE_REPORT
    assert len(report.findings_sentences) == 3
    assert len(report.impression_sentences) == 1


def test_sentences_say_what_they_are_about(report: Report) -> None:
    nodule, effusion, thyroid = report.findings_sentences
    assert nodule.positive_findings == ("lung_nodule",) and nodule.statements[0].size_mm == 12.0
    assert [(item.name, item.certainty) for item in effusion.statements] == [("pleural_effusion", Certainty.ABSENT)]
    assert effusion.positive_findings == () and thyroid.statements == ()


def test_evidence_names_slices_of_the_series_that_was_read(report: Report) -> None:
    study = tiny_study(1)
    slices = {series.key: len(series.voxels) for series in study.series}
    pieces = [piece for sentence in report.sentences for piece in sentence.evidence]
    assert report.findings_sentences[0].evidence
    assert all(0 <= piece.slice_index < slices[piece.series_key] for piece in pieces)


def test_evidence_of_a_dicom_study_carries_the_uids_of_its_slices(reporter: Reporter, tmp_path: Path) -> None:
    files = write_dicom(replace(tiny_study(1), left_out=()), tmp_path)
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in map(pydicom.dcmread, files)}
    written = reporter.write(read_study(tmp_path))
    pieces = [piece for sentence in written.sentences for piece in sentence.evidence]
    assert pieces and written.study_instance_uid == next(iter(by_uid.values())).StudyInstanceUID
    for piece in pieces:
        dataset = by_uid[piece.sop_instance_uid]
        assert dataset.InstanceNumber == piece.instance_number
        assert dataset.SeriesInstanceUID == piece.series_instance_uid
    assert Report.from_json(written.to_json()) == written


def test_report_json_has_the_plain_text_of_both_sections(report: Report) -> None:
    fields = json.loads(report.to_json())
    assert join_report(fields["findings"], fields["impression"]) == NODULE_REPORT


def test_support_is_what_the_findings_head_gives(report: Report) -> None:
    nodule, effusion, thyroid = report.findings_sentences
    assert nodule.support == pytest.approx(report.probabilities["lung_nodule"])
    assert effusion.support == pytest.approx(1.0 - report.probabilities["pleural_effusion"])
    assert 0.5 < thyroid.support <= 1.0


def test_all_findings_have_a_probability(report: Report) -> None:
    assert tuple(report.probabilities) == CHEST.names
    assert all(0.0 <= probability <= 1.0 for probability in report.probabilities.values())


def test_what_was_left_out_and_by_whom_it_was_written_is_told(reporter: Reporter, report: Report) -> None:
    assert report.series_used == ("s2",)
    assert report.left_out == tiny_study(1).left_out
    assert report.model == f"tiny {reporter.model.weights_hash()}"


def test_reading_a_written_report_is_identity(report: Report) -> None:
    assert Report.from_json(report.to_json()) == report


def test_the_same_study_gets_the_same_report(reporter: Reporter, report: Report) -> None:
    assert reporter.write(tiny_study(1)) == report


def test_slices_from_foot_to_head_give_the_same_evidence_counted_from_the_other_end(
    reporter: Reporter, report: Report
) -> None:
    series = tiny_study(1).series[0]
    turned = replace(series, voxels=series.voxels[::-1], positions_ras_mm=series.positions_ras_mm[::-1])
    other = reporter.write(Study("study1", (turned,)))
    for sentence, same in zip(report.sentences, other.sentences, strict=True):
        mirrored = [(piece.series_key, len(series.voxels) - 1 - piece.slice_index) for piece in sentence.evidence]
        assert [(piece.series_key, piece.slice_index) for piece in same.evidence] == mirrored


def test_another_patients_image_changes_the_visual_tokens_and_the_report(reporter: Reporter) -> None:
    batch = reporter.model.encode(tiny_batch(tiny_study(1), tiny_study(2, is_bright=False)))
    with torch.inference_mode():
        visual_tokens = reporter.model.read(batch).visual_tokens
    assert visual_tokens is not None and not torch.allclose(visual_tokens[0], visual_tokens[1], atol=1e-3)
    bright, dark = draft_reports(reporter.model, reporter.text, batch)
    assert bright.text != dark.text


def test_drafting_together_equals_drafting_one_by_one(reporter: Reporter) -> None:
    studies = (tiny_study(1), tiny_study(2, is_bright=False, slices=7), tiny_study(3, slices=4))
    together = draft_reports(reporter.model, reporter.text, reporter.model.encode(tiny_batch(*studies)))
    for study, draft in zip(studies, together, strict=True):
        alone = draft_reports(reporter.model, reporter.text, reporter.model.encode(tiny_batch(study)))[0]
        assert (draft.text, draft.statements) == (alone.text, alone.statements)
        assert draft.slice_attention.shape == alone.slice_attention.shape == (len(study.series[0].voxels), 18)
        assert draft.slice_attention == pytest.approx(alone.slice_attention, abs=1e-5)


def test_a_draft_without_image_does_not_depend_on_the_image(reporter: Reporter) -> None:
    batch = reporter.model.encode(tiny_batch(tiny_study(1), tiny_study(2, is_bright=False)))
    first, second = draft_reports(reporter.model, reporter.text, batch, torch.ones(20, dtype=torch.bool))
    assert first.text == second.text


def test_scores_of_sentences_add_up_to_the_likelihood_of_the_report(reporter: Reporter) -> None:
    batch = reporter.model.encode(tiny_batch(tiny_study(1)))
    scorer = SentenceScorer(
        reporter.model, reporter.text, batch, "none", NODULE_REPORT, reporter.text.draft_sentences(NODULE_REPORT)
    )
    nothing = np.zeros((1, 10), dtype=bool)
    scores = scorer(nothing)
    assert scores.shape == (1, len(reporter.text.draft_sentences(NODULE_REPORT)))
    written = reporter.text.training_batch(["none"], [NODULE_REPORT])
    with torch.inference_mode():
        log_odds = torch.log_softmax(reporter.model(batch, written).logits[0, :-1], dim=-1)
        wanted = written.labels[0, 1:]
        places = wanted >= 0
        whole = log_odds[places, wanted[places]].sum()
    assert scores.sum() >= float(whole) - 1e-3
    assert scores.sum() == pytest.approx(float(whole), abs=2.0)


def test_maskings_scored_together_equal_maskings_scored_alone(reporter: Reporter) -> None:
    batch = reporter.model.encode(tiny_batch(tiny_study(1)))
    scorer = SentenceScorer(
        reporter.model, reporter.text, batch, "", NODULE_REPORT, reporter.text.draft_sentences(NODULE_REPORT)
    )
    masked = np.random.default_rng(0).random((5, 10)) < 0.4
    alone = np.concatenate([scorer(row[None]) for row in masked])
    assert scorer(masked) == pytest.approx(alone, abs=1e-3)


def test_masking_every_slice_makes_what_the_image_shows_less_probable(reporter: Reporter) -> None:
    batch = reporter.model.encode(tiny_batch(tiny_study(1)))
    scorer = SentenceScorer(
        reporter.model, reporter.text, batch, "", NODULE_REPORT, reporter.text.draft_sentences(NODULE_REPORT)
    )
    unmasked, masked = scorer(np.stack([np.zeros(10, dtype=bool), np.ones(10, dtype=bool)]))
    assert unmasked[0] > masked[0]


def test_the_heads_answer_puts_a_lobe_on_its_side_and_names_one_degree() -> None:
    model = untrained_tiny_reader()
    with torch.inference_mode():
        findings = model.read(model.encode(tiny_batch(tiny_study(1)))).findings
    likely = torch.full_like(findings.attribute_logits, 2.0)
    likely[..., CHEST.attributes.index("right")] = -2.0
    likely[..., CHEST.attributes.index("severe")] = 3.0
    findings = replace(
        findings,
        presence_logits=torch.full_like(findings.presence_logits, 3.0),
        attribute_logits=likely,
        log_sizes_mm=torch.full_like(findings.log_sizes_mm, np.log(13.7)),
    )
    stated = {item.name: item for item in state_findings(findings, model)[0]}
    assert stated["emphysema"].attributes >= {"right", "left", "right upper lobe", "severe"}
    assert not stated["emphysema"].attributes & {"mild", "moderate"}
    assert stated["lymphadenopathy"].attributes == frozenset()
    assert stated["lung_nodule"].size_mm == 14.0
    assert stated["emphysema"].size_mm is None


def test_the_heads_answer_follows_the_models_thresholds() -> None:
    model = untrained_tiny_reader()
    with torch.inference_mode():
        findings = model.read(model.encode(tiny_batch(tiny_study(1)))).findings
    thresholds = torch.sigmoid(findings.presence_logits[0]).detach()
    model.findings_head.thresholds.copy_(thresholds - 0.01)
    assert all(item.certainty is Certainty.PRESENT for item in state_findings(findings, model)[0])
    model.findings_head.thresholds.copy_(thresholds + 0.01)
    assert all(item.certainty is Certainty.ABSENT for item in state_findings(findings, model)[0])


def reporter_of_domain(reporter: Reporter, centre: float, body_part: str) -> Reporter:
    """The tiny reporter, trained on series whose summaries lie around a value."""
    features = 2 * np.prod(untrained_tiny_reader().standardiser.mean.shape)
    summaries = np.random.default_rng(0).normal(centre, 0.1, size=(60, features)).astype(np.float32)
    domain = fit_training_domain(summaries, summaries, ("CT",), (body_part,), f"{body_part} only")
    return Reporter(reporter.model, reporter.text, "tiny", replace(domain, largest_distance=1e5 if not centre else 1.0))


@pytest.mark.parametrize(
    ("centre", "body_part", "reason"),
    [
        (0.0, "head", "s2 is body part 'chest', where the model was trained on head"),
        (50.0, "chest", "unlike the training data"),
    ],
)
def test_a_study_outside_the_training_domain_is_refused_in_one_sentence(
    reporter: Reporter, centre: float, body_part: str, reason: str
) -> None:
    with pytest.raises(
        OutsideTrainingError, match=rf"^study1 lies outside .*{reason}.*pass --outside-training"
    ) as refused:
        reporter_of_domain(reporter, centre, body_part).write(tiny_study(1))
    assert "\n" not in str(refused.value)


def test_a_report_from_outside_the_training_domain_has_no_support(reporter: Reporter, report: Report) -> None:
    written = reporter_of_domain(reporter, 50.0, "head").write(tiny_study(1), outside_training=True)
    assert written.findings == report.findings
    assert written.outside_training == ("s2: body part 'chest', where the model was trained on head",)
    assert [sentence.support for sentence in written.sentences] == [None] * len(report.sentences)
    assert written.warnings == () and written.trained_on == "head only"
    assert Report.from_json(written.to_json()) == written
    inside = reporter_of_domain(reporter, 0.0, "chest").write(tiny_study(1), outside_training=True)
    assert inside.outside_training == () and inside.sentences == report.sentences


def test_series_outside_the_training_domain_are_left_out_where_others_lie_inside(
    reporter: Reporter, report: Report
) -> None:
    study = tiny_study(1)
    head = replace(study.series[0], key="s3", body_part="head")
    written = reporter_of_domain(reporter, 0.0, "chest").write(replace(study, series=(*study.series, head)))
    assert written.series_used == ("s2",) and written.sentences == report.sentences
    assert [(item.name, item.reason) for item in written.left_out][-1] == (
        "s3",
        "outside the training domain: body part 'head', where the model was trained on chest",
    )


def test_a_body_that_is_wider_than_what_the_model_sees_is_warned_of(reporter: Reporter) -> None:
    wide = replace(tiny_study(1).series[0], column_steps_ras_mm=np.tile((-20.0, 0.0, 0.0), (10, 1)))
    told = reporter.write(Study("study1", (wide,))).warnings
    assert any(
        "s2: 17% of the body lies outside the 384 x 384 mm of the model's field of view" in warning for warning in told
    )
    assert not any("of the body" in warning for warning in reporter.write(tiny_study(1)).warnings)


def test_evidence_has_the_number_by_which_viewers_name_the_slice(reporter: Reporter, report: Report) -> None:
    series = replace(tiny_study(1).series[0], instance_numbers=np.arange(110, 100, -1))
    numbered = reporter.write(Study("study1", (series,)))
    pieces = [piece for sentence in numbered.sentences for piece in sentence.evidence]
    assert pieces and all(piece.instance_number == 110 - piece.slice_index for piece in pieces)
    assert all(piece.slice_count == 10 for piece in pieces)
    assert all(piece.instance_number is None for sentence in report.sentences for piece in sentence.evidence)


def test_a_model_without_a_record_of_its_training_says_so(folder: Path, report: Report) -> None:
    assert TrainingDomain.load(folder) is None
    assert "the model's training domain is not known" in report.warnings[0]
    assert (report.trained_on, report.outside_training) == ("", ())


def test_a_saved_reporter_writes_the_same_and_knows_what_it_was_trained_on(reporter: Reporter, tmp_path: Path) -> None:
    features = 2 * int(np.prod(reporter.model.standardiser.mean.shape))
    summaries = np.random.default_rng(0).normal(size=(60, features)).astype(np.float32)
    domain = fit_training_domain(summaries, summaries, ("CT",), ("chest",), "tiny studies")
    Reporter(reporter.model, reporter.text, "tiny", domain).save_pretrained(tmp_path / "tiny")
    again = Reporter.from_pretrained(tmp_path / "tiny", device="cpu")
    assert {path.name for path in tmp_path.iterdir()} == {"tiny"}
    assert again.name == reporter.name
    assert again.domain is not None and again.domain.trained_on == "tiny studies"
    written, before = again.write(tiny_study(1)), reporter.write(tiny_study(1))
    assert written.sentences == before.sentences


def test_a_reporter_is_pushed_under_a_name_of_the_hub_only(reporter: Reporter) -> None:
    with pytest.raises(ModelError, match="wanted owner/name"):
        reporter.push_to_hub("not a name!")


def test_a_study_without_series_is_refused(reporter: Reporter) -> None:
    with pytest.raises(StudyError, match="a1: no series to read"):
        reporter.write(Study("a1", ()))


def test_a_model_without_a_language_model_is_refused(tmp_path: Path) -> None:
    untrained_tiny_reader().save_pretrained(tmp_path / "mute")
    with pytest.raises(ModelError, match="mute has no language model"):
        Reporter.from_pretrained(tmp_path / "mute")


def test_an_unknown_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="nowhere: no such folder, and not found on the hub"):
        Reporter.from_pretrained(tmp_path / "nowhere")


@pytest.mark.parametrize("device", ["toaster", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match=f"device '{device}' cannot be used here"):
        Reporter.from_pretrained(folder, device)
