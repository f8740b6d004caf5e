"""TrainConfig: the settings of one training stage, read from a TOML file; unknown keys and bad values are refused."""

import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import cattrs
import cattrs.v
from cattrs.errors import ClassValidationError

from msvlm.errors import ConfigError
from msvlm.model.ms_vlm import MsVlmConfig
from msvlm.training.calibrate import DomainSettings
from msvlm.training.learn_findings import FindingsSettings
from msvlm.training.loop import Optimisation
from msvlm.training.pretrain_slices import SlicesSettings
from msvlm.training.pretrain_z_former import MaskedEmbeddingSettings
from msvlm.training.report_stages import ReportSettings


class StageName(StrEnum):
    """The training stages, in their usual order."""

    SLICES = "slices"
    MASKED_EMBEDDINGS = "masked_embeddings"
    FINDINGS = "findings"
    ALIGN = "align"
    FINETUNE = "finetune"


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one training stage. Paths are relative to the working directory.

    Attributes:
        output: folder of the run: checkpoints, logs, and at the end `model`.
        manifest: the list of studies; split `train` is trained on, `validation` is scored while training.
        prepared: folder of model-ready slices (`msvlm prepare`).
        start_from: a model to continue from; where it is empty, a new one is built from `model`.
        vectors: folder for slice vectors, which stages with a frozen slice encoder compute once and share.
        evaluate_every, save_every: steps between evaluations, and between checkpoints.
        evaluated_studies: number of validation studies that are scored while training.
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
                raise ConfigError(f"{name} = {getattr(self, name)}; must be at least 1")


def read_train_config(path: Path) -> TrainConfig:
    """Reads the settings of a stage from a TOML file.

    Raises:
        ConfigError: the file is missing or not TOML, or holds an unknown key or a bad value.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read ({error.strerror}); pass a TOML file, see configs/") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path.name} is not TOML: {error}") from error
    converter = cattrs.Converter(forbid_extra_keys=True)
    try:
        return converter.structure(table, TrainConfig)
    except ClassValidationError as error:
        raise ConfigError(
            f"{path.name}: {'; '.join(cattrs.transform_error(error, format_exception=_describe))}"
        ) from error


def _describe(error: BaseException, expected: type | None) -> str:
    """Describes what is wrong with one key, with the value found."""
    if isinstance(error, ConfigError | ValueError):
        return str(error)
    return cattrs.v.format_exception(error, expected)
