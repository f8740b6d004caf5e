"""Samples -> packed tensors: `StudyBatch` for the model, `FindingTargets` for what is to be learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from msvlm.batch import FindingTargets, StudyBatch
from msvlm.data.dataset import StudySample
from msvlm.errors import DataError, InputMismatchError
from msvlm.findings import ATTRIBUTES, CHEST_FINDING_NAMES, Certainty, FindingStatement, allowed_attributes
from msvlm.imaging.preprocess import InputConfig, PreparedStudy, to_channels


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


def to_finding_targets(samples: Sequence[StudySample], names: Sequence[str]) -> FindingTargets:
    """What is known of the named findings in each sample. A finding called possible counts as present."""
    shape = (len(samples), len(names))
    presence, sizes_mm = np.full(shape, np.nan, np.float32), np.full(shape, np.nan, np.float32)
    attributes = np.full((*shape, len(ATTRIBUTES)), np.nan, np.float32)
    has_regions = np.zeros(shape, dtype=bool)
    for row, sample in enumerate(samples):
        said = {statement.name: statement for statement in sample.statements}
        for column, name in enumerate(names):
            if name not in said:
                continue
            statement = said[name]
            is_there = statement.certainty is not Certainty.ABSENT
            presence[row, column] = is_there
            # Data sets mask some findings only: one that is stated and not masked lies somewhere, nobody knows where.
            masks = sample.study.masks
            has_regions[row, column] = sample.regions is not None and (
                not is_there or (masks is not None and name in masks.findings)
            )
            if is_there:
                attributes[row, column] = _attribute_targets(statement)
                sizes_mm[row, column] = np.nan if statement.size_mm is None else statement.size_mm
    return FindingTargets(
        presence=torch.from_numpy(presence),
        attributes=torch.from_numpy(attributes),
        sizes_mm=torch.from_numpy(sizes_mm),
        regions=_regions(samples, names),
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


def _attribute_targets(statement: FindingStatement) -> NDArray[np.float32]:
    allowed = allowed_attributes(statement.name)
    return np.array(
        [float(word in statement.attributes) if word in allowed else np.nan for word in ATTRIBUTES], dtype=np.float32
    )


def _regions(
    samples: Sequence[StudySample], names: Sequence[str]
) -> Bool[Tensor, "slices findings grid_rows grid_columns"] | None:
    """The regions of all slices of the batch, all False for a study whose masks are not known."""
    grids = {sample.regions.shape[2:] for sample in samples if sample.regions is not None}
    if not grids:
        return None
    if len(grids) > 1:
        raise DataError(f"samples with region grids {sorted(grids)}; one grid is wanted for all")
    regions = np.zeros((sum(len(sample.slices) for sample in samples), len(names), *grids.pop()), dtype=bool)
    columns = [column for column, name in enumerate(names) if name in CHEST_FINDING_NAMES]
    stored = [CHEST_FINDING_NAMES.index(names[column]) for column in columns]
    start = 0
    for sample in samples:
        end = start + len(sample.slices)
        if sample.regions is not None:
            regions[start:end, columns] = sample.regions[:, stored]
        start = end
    return torch.from_numpy(regions)
