"""What `make paths` follows, of toy size: a training step on its way, a model's pass over a study, and a reporter."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from tiny_reader import save_tiny_reader, tiny_batch, tiny_study, untrained_tiny_reader

from msvlm.batch import StudyBatch, TextBatch
from msvlm.data.dataset import StudyDataset
from msvlm.data.embeddings import VectorStore
from msvlm.data.manifest import ManifestStudy
from msvlm.data.prepared import PreparedStore
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement
from msvlm.imaging.preprocess import prepare_study
from msvlm.model.ms_vlm import MsVlm
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.out_of_domain import fit_training_domain
from msvlm.reporting.reporter import Reporter
from msvlm.training.engine import Optimisation, Step, Training, TrainingData, steps
from msvlm.training.learn_findings import FindingsSettings, FindingsStage


def steps_of_findings(model: MsVlm, folder: Path, from_pixels: bool) -> Iterator[Step]:
    """The findings stage on its way, on two studies whose findings and masks are known."""
    grid = model.slice_encoder.region_grid
    prepared = PreparedStore.create(folder / "prepared", model.config.input, grid)
    vectors = VectorStore.create(folder / "vectors", vectors_hash(model))
    statements = tuple(FindingStatement(name, Certainty.PRESENT) for name in CHEST_FINDING_NAMES)
    listed = []
    for seed in range(2):
        study = tiny_study(seed)
        listed.append(ManifestStudy(study.key, study.key, "train", ("x",), truth=statements))
        if study.key in prepared:
            continue
        slices = len(study.series[0].voxels)
        prepared.write(prepare_study(study, model.config.input), np.ones((slices, len(statements), *grid), dtype=bool))
        encoded = model.encode(tiny_batch(study)).slice_vectors
        assert encoded is not None
        vectors.write(study.key, encoded.detach().numpy())
    dataset = StudyDataset(listed, prepared, None if from_pixels else vectors)
    settings = FindingsSettings(train_slice_encoder=from_pixels, slices_per_study=6 if from_pixels else 0)
    optimisation = Optimisation(steps=2, batch_studies=2)
    stage = FindingsStage(model, TrainingData(dataset, dataset), settings, optimisation)
    running = steps(Training(stage, optimisation, Accelerator(cpu=True)))
    next(running)
    return running


def read_and_write(model: MsVlm, batch: StudyBatch, prompts: TextBatch) -> None:
    """A study of slices read, and a few tokens written about it."""
    with torch.inference_mode():
        reading = model.read(batch)
        assert reading.visual_tokens is not None
        model.generate(reading.visual_tokens, prompts, 4, end_token_id=0)


def tiny_reporter(folder: Path) -> Reporter:
    """A reporter that writes sentences with and without findings, and knows what it was trained on."""
    features = 2 * np.prod(untrained_tiny_reader().standardiser.mean.shape)
    summaries = np.random.default_rng(0).normal(size=(60, features)).astype(np.float32)
    fit_training_domain(summaries, summaries, ("CT",), ("chest",), "tiny studies").save(save_tiny_reader(folder))
    return Reporter.from_pretrained(folder, device="cpu")
