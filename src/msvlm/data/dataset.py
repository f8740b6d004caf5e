"""Studies as training draws them, whole or some slices of each, and packed: `StudyBatch` and `FindingTargets`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from msvlm.batch import FindingTargets, StudyBatch
from msvlm.data.manifest import Manifest, ManifestStudy
from msvlm.data.slice_store import SliceStore
from msvlm.data.vector_store import VectorStore
from msvlm.errors import DataError, InputMismatchError
from msvlm.imaging.preprocess import InputConfig, PreparedStudy, to_channels
from msvlm.labeling import label_report
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements, Vocabulary


@dataclass(frozen=True)
class StudySample:
    """A study, or some of its slices.

    Attributes:
        study: the study's line in the manifest.
        prepared: the chosen slices; without pixels (slices, 0, 0) where `vectors` are given.
        slices: (slices,), which of the study's slices they are, ascending, counted over all series in order.
        centre_ras_mm: (3,), mean of the centres of all slices of the study, chosen or not.
        statements: what is said of each finding.
        vectors: (slices, tokens, width), what the slice encoder made of them, where a vector store is used.
        regions: (slices, findings, grid rows, grid columns), where the lesions are, findings as in
            the vocabulary; None where that is not known.
    """

    study: ManifestStudy
    prepared: PreparedStudy
    slices: NDArray[np.int64]
    centre_ras_mm: NDArray[np.float64]
    statements: tuple[FindingStatement, ...]
    vectors: NDArray[np.float32] | None = None
    regions: NDArray[np.bool_] | None = None


class StudyDataset:
    """Studies of a manifest that are prepared, and encoded where vectors are used.

    Attributes:
        studies: the studies of the manifest, in its order.
    """

    def __init__(self, studies: Sequence[ManifestStudy], store: SliceStore, vectors: VectorStore | None = None) -> None:
        if not studies:
            raise DataError("no study to train or test on; name a split that has some")
        missing = [study.key for study in studies if study.key not in store]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(studies)} studies are not prepared, {missing[0]} first; run `msvlm prepare`, "
                "and take out of the manifest what it leaves out"
            )
        self.studies = tuple(studies)
        self._store = store
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self.studies)

    def sample(self, index: int, slices: int | None, generator: np.random.Generator) -> StudySample:
        """One study: as many of its slices, drawn at random and in their order; all of them where `slices` is None.

        Where the dataset has a vector store the sample has vectors and no pixels.
        """
        key = self.studies[index].key
        count = self._store.slice_count(key)
        chosen = np.arange(count)
        if slices is not None and slices < count:
            chosen = np.sort(generator.choice(count, slices, replace=False))
        return self._sample(index, chosen, self._vectors)

    def sample_pixels(self, index: int) -> StudySample:
        """One study with the pixels of all its slices and without vectors."""
        return self._sample(index, np.arange(self._store.slice_count(self.studies[index].key)), None)

    def _sample(self, index: int, chosen: NDArray[np.int64], vectors: VectorStore | None) -> StudySample:
        study = self.studies[index]
        count = self._store.slice_count(study.key)
        encoded = None
        if vectors is not None:
            if vectors.slice_count(study.key) != count:
                raise DataError(
                    f"{study.key}: vectors of {vectors.slice_count(study.key)} slices, prepared are {count}; "
                    "the study was prepared anew, so take its vectors away and encode it again"
                )
            encoded = vectors.read(study.key, chosen)
        return StudySample(
            study=study,
            prepared=self._store.read(study.key, chosen, with_pixels=vectors is None),
            slices=chosen,
            centre_ras_mm=self._store.centre_ras_mm(study.key),
            statements=statements_of(study),
            vectors=encoded,
            regions=self._store.regions(study.key, chosen),
        )


def check_vocabularies(manifest: Manifest, store: SliceStore, vocabulary: Vocabulary) -> None:
    """Refuses a manifest or prepared studies with another vocabulary than the model's.

    Raises:
        InputMismatchError: names both.
    """
    for name, own in ((manifest.path.name, manifest.vocabulary), (store.folder.name, store.vocabulary)):
        if own != vocabulary:
            raise InputMismatchError(
                f"{name} has vocabulary {own.name}, but the model has {vocabulary.name}; use a model of that vocabulary"
            )


def batch_indices(studies: int, batch: int, step: int, seed: int) -> NDArray[np.int64]:
    """Which studies step `step`, counted from 0, sees: a function of its arguments alone, so that a run can resume.

    Each epoch is shuffled anew and sees every study once; a batch may begin in one epoch and end in the next.
    """
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = places // studies
    order = {epoch: np.random.default_rng((seed, epoch)).permutation(studies) for epoch in np.unique(epochs).tolist()}
    return np.array([order[epoch][place % studies] for place, epoch in zip(places, epochs.tolist(), strict=True)])


def statements_of(study: ManifestStudy) -> tuple[FindingStatement, ...]:
    """What is said of each finding: the truth where it is known, else what the report's words say by rule."""
    if study.truth is not None:
        return study.truth
    return _mined(f"{study.findings}\n{study.impression}", study.vocabulary)


@lru_cache(maxsize=2**17)
def _mined(text: str, vocabulary: str) -> Statements:
    return label_report(text, find_vocabulary(vocabulary))


