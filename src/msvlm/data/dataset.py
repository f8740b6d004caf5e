"""Studies as training draws them: whole, or some slices of each; and which studies a step sees."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.data.embeddings import VectorStore
from msvlm.data.manifest import ManifestStudy
from msvlm.data.prepared import PreparedStore
from msvlm.errors import DataError
from msvlm.findings import FindingStatement
from msvlm.imaging.preprocess import PreparedStudy


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
            `CHEST_FINDING_NAMES`; None where that is not known.
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

    def __init__(
        self, studies: Sequence[ManifestStudy], store: PreparedStore, vectors: VectorStore | None = None
    ) -> None:
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
            statements=study.statements(),
            vectors=encoded,
            regions=self._store.regions(study.key, chosen),
        )


def batch_indices(studies: int, batch: int, step: int, seed: int) -> NDArray[np.int64]:
    """Which studies step `step`, counted from 0, sees: a function of its arguments alone, so that a run can resume.

    Each epoch is shuffled anew and sees every study once; a batch may begin in one epoch and end in the next.
    """
    places = np.arange(step * batch, (step + 1) * batch)
    epochs = places // studies
    order = {epoch: np.random.default_rng((seed, epoch)).permutation(studies) for epoch in np.unique(epochs).tolist()}
    return np.array([order[epoch][place % studies] for place, epoch in zip(places, epochs.tolist(), strict=True)])
