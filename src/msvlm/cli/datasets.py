"""The verbs that work on many studies: phantom, prepare, train, evaluate."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from msvlm.data.prepare import PreparedNotes
    from msvlm.model.ms_vlm import MsVlmConfig


@dataclass(frozen=True)
class Phantom:
    """Draws synthetic chest CT studies with reports, truth, lesion masks and a manifest; goes on where it stopped.

    Attributes:
        output: folder for the studies and manifest.jsonl.
        studies: how many of train, validation and test, in this order.
        first_seed: of the first study; the others follow.
        dicom: DICOM folders instead of NIfTI files.
        workers: processes; where none are named, one for each core that may be used.
    """

    output: Annotated[Positional[Path], arg(metavar="OUTPUT")]
    studies: tuple[int, int, int] = (80, 10, 10)
    first_seed: int = 0
    dicom: bool = False
    workers: Annotated[int | None, arg(metavar="INT")] = None

    def run(self) -> None:
        from msvlm.data.phantoms import write_phantoms

        manifest = write_phantoms(self.output, self.studies, self.first_seed, self.workers, self.dicom)
        print(f"{len(manifest.studies)} synthetic studies in {manifest.path}")


@dataclass(frozen=True)
class Prepare:
    """Reads every study of a manifest and writes its model-ready slices to disk, once; goes on where it stopped.

    Attributes:
        manifest: the list of studies.
        output: folder for the slices.
        model: whose slices they are to be: a model's folder, its name on the hub, or the TOML file of a training stage;
            where none is named, the bundled model, or one of default settings where none is installed.
        workers: processes; where none are named, one for each core that may be used.
    """

    manifest: Annotated[Positional[Path], arg(metavar="MANIFEST")]
    output: Annotated[Positional[Path], arg(metavar="OUTPUT")]
    model: Annotated[str | None, arg(metavar="FOLDER|NAME|TOML")] = None
    workers: Annotated[int | None, arg(metavar="INT")] = None

    def run(self) -> None:
        from msvlm.data.manifest import read_manifest
        from msvlm.data.prepare import prepare
        from msvlm.data.slice_store import SliceStore
        from msvlm.errors import DataError
        from msvlm.vocabulary import find_vocabulary

        manifest = read_manifest(self.manifest)
        wanted = _model_config(self.model)
        store = SliceStore.create(
            self.output, find_vocabulary(wanted.vocabulary), wanted.input, wanted.slice_encoder.region_grid
        )
        summary = prepare(manifest, store, self.workers)
        print(f"{summary.prepared} studies prepared, {summary.already_there} were there already")
        for text, keys in _by_text(summary.told).items():
            print(f"{keys[0]}{f' and {len(keys) - 1} more' if len(keys) > 1 else ''}: {text}")
        for item in summary.left_out:
            print(f"left out: {item.name}: {item.reason}")
        if not summary.prepared + summary.already_there:
            raise DataError(f"none of {len(manifest.studies)} studies could be prepared; the reasons stand above")


@dataclass(frozen=True)
class Train:
    """Runs one stage of training as a TOML file describes it; a run that was stopped goes on from its last checkpoint.

    Attributes:
        config: the stage, as in configs/.
    """

    config: Annotated[Positional[Path], arg(metavar="CONFIG")]

    def run(self) -> None:
        from msvlm.training.run import train
        from msvlm.training.train_config import read_train_config

        print(f"The trained model is in {train(read_train_config(self.config))}")


@dataclass(frozen=True)
class Evaluate:
    """Scores a model's reports on held-out studies, beside trivial reports and the same model without its image.

    Attributes:
        manifest: the list of studies.
        prepared: folder of their model-ready slices.
        model: a model's folder, or its name on the hub; the bundled model where none is named.
        output: folder for scores.txt, scores.json, scores.csv, scores.png and reports.jsonl.
        split: which studies.
        limit: score the first studies of the split only.
        vectors: folder of slice vectors that the same slice encoder made; else the slices are encoded here.
        evidence_studies: of how many studies with lesion masks the evidence is compared with the masks; 0 is faster.
        against: output folder of another model's evaluation on the same studies, to be compared with.
    """

    manifest: Annotated[Positional[Path], arg(metavar="MANIFEST")]
    prepared: Annotated[Positional[Path], arg(metavar="PREPARED")]
    model: Annotated[str | None, arg(metavar="FOLDER|NAME")] = None
    output: Path = Path("evaluation")
    split: Literal["train", "validation", "test"] = "test"
    limit: Annotated[int | None, arg(metavar="INT")] = None
    vectors: Annotated[Path | None, arg(metavar="PATH")] = None
    evidence_studies: Annotated[int | None, arg(metavar="INT")] = None
    against: Annotated[Path | None, arg(metavar="PATH")] = None

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


def _by_text(told: "Iterable[PreparedNotes]") -> dict[str, list[str]]:
    """What there is to say of studies -> the keys of those of which it is to be said."""
    keys_of: dict[str, list[str]] = {}
    for one in told:
        for text in (*(f"left out of it: {item.name}: {item.reason}" for item in one.left_out), *one.notes):
            keys_of.setdefault(text, []).append(one.key)
    return keys_of


def _model_config(model: str | None) -> "MsVlmConfig":
    """How the named model wants its slices; the bundled one where none is named and it is installed."""
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
