"""Prepared studies as training samples, all slices or a random subset, and their collation into a `StudyBatch`."""

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
from msvlm.labeling.label import label_report
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements, Vocabulary


@dataclass(frozen=True)
class StudySample:
    """A study, or some of its slices.

    Attributes:
        study: the study's line in the manifest.
        prepared: the chosen slices; with `vectors`, intensities have the shape (slices, 0, 0).
        slices: (slices,), indices of the chosen slices, ascending, counted over all series in order.
        centre_ras_mm: (3,), mean of the centres of all slices of the study, chosen or not.
        statements: the study's statements on findings.
        vectors: (slices, tokens, width), outputs of the slice encoder; None without a vector store.
        regions: (slices, findings, grid rows, grid columns), cells with lesions, findings as in the vocabulary; None
            if lesions are unknown.
    """

    study: ManifestStudy
    prepared: PreparedStudy
    slices: NDArray[np.int64]
    centre_ras_mm: NDArray[np.float64]
    statements: tuple[FindingStatement, ...]
    vectors: NDArray[np.float32] | None = None
    regions: NDArray[np.bool_] | None = None


class StudyDataset:
    """Prepared studies of a manifest, with their slice vectors if a vector store is given.

    Attributes:
        studies: the studies of the manifest, in its order.
    """

    def __init__(self, studies: Sequence[ManifestStudy], store: SliceStore, vectors: VectorStore | None = None) -> None:
        if not studies:
            raise DataError("no study to train or test on; name a split that has studies")
        missing = [study.key for study in studies if study.key not in store]
        if missing:
            raise DataError(
                f"{len(missing)} of {len(studies)} studies are not prepared, {missing[0]} first; run `msvlm prepare`, "
                "and remove from the manifest the studies that it leaves out"
            )
        self.studies = tuple(studies)
        self._store = store
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self.studies)

    def sample(self, index: int, slices: int | None, generator: np.random.Generator) -> StudySample:
        """Returns `slices` random slices of one study, in order; all slices if `slices` is None.

        If the dataset has a vector store, the sample has vectors and no pixels.
        """
        key = self.studies[index].key
        count = self._store.slice_count(key)
        chosen = np.arange(count)
        if slices is not None and slices < count:
            chosen = np.sort(generator.choice(count, slices, replace=False))
        return self._sample(index, chosen, self._vectors)

    def sample_pixels(self, index: int) -> StudySample:
        """Returns one study with the pixels of all its slices and without vectors."""
        return self._sample(index, np.arange(self._store.slice_count(self.studies[index].key)), None)

    def _sample(self, index: int, chosen: NDArray[np.int64], vectors: VectorStore | None) -> StudySample:
        study = self.studies[index]
        count = self._store.slice_count(study.key)
        encoded = None
        if vectors is not None:
            if vectors.slice_count(study.key) != count:
                raise DataError(
                    f"{study.key}: vectors of {vectors.slice_count(study.key)} slices, {count} slices are prepared; "
                    "the study was prepared again, so delete its vectors and encode it again"
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
    """Returns the indices of the studies of step `step`, counted from 0; a pure function, so that a run can resume.

    Each epoch has a new random order and every study once; a batch may begin in one epoch and end in the next.
    """
    positions = np.arange(step * batch, (step + 1) * batch)
    epochs = positions // studies
    order = {epoch: np.random.default_rng((seed, epoch)).permutation(studies) for epoch in np.unique(epochs).tolist()}
    return np.array(
        [order[epoch][position % studies] for position, epoch in zip(positions, epochs.tolist(), strict=True)]
    )


def statements_of(study: ManifestStudy) -> tuple[FindingStatement, ...]:
    """Returns the study's statements on findings: its truth if known, else those of its report by the labeler."""
    if study.truth is not None:
        return tuple(item for item in study.truth if item.certainty is not Certainty.UNKNOWN)
    return _label(f"{study.findings}\n{study.impression}", study.vocabulary)


@lru_cache(maxsize=2**17)
def _label(text: str, vocabulary: str) -> Statements:
    return label_report(text, find_vocabulary(vocabulary))


def to_study_batch(samples: Sequence[StudySample | PreparedStudy], input_config: InputConfig) -> StudyBatch:
    """Concatenates the slices of studies, given as samples of a dataset or as whole prepared studies.

    The batch has slice vectors if all samples have them, else pixels.

    Raises:
        DataError: no study, a study without slices, or only some of the samples have vectors.
        InputMismatchError: the size of the slices differs from the model's input.
    """
    if not samples:
        raise DataError("no study for a batch; at least one is wanted")
    packed = [_Packed.from_sample(sample) for sample in samples]
    study_index = np.repeat(np.arange(len(packed)), [len(study.series_index) for study in packed])
    has_vectors = [study.vectors is not None for study in packed]
    if any(has_vectors) and not all(has_vectors):
        raise DataError(f"{sum(has_vectors)} of {len(packed)} samples have slice vectors; all or none are wanted")
    vectors = [study.vectors for study in packed if study.vectors is not None]
    pixels = [] if vectors else [part for study in packed for part in _channels(study.prepared, input_config)]
    return StudyBatch(
        study_index=torch.from_numpy(study_index),
        series_index=torch.from_numpy(np.concatenate([study.series_index for study in packed])),
        position_mm=torch.from_numpy(np.concatenate([study.position_mm for study in packed])),
        normal_ras=torch.from_numpy(np.concatenate([study.normal_ras for study in packed])),
        role_index=torch.from_numpy(np.concatenate([study.role_index for study in packed])),
        slices=torch.from_numpy(np.concatenate(pixels)) if pixels else None,
        slice_vectors=torch.from_numpy(np.concatenate(vectors)) if vectors else None,
    )


def to_finding_targets(samples: Sequence[StudySample], vocabulary: Vocabulary) -> FindingTargets:
    """Returns the targets of each finding in each sample; unknown values are NaN. Possible counts as present."""
    shape = (len(samples), len(vocabulary.findings))
    presence, sizes_mm = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    attributes = np.full((*shape, len(vocabulary.attributes)), np.nan, np.float32)
    has_regions = np.zeros(shape, dtype=bool)
    for row, sample in enumerate(samples):
        statements = {statement.name: statement for statement in sample.statements}
        for column, name in enumerate(vocabulary.names):
            if name not in statements or statements[name].certainty is Certainty.UNKNOWN:
                continue
            statement = statements[name]
            is_present = statement.certainty.is_positive
            presence[row, column] = is_present
            # Data sets have masks of some findings only: the location of a present finding without masks is unknown.
            masks = sample.study.masks
            has_regions[row, column] = sample.regions is not None and (
                not is_present or (masks is not None and name in masks.findings)
            )
            if is_present:
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
    """One study, the slices of its series concatenated."""

    prepared: PreparedStudy
    series_index: NDArray[np.int64]
    position_mm: NDArray[np.float32]
    normal_ras: NDArray[np.float32]
    role_index: NDArray[np.int64]
    vectors: NDArray[np.float32] | None

    @classmethod
    def from_sample(cls, sample: StudySample | PreparedStudy) -> "_Packed":
        prepared = sample.prepared if isinstance(sample, StudySample) else sample
        lengths = [len(series.centres_ras_mm) for series in prepared.series]
        if not sum(lengths):
            raise DataError(f"{prepared.key}: no slice; every study of a batch needs at least one")
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
    """Returns the windowed input channels of each series, (slices, channels, rows, columns).

    Raises:
        InputMismatchError: slices of another size than the model's input.
    """
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
    """Returns the regions of all slices of the batch, all False for studies without masks; None without any masks."""
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
