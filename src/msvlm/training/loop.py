"""The training loop: `steps` yields after every optimiser step; and the sampling of the studies of each step."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

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
    """Optimiser, learning rate and length of a stage.

    Attributes:
        steps: optimiser steps of the whole stage.
        batch_studies: studies per step, over all processes.
        learning_rate: its maximum; it rises over `warmup_steps`, then falls along half a cosine to `final_share` of it.
        gradient_clip: largest norm of all gradients together; 0 for no clipping.
        bf16: whether matrix products are computed in bfloat16.
        muon: whether Muon optimises the weights of linear layers, and AdamW the rest; else AdamW optimises all.
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
            raise ConfigError(f"{self.steps} steps of {self.batch_studies} studies; each must be at least 1")
        if not self.learning_rate > 0:
            raise ConfigError(f"learning_rate {self.learning_rate}; must be above 0")
        if min(self.weight_decay, self.gradient_clip, self.warmup_steps) < 0 or not 0.0 <= self.final_share <= 1.0:
            raise ConfigError(
                f"weight_decay {self.weight_decay}, gradient_clip {self.gradient_clip}, warmup_steps "
                f"{self.warmup_steps}, final_share {self.final_share}; must be 0 or more, final_share at most 1"
            )

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        progress = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        falling = 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
        return self.learning_rate * (self.final_share + (1.0 - self.final_share) * falling)


@dataclass(frozen=True)
class Shard:
    """The part of every batch that one process computes."""

    rank: int = 0
    world_size: int = 1

    def positions(self, batch_studies: int) -> range:
        """Returns the positions in a batch that belong to this rank; every rank has equally many.

        Raises:
            ConfigError: the batch cannot be divided evenly.
        """
        if batch_studies % self.world_size:
            raise ConfigError(
                f"batch_studies {batch_studies} on {self.world_size} processes; must be a multiple of {self.world_size}"
            )
        each = batch_studies // self.world_size
        return range(self.rank * each, (self.rank + 1) * each)


@dataclass(frozen=True)
class TrainingData:
    """The split that a stage trains on, and the split on which it is evaluated meanwhile."""

    training: StudyDataset
    validation: StudyDataset


@dataclass(frozen=True)
class ChosenStudy:
    """One study of a batch: its index in the split, and the random generator for everything sampled for it."""

    index: int
    generator: np.random.Generator


@dataclass(frozen=True)
class LoadedStudy:
    """One study of a batch as it was read, and the random generator for everything sampled for it."""

    sample: StudySample
    generator: np.random.Generator


def choose_studies(studies: int, optimisation: Optimisation, step: int, shard: Shard) -> list[ChosenStudy]:
    """Returns this rank's studies of a step, out of so many: a function of seed and step alone."""
    indices = batch_indices(studies, optimisation.batch_studies, step, optimisation.seed)
    return [
        ChosenStudy(int(indices[position]), np.random.default_rng((optimisation.seed, step, position)))
        for position in shard.positions(optimisation.batch_studies)
    ]


def load_studies(
    dataset: StudyDataset, optimisation: Optimisation, step: int, shard: Shard, slices: int | None
) -> list[LoadedStudy]:
    """Reads this rank's studies of a step, each with `slices` slices sampled at random, or with all."""
    return [
        LoadedStudy(dataset.sample(chosen.index, slices, chosen.generator), chosen.generator)
        for chosen in choose_studies(len(dataset), optimisation, step, shard)
    ]


def mask_slices(batch: StudyBatch, studies: list[LoadedStudy], mask_ratio: float) -> Bool[Tensor, " slices"]:
    """Returns which slices are masked: each with probability `mask_ratio`, sampled with its study's generator."""
    study_index = batch.study_index.numpy()
    masked = np.concatenate(
        [
            study.generator.random(int((study_index == number).sum())) < mask_ratio
            for number, study in enumerate(studies)
        ]
    )
    return torch.from_numpy(masked)


@dataclass(frozen=True)
class LossPart:
    """One term of a loss, for the log."""

    name: str
    value: Tensor


@dataclass(frozen=True)
class StageLoss:
    """The loss of one batch: a mean over its studies, so that a batch split over processes has the same mean."""

    total: Tensor
    parts: tuple[LossPart, ...]


