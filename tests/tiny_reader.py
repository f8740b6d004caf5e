"""A model of toy size that has learned two reports by heart, and studies of toy size to read with it."""

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from msvlm.batch import StudyBatch
from msvlm.data.cues import write_cues
from msvlm.data.dataset import to_study_batch
from msvlm.data.text import ReportText, train_tokenizer
from msvlm.imaging.preprocess import InputConfig, prepare_study
from msvlm.model.findings_head import FindingsHeadConfig, FindingsOutput
from msvlm.model.language_model import LanguageModelConfig
from msvlm.model.ms_vlm import MsVlm, MsVlmConfig
from msvlm.model.resampler import ResamplerConfig
from msvlm.model.slice_encoder import SliceEncoderConfig
from msvlm.model.z_former import ZFormerConfig
from msvlm.study import LeftOut, Modality, Series, Study, Weighting
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

INPUT = InputConfig(rows=32, columns=32, pixel_spacing_mm=12.0)
NODULE_REPORT = (
    "Findings: There is a 12 mm nodule in the right upper lobe. No pleural effusion is seen. "
    "The thyroid gland is unremarkable.\nImpression: Right upper lobe nodule."
)
CLEAR_REPORT = (
    "Findings: The lungs are clear. No pulmonary nodule is seen. No pleural effusion is seen.\n"
    "Impression: No acute finding."
)


def tiny_study(seed: int, is_bright: bool = True, slices: int = 10) -> Study:
    """One axial series of noise around water or air, its slices from head to foot, and a localiser left out."""
    random = np.random.default_rng(seed)
    voxels = random.normal(200.0 if is_bright else -800.0, 50.0, (slices, 24, 24)).astype(np.int16)
    positions = np.zeros((slices, 3))
    positions[:, 2] = -5.0 * np.arange(slices)
    series = Series(
        key="s2",
        voxels=voxels,
        positions_ras_mm=positions,
        row_steps_ras_mm=np.tile((0.0, -14.0, 0.0), (slices, 1)),
        column_steps_ras_mm=np.tile((-14.0, 0.0, 0.0), (slices, 1)),
        modality=Modality.CT,
        weighting=Weighting.CT,
        body_part="chest",
    )
    return Study(f"study{seed}", (series,), (LeftOut("s1", "localiser"),))


def tiny_batch(*studies: Study) -> StudyBatch:
    """Studies made ready for the tiny model."""
    return to_study_batch([prepare_study(study, INPUT) for study in studies], INPUT)


def untrained_tiny_reader() -> MsVlm:
    """All parts but the language model; the same weights each time, slice vectors standardised."""
    torch.manual_seed(0)
    model = MsVlm(
        MsVlmConfig(
            input=INPUT,
            slice_encoder=SliceEncoderConfig(width=16, layers=1, heads=2, patch_pixels=8, region_grid=(2, 2)),
            z_former=ZFormerConfig(width=16, layers=1, heads=2),
            resampler=ResamplerConfig(queries=2, layers=1, heads=2),
            findings_head=FindingsHeadConfig(heads=2),
        )
    )
    model.eval()
    vectors = model.encode(tiny_batch(tiny_study(100), tiny_study(101, is_bright=False))).slice_vectors
    assert vectors is not None
    model.standardiser.fit(vectors.mean(dim=0), vectors.std(dim=0).clamp(min=1e-2))
    return model


def save_tiny_reader(folder: Path, steps: int = 120) -> Path:
    """A saved model that writes of bright studies that they have a nodule, and of dark ones that they are clear."""
    model = untrained_tiny_reader()
    tokenizer = train_tokenizer([NODULE_REPORT, CLEAR_REPORT] * 4, CHEST, vocabulary_size=400)
    text = ReportText(tokenizer, model.visual_tokens, CHEST)
    config = LanguageModelConfig(width=32, layers=2, heads=2, vocabulary_size=len(tokenizer))
    model.attach_language_model(config, text.visual_token_id)
    batch = tiny_batch(*(tiny_study(200 + index, is_bright=index % 2 == 0) for index in range(4)))
    batch = model.encode(batch)
    nodule = FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({"right", "right upper lobe"}), 12.0)
    written = text.training_batch(
        [write_cues((nodule,), CHEST), write_cues((), CHEST), "", ""], [NODULE_REPORT, CLEAR_REPORT] * 2
    )
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    for _ in range(steps):
        output = model(batch, written)
        loss = functional.cross_entropy(output.logits[:, :-1].flatten(0, 1), written.labels[:, 1:].flatten())
        loss = loss + _findings_loss(output.findings, nodule)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval().save_pretrained(folder, tokenizer)
    return folder


def _findings_loss(findings: FindingsOutput, nodule: FindingStatement) -> torch.Tensor:
    """Every second study has the nodule and no other finding."""
    column = CHEST.names.index(nodule.name)
    is_there = torch.zeros_like(findings.presence_logits)
    is_there[::2, column] = 1.0
    words = torch.tensor([float(word in nodule.attributes) for word in CHEST.attributes]).expand(len(is_there), -1)
    return (
        functional.binary_cross_entropy_with_logits(findings.presence_logits, is_there)
        + functional.binary_cross_entropy_with_logits(findings.attribute_logits[:, column], words)
        + (findings.log_sizes_mm[:, column] - math.log(nodule.size_mm or 1.0)).abs().mean()
    )
