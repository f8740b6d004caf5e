"""Slice vectors on disk, so that a frozen slice encoder never reads a slice twice."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msvlm.data.manifest import check_key
from msvlm.data.prepared import SliceArray, write_slices
from msvlm.errors import DataError, InputMismatchError
from msvlm.files import new_folder, remove_leftovers, write_file

_HEADER = "vectors.json"
_STUDIES = "studies"


@dataclass(frozen=True)
class VectorStore:
    """What one slice encoder made of the slices of many studies, as float16.

    Attributes:
        folder: where they lie.
        encoder_hash: names the encoder's weights; vectors of another encoder are not mixed in.
    """

    folder: Path
    encoder_hash: str

    @classmethod
    def create(cls, folder: Path, encoder_hash: str) -> "VectorStore":
        """The store in a folder, made where it is not there yet.

        Raises:
            InputMismatchError: the folder holds the vectors of another encoder.
        """
        if not (folder / _HEADER).exists():
            folder.mkdir(parents=True, exist_ok=True)
            write_file(folder / _HEADER, json.dumps({"encoder_hash": encoder_hash}))
        remove_leftovers(folder / _STUDIES)
        return cls.open(folder, encoder_hash)

    @classmethod
    def open(cls, folder: Path, encoder_hash: str) -> "VectorStore":
        """The store in a folder.

        Raises:
            DataError: the folder holds no vectors.
            InputMismatchError: it holds the vectors of another encoder.
        """
        if not (folder / _HEADER).exists():
            raise DataError(f"{folder.name} is no store of slice vectors; a stage that needs them makes it")
        found = json.loads((folder / _HEADER).read_text(encoding="utf-8"))["encoder_hash"]
        if found != encoder_hash:
            raise InputMismatchError(
                f"{folder.name} holds vectors of encoder {found}; the model's is {encoder_hash}: name another folder"
            )
        return cls(folder, encoder_hash)

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_dir()

    def write(self, key: str, vectors: NDArray[np.float32]) -> None:
        """Writes the vectors (slices, tokens, width) of all slices of a study, as a whole or not at all.

        Raises:
            DataError: a vector is not finite as float16.
        """
        check_key(key)
        with np.errstate(over="ignore"):
            halved = vectors.astype(np.float16)
        if not np.isfinite(halved).all():
            raise DataError(
                f"{key}: slice vectors reach {np.abs(vectors).max():.3g}; finite values up to 65504 are wanted"
            )
        with new_folder(self._path(key)) as folder:
            write_slices(folder / "vectors", halved, is_compressed=False)

    def read(self, key: str, slices: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """(slices, tokens, width) of the chosen slices of a study, counted over its series in order; or of all.

        Raises:
            DataError: the study is not here, or has no such slice.
        """
        return self._vectors(key).read(slices).astype(np.float32)

    def slice_count(self, key: str) -> int:
        """How many slices a study has."""
        return self._vectors(key).shape[0]

    def _vectors(self, key: str) -> SliceArray:
        if key not in self:
            raise DataError(f"{key}: no slice vectors in {self.folder.name}; encode the study first")
        return SliceArray(self._path(key) / "vectors")

    def _path(self, key: str) -> Path:
        return self.folder / _STUDIES / key