def mean_over_studies(
    values: Float[Tensor, " slices"],
    study_index: Int[Tensor, " slices"],
    counted: Bool[Tensor, " slices"],
    studies: int,
) -> Float[Tensor, ""]:
    """Returns the mean over studies of each study's mean over its counted slices; a study with none counts as 0."""
    weights = counted.to(values.dtype)
    sums = torch.zeros(studies, dtype=values.dtype, device=values.device)
    counts = torch.zeros_like(sums)
    sums = sums.index_add(0, study_index, values * weights)
    counts = counts.index_add(0, study_index, weights)
    return (sums / counts.clamp(min=1.0)).mean()


@runtime_checkable
class Batch(Protocol):
    """What a stage trains on in one step."""

    def to(self, device: torch.device) -> "Batch":
        """Returns the same batch on another device."""


@runtime_checkable
class Stage(Protocol):
    """The interface of a stage: a module that computes the loss of a batch, and the source of its batches."""

    def trained_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters to train; all others are frozen."""

    def batch(self, step: int, shard: Shard) -> Batch:
        """Returns this rank's part of the batch of a step, counted from 0: a function of step and shard alone."""

    def after_step(self, step: int) -> None:
        """Runs after each optimiser step, for example to update a teacher."""


@dataclass(frozen=True)
class Step:
    """Result of one optimiser step.

    Attributes:
        number: counted from 1.
        loss, parts: means over all processes, before the step.
        gradient_norm: before clipping.
        seconds: duration of the step, loading its batch included.
    """

    number: int
    loss: float
    parts: tuple[tuple[str, float], ...]
    learning_rate: float
    gradient_norm: float
    seconds: float


class Training:
    """A stage with its module on the device, its optimisers, and the number of steps done."""

    def __init__(self, stage: nn.Module, optimisation: Optimisation, accelerator: Accelerator) -> None:
        if not isinstance(stage, Stage):
            raise TypeError(f"{type(stage).__name__} is not a stage")
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
        """Builds AdamW, and with `muon` Muon (Jordan 2024), scaled so that AdamW's rates fit (arXiv 2502.16982)."""
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
    """Trains from the current step to the last one, yielding after every optimiser step.

    All randomness of a step follows from the seed and the step's number, so that a resumed run gives the same numbers
    as an unbroken one. What is sampled for a study does not depend on the number of processes; dropout does.

    Raises:
        TrainingError: a loss or a gradient is not finite.
    """
    optimisation, accelerator = training.optimisation, training.accelerator
    shard = Shard(accelerator.process_index, accelerator.num_processes)
    training.wrapped.train()
    while training.step < optimisation.steps:
        started = time.monotonic()
        torch.manual_seed((optimisation.seed * 1_000_003 + training.step) * shard.world_size + shard.rank)
        rate = optimisation.rate(training.step)
        for group in (group for optimizer in training.optimizers for group in optimizer.param_groups):
            group["lr"] = rate
        loss: StageLoss = training.wrapped(training.stage.batch(training.step, shard).to(accelerator.device))
        means = accelerator.reduce(
            torch.stack([loss.total.detach().float(), *(part.value.detach().float() for part in loss.parts)]), "mean"
        )
        values = means.tolist()
        if not math.isfinite(values[0]):
            named = ", ".join(f"{part.name} {value}" for part, value in zip(loss.parts, values[1:], strict=True))
            raise TrainingError(
                f"step {training.step + 1}: the loss is {values[0]} ({named}); look at the batch, or lower "
                f"learning_rate (now {rate:.2g}); the last checkpoint is complete"
            )
        for optimizer in training.optimizers:
            optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss.total)
        norm = accelerator.clip_grad_norm_(training.trained_parameters, optimisation.gradient_clip or math.inf)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"step {training.step + 1}: the norm of the gradients is {norm.item()}; lower learning_rate"
            )
        for optimizer in training.optimizers:
            optimizer.step()
        training.stage.after_step(training.step)
        training.step += 1
        parts = tuple((part.name, value) for part, value in zip(loss.parts, values[1:], strict=True))
        yield Step(training.step, values[0], parts, rate, float(norm), time.monotonic() - started)


def _linear_weights(module: nn.Module) -> set[int]:
    """Returns the ids of the weights of linear layers, without output layers and weights tied to an embedding table."""
    layers = list(module.modules())
    outputs = [layer.get_output_embeddings() for layer in layers if isinstance(layer, PreTrainedModel)]
    tables = [layer for layer in layers if isinstance(layer, nn.Embedding)]
    tokens = {id(layer.weight) for layer in tables + outputs if layer is not None}
    return {id(layer.weight) for layer in layers if isinstance(layer, nn.Linear)} - tokens
