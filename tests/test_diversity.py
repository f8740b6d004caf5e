"""Repeated reports, sentences and a small vocabulary lower the diversity."""

from msvlm.evaluation.text_metrics.diversity import score_diversity


def test_distinct_reports_are_counted_without_regard_to_blanks_and_case() -> None:
    assert score_diversity(["No nodule.", "no  nodule.\n", "A nodule.", "Two nodules."]).distinct == 0.75


def test_equal_sentences_are_counted_once() -> None:
    assert score_diversity(["No nodule. Clear lungs.", "clear lungs. A nodule.", ""]).sentences == 3


def test_the_vocabulary_is_that_of_the_reference_reports() -> None:
    found = score_diversity(["A ground-glass opacity, 3 mm."], ["A ground-glass opacity.", "Left effusion."])
    assert found.vocabulary == (3 / 5)
    assert score_diversity(["A nodule."]).vocabulary is None
    assert score_diversity(["A nodule."], ["A nodule."]).vocabulary == 1.0
