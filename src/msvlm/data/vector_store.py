"""Slice vectors on disk, so that a frozen slice encoder encodes each slice once."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msvlm.data.manifest import check_key
from msvlm.data.slice_file import SUFFIX, count_slices, read_slices, write_slices
from msvlm.errors import DataError, InputMismatchError
from msvlm.files import new_folder, remove_leftovers, write_file

_HEADER = "vectors.json"
_STUDIES = "studies"
_VECTORS = f"vectors{SUFFIX}"


@dataclass(frozen=True)
class VectorStore:
    """Vectors that one slice encoder computed for the slices of many studies, stored as float16.

    Attributes:
        folder: folder of the store.
        encoder_hash: hash of the encoder's weights; vectors of another encoder are refused.
    """

    folder: Path
    encoder_hash: str

    @classmethod
    def create(cls, folder: Path, encoder_hash: str) -> "VectorStore":
        """Opens the store in a folder; creates it if the folder has none.

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
        """Opens the store in a folder.

        Raises:
            DataError: the folder holds no vectors.
            InputMismatchError: it holds the vectors of another encoder.
        """
        if not (folder / _HEADER).exists():
            raise DataError(
                f"{folder.name} is no store of slice vectors; a training stage that uses vectors creates one"
            )
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
            write_slices(folder / _VECTORS, halved)

    def read(self, key: str, slices: NDArray[np.int64] | None = None) -> NDArray[np.float32]:
        """Returns vectors (slices, tokens, width) of the chosen slices, counted over all series in order; or of all.

        Raises:
            DataError: the study is not in the store, a slice is out of range, or the file is damaged.
        """
        return read_slices(self._existing_file(key), slices).astype(np.float32)

    def slice_count(self, key: str) -> int:
        """Returns the number of slices of a study."""
        return count_slices(self._existing_file(key))

    def _existing_file(self, key: str) -> Path:
        if key not in self:
            raise DataError(f"{key}: no slice vectors in {self.folder.name}; encode the study first")
        return self._path(key) / _VECTORS

    def _path(self, key: str) -> Path:
        return self.folder / _STUDIES / key
