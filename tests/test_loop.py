"""The loop: a resumed run is an unbroken one, a loss that is not a number stops it, checkpoints are whole or absent."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from msvlm.errors import ConfigError, TrainingError
from msvlm.training.checkpoint import load_checkpoint, save_checkpoint
from msvlm.training.loop import LossPart, Optimisation, Shard, StageLoss, Training, steps


@dataclass(frozen=True)
class Numbers:
    values: torch.Tensor

    def to(self, device: torch.device) -> "Numbers":
        return Numbers(self.values.to(device))


class LineStage(nn.Module):
    """Learns to add up eight numbers, with dropout, so that the random state matters too."""

    def __init__(self, bad_step: int = -1) -> None:
        super().__init__()
        self.line = nn.Sequential(nn.Dropout(0.2), nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
        self.frozen = nn.Linear(2, 2)
        self.bad_step = bad_step

    def trained_parameters(self) -> list[nn.Parameter]:
        return list(self.line.parameters())

    def batch(self, step: int, shard: Shard) -> Numbers:
        values = torch.randn(len(shard.positions(4)), 8, generator=torch.Generator().manual_seed(step))
        return Numbers(values * torch.nan if step == self.bad_step else values)

    def forward(self, batch: Numbers) -> StageLoss:
        loss = (self.line(batch.values)[:, 0] - batch.values.sum(1)).square().mean()
        return StageLoss(loss, (LossPart("square", loss),))

    def after_step(self, step: int) -> None:
        pass


OPTIMISATION = Optimisation(steps=12, warmup_steps=3, learning_rate=0.01)


def training(optimisation: Optimisation = OPTIMISATION, bad_step: int = -1) -> Training:
    torch.manual_seed(0)
    return Training(LineStage(bad_step), optimisation, Accelerator(cpu=True))


@pytest.mark.parametrize("muon", [False, True])
def test_a_resumed_run_gives_the_losses_of_an_unbroken_one_bit_for_bit(muon: bool, tmp_path: Path) -> None:
    optimisation = replace(OPTIMISATION, muon=muon)
    unbroken = [step.loss for step in steps(training(optimisation))]
    first = training(optimisation)
    before = []
    for step in steps(first):
        before.append(step.loss)
        if step.number == 5:
            save_checkpoint(first, tmp_path)
            break
    second = training(optimisation)
    assert load_checkpoint(second, tmp_path)
    assert second.step == 5
    assert before + [step.loss for step in steps(second)] == unbroken


def test_only_the_newest_checkpoint_is_kept_and_a_half_written_one_is_passed_over(tmp_path: Path) -> None:
    run = training()
    for _ in steps(run):
        save_checkpoint(run, tmp_path)
    assert [place.name for place in tmp_path.iterdir()] == ["step_00000012"]
    (tmp_path / ".temporary-elsewhere-1-0").mkdir()
    again = training()
    assert load_checkpoint(again, tmp_path) and again.step == 12


def test_without_a_checkpoint_a_run_starts_at_its_beginning(tmp_path: Path) -> None:
    run = training()
    assert not load_checkpoint(run, tmp_path / "nothing") and run.step == 0


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    run = training()
    next(iter(steps(run)))
    save_checkpoint(run, tmp_path)
    other = training()
    other.module.line[1] = nn.Linear(8, 17)
    with pytest.raises(TrainingError, match="belongs to another model"):
        load_checkpoint(other, tmp_path)


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step() -> None:
    with pytest.raises(TrainingError, match=r"step 4: the loss is nan \(square nan\)"):
        list(steps(training(bad_step=3)))


def test_what_is_not_named_is_frozen() -> None:
    run = training()
    before = run.module.frozen.weight.clone()
    moved = run.module.line[1].weight.clone()
    list(steps(run))
    assert torch.equal(run.module.frozen.weight, before) and not run.module.frozen.weight.requires_grad
    assert not torch.equal(run.module.line[1].weight, moved)


def test_muon_moves_the_weights_of_linear_layers_and_adamw_the_rest() -> None:
    run = training(replace(OPTIMISATION, muon=True))
    by_muon, by_adamw = (
        [parameter for group in optimizer.param_groups for parameter in group["params"]] for optimizer in run.optimizers
    )
    assert {parameter.ndim for parameter in by_muon} == {2}
    assert {parameter.ndim for parameter in by_adamw} == {1}
    assert {id(parameter) for parameter in by_muon + by_adamw} == {
        id(parameter) for parameter in run.trained_parameters
    }
    batch = run.stage.batch(0, Shard())
    before = run.stage.eval()(batch).total
    assert all(step.gradient_norm > 0 for step in steps(run))
    assert run.stage.eval()(batch).total < before


def test_muon_leaves_the_table_of_tokens_to_adamw() -> None:
    class TiedStage(LineStage):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(8, 1)
            self.output = nn.Linear(1, 8, bias=False)
            self.output.weight = self.table.weight

        def trained_parameters(self) -> list[nn.Parameter]:
            return [*self.line.parameters(), *self.table.parameters()]

    run = Training(TiedStage(), replace(OPTIMISATION, muon=True), Accelerator(cpu=True))
    assert isinstance(run.stage, TiedStage)
    moved = {id(parameter) for group in run.optimizers[0].param_groups for parameter in group["params"]}
    assert moved == {id(layer.weight) for layer in run.stage.line if isinstance(layer, nn.Linear)}


def test_muon_leaves_an_output_layer_to_adamw() -> None:
    shape = LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2)

    class WritingStage(LineStage):
        def __init__(self) -> None:
            super().__init__()
            self.writer = LlamaForCausalLM(shape)

        def trained_parameters(self) -> list[nn.Parameter]:
            return list(self.writer.parameters())

    run = Training(WritingStage(), replace(OPTIMISATION, muon=True), Accelerator(cpu=True))
    assert isinstance(run.stage, WritingStage) and not shape.tie_word_embeddings
    moved = {id(parameter) for group in run.optimizers[0].param_groups for parameter in group["params"]}
    layers = run.stage.writer.model.layers
    assert moved == {id(layer.weight) for layer in layers.modules() if isinstance(layer, nn.Linear)}


def test_a_checkpoint_leaves_out_what_is_frozen_of_the_model(tmp_path: Path) -> None:
    class ModelStage(LineStage):
        def __init__(self) -> None:
            super().__init__()
            self.model = nn.ModuleDict({"line": self.line, "frozen": nn.Linear(3, 3)})

    run = Training(ModelStage(), OPTIMISATION, Accelerator(cpu=True))
    next(steps(run))
    save_checkpoint(run, tmp_path)
    with safe_open(tmp_path / "step_00000001" / "module.safetensors", "pt") as file:
        names = set(file.keys())
    assert {"frozen.weight", "frozen.bias"} <= names, "what is not of the model may have been moved by after_step"
    assert not {name for name in names if name.startswith("model.frozen")}
    assert load_checkpoint(Training(ModelStage(), OPTIMISATION, Accelerator(cpu=True)), tmp_path)


def test_the_rate_rises_and_falls() -> None:
    rates = [OPTIMISATION.rate(step) for step in range(12)]
    assert max(rates) == pytest.approx(0.01)
    assert rates[0] < rates[1] < rates[2] and rates[3] > rates[7] > rates[11] >= 0.05 * 0.01


def test_processes_share_a_batch_without_overlap_or_gap() -> None:
    assert [place for process in range(4) for place in Shard(process, 4).positions(8)] == list(range(8))
    with pytest.raises(ConfigError, match="a multiple of 3"):
        Shard(0, 3).positions(8)


def test_an_optimisation_of_no_steps_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 steps"):
        Optimisation(steps=0)
