"""Scores of invented texts equal those of the reference implementations, which need Java, run on 2026-11-25:

pycocoevalcap 1.2: `PTBTokenizer` (Stanford CoreNLP 3.4.1), `Bleu(4)`, `Rouge()`, `Cider()`, with the tokens it makes;
METEOR 1.5, the jar in that package: `java -jar meteor-1.5.jar - - -stdio -l en -norm -m "exact stem" -w "1.0 0.6"`,
fed lines of SCORE and EVAL as its class `Meteor` feeds it.
"""

import random
from dataclasses import astuple
from pathlib import Path

import numpy as np
import pytest

from msvlm.errors import DataError
from msvlm.evaluation.text_metrics.bleu_rouge_cider import score_texts, text_statistics
from msvlm.evaluation.text_metrics.meteor import align, meteor_score, meteor_statistics
from msvlm.evaluation.text_metrics.tokens import coco_tokens, meteor_tokens

GENERATED = (
    "The heart is enlarged (cardiothoracic ratio 0.58). Small bilateral pleural effusions are seen.",
    "A 4.5x3 mm nodule in the right upper lobe; follow-up CT. No lymphadenopathy.",
    "Trachea and both main bronchi are open. No occlusive pathology was detected in the trachea.",
    "The lungs are clear.",
    "",
)
REFERENCES = (
    ("Heart size is increased. There are small pleural effusions on both sides.", "Cardiomegaly; bilateral effusion."),
    ("A nodule of 4.5 mm is observed in the upper lobe of the right lung. Lymph nodes aren't enlarged.",),
    ("The trachea and the main bronchi are open, and no occlusive pathology was detected in them.",),
    ("The lungs are clear.",),
    ("Sequelae changes at both apices.",),
)


def test_tokens_are_those_of_coco_caption() -> None:
    assert " ".join(coco_tokens(GENERATED[0])) == (
        "the heart is enlarged -lrb- cardiothoracic ratio 0.58 -rrb- small bilateral pleural effusions are seen"
    )
    assert " ".join(coco_tokens(GENERATED[1])) == (
        "a 4.5 x3 mm nodule in the right upper lobe follow-up ct. no lymphadenopathy"
    )
    assert " ".join(coco_tokens(REFERENCES[1][0])) == (
        "a nodule of 4.5 mm is observed in the upper lobe of the right lung lymph nodes are n't enlarged"
    )
    assert coco_tokens("") == coco_tokens(" . ; -- ") == []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("10x4.5 mm, 5mm, 3.5cm, 1/3, 2,5 cm, 10:30", "10x4 .5 mm 5mm 3.5 cm 1/3 2,5 cm 10:30"),
        ("-5 to -30 HU; 5 -10, 5 - 10, a -b, - nodule", "-5 to -30 hu 5 -10 5 10 a b nodule"),
        ("Hepatitis B. Type b. The end, e.g. at 5 p.m.", "hepatitis b. type b the end e.g. at 5 p.m."),
        ("No. 5 and ca. 5; the end is no. There ca. five", "no. 5 and ca. 5 the end is no there ca five"),
        ("It can't be; cannot exclude the patient's", "it ca n't be can not exclude the patient 's"),
        ("PET/CT, L5-S1 [sic] >10% 12° COVID-19?", "pet/ct l5-s1 -lsb- sic -rsb- > 10 % 12 ° covid-19"),
        ('"Quoted", “curly”, 29.04.2020. 5. Then', "quoted curly 29.04.2020 5 then"),
    ],
)
def test_more_tokens_as_coco_caption_prints_them(text: str, tokens: str) -> None:
    assert coco_tokens(text) == tokens.split()


def test_meteor_splits_tokens_further() -> None:
    text = "follow-up 1/3 -5 4.5 's n't -lrb- e.g. ct. 5 ct. then 1.5-2.0 ct."
    assert (
        " ".join(meteor_tokens(text.split())) == "follow up 1 / 3 -5 4.5 ' s n 't -lrb- eg ct . 5 ct. then 1.5 2.0 ct ."
    )
    assert meteor_tokens([]) == []


def test_scores_equal_those_of_the_reference_implementations() -> None:
    scores = score_texts(GENERATED, REFERENCES)
    assert scores.bleu_1 == pytest.approx(0.5699575187252771)
    assert scores.bleu_2 == pytest.approx(0.4272718276030997)
    assert scores.bleu_3 == pytest.approx(0.3116516512624959)
    assert scores.bleu_4 == pytest.approx(0.24297489117341556)
    assert scores.rouge_l == pytest.approx(0.5093449015299332)
    assert scores.cider == pytest.approx(3.437909250436134)
    assert scores.meteor == pytest.approx(0.2701969805378811)


def test_scores_of_each_study_equal_those_of_the_reference_implementations() -> None:
    statistics = text_statistics(GENERATED, REFERENCES)
    each = [statistics.scores(np.array([study])) for study in range(len(GENERATED))]
    assert [one.bleu_1 for one in each] == pytest.approx([0.466666667, 0.418782251, 0.81077272, 1.0, 0.0])
    assert [one.bleu_4 for one in each] == pytest.approx([4e-09, 4e-09, 0.519696402, 0.999999999, 0.0], abs=1e-9)
    assert [one.rouge_l for one in each] == pytest.approx([0.377942999, 0.399065421, 0.769716088, 1.0, 0.0])
    assert [one.cider for one in each] == pytest.approx([0.553406734, 1.05100458, 5.585134937, 10.0, 0.0])
    meteor = [0.20312505908357764, 0.2073025207074844, 0.44174528472015223, 1.0, 0.0]
    assert [one.meteor for one in each] == pytest.approx(meteor)


