"""The loop: `steps` yields after every optimiser step and decides nothing else; and which studies a step sees."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from msvlm.batch import StudyBatch
from msvlm.data.dataset import StudyDataset, StudySample, batch_indices
from msvlm.errors import ConfigError, TrainingError


@dataclass(frozen=True)
class Optimisation:
    """How a stage's parameters are moved.

    Attributes:
        steps: optimiser steps of the whole stage.
        batch_studies: studies in a step, over all processes.
        learning_rate: at its highest; it rises over `warmup_steps`, then falls along half a cosine to `final_share`.
        gradient_clip: largest norm of all gradients together; 0 leaves them as they are.
        bf16: whether matrix products are computed in bfloat16.
        muon: whether Muon moves the weights of linear layers, and AdamW the rest; else AdamW moves all.
    """

    steps: int
    batch_studies: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 50
    final_share: float = 0.05
    weight_decay: float = 0.05
    gradient_clip: float = 1.0
    bf16: bool = False
    muon: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_studies < 1:
            raise ConfigError(f"{self.steps} steps of {self.batch_studies} studies; 1 of each at least")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate {self.learning_rate}; above 0 is wanted")
        if min(self.weight_decay, self.gradient_clip, self.warmup_steps) < 0 or not 0.0 <= self.final_share <= 1.0:
            raise ConfigError(
                f"weight_decay {self.weight_decay}, gradient_clip {self.gradient_clip}, warmup_steps "
                f"{self.warmup_steps}, final_share {self.final_share}; 0 or more, the last one at most 1"
            )

    def rate(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        falling = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * (self.final_share + (1.0 - self.final_share) * falling)


@dataclass(frozen=True)
class Share:
    """Which part of every batch this process computes."""

    process: int = 0
    processes: int = 1

    def of(self, positions: int) -> range:
        """The places in a batch that are this process's; every process has equally many.

        Raises:
            ConfigError: the batch cannot be parted evenly.
        """
        if positions % self.processes:
            raise ConfigError(
                f"batch_studies {positions} on {self.processes} processes; a multiple of {self.processes} is wanted"
            )
        each = positions // self.processes
        return range(self.process * each, (self.process + 1) * each)


@dataclass(frozen=True)
class TrainingData:
    """The two splits that a stage sees: one it learns from, one it is scored on while it learns."""

    training: StudyDataset
    validation: StudyDataset


@dataclass(frozen=True)
class StudyDraw:
    """One study of a batch by its place in the split, and the generator of all that is drawn for it."""

    index: int
    generator: np.random.Generator


@dataclass(frozen=True)
class SampleDraw:
    """One study of a batch as it was read, and the generator of all that is drawn for it."""

    sample: StudySample
    generator: np.random.Generator


def draw_studies(studies: int, optimisation: Optimisation, step: int, share: Share) -> list[StudyDraw]:
    """This process's studies of a step: a function of the seed and the step alone."""
    indices = batch_indices(studies, optimisation.batch_studies, step, optimisation.seed)
    return [
        StudyDraw(int(indices[position]), np.random.default_rng((optimisation.seed, step, position)))
        for position in share.of(optimisation.batch_studies)
    ]


def draw_samples(
    dataset: StudyDataset, optimisation: Optimisation, step: int, share: Share, slices: int | None
) -> list[SampleDraw]:
    """What `draw_studies` draws, each with `slices` slices drawn at random, or with all."""
    return [
        SampleDraw(dataset.sample(draw.index, slices, draw.generator), draw.generator)
        for draw in draw_studies(len(dataset), optimisation, step, share)
    ]


def hide_slices(batch: StudyBatch, draws: list[SampleDraw], share: float) -> Bool[Tensor, " slices"]:
    """Slices to do without: `share` of each study's, drawn with that study's generator."""
    study_index = batch.study_index.numpy()
    hidden = np.concatenate(
        [draw.generator.random(int((study_index == study).sum())) < share for study, draw in enumerate(draws)]
    )
    return torch.from_numpy(hidden)


@dataclass(frozen=True)
class LossPart:
    """One term of a loss, as it is logged."""

    name: str
    value: Tensor


@dataclass(frozen=True)
class StageLoss:
    """The loss of one batch: a mean over its studies, so that a batch parted among processes has the same mean."""

    total: Tensor
    parts: tuple[LossPart, ...]


def mean_over_studies(
    values: Float[Tensor, " slices"],
    study_index: Int[Tensor, " slices"],
    counted: Bool[Tensor, " slices"],
    studies: int,
) -> Float[Tensor, ""]:
    """The mean over studies of each study's mean over its counted slices; a study with none counts as 0."""
    weights = counted.to(values.dtype)
    sums = torch.zeros(studies, dtype=values.dtype, device=values.device)
    counts = torch.zeros_like(sums)
    sums = sums.index_add(0, study_index, values * weights)
    counts = counts.index_add(0, study_index, weights)
    return (sums / counts.clamp(min=1.0)).mean()


@runtime_checkable
class Movable(Protocol):
    """A batch."""

    def to(self, device: torch.device) -> "Movable":
        """The same batch on another device."""


