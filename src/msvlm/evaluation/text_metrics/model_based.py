"""Scores of generated reports that need models of the Hugging Face hub, through RadEval, imported only when asked for.

`pip install "msvlm[metrics]"` installs it. Those of its metrics that send reports to a third party are not offered.
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
"""By RadEval's names. Which model each downloads, and what to know of it: `docs/metrics.md`."""
_THIRD_PARTY = ("crimson", "mammo_green", "radfact_ct")
_NO_FINDING = "No finding"


@dataclass(frozen=True)
class ModelScore:
    """One score over all studies.

    Attributes:
        name: as RadEval names it.
        of_each_study: whose mean it is; None where it is not a mean over studies.
    """

    name: str
    score: float
    of_each_study: tuple[float, ...] | None = None


def model_metric_scores(
    names: Sequence[str], generated: Sequence[str], references: Sequence[str]
) -> tuple[ModelScore, ...]:
    """Scores one generated text for each study against its reference, by each metric named; a metric may give several.

    A metric's models are downloaded when it is first used, and run on the GPU where there is one.

    Raises:
        DataError: there are not as many references as generated texts, or none.
        MetricError: a metric is not offered, RadEval is not installed, or a model cannot be loaded.
    """
    for name in names:
        if name in _THIRD_PARTY:
            raise MetricError(f"{name} sends reports to a third party and is not offered; {_offered()}")
        if name not in MODEL_METRICS:
            raise MetricError(f"no metric {name!r}; {_offered()}")
        if name == "ratescore" and sys.version_info < (3, 12):
            raise MetricError("ratescore needs Python 3.12: below, RadEval takes a spaCy that cannot use numpy 2")
    if len(generated) != len(references) or not generated:
        raise DataError(
            f"{len(generated)} generated texts and {len(references)} references; as many of both, one at least"
        )
    radeval = _import_radeval()
    return tuple(score for name in names for score in _scores(radeval, name, list(generated), list(references)))


def _offered() -> str:
    return f"choose among {', '.join(MODEL_METRICS)}"


def _import_radeval() -> ModuleType:
    try:
        # by name, as an import would have to stand at the top of this file, and RadEval is not there for most
        return import_module("radeval")
    except ModuleNotFoundError as error:
        raise MetricError(f'{error.name} is not installed; run: pip install "msvlm[metrics]"') from error


def _scores(radeval: ModuleType, name: str, generated: list[str], references: list[str]) -> list[ModelScore]:
    by_labels = name == "f1radbert_ct"
    with warnings.catch_warnings():  # RadEval silences those of the whole process
        try:
            if name == "radgraph":
                _prepare_radgraph(radeval)
            metric = radeval.RadEval(metrics=[name], per_sample=not by_labels, detailed=by_labels, show_progress=False)
        except (OSError, ImportError, ValueError) as error:
            raise MetricError(
                f"{name} cannot be loaded ({str(error).strip().splitlines()[0]}); its models come from huggingface.co: "
                "run it once where that can be reached, and keep the cache"
            ) from error
        results = metric(refs=references, hyps=generated)
    if by_labels:
        return _scores_of_labels(results)
    return [ModelScore(key, sum(values) / len(values), tuple(map(float, values))) for key, values in results.items()]


def _prepare_radgraph(radeval: ModuleType) -> None:
    """Puts RadGraph's model where RadEval looks for it.

    RadEval 2.2.1 imports RadGraph from a package `RadEval`, which is not the name that it is installed by (its issue
    27); and where it cannot download the model, it raises an `Exception` that no caller could tell from another.
    """
    sys.modules.setdefault("RadEval", radeval)
    cache = Path(import_module("RadEval.metrics.radgraph._vendor.core").CACHE_DIR)
    unpacked = cache / "radgraph-xl"
    if not unpacked.is_dir() or not any(unpacked.iterdir()):
        hf_hub_download("StanfordAIMI/RRG_scorers", "radgraph-xl.tar.gz", cache_dir=cache)


def _scores_of_labels(results: dict[str, float | dict[str, float]]) -> list[ModelScore]:
    """RadEval's, which take "no finding" for a nineteenth label, and the mean over the 18 labels, as CT-RATE has it."""
    scores = []
    for key, value in results.items():
        if isinstance(value, dict):
            of_findings = [f1 for label, f1 in value.items() if label != _NO_FINDING]
            scores.append(ModelScore("f1radbert_ct_macro_f1_of_findings", sum(of_findings) / len(of_findings)))
        else:
            scores.append(ModelScore(key, value))
    return scores
