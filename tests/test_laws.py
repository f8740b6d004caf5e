"""What must hold of the whole model, whatever its weights are."""

from dataclasses import replace

import pytest
import torch
from tiny_model import (
    END_TOKEN,
    VISUAL_TOKEN,
    VOCABULARY,
    packed,
    prompts,
    random_study,
    rearranged,
    tiny_config,
    tiny_model,
)

from msvlm.batch import StudyBatch, TextBatch
from msvlm.model.ms_vlm import MsVlm, VisionOutput
from msvlm.model.z_former import Pose

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(scope="module")
def model() -> MsVlm:
    return tiny_model()


def read(model: MsVlm, batch: StudyBatch, hidden: torch.Tensor | None = None) -> VisionOutput:
    with torch.no_grad():
        return model.read(batch, hidden)


def assert_same_studies(left: VisionOutput, right: VisionOutput, rows: slice = slice(None)) -> None:
    torch.testing.assert_close(left.visual_tokens[rows], right.visual_tokens, **CLOSE)
    for name in ("presence_logits", "attribute_logits", "log_sizes_mm", "vectors"):
        torch.testing.assert_close(getattr(left.findings, name)[rows], getattr(right.findings, name), **CLOSE)


@pytest.mark.parametrize("lengths", [(5, 5), (5, 9)])
@pytest.mark.parametrize("pose", list(Pose))
def test_packed_equals_one_by_one(lengths: tuple[int, int], pose: Pose) -> None:
    model = tiny_model(tiny_config(pose=pose))
    studies = [random_study(length, seed) for seed, length in enumerate(lengths)]
    together = read(model, packed(*studies))
    for index, study in enumerate(studies):
        assert_same_studies(together, read(model, study), slice(index, index + 1))


def test_a_study_does_not_see_its_neighbour(model: MsVlm) -> None:
    study = random_study(6, 1)
    calm, loud = random_study(4, 2), random_study(4, 3)
    loud = replace(loud, slices=loud.slices * 50, position_mm=loud.position_mm * 9)
    for first, second in ((packed(study, calm), packed(study, loud)), (packed(study, calm), packed(study, calm, loud))):
        left, right = read(model, first), read(model, second)
        torch.testing.assert_close(left.visual_tokens[0], right.visual_tokens[0], **CLOSE)
        torch.testing.assert_close(left.z_vectors[:6], right.z_vectors[:6], **CLOSE)


def test_series_order_does_not_matter(model: MsVlm) -> None:
    study = random_study(9, 4, series=3)
    order = torch.tensor([6, 7, 8, 0, 1, 2, 3, 4, 5])
    before, after = read(model, study), read(model, rearranged(study, order))
    assert_same_studies(before, after)
    torch.testing.assert_close(before.z_vectors[order], after.z_vectors, **CLOSE)
    torch.testing.assert_close(before.findings.slice_attention[order], after.findings.slice_attention, **CLOSE)


def test_the_papers_plain_sequence_does_tell_order_apart() -> None:
    model = tiny_model(tiny_config(pose=Pose.SEQUENCE))
    study = random_study(9, 4, series=3)
    turned = rearranged(study, torch.tensor([6, 7, 8, 0, 1, 2, 3, 4, 5]))
    assert not torch.allclose(read(model, study).visual_tokens, read(model, turned).visual_tokens, **CLOSE)


def test_the_same_slices_cut_into_two_series_give_the_same(model: MsVlm) -> None:
    whole = random_study(8, 5)
    cut = replace(whole, series_index=torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]))
    assert_same_studies(read(model, whole), read(model, cut))


def test_the_place_of_a_slice_matters(model: MsVlm) -> None:
    study = random_study(6, 6)
    moved = replace(study, position_mm=study.position_mm + torch.tensor([0.0, 0.0, 40.0]))
    assert not torch.allclose(read(model, study).z_vectors, read(model, moved).z_vectors, **CLOSE)


def test_what_hidden_slices_show_does_not_matter(model: MsVlm) -> None:
    study = random_study(7, 7)
    hidden = torch.tensor([False, True, False, True, True, False, False])
    changed = replace(study, slices=torch.where(hidden[:, None, None, None], -study.slices * 3, study.slices))
    left, right = read(model, study, hidden), read(model, changed, hidden)
    assert_same_studies(left, right)
    torch.testing.assert_close(left.z_vectors, right.z_vectors, **CLOSE)
    assert (left.findings.slice_attention[hidden] == 0).all()
    assert not torch.allclose(left.visual_tokens, read(model, study).visual_tokens, **CLOSE)


def test_a_study_with_every_slice_hidden_has_an_answer_that_tells_nothing_of_it(model: MsVlm) -> None:
    first, second = random_study(4, 8), random_study(6, 9)
    hidden = torch.tensor([True] * 4 + [False] * 6)
    half = read(model, packed(first, second), hidden)
    assert_same_studies(half, read(model, second), slice(1, 2))
    other = replace(random_study(4, 10), position_mm=first.position_mm)
    assert_same_studies(half, read(model, other, torch.ones(4, dtype=torch.bool)), slice(0, 1))
    for tensor in (half.visual_tokens, half.findings.presence_logits, half.z_vectors):
        assert torch.isfinite(tensor).all()


def test_hidden_slices_get_gradients_that_are_numbers(model: MsVlm) -> None:
    study = model.encode(random_study(4, 8))
    vectors = study.slice_vectors.clone().requires_grad_()
    reading = model.read(replace(study, slice_vectors=vectors), torch.tensor([True, True, False, True]))
    (reading.visual_tokens.sum() + reading.findings.presence_logits.sum()).backward()
    assert torch.isfinite(vectors.grad).all()
    assert vectors.grad[2].abs().sum() > 0 and (vectors.grad[[0, 1, 3]] == 0).all()
    model.zero_grad()


