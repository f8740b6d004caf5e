"""On a GPU the answers are those of the CPU, and a run trains and goes on there."""

import shutil
from pathlib import Path

import pytest
import torch
from tiny_reader import save_tiny_reader, tiny_batch, tiny_study
from tiny_runs import make_tiny_data

from msvlm.model.ms_vlm import MsVlm
from msvlm.training.run import train
from msvlm.training.run_log import METRICS_FILE
from msvlm.training.train_config import StageName

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")]


def test_a_gpu_reads_what_a_cpu_reads(tmp_path: Path) -> None:
    model = MsVlm.from_pretrained(save_tiny_reader(tmp_path / "model"))
    batch = tiny_batch(tiny_study(1), tiny_study(2, is_bright=False))
    with torch.inference_mode():
        on_cpu = model.read(batch)
        on_gpu = model.to("cuda").read(batch.to(torch.device("cuda")))
    torch.testing.assert_close(
        on_gpu.findings.presence_logits.cpu(), on_cpu.findings.presence_logits, rtol=1e-3, atol=1e-3
    )


def test_a_run_trains_on_a_gpu_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    data = make_tiny_data(tmp_path)
    config = data.run(StageName.FINDINGS, "findings", 4)
    folder = train(config)
    before = MsVlm.from_pretrained(folder).weights_hash()
    shutil.rmtree(folder)
    metrics = (Path(config.output) / METRICS_FILE).read_text(encoding="utf-8")
    assert MsVlm.from_pretrained(train(config)).weights_hash() == before
    train_lines = [line for line in metrics.splitlines() if '"train"' in line]
    assert set(train_lines) <= set((Path(config.output) / METRICS_FILE).read_text(encoding="utf-8").splitlines())
    aligned = train(data.run(StageName.ALIGN, "align", 2, folder))
    assert MsVlm.from_pretrained(aligned).language_model is not None
