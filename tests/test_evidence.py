"""A sentence rests on the slices without which it becomes less likely, and on no others."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from msvlm.batch import StudyBatch
from msvlm.findings import Certainty, FindingStatement
from msvlm.report import FAINT_NATS
from msvlm.reporting.evidence import PLACES, ZONES, Grounds, Score, ScoredSentence, find_grounds

POSITIVE = (FindingStatement("lung_nodule", Certainty.PRESENT),)
NEGATIVE = (FindingStatement("pleural_effusion", Certainty.ABSENT),)


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
    """Each sentence loses the weights (sentences, slices) of what is hidden; `sizes` collects the hidings asked for."""

    def score(hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
        if sizes is not None:
            sizes.append(len(hidden))
        return -hidden.astype(np.float64) @ weights.T

    return score


def weights_at(slices: int, **at: float) -> NDArray[np.float64]:
    weights = np.zeros((1, slices))
    for name, weight in at.items():
        weights[0, int(name[1:])] = weight
    return weights


@pytest.mark.parametrize("slices", [1, 2, 5, 40, 400])
@pytest.mark.parametrize("place", [0.0, 0.37, 0.99])
def test_the_one_slice_that_matters_is_found(slices: int, place: float) -> None:
    index = int(place * slices)
    weights = weights_at(slices, **{f"s{index}": 2.0})
    grounds = find_grounds(study(1, slices), (ScoredSentence(POSITIVE),), score_by(weights))[0]
    assert min(abs(found - index) for found in grounds.slices) <= 2
    assert grounds.drops_nats[0] == pytest.approx(2.0)


def test_a_place_that_the_head_looked_at_is_tried_outside_the_best_zone() -> None:
    weights = weights_at(400, s300=2.0, s10=1.0, s11=1.0, s12=1.0)
    looked_at = np.zeros(400)
    looked_at[300] = 1.0
    sentence = ScoredSentence(POSITIVE, looked_at)
    assert 300 in find_grounds(study(1, 400), (sentence,), score_by(weights))[0].slices


def test_evidence_stays_in_its_series() -> None:
    weights = weights_at(60, s15=2.0)
    grounds = find_grounds(study(2, 30), (ScoredSentence(POSITIVE),), score_by(weights))[0]
    assert 15 in grounds.slices and all(found < 30 for found in grounds.slices)


def test_slices_that_matter_more_come_first() -> None:
    weights = weights_at(12, s2=1.0, s9=3.0)
    looked_at = weights[0]
    grounds = find_grounds(study(1, 12), (ScoredSentence(POSITIVE, looked_at),), score_by(weights))[0]
    assert grounds.slices[0] == 9
    assert list(grounds.drops_nats) == sorted(grounds.drops_nats, reverse=True)


def test_where_no_slice_matters_the_one_that_the_head_looked_at_most_is_named_with_its_true_drop() -> None:
    looked_at = np.zeros(20)
    looked_at[13] = 1.0
    grounds = find_grounds(study(1, 20), (ScoredSentence(POSITIVE, looked_at),), score_by(np.full((1, 20), 0.003)))[0]
    assert grounds.slices == (13,)
    assert grounds.drops_nats == pytest.approx((0.015,))
    assert grounds.drops_nats[0] < FAINT_NATS


def test_what_no_slice_carries_and_no_head_looked_at_rests_on_none() -> None:
    nothing = np.zeros((3, 20))
    sentences = (ScoredSentence(NEGATIVE), ScoredSentence(()), ScoredSentence(POSITIVE))
    assert find_grounds(study(1, 20), sentences, score_by(nothing)) == (Grounds((), ()),) * 3


def test_a_long_study_costs_no_more_hidings_than_the_limit() -> None:
    sizes: list[int] = []
    random = np.random.default_rng(0)
    sentences = tuple(ScoredSentence(POSITIVE, random.random(2000)) for _ in range(30))
    find_grounds(study(1, 2000, 0.5), sentences, score_by(random.random((30, 2000)), sizes))
    assert sum(sizes) <= 1 + ZONES + PLACES


def test_an_empty_answer_has_no_grounds() -> None:
    assert find_grounds(study(1, 5), (), score_by(np.zeros((0, 5)))) == ()
