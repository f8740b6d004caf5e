"""Checks of names, versions and means without the hub's models; `docs/metrics.md` lists what was run with RadEval."""

import importlib.util
import sys
from pathlib import Path

import pytest

from msvlm.errors import DataError, MetricError
from msvlm.evaluation.text_metrics.model_based import model_metric_scores

STAND_IN = """
class RadEval:
    def __init__(self, metrics, per_sample, detailed, show_progress):
        self.names, self.per_sample, self.detailed = metrics, per_sample, detailed
        if metrics == ["green"]:
            raise OSError("We couldn't connect.\\nTry again.")

    def __call__(self, refs, hyps):
        if self.names == ["bertscore"] and self.per_sample and not self.detailed:
            return {"bertscore": [float(hyp == ref) for hyp, ref in zip(hyps, refs, strict=True)]}
        assert self.names == ["f1radbert_ct"] and self.detailed and not self.per_sample
        labels = {"Emphysema": 1.0, "Lung nodule": 0.5, "No finding": 0.0}
        return {"f1radbert_ct_macro_f1": 0.5, "f1radbert_ct_label_scores_f1": labels}
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Installs a stand-in with the name and the interface of RadEval 2.2.1."""
    (tmp_path / "radeval.py").write_text(STAND_IN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "radeval", raising=False)


@pytest.mark.skipif(importlib.util.find_spec("radeval") is not None, reason="RadEval is installed")
def test_without_radeval_the_error_names_the_command() -> None:
    with pytest.raises(MetricError, match=r'radeval is not installed; run: pip install "msvlm\[metrics\]"'):
        model_metric_scores(["bertscore"], ["No nodule."], ["A nodule."])


def test_unknown_metrics_are_refused_before_radeval_is_imported() -> None:
    with pytest.raises(MetricError, match="unknown metric 'bleurt'; choose among bertscore"):
        model_metric_scores(["bertscore", "bleurt"], ["No nodule."], ["A nodule."])
    for name in ("crimson", "radfact_ct", "mammo_green"):
        with pytest.raises(MetricError, match=f"{name} sends reports to a third party and is not offered"):
            model_metric_scores([name], ["No nodule."], ["A nodule."])
    with pytest.raises(DataError, match="1 generated texts and 0 references"):
        model_metric_scores(["bertscore"], ["No nodule."], [])


@pytest.mark.usefixtures("stand_in")
def test_a_score_is_the_mean_over_studies() -> None:
    (score,) = model_metric_scores(["bertscore"], ["No nodule.", "A cyst."], ["No nodule.", "A nodule."])
    assert (score.name, score.score, score.per_study) == ("bertscore", 0.5, (1.0, 0.0))


@pytest.mark.usefixtures("stand_in")
def test_no_finding_is_not_in_the_mean_over_findings() -> None:
    scores = model_metric_scores(["f1radbert_ct"], ["No nodule."], ["A nodule."])
    assert [(one.name, one.score, one.per_study) for one in scores] == [
        ("f1radbert_ct_macro_f1", 0.5, None),
        ("f1radbert_ct_macro_f1_of_findings", 0.75, None),
    ]


@pytest.mark.usefixtures("stand_in")
def test_a_model_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(
        MetricError, match=r"green cannot be loaded \(We couldn't connect\.\); .*run it once with network access"
    ):
        model_metric_scores(["green"], ["No nodule."], ["A nodule."])


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="Python 3.12 or newer")
def test_ratescore_is_refused_below_python_3_12() -> None:
    with pytest.raises(MetricError, match="ratescore needs Python 3.12"):
        model_metric_scores(["ratescore"], ["No nodule."], ["A nodule."])
