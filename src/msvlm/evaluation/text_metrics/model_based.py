"""Scores of generated reports that need models of the Hugging Face hub, through RadEval, which is optional.

`pip install "msvlm[metrics]"` installs it. Metrics that send reports to a third party are not offered.
"""

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from huggingface_hub import hf_hub_download

from msvlm.errors import DataError, MetricError

MODEL_METRICS = ("bertscore", "radgraph", "ratescore", "green", "f1radbert_ct")
"""RadEval's names; `docs/metrics.md` lists the model that each downloads."""
_THIRD_PARTY = ("crimson", "mammo_green", "radfact_ct")
_NO_FINDING = "No finding"


@dataclass(frozen=True)
class ModelScore:
    """One score over all studies.

    Attributes:
        name: RadEval's name.
        per_study: the scores of the studies, of which it is the mean; None for other scores.
    """

    name: str
    score: float
    per_study: tuple[float, ...] | None = None


def model_metric_scores(
    names: Sequence[str], generated: Sequence[str], references: Sequence[str]
) -> tuple[ModelScore, ...]:
    """Scores one generated text for each study against its reference; a metric may give several scores.

    Models are downloaded at first use, and run on a GPU if there is one.

    Raises:
        DataError: the numbers of texts and references differ or are 0.
        MetricError: a metric is not offered, RadEval is not installed, or a model cannot be loaded.
    """
    for name in names:
        if name in _THIRD_PARTY:
            raise MetricError(f"{name} sends reports to a third party and is not offered; {_offered()}")
        if name not in MODEL_METRICS:
            raise MetricError(f"unknown metric {name!r}; {_offered()}")
        if name == "ratescore" and sys.version_info < (3, 12):
            raise MetricError(
                "ratescore needs Python 3.12 or newer: for older ones RadEval installs a spaCy that cannot use numpy 2"
            )
    if len(generated) != len(references) or not generated:
        raise DataError(
            f"{len(generated)} generated texts and {len(references)} references; give as many of both, and one at least"
        )
    radeval = _import_radeval()
    return tuple(score for name in names for score in _scores(radeval, name, list(generated), list(references)))


def _offered() -> str:
    return f"choose among {', '.join(MODEL_METRICS)}"


def _import_radeval() -> ModuleType:
    try:
        # by name: RadEval is optional
        return import_module("radeval")
    except ModuleNotFoundError as error:
        raise MetricError(f'{error.name} is not installed; run: pip install "msvlm[metrics]"') from error


def _scores(radeval: ModuleType, name: str, generated: list[str], references: list[str]) -> list[ModelScore]:
    by_labels = name == "f1radbert_ct"
    with warnings.catch_warnings():  # RadEval changes the warning filters of the process
        try:
            if name == "radgraph":
                _prepare_radgraph(radeval)
            metric = radeval.RadEval(metrics=[name], per_sample=not by_labels, detailed=by_labels, show_progress=False)
        except (OSError, ImportError, ValueError) as error:
            raise MetricError(
                f"{name} cannot be loaded ({str(error).strip().splitlines()[0]}); its models come from huggingface.co: "
                "run it once with network access and keep the cache"
            ) from error
        results = metric(refs=references, hyps=generated)
    if by_labels:
        return _scores_of_labels(results)
    return [ModelScore(key, sum(values) / len(values), tuple(map(float, values))) for key, values in results.items()]


def _prepare_radgraph(radeval: ModuleType) -> None:
    """Downloads RadGraph's model to where RadEval looks for it.

    RadEval 2.2.1 imports RadGraph from a package `RadEval`, although it is installed as `radeval` (its issue 27), and
    raises a bare `Exception` where the download fails.
    """
    sys.modules.setdefault("RadEval", radeval)
    cache = Path(import_module("RadEval.metrics.radgraph._vendor.core").CACHE_DIR)
    unpacked = cache / "radgraph-xl"
    if not unpacked.is_dir() or not any(unpacked.iterdir()):
        hf_hub_download("StanfordAIMI/RRG_scorers", "radgraph-xl.tar.gz", cache_dir=cache)


def _scores_of_labels(results: dict[str, float | dict[str, float]]) -> list[ModelScore]:
    """Returns RadEval's scores, which count "no finding" as a 19th label, and the mean over CT-RATE's 18 labels."""
    scores = []
    for key, value in results.items():
        if isinstance(value, dict):
            of_findings = [f1 for label, f1 in value.items() if label != _NO_FINDING]
            scores.append(ModelScore("f1radbert_ct_macro_f1_of_findings", sum(of_findings) / len(of_findings)))
        else:
            scores.append(ModelScore(key, value))
    return scores
