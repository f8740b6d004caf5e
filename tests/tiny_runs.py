"""A handful of synthetic studies, prepared small, and the settings of tiny runs on them."""

from dataclasses import dataclass, replace
from pathlib import Path

from msvlm.data.crops import CropConfig
from msvlm.data.manifest import read_manifest
from msvlm.data.phantoms import MANIFEST_NAME, write_phantoms
from msvlm.data.prepare import prepare
from msvlm.data.slice_store import SliceStore
from msvlm.imaging.preprocess import InputConfig
from msvlm.model.findings_head import FindingsHeadConfig
from msvlm.model.language_model import LanguageModelConfig
from msvlm.model.ms_vlm import MsVlmConfig
from msvlm.model.resampler import ResamplerConfig
from msvlm.model.slice_encoder import SliceEncoderConfig
from msvlm.model.z_former import ZFormerConfig
from msvlm.training.learn_findings import FindingsSettings
from msvlm.training.loop import Optimisation
from msvlm.training.pretrain_slices import SlicesSettings
from msvlm.training.report_stages import ReportSettings
from msvlm.training.train_config import StageName, TrainConfig
from msvlm.vocabulary.chest import CHEST

INPUT = InputConfig(rows=48, columns=64, pixel_spacing_mm=6.0)
GRID = (3, 4)
MODEL = MsVlmConfig(
    input=INPUT,
    slice_encoder=SliceEncoderConfig(width=16, layers=1, heads=2, patch_pixels=8, region_grid=GRID),
    z_former=ZFormerConfig(width=32, layers=1, heads=2),
    resampler=ResamplerConfig(queries=2, layers=1, heads=2),
    findings_head=FindingsHeadConfig(heads=2),
)


@dataclass(frozen=True)
class TinyData:
    """Where the studies lie.

    Attributes:
        folder: holds all of it.
    """

    folder: Path

    @property
    def manifest(self) -> Path:
        return self.folder / "studies" / MANIFEST_NAME

    @property
    def prepared(self) -> Path:
        return self.folder / "prepared"

    def run(self, stage: StageName, output: str, steps: int, start_from: Path | None = None) -> TrainConfig:
        """The settings of one stage; a new tiny model where there is none to start from."""
        return TrainConfig(
            stage=stage,
            output=str(self.folder / output),
            manifest=str(self.manifest),
            prepared=str(self.prepared),
            optimisation=Optimisation(steps=steps, batch_studies=4, warmup_steps=2),
            start_from=str(start_from) if start_from is not None else "",
            vectors=str(self.folder / f"vectors_{output}"),
            evaluate_every=1000,
            save_every=2,
            model=MODEL if start_from is None else None,
            slices=SlicesSettings(
                slices_per_study=2,
                prototypes=32,
                crops=CropConfig(global_pixels=(48, 48), local_pixels=(24, 24), local_crops=2),
            ),
            findings=FindingsSettings(slices_per_study=0),
            reports=ReportSettings(
                language_model=LanguageModelConfig(width=32, layers=1, heads=2), vocabulary_size=400, cue_drop=0.5
            ),
        )


def make_tiny_data(folder: Path, studies: int = 12) -> TinyData:
    """Draws and prepares the studies: two thirds to train on, the rest to validate."""
    data = TinyData(folder)
    validated = studies // 3
    write_phantoms(data.manifest.parent, (studies - validated, validated, 0), 700_000, 1, as_dicom=False)
    summary = prepare(read_manifest(data.manifest), SliceStore.create(data.prepared, CHEST, INPUT, GRID), 1)
    assert summary.prepared == studies and not summary.left_out
    return data


def faster(config: TrainConfig, learning_rate: float, batch_studies: int) -> TrainConfig:
    """The same run with another rate and batch."""
    optimisation = replace(config.optimisation, learning_rate=learning_rate, batch_studies=batch_studies)
    return replace(config, optimisation=optimisation)