@pytest.mark.parametrize(
    ("generated", "references", "score"),
    [
        ("lungs", ["lung"], 0.6),
        ("small nodules in the lung", ["small nodule in lungs", "a tiny nodule"], 0.3576639833861748),
    ],
)
def test_meteor_of_one_study_equals_the_jar(generated: str, references: list[str], score: float) -> None:
    statistics = meteor_statistics(generated.split(), [each.split() for each in references])
    assert meteor_score(statistics) == pytest.approx(score)


def test_scores_equal_those_that_nlg_eval_publishes(real_data: Path) -> None:
    """Of its own example (Maluuba/nlg-eval 2ab4528f); the METEOR that it publishes needs WordNet and paraphrases."""
    texts = [
        (real_data / "metric_fixtures" / "nlg_eval" / name).read_text(encoding="utf-8").splitlines()
        for name in ("hyp.txt", "ref1.txt", "ref2.txt")
    ]
    scores = score_texts(texts[0], list(zip(texts[1], texts[2], strict=True)))
    bleu = (scores.bleu_1, scores.bleu_2, scores.bleu_3, scores.bleu_4)
    assert bleu == pytest.approx((0.55, 0.428174, 0.284043, 0.201143), abs=5e-7)
    assert scores.rouge_l == pytest.approx(0.522104, abs=5e-7)
    assert scores.cider == pytest.approx(1.242192, abs=5e-7)


def test_the_same_text_scores_one_and_ten_in_cider() -> None:
    texts = [each[0] for each in REFERENCES]
    scores = score_texts(texts, [[text] for text in texts])
    assert astuple(scores) == pytest.approx((1, 1, 1, 1, 1, 1, 10), abs=1e-6)


def test_the_order_of_studies_does_not_matter() -> None:
    order = [3, 0, 4, 2, 1]
    shuffled = score_texts([GENERATED[row] for row in order], [REFERENCES[row] for row in order])
    assert astuple(shuffled) == pytest.approx(astuple(score_texts(GENERATED, REFERENCES)))


def test_scores_of_selected_studies_equal_scoring_them_again() -> None:
    statistics = text_statistics(GENERATED, REFERENCES)
    rows = np.array([2, 0, 2, 1])
    of_rows = statistics.scores(rows)
    anew = score_texts([GENERATED[row] for row in rows], [REFERENCES[row] for row in rows])
    assert astuple(of_rows)[:6] == pytest.approx(astuple(anew)[:6])
    assert of_rows.cider == pytest.approx(statistics.cider[rows].mean())
    assert statistics.scores(np.arange(5)) == statistics.scores()


def test_generated_texts_without_a_word_score_zero() -> None:
    assert astuple(score_texts(["", " . "], [["No nodule."], ["A nodule."]])) == pytest.approx((0,) * 7)


def test_one_study_has_no_cider() -> None:
    assert score_texts(["The lungs are clear."], [["The lungs are clear."]]).cider == 0


def test_rouge_l_finds_the_longest_common_subsequence() -> None:
    draw = random.Random(0)
    for _ in range(50):
        first = draw.choices("abcd", k=draw.randint(0, 12))
        second = draw.choices("abcd", k=draw.randint(1, 12))
        table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
        for i, word in enumerate(first):
            for j, other in enumerate(second):
                grown = table[i, j] + 1 if word == other else max(table[i, j + 1], table[i + 1, j])
                table[i + 1, j + 1] = grown
        common = table[-1, -1]
        precision, recall = common / max(len(first), 1), common / len(second)
        wanted = 2.44 * precision * recall / (recall + 1.44 * precision) if common else 0.0
        statistics = text_statistics([" ".join(first).upper()], [[" ".join(second)]])
        assert statistics.rouge_l[0] == pytest.approx(wanted)


def test_an_alignment_uses_no_word_twice_and_matches_all_it_can() -> None:
    draw = random.Random(1)
    for _ in range(50):
        generated = draw.choices(["lung", "lungs", "the", "clear"], k=draw.randint(1, 9))
        reference = draw.choices(["lung", "lungs", "the", "clear"], k=draw.randint(1, 9))
        places = [place for place in align(generated, reference) if place is not None]
        assert len(places) == len(set(places))
        exact = sum(min(generated.count(word), reference.count(word)) for word in set(generated))
        matched = sum(
            place is not None and generated[place] == word
            for word, place in zip(reference, align(generated, reference), strict=True)
        )
        assert matched == exact


def test_texts_that_cannot_be_scored_are_refused() -> None:
    with pytest.raises(DataError, match="2 generated texts and references of 1 studies"):
        score_texts(["a", "b"], [["a"]])
    with pytest.raises(DataError, match="0 generated texts"):
        score_texts([], [])
    with pytest.raises(DataError, match=r"study at index 1: 2 references, 1 of them without a word; leave it out"):
        score_texts(["a", "b"], [["a"], ["b", " . "]])
    with pytest.raises(DataError, match="study at index 0: 0 references"):
        score_texts(["a"], [[]])
    with pytest.raises(DataError, match="put it into a list"):
        score_texts(["a"], ["a"])
    with pytest.raises(DataError, match="no study is selected"):
        text_statistics(["a"], [["a"]]).scores(np.array([], dtype=np.int64))
