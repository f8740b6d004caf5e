"""The verbs that work on many studies: phantom, prepare, train, evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msvlm.data.prepare import StudyNotes
    from msvlm.model.ms_vlm import MsVlmConfig


@dataclass(frozen=True)
class Phantom:
    """Generates synthetic chest CT studies with reports, truth, lesion masks and a manifest; resumes if interrupted.

    Attributes:
        output: Folder for the studies and manifest.jsonl.
        studies: Number of train, validation and test studies.
        first_seed: Seed of the first study; the others have the following seeds.
        dicom: Write DICOM folders instead of NIfTI files.
        workers: Number of processes.
    """

    output: Annotated[Positional[Path], arg(metavar="OUTPUT")]
    studies: tuple[int, int, int] = (80, 10, 10)
    first_seed: int = 0
    dicom: bool = False
    workers: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: one for each usable core)")] = None

    def run(self) -> None:
        from msvlm.data.phantoms import write_phantoms

        manifest = write_phantoms(self.output, self.studies, self.first_seed, self.workers, self.dicom)
        print(f"{len(manifest.studies)} synthetic studies in {manifest.path}")


@dataclass(frozen=True)
class Prepare:
    """Reads every study of a manifest and writes its model-ready slices to disk, once; resumes if interrupted.

    Attributes:
        manifest: The list of studies.
        output: Folder for the slices.
        model: Model whose preprocessing is used: its folder, its name on the hub, or the TOML file of a training stage.
        workers: Number of processes.
    """

    manifest: Annotated[Positional[Path], arg(metavar="MANIFEST")]
    output: Annotated[Positional[Path], arg(metavar="OUTPUT")]
    model: Annotated[
        str | None,
        arg(
            metavar="FOLDER|NAME|TOML",
            help_behavior_hint="(default: the bundled model, or default settings if it is not installed)",
        ),
    ] = None
    workers: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: one for each usable core)")] = None

    def run(self) -> None:
        from msvlm.data.manifest import read_manifest
        from msvlm.data.prepare import prepare
        from msvlm.data.slice_store import SliceStore
        from msvlm.errors import DataError
        from msvlm.vocabulary import find_vocabulary

        manifest = read_manifest(self.manifest)
        config = _model_config(self.model)
        store = SliceStore.create(
            self.output, find_vocabulary(config.vocabulary), config.input, config.slice_encoder.region_grid
        )
        summary = prepare(manifest, store, self.workers)
        print(f"{summary.prepared} studies prepared, {summary.already_prepared} already prepared")
        for note, keys in _keys_by_note(summary.notes).items():
            print(f"{keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}: {note}")
        for item in summary.left_out:
            print(f"left out: {item.name}: {item.reason}")
        if not summary.prepared + summary.already_prepared:
            raise DataError(f"none of {len(manifest.studies)} studies could be prepared; see the reasons above")


@dataclass(frozen=True)
class Train:
    """Runs one training stage from a TOML file; an interrupted run resumes from its last checkpoint.

    Attributes:
        config: TOML file of the stage; examples are in configs/.
    """

    config: Annotated[Positional[Path], arg(metavar="CONFIG")]

    def run(self) -> None:
        from msvlm.training.run import train
        from msvlm.training.train_config import read_train_config

        print(f"The trained model is in {train(read_train_config(self.config))}")


@dataclass(frozen=True)
class Evaluate:
    """Scores a model's reports on held-out studies, and for comparison trivial reports and the model without its image.

    Attributes:
        manifest: The list of studies.
        prepared: Folder of their model-ready slices.
        model: Folder of a model, or its name on the hub.
        output: Folder for scores.txt, scores.json, scores.csv, scores.png and reports.jsonl.
        split: Split to score.
        limit: Score only the first studies of the split.
        vectors: Folder in which training stored the slice vectors of this model's slice encoder.
        evidence_studies: Number of studies with lesion masks whose evidence is compared with the masks; 0 skips it.
        against: Output folder of another model's evaluation on the same studies, for comparison.
    """

    manifest: Annotated[Positional[Path], arg(metavar="MANIFEST")]
    prepared: Annotated[Positional[Path], arg(metavar="PREPARED")]
    model: Annotated[str | None, arg(metavar="FOLDER|NAME", help_behavior_hint="(default: the bundled model)")] = None
    output: Path = Path("evaluation")
    split: Literal["train", "validation", "test"] = "test"
    limit: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: all)")] = None
    vectors: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: encode again)")] = None
    evidence_studies: Annotated[int | None, arg(metavar="INT", help_behavior_hint="(default: 50)")] = None
    against: Annotated[Path | None, arg(metavar="PATH", help_behavior_hint="(default: no comparison)")] = None

    def run(self) -> None:
        from msvlm.evaluation.evaluate import EVIDENCE_STUDIES, evaluate

        evaluation = evaluate(
            self.model,
            self.manifest,
            self.prepared,
            self.output,
            self.split,
            self.limit,
            self.vectors,
            EVIDENCE_STUDIES if self.evidence_studies is None else self.evidence_studies,
            self.against,
        )
        print(evaluation.to_text())
        print(f"Written: {self.output}")


def _keys_by_note(studies: "Iterable[StudyNotes]") -> dict[str, list[str]]:
    """Returns each note with the keys of the studies that have it."""
    keys: dict[str, list[str]] = {}
    for study in studies:
        for note in (*(f"left out: {item.name}: {item.reason}" for item in study.left_out), *study.notes):
            keys.setdefault(note, []).append(study.key)
    return keys


def _model_config(model: str | None) -> "MsVlmConfig":
    """Returns the configuration of a model; without a name, of the bundled model, or the default without one."""
    from msvlm.model.model_folder import find_folder, read_config
    from msvlm.model.ms_vlm import MsVlmConfig
    from msvlm.reporting.reporter import bundled_folder
    from msvlm.training.train_config import read_train_config

    if model is not None and model.endswith(".toml"):
        stage = read_train_config(Path(model))
        if stage.model is not None:
            return stage.model
        model = stage.start_from
    folder = bundled_folder() if model is None else find_folder(model)
    return MsVlmConfig() if folder is None else read_config(folder, MsVlmConfig)
