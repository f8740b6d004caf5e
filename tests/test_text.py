"""Reports and cues <-> tokens."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from msvlm.data.text import (
    VISUAL_TOKEN,
    ReportText,
    Section,
    join_report,
    train_tokenizer,
)
from msvlm.errors import ConfigError, DataError, ModelError
from msvlm.labeling.scope import split_sentences
from msvlm.vocabulary.chest import CHEST

FINDINGS = "A 14 mm nodule is seen in the right upper lobe. No pleural effusion.\nThe heart is not enlarged (CTR 0.45)."
IMPRESSION = "1. Lung nodule, right upper lobe, 14 x 9 mm. 2. No effusion."
REPORT = join_report(FINDINGS, IMPRESSION)
TOKENIZER = train_tokenizer([REPORT, "Findings: Emphysema – mild.\nImpression: Mild emphysema."], CHEST, 700)
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}[user]{{ message['content'] }}[/user]{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def report_text(visual_tokens: int = 3, chat: bool = False) -> ReportText:
    tokenizer = train_tokenizer([REPORT], CHEST, 700)
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    return ReportText(tokenizer, visual_tokens, CHEST)


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


@given(st.text(max_size=80))
@example(REPORT)
@example("  two  blanks\tand\r\n\n breaks , stops . 12.5 mm × 3 µm – “é” 肺 🫁 <end> <visual>")
def test_any_text_is_encoded_without_loss(text: str) -> None:
    assert TOKENIZER.decode(encode(TOKENIZER, text), skip_special_tokens=True) == text


def test_numbers_are_encoded_digit_by_digit_and_frequent_words_as_one_token() -> None:
    tokens = TOKENIZER.convert_ids_to_tokens(encode(TOKENIZER, "A 147 mm nodule"))
    assert [token for token in tokens if token.strip("Ġ").isdigit()] == ["1", "4", "7"]
    assert tokens[-1] == "Ġnodule"


def test_the_tokenizer_is_saved_and_loaded_by_auto_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert encode(loaded, REPORT) == encode(TOKENIZER, REPORT)
    assert loaded.decode(encode(loaded, REPORT)) == REPORT
    before, after = ReportText(TOKENIZER, 3, CHEST), ReportText(loaded, 3, CHEST)
    assert (before.visual_token_id, before.end_token_id) == (after.visual_token_id, after.end_token_id)
    assert len(loaded) == len(TOKENIZER) <= 700


def test_the_same_reports_train_the_same_tokenizer() -> None:
    assert train_tokenizer([REPORT], CHEST, 600).get_vocab() == train_tokenizer([REPORT], CHEST, 600).get_vocab()


def test_a_tokenizer_without_room_or_reports_is_refused() -> None:
    with pytest.raises(ConfigError, match="a vocabulary of 100 tokens; at least 260"):
        train_tokenizer([REPORT], CHEST, 100)
    with pytest.raises(DataError, match="no report to train a tokenizer on"):
        train_tokenizer(["", ""], CHEST)


@pytest.mark.parametrize("chat", [False, True])
def test_training_sequences_are_prompt_and_report_with_labels_on_the_report_only(chat: bool) -> None:
    text = report_text(chat=chat)
    cues, reports = ["lung nodule (right, 14 mm)", ""], [REPORT, "Findings: Normal."]
    batch, prompts = text.training_batch(cues, reports), text.prompt_batch(cues)
    assert batch.labels is not None
    for row, report in enumerate(reports):
        prompt = prompts.input_ids[row][prompts.attention_mask[row]]
        answer = [*encode(text.tokenizer, report), text.end_token_id]
        length = int(batch.attention_mask[row].sum())
        assert batch.input_ids[row, :length].tolist() == [*prompt.tolist(), *answer]
        assert batch.attention_mask[row, :length].all()
        assert batch.labels[row, len(prompt) : length].tolist() == answer
        assert (batch.labels[row, : len(prompt)] == -100).all() and (batch.labels[row, length:] == -100).all()
        assert int((batch.input_ids[row] == text.visual_token_id).sum()) == 3
        assert text.decode(batch.input_ids[row, len(prompt) :]) == report


def test_prompts_are_padded_on_the_left() -> None:
    batch = report_text().prompt_batch(["none", "lung nodule (right, 14 mm); emphysema"])
    assert batch.labels is None
    assert batch.attention_mask[:, -1].all() and not batch.attention_mask[0, 0] and batch.attention_mask[1].all()
    assert (batch.attention_mask[0].int().diff() >= 0).all()


def test_a_chat_model_gets_its_own_chat_template() -> None:
    text = report_text(chat=True)
    prompt = text.tokenizer.decode(text.prompt_batch(["none"]).input_ids[0])
    assert prompt.startswith(f"<begin>[user]{VISUAL_TOKEN * 3}\nCues: none\nWrite the findings")
    assert prompt.endswith("[/user][assistant]")
    assert (
        report_text().tokenizer.decode(report_text().prompt_batch([""]).input_ids[0]) == f"<begin>{VISUAL_TOKEN * 3}\n"
    )


def test_text_like_a_special_token_in_a_report_stays_text() -> None:
    text = report_text()
    report = f"Findings: {VISUAL_TOKEN} and <end> are words here."
    batch = text.training_batch([""], [report])
    assert int((batch.input_ids == text.visual_token_id).sum()) == 3
    assert batch.labels is not None
    assert text.decode(batch.labels[batch.labels >= 0]) == report


def test_the_placeholder_is_added_to_a_tokenizer_of_another_model() -> None:
    foreign = train_tokenizer([REPORT], CHEST, 400)
    bare = PreTrainedTokenizerFast(tokenizer_object=foreign.backend_tokenizer, eos_token="<end>")
    text = ReportText(bare, 2, CHEST)
    batch = text.training_batch(["", ""], ["A.", "A nodule."])
    assert (batch.input_ids == text.visual_token_id).sum(dim=1).tolist() == [2, 2]
    assert batch.input_ids[0, -1] == text.end_token_id and not batch.attention_mask[0, -1]
    with pytest.raises(ModelError, match="no end token"):
        ReportText(PreTrainedTokenizerFast(tokenizer_object=foreign.backend_tokenizer), 2, CHEST)


def test_decoding_stops_at_the_end_token_and_skips_tokens_without_text() -> None:
    text = report_text()
    tokens = encode(text.tokenizer, "No effusion.")
    padded = torch.tensor([10**6, *tokens, text.visual_token_id, text.end_token_id, *tokens])
    assert text.decode(padded) == "No effusion."


@pytest.mark.parametrize("chat", [False, True])
def test_draft_sentences_hold_the_tokens_of_their_sentences(chat: bool) -> None:
    text = report_text(chat=chat)
    spans = text.draft_sentences(REPORT)
    batch = text.training_batch([""], [REPORT])
    assert batch.labels is not None
    tokens = batch.labels[0][batch.labels[0] >= 0]
    expected = [(Section.FINDINGS, sentence) for sentence in split_sentences(FINDINGS)]
    expected += [(Section.IMPRESSION, sentence) for sentence in split_sentences(IMPRESSION)]
    assert [(span.section, span.text) for span in spans] == expected and len(spans) >= 5
    for span in spans:
        assert text.decode(tokens[span.first_token : span.end_token]).strip() == span.text
    for before, after in pairwise(spans):
        assert before.end_token <= after.first_token


MALFORMED = (
    "",
    "no heading at all",
    "IMPRESSION: A nodule. findings: A nodule. A nodule.",
    "Findings: A nodule. A nodule.\nFindings: more\nImpression:\nImpression: x. Impression: y",
    "before. Findings:Findings: Impression:",
    "Findings: É – “quoted” 肺. A.\n\n• item one\n• item two",
)


@pytest.mark.parametrize("report", MALFORMED)
def test_draft_sentences_of_a_malformed_report_hold_their_tokens(report: str) -> None:
    text = report_text()
    tokens = torch.tensor(encode(text.tokenizer, report), dtype=torch.long)
    for sentence in text.draft_sentences(report):
        assert sentence.text in text.decode(tokens[sentence.first_token : sentence.end_token])


@pytest.mark.parametrize("findings", ["", FINDINGS, "Findings are few: none."])
@pytest.mark.parametrize("impression", ["", IMPRESSION, "Overall impression: stable"])
def test_the_sections_of_a_joined_report_are_found(findings: str, impression: str) -> None:
    expected = (tuple(split_sentences(findings)), tuple(split_sentences(impression)))
    assert sentences_of(join_report(findings, impression)) == expected


def test_no_word_of_a_malformed_report_is_lost() -> None:
    assert sentences_of(MALFORMED[0]) == ((), ())
    assert sentences_of(MALFORMED[1]) == (("no heading at all",), ())
    assert sentences_of(MALFORMED[2]) == (("A nodule.", "A nodule."), ("A nodule.",))
    assert sentences_of(MALFORMED[3]) == (("A nodule.", "A nodule.", "more"), ("x.", "y"))
    assert sentences_of(MALFORMED[4]) == (("before.",), ())
    assert sentences_of(MALFORMED[5]) == (tuple(split_sentences(MALFORMED[5].removeprefix("Findings:"))), ())


def sentences_of(report: str) -> tuple[tuple[str, ...], ...]:
    """Returns the sentences of the findings and of the impression."""
    sentences = report_text().draft_sentences(report)
    return tuple(tuple(each.text for each in sentences if each.section is section) for section in Section)
