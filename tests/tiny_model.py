"""Tiny real models and batches that the tests of the model share."""

import torch

from msvlm.batch import StudyBatch, TextBatch
from msvlm.imaging.preprocess import InputConfig
from msvlm.model.findings_head import FindingsHeadConfig
from msvlm.model.language_model import LanguageModelConfig
from msvlm.model.ms_vlm import MsVlm, MsVlmConfig
from msvlm.model.resampler import ResamplerConfig
from msvlm.model.slice_backbone import SliceEncoderKind
from msvlm.model.slice_encoder import SliceEncoderConfig
from msvlm.model.z_former import Pose, ZFormerConfig
from msvlm.study import Role

VISUAL_TOKEN = 3
END_TOKEN = 2
VOCABULARY = 40
TINY_INPUT = InputConfig(rows=32, columns=48, pixel_spacing_mm=8.0)


def tiny_encoder(kind: SliceEncoderKind = SliceEncoderKind.VIT, checkpoint: str = "") -> SliceEncoderConfig:
    return SliceEncoderConfig(
        checkpoint=checkpoint, kind=kind, width=16, layers=2, heads=2, region_grid=(2, 3), chunk_slices=4
    )


def tiny_config(encoder: SliceEncoderConfig | None = None, pose: Pose = Pose.MILLIMETRES) -> MsVlmConfig:
    return MsVlmConfig(
        input=TINY_INPUT,
        slice_encoder=encoder if encoder is not None else tiny_encoder(),
        z_former=ZFormerConfig(width=24, layers=2, heads=2, pose=pose),
        resampler=ResamplerConfig(queries=3, layers=2, heads=2),
        findings_head=FindingsHeadConfig(heads=2, layers=1),
    )


def tiny_language_model() -> LanguageModelConfig:
    return LanguageModelConfig(width=32, layers=2, heads=2, vocabulary_size=VOCABULARY)


def tiny_model(config: MsVlmConfig | None = None, seed: int = 0) -> MsVlm:
    """A fitted model with random weights and a language model, in reading mode."""
    torch.manual_seed(seed)
    model = MsVlm(config if config is not None else tiny_config())
    model.attach_language_model(tiny_language_model(), VISUAL_TOKEN)
    fit(model)
    # Larger weights than a model starts from: the words' logits must lie apart for greedy choices to mean something.
    with torch.no_grad():
        for parameter in model.language_model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(8.0)
    return model.eval()


def fit(model: MsVlm) -> None:
    shape = model.standardiser.mean.shape
    model.standardiser.fit(torch.zeros(shape), torch.ones(shape))


def random_study(slices: int, seed: int, series: int = 1) -> StudyBatch:
    """One study of random pixels at random places."""
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(slices, 3, generator=generator)
    return StudyBatch(
        study_index=torch.zeros(slices, dtype=torch.long),
        series_index=torch.arange(slices) * series // slices,
        position_mm=torch.randn(slices, 3, generator=generator) * 60,
        normal_ras=normal / normal.norm(dim=1, keepdim=True),
        role_index=torch.randint(Role.COUNT, (slices,), generator=generator),
        slices=torch.rand(slices, 3, TINY_INPUT.rows, TINY_INPUT.columns, generator=generator) * 2 - 1,
    )


def packed(*studies: StudyBatch) -> StudyBatch:
    return StudyBatch(
        study_index=torch.cat([study.study_index + index for index, study in enumerate(studies)]),
        series_index=torch.cat([study.series_index for study in studies]),
        position_mm=torch.cat([study.position_mm for study in studies]),
        normal_ras=torch.cat([study.normal_ras for study in studies]),
        role_index=torch.cat([study.role_index for study in studies]),
        slices=torch.cat([study.slices for study in studies]),
    )


def rearranged(study: StudyBatch, order: torch.Tensor) -> StudyBatch:
    return StudyBatch(
        study_index=study.study_index[order],
        series_index=study.series_index[order],
        position_mm=study.position_mm[order],
        normal_ras=study.normal_ras[order],
        role_index=study.role_index[order],
        slices=study.slices[order],
    )


def prompts(model: MsVlm, lengths: tuple[int, ...], seed: int = 0) -> TextBatch:
    """Left-padded prompts, with the visual tokens after the first word; `lengths` counts the other words."""
    generator = torch.Generator().manual_seed(seed)
    longest = max(lengths) + model.visual_tokens
    ids = torch.full((len(lengths), longest), END_TOKEN)
    mask = torch.zeros(len(lengths), longest, dtype=torch.bool)
    for row, length in enumerate(lengths):
        words = torch.randint(4, VOCABULARY, (length,), generator=generator)
        visual = torch.full((model.visual_tokens,), VISUAL_TOKEN)
        ids[row, longest - length - model.visual_tokens :] = torch.cat([words[:1], visual, words[1:]])
        mask[row, longest - length - model.visual_tokens :] = True
    return TextBatch(ids, mask)
