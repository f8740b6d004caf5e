"""A sentence rests on the slices whose masking makes it less probable, and on no others."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msvlm.batch import StudyBatch
from msvlm.data.text import DraftSentence, Section
from msvlm.report import FAINT_NATS
from msvlm.reporting.evidence import CANDIDATES, ZONES, Score, SentenceEvidence, search_evidence
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

NODULE = DraftSentence("A nodule.", Section.FINDINGS, 0, 3, (FindingStatement("lung_nodule", Certainty.PRESENT),))
NO_EFFUSION = DraftSentence(
    "No effusion.", Section.FINDINGS, 3, 7, (FindingStatement("pleural_effusion", Certainty.ABSENT),)
)


def search(batch: StudyBatch, score: Score, attention: NDArray[np.float64] | None = None) -> SentenceEvidence:
    """The evidence of one sentence that states a nodule."""
    return search_evidence(batch, (NODULE,), (attention,), score)[0]


def study(series: int, slices: int, gap_mm: float = 3.0) -> StudyBatch:
    """Series of equal length at the same places."""
    total = series * slices
    position_mm = torch.zeros(total, 3)
    position_mm[:, 2] = gap_mm * torch.arange(slices).repeat(series)
    return StudyBatch(
        study_index=torch.zeros(total, dtype=torch.long),
        series_index=torch.arange(series).repeat_interleave(slices),
        position_mm=position_mm,
        normal_ras=torch.tensor([[0.0, 0.0, 1.0]]).repeat(total, 1),
        role_index=torch.zeros(total, dtype=torch.long),
        slice_vectors=torch.zeros(total, 1, 4),
    )


def score_by(weights: NDArray[np.float64], sizes: list[int] | None = None) -> Score:
    """Each sentence loses the weights (sentences, slices) of masked slices; `sizes` collects how many at a time."""

    def score(masked: NDArray[np.bool_]) -> NDArray[np.float64]:
        if sizes is not None:
            sizes.append(len(masked))
        return -masked.astype(np.float64) @ weights.T

    return score


def weights_at(slices: int, **at: float) -> NDArray[np.float64]:
    weights = np.zeros((1, slices))
    for name, weight in at.items():
        weights[0, int(name[1:])] = weight
    return weights


@pytest.mark.parametrize("slices", [1, 2, 5, 40, 200])
@pytest.mark.parametrize("place", [0.0, 0.37, 0.99])
def test_the_one_slice_that_matters_is_found_without_attention(slices: int, place: float) -> None:
    index = int(place * slices)
    weights = weights_at(slices, **{f"s{index}": 2.0})
    found = search(study(1, slices), score_by(weights))
    assert min(abs(slice_ - index) for slice_ in found.slices) <= 2
    assert found.log_probability_drops[0] == pytest.approx(2.0)


@pytest.mark.parametrize("place", [0.0, 0.37, 0.99])
def test_in_a_long_study_attention_leads_to_the_slice_that_matters(place: float) -> None:
    index = int(place * 2000)
    found = search(study(1, 2000), score_by(weights_at(2000, **{f"s{index}": 2.0})), np.eye(2000)[index])
    assert found.slices[0] == index


def test_a_slice_with_attention_is_tried_outside_the_best_zone() -> None:
    weights = weights_at(400, s300=2.0, s10=1.0, s11=1.0, s12=1.0)
    attention = np.zeros(400)
    attention[300] = 1.0
    assert 300 in search(study(1, 400), score_by(weights), attention).slices


def test_evidence_stays_in_its_series() -> None:
    weights = weights_at(60, s15=2.0)
    found = search(study(2, 30), score_by(weights))
    assert found.slices and all(abs(slice_ - 15) <= 2 for slice_ in found.slices)


def test_slices_that_matter_more_come_first() -> None:
    weights = weights_at(12, s2=1.0, s9=3.0)
    found = search(study(1, 12), score_by(weights), weights[0])
    assert abs(found.slices[0] - 9) <= 2 < abs(found.slices[-1] - 9)
    assert list(found.log_probability_drops) == sorted(found.log_probability_drops, reverse=True)


def test_where_no_slice_matters_the_one_that_the_head_attention_most_is_named_with_its_true_drop() -> None:
    attention = np.zeros(20)
    attention[13] = 1.0
    found = search(study(1, 20), score_by(np.full((1, 20), 0.003)), attention)
    assert found.slices == (13,)
    assert found.log_probability_drops == pytest.approx((0.015,))
    assert found.log_probability_drops[0] < FAINT_NATS


def test_what_no_slice_carries_and_has_no_attention_rests_on_none() -> None:
    sentences = (NO_EFFUSION, NODULE)
    found = search_evidence(study(1, 20), sentences, (None, None), score_by(np.zeros((2, 20))))
    assert [(one.sentence, one.slices) for one in found] == [(NO_EFFUSION, ()), (NODULE, ())]


def test_the_mean_token_probability_is_that_of_the_unmasked_study() -> None:
    scores = np.log([0.5**3, 0.9**4])
    found = search_evidence(
        study(1, 20), (NODULE, NO_EFFUSION), (None, None), lambda masked: scores * np.ones((len(masked), 1))
    )
    assert [one.mean_token_probability for one in found] == pytest.approx([0.5, 0.9])


def test_a_long_study_costs_no_more_maskings_than_the_limit() -> None:
    sizes: list[int] = []
    random = np.random.default_rng(0)
    attention = [random.random(2000) for _ in range(30)]
    search_evidence(study(1, 2000, 0.5), (NODULE,) * 30, attention, score_by(random.random((30, 2000)), sizes))
    assert sum(sizes) <= 1 + ZONES + CANDIDATES


def test_an_empty_report_has_no_evidence() -> None:
    assert search_evidence(study(1, 5), (), (), score_by(np.zeros((0, 5)))) == ()
