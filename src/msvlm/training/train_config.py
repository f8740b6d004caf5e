"""TrainConfig: one stage of training, read from a TOML file; an unknown key or a bad value is refused by name."""

import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import cattrs
import cattrs.v
from cattrs.errors import ClassValidationError

from msvlm.errors import ConfigError
from msvlm.model.ms_vlm import MsVlmConfig
from msvlm.training.engine import Optimisation
from msvlm.training.learn_findings import FindingsSettings
from msvlm.training.pretrain_slices import SlicesSettings
from msvlm.training.pretrain_z_former import MaskedEmbeddingSettings
from msvlm.training.scoring import DomainSettings
from msvlm.training.write_reports import ReportSettings


class StageName(StrEnum):
    """The stages, in their order."""

    SLICES = "slices"
    MASKED_EMBEDDINGS = "masked_embeddings"
    FINDINGS = "findings"
    ALIGN = "align"
    FINETUNE = "finetune"


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training. Paths are relative to the folder that the command runs in.

    Attributes:
        output: the run's folder: checkpoints, logs, and at the end `model`.
        manifest: the list of studies; `train` is trained on, `validation` is scored while training.
        prepared: folder of model-ready slices (`msvlm prepare`).
        start_from: a model to go on from; empty: a new one is built from `model`.
        vectors: folder for slice vectors, which stages with a frozen slice encoder compute once and share.
        evaluate_every, save_every: steps between evaluations, and between checkpoints.
        evaluated_studies: how many validation studies are scored while training.
    """

    stage: StageName
    output: str
    manifest: str
    prepared: str
    optimisation: Optimisation
    start_from: str = ""
    vectors: str = ""
    evaluate_every: int = 200
    save_every: int = 200
    evaluated_studies: int = 100
    model: MsVlmConfig | None = None
    domain: DomainSettings = field(default_factory=DomainSettings)
    slices: SlicesSettings = field(default_factory=SlicesSettings)
    masked_embeddings: MaskedEmbeddingSettings = field(default_factory=MaskedEmbeddingSettings)
    findings: FindingsSettings = field(default_factory=FindingsSettings)
    reports: ReportSettings = field(default_factory=ReportSettings)

    def __post_init__(self) -> None:
        for name in ("evaluate_every", "save_every", "evaluated_studies"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} = {getattr(self, name)}; 1 at least")


def read_train_config(path: Path) -> TrainConfig:
    """The stage that a TOML file describes.

    Raises:
        ConfigError: the file is missing or no TOML, or holds an unknown key or a value that makes no sense.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read ({error.strerror}); pass a TOML file, see configs/") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name} is no TOML: {error}") from error
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        return converter.structure(table, TrainConfig)
    except ClassValidationError as error:
        raise ConfigError(f"{path.name}: {'; '.join(cattrs.transform_error(error, format_exception=_told))}") from error


def _told(error: BaseException, wanted: type | None) -> str:
    """What is wrong with one key, the value that was found included."""
    if isinstance(error, ConfigError | ValueError):
        return str(error)
    return cattrs.v.format_exception(error, wanted)