def test_slice_vectors_read_like_the_slices_that_they_were_made_of(model: MsVlm) -> None:
    study = random_study(11, 11)
    encoded = model.encode(study)
    assert encoded.slices is None
    assert_same_studies(read(model, study), read(model, encoded))


def test_generation_with_cache_equals_without(model: MsVlm) -> None:
    batch = packed(random_study(4, 12), random_study(6, 13), random_study(5, 14))
    text = prompts(model, (9, 3, 6))
    visual_tokens = read(model, batch).visual_tokens
    written = model.generate(visual_tokens, text, 12, END_TOKEN)
    ended = torch.zeros(3, dtype=torch.bool)
    for step in range(written.shape[1]):
        with torch.no_grad():
            logits = model.logits(visual_tokens, text)[:, -1]
            logits[:, VISUAL_TOKEN] = -torch.inf
        token = torch.where(ended, END_TOKEN, logits.argmax(dim=1))
        assert torch.equal(written[:, step], token)
        ended |= token == END_TOKEN
        text = TextBatch(
            torch.cat([text.input_ids, token[:, None]], dim=1),
            torch.cat([text.attention_mask, torch.ones(3, 1, dtype=torch.bool)], dim=1),
        )
    assert ended.all() or written.shape[1] == 12
    assert len({tuple(row.tolist()) for row in written}) > 1, "rows that all say the same test little"


def test_logits_with_cache_equal_those_without(model: MsVlm) -> None:
    visual_tokens = read(model, random_study(4, 12)).visual_tokens
    text = prompts(model, (8,))
    with torch.no_grad():
        whole = model.logits(visual_tokens, text)
        embedded = model.language_model.get_input_embeddings()(text.input_ids)
        embedded[0, 1 : 1 + model.visual_tokens] = visual_tokens[0]
        seen = model.language_model(inputs_embeds=embedded[:, :-2], use_cache=True)
        last = [seen.logits[:, -1]]
        for position in (-2, -1):
            step = embedded[:, position, None]
            seen = model.language_model(inputs_embeds=step, past_key_values=seen.past_key_values, use_cache=True)
            last.append(seen.logits[:, -1])
    torch.testing.assert_close(torch.stack(last, dim=1), whole[:, -3:], rtol=1e-4, atol=1e-4)


def test_a_row_writes_the_same_alone_and_among_longer_ones(model: MsVlm) -> None:
    batch = packed(random_study(4, 15), random_study(6, 16))
    text = prompts(model, (2, 11))
    visual_tokens = read(model, batch).visual_tokens
    together = model.generate(visual_tokens, text, 10, END_TOKEN)
    for row in range(2):
        own = text.attention_mask[row]
        alone = TextBatch(text.input_ids[row : row + 1, own], text.attention_mask[row : row + 1, own])
        written = model.generate(visual_tokens[row : row + 1], alone, 10, END_TOKEN)[0]
        assert torch.equal(together[row, : len(written)], written)
        assert (together[row, len(written) :] == END_TOKEN).all()


def test_a_row_that_has_ended_is_filled_with_end_tokens(model: MsVlm) -> None:
    visual_tokens = read(model, packed(random_study(4, 12), random_study(6, 13))).visual_tokens
    text = prompts(model, (9, 3))
    free = model.generate(visual_tokens, text, 8, VOCABULARY - 1)
    end = int(free[0, 1])
    written = model.generate(visual_tokens, text, 8, end)
    first = int((written[0] == end).nonzero()[0])
    assert first <= 1 and (written[0, first:] == end).all()


def test_the_placeholder_is_never_written() -> None:
    model = tiny_model()
    visual_tokens = read(model, random_study(4, 12)).visual_tokens
    text = prompts(model, (9,))
    with torch.no_grad():
        # A bias that would make every model write the placeholder and nothing else.
        model.language_model.lm_head.bias = torch.nn.Parameter(100.0 * torch.eye(VOCABULARY)[VISUAL_TOKEN])
        assert model.logits(visual_tokens, text)[0, -1].argmax() == VISUAL_TOKEN
    assert (model.generate(visual_tokens, text, 4, END_TOKEN) != VISUAL_TOKEN).all()


def test_text_scores_do_not_depend_on_the_side_of_the_padding(model: MsVlm) -> None:
    visual_tokens = read(model, random_study(4, 17)).visual_tokens
    text = prompts(model, (6,))
    ends = torch.full((1, 5), END_TOKEN)
    nothing = torch.zeros(1, 5, dtype=torch.bool)
    left = TextBatch(torch.cat([ends, text.input_ids], 1), torch.cat([nothing, text.attention_mask], 1))
    right = TextBatch(torch.cat([text.input_ids, ends], 1), torch.cat([text.attention_mask, nothing], 1))
    with torch.no_grad():
        plain = model.logits(visual_tokens, text)
        torch.testing.assert_close(model.logits(visual_tokens, left)[:, 5:], plain, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.logits(visual_tokens, right)[:, :-5], plain, rtol=1e-4, atol=1e-4)


def test_the_image_reaches_the_words(model: MsVlm) -> None:
    text = prompts(model, (6,))
    assert (text.input_ids == VISUAL_TOKEN).sum() == model.visual_tokens
    with torch.no_grad():
        left, right = (model(random_study(4, seed), text).logits[:, -1] for seed in (18, 19))
    assert not torch.allclose(left, right, atol=1e-3)