def to_study_batch(samples: Sequence[StudySample | PreparedStudy], input_config: InputConfig) -> StudyBatch:
    """Packs studies slice behind slice: samples of a dataset, or whole prepared studies.

    The batch has slice vectors where all samples have them, and pixels else.

    Raises:
        DataError: no study, a study without slices, or only some of the samples have vectors.
        InputMismatchError: slices of another size than the model's input.
    """
    if not samples:
        raise DataError("no study to make a batch of")
    packed = [_Packed.of(sample) for sample in samples]
    of_study = np.repeat(np.arange(len(packed)), [len(one.series_index) for one in packed])
    with_vectors = [one.vectors is not None for one in packed]
    if any(with_vectors) and not all(with_vectors):
        raise DataError(f"{sum(with_vectors)} of {len(packed)} samples have slice vectors; all or none are wanted")
    vectors = [one.vectors for one in packed if one.vectors is not None]
    pixels = [] if vectors else [part for one in packed for part in _channels(one.prepared, input_config)]
    return StudyBatch(
        study_index=torch.from_numpy(of_study),
        series_index=torch.from_numpy(np.concatenate([one.series_index for one in packed])),
        position_mm=torch.from_numpy(np.concatenate([one.position_mm for one in packed])),
        normal_ras=torch.from_numpy(np.concatenate([one.normal_ras for one in packed])),
        role_index=torch.from_numpy(np.concatenate([one.role_index for one in packed])),
        slices=torch.from_numpy(np.concatenate(pixels)) if pixels else None,
        slice_vectors=torch.from_numpy(np.concatenate(vectors)) if vectors else None,
    )


def to_finding_targets(samples: Sequence[StudySample], vocabulary: Vocabulary) -> FindingTargets:
    """What is known of the named findings in each sample. A finding called possible counts as present."""
    shape = (len(samples), len(vocabulary.findings))
    presence, sizes_mm = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    attributes = np.full((*shape, len(vocabulary.attributes)), np.nan, np.float32)
    has_regions = np.zeros(shape, dtype=bool)
    for row, sample in enumerate(samples):
        said = {statement.name: statement for statement in sample.statements}
        for column, name in enumerate(vocabulary.names):
            if name not in said or said[name].certainty is Certainty.UNKNOWN:
                continue
            statement = said[name]
            is_there = statement.certainty.is_positive
            presence[row, column] = is_there
            # Data sets mask some findings only: one that is stated and not masked lies somewhere, nobody knows where.
            masks = sample.study.masks
            has_regions[row, column] = sample.regions is not None and (
                not is_there or (masks is not None and name in masks.findings)
            )
            if is_there:
                attributes[row, column] = _attribute_targets(statement, vocabulary)
                sizes_mm[row, column] = np.nan if statement.size_mm is None else statement.size_mm
    return FindingTargets(
        presence=torch.from_numpy(presence),
        attributes=torch.from_numpy(attributes),
        sizes_mm=torch.from_numpy(sizes_mm),
        regions=_regions(samples, vocabulary),
        has_regions=torch.from_numpy(has_regions),
    )


@dataclass(frozen=True)
class _Packed:
    """One study, its series joined slice behind slice."""

    prepared: PreparedStudy
    series_index: NDArray[np.int64]
    position_mm: NDArray[np.float32]
    normal_ras: NDArray[np.float32]
    role_index: NDArray[np.int64]
    vectors: NDArray[np.float32] | None

    @classmethod
    def of(cls, sample: StudySample | PreparedStudy) -> "_Packed":
        prepared = sample.prepared if isinstance(sample, StudySample) else sample
        lengths = [len(series.centres_ras_mm) for series in prepared.series]
        if not sum(lengths):
            raise DataError(f"{prepared.key}: no slice to read; every study of a batch needs one")
        centres = np.concatenate([series.centres_ras_mm for series in prepared.series]).astype(np.float64)
        middle = sample.centre_ras_mm if isinstance(sample, StudySample) else centres.mean(axis=0)
        return cls(
            prepared=prepared,
            series_index=np.repeat(np.arange(len(lengths)), lengths),
            position_mm=(centres - middle).astype(np.float32),
            normal_ras=np.concatenate([series.normals_ras for series in prepared.series]),
            role_index=np.repeat(np.array([series.role_index for series in prepared.series]), lengths),
            vectors=sample.vectors if isinstance(sample, StudySample) else None,
        )


def _channels(prepared: PreparedStudy, input_config: InputConfig) -> list[NDArray[np.float32]]:
    """(slices, channels, rows, columns) of each series of a study."""
    for series in prepared.series:
        if series.intensities.shape[1:] != (input_config.rows, input_config.columns):
            raise InputMismatchError(
                f"{prepared.key}: slices of {series.intensities.shape[1:]} pixels; the model reads "
                f"{(input_config.rows, input_config.columns)}: prepare the study with the model's input_config"
            )
    return [to_channels(series, input_config) for series in prepared.series]


def _attribute_targets(statement: FindingStatement, vocabulary: Vocabulary) -> NDArray[np.float32]:
    allowed = vocabulary.kind(statement.name).attributes
    return np.array(
        [float(word in statement.attributes) if word in allowed else np.nan for word in vocabulary.attributes],
        dtype=np.float32,
    )


def _regions(
    samples: Sequence[StudySample], vocabulary: Vocabulary
) -> Bool[Tensor, "slices findings grid_rows grid_columns"] | None:
    """The regions of all slices of the batch, all False for a study whose masks are not known."""
    grids = {sample.regions.shape[2:] for sample in samples if sample.regions is not None}
    if not grids:
        return None
    if len(grids) > 1:
        raise DataError(f"samples with region grids {sorted(grids)}; one grid is wanted for all")
    shape = (sum(len(sample.slices) for sample in samples), len(vocabulary.findings), *grids.pop())
    regions = np.zeros(shape, dtype=bool)
    start = 0
    for sample in samples:
        end = start + len(sample.slices)
        if sample.regions is not None:
            regions[start:end] = sample.regions
        start = end
    return torch.from_numpy(regions)