Batch = TypeVar("Batch", bound=Movable)


@runtime_checkable
class Stage(Protocol):
    """What a stage is to the loop: a module that turns a batch into its loss, and where its batches come from."""

    def trained_parameters(self) -> list[nn.Parameter]:
        """What is trained; everything else is frozen."""

    def batches(self, start: int, share: Share) -> Iterator[Movable]:
        """The batches of the steps from `start` on; each is a function of its step alone."""

    def after_step(self, step: int) -> None:
        """What is done when the optimiser has moved, for example moving a teacher after its student."""


@dataclass(frozen=True)
class Step:
    """What one optimiser step gave.

    Attributes:
        number: counted from 1.
        loss, parts: means over all processes, before the step.
        gradient_norm: before clipping.
        seconds: of the step, its batch included.
    """

    number: int
    loss: float
    parts: tuple[tuple[str, float], ...]
    learning_rate: float
    gradient_norm: float
    seconds: float


class Training:
    """A stage made ready to be trained: its module on the device, its optimisers, and how far it has come."""

    def __init__(self, stage: nn.Module, optimisation: Optimisation, accelerator: Accelerator) -> None:
        if not isinstance(stage, Stage):
            raise TypeError(f"{type(stage).__name__} is no stage")
        self.stage: Stage = stage
        self.optimisation = optimisation
        self.accelerator = accelerator
        self.step = 0
        self.trained_parameters = stage.trained_parameters()
        trained = {id(parameter) for parameter in self.trained_parameters}
        for parameter in stage.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.module = stage
        self.wrapped, *self.optimizers = accelerator.prepare(stage, *self._build_optimizers())

    def _build_optimizers(self) -> list[torch.optim.Optimizer]:
        """Muon (Jordan 2024; scaled as in arXiv 2502.16982, so that AdamW's rates fit it) where asked, and AdamW."""
        rate, decay = self.optimisation.learning_rate, self.optimisation.weight_decay
        matrices = _linear_weights(self.module) if self.optimisation.muon else set()
        by_muon = [parameter for parameter in self.trained_parameters if id(parameter) in matrices]
        rest = [parameter for parameter in self.trained_parameters if id(parameter) not in matrices]
        optimizers: list[torch.optim.Optimizer] = []
        if by_muon:
            optimizers.append(torch.optim.Muon(by_muon, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
        if rest:
            optimizers.append(torch.optim.AdamW(rest, lr=rate, weight_decay=decay, betas=(0.9, 0.98)))
        return optimizers


def steps(training: Training) -> Iterator[Step]:
    """Trains from where the training stands to its last step, yielding after every optimiser step.

    Every random draw of a step follows from the seed and the step's number, so that a run resumed gives the numbers
    of one unbroken. What is drawn for a study is the same in however many processes; dropout is each process's own.

    Raises:
        TrainingError: a loss or a gradient is not a number.
    """
    optimisation, accelerator = training.optimisation, training.accelerator
    share = Share(accelerator.process_index, accelerator.num_processes)
    batches = training.stage.batches(training.step, share)
    training.wrapped.train()
    while training.step < optimisation.steps:
        begun = time.monotonic()
        torch.manual_seed((optimisation.seed * 1_000_003 + training.step) * share.processes + share.process)
        rate = optimisation.rate(training.step)
        for group in (group for optimizer in training.optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        loss: StageLoss = training.wrapped(next(batches).to(accelerator.device))
        means = accelerator.reduce(
            torch.stack([loss.total.detach().float(), *(part.value.detach().float() for part in loss.parts)]), "mean"
        )
        values = means.tolist()
        if not math.isfinite(values[0]):
            named = ", ".join(f"{part.name} {value}" for part, value in zip(loss.parts, values[1:], strict=True))
            raise TrainingError(
                f"step {training.step + 1}: the loss is {values[0]} ({named}); look at the batch, or lower "
                f"learning_rate (now {rate:.2g}); the last checkpoint is whole"
            )
        for optimizer in training.optimizers:
            optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss.total)
        norm = accelerator.clip_grad_norm_(training.trained_parameters, optimisation.gradient_clip or math.inf)
        if not torch.isfinite(norm):
            raise TrainingError(f"step {training.step + 1}: the gradients' norm is {norm.item()}; lower learning_rate")
        for optimizer in training.optimizers:
            optimizer.step()
        training.stage.after_step(training.step)
        training.step += 1
        parts = tuple((part.name, value) for part, value in zip(loss.parts, values[1:], strict=True))
        yield Step(training.step, values[0], parts, rate, float(norm), time.monotonic() - begun)


def _linear_weights(module: nn.Module) -> set[int]:
    """The ids of the weights of linear layers, but for those that stand for tokens: tables, and output layers."""
    layers = list(module.modules())
    outputs = [layer.get_output_embeddings() for layer in layers if isinstance(layer, PreTrainedModel)]
    tables = [layer for layer in layers if isinstance(layer, nn.Embedding)]
    tokens = {id(layer.weight) for layer in tables + outputs if layer is not None}
    return {id(layer.weight) for layer in layers if isinstance(layer, nn.Linear)} - tokens
