"""While a stage trains, its log shows held-out F1 and how much the reports differ, at every evaluation."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_runs import TinyData, make_tiny_data

from msvlm.training.run import train
from msvlm.training.run_log import METRICS_FILE
from msvlm.training.train_config import StageName, TrainConfig


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return make_tiny_data(tmp_path_factory.mktemp("tiny"), 6)


@pytest.fixture(scope="module")
def findings_run(data: TinyData) -> TrainConfig:
    config = replace(data.run(StageName.FINDINGS, "findings", 2), evaluate_every=1)
    train(config)
    return config


def _evaluations(config: TrainConfig) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (Path(config.output) / METRICS_FILE).read_text().splitlines()]
    return [line for line in lines if line["split"] == "validation"]


def test_the_stage_of_findings_logs_held_out_f1_at_every_evaluation(findings_run: TrainConfig) -> None:
    evaluations = _evaluations(findings_run)
    assert [line["step"] for line in evaluations] == [1, 2]
    assert all({"head_auc", "head_f1_at_best"} <= set(line) for line in evaluations)


def test_stages_that_write_log_held_out_f1_and_distinct_reports_at_every_evaluation(
    data: TinyData, findings_run: TrainConfig
) -> None:
    config = replace(
        data.run(StageName.ALIGN, "align", 2, Path(findings_run.output) / "model"),
        evaluate_every=1,
        evaluated_studies=2,
    )
    train(config)
    evaluations = _evaluations(config)
    assert [line["step"] for line in evaluations] == [1, 2]
    for line in evaluations:
        assert 0.0 <= line["report_f1"] <= 1.0
        assert line["distinct"] in (0.5, 1.0), "of two reports both differ, or none"
