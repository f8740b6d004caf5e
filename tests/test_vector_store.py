"""Slice vectors on disk."""

from pathlib import Path

import numpy as np
import pytest

from msvlm.data.vector_store import VectorStore
from msvlm.errors import DataError, InputMismatchError

VECTORS = np.random.default_rng(0).normal(0, 30, (6, 3, 5)).astype(np.float16).astype(np.float32)


def test_vectors_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = VectorStore.create(tmp_path, "h1")
    store.write("a", VECTORS)
    assert "a" in store and "b" not in store and store.slice_count("a") == 6
    np.testing.assert_array_equal(VectorStore.open(tmp_path, "h1").read("a"), VECTORS)
    np.testing.assert_array_equal(store.read("a", np.array([1, 4])), VECTORS[[1, 4]])
    assert store.read("a").dtype == np.float32


def test_vectors_of_another_encoder_are_refused(tmp_path: Path) -> None:
    VectorStore.create(tmp_path, "h1")
    for open_store in (VectorStore.create, VectorStore.open):
        with pytest.raises(InputMismatchError, match="vectors of encoder h1; the model's is h2"):
            open_store(tmp_path, "h2")
    with pytest.raises(DataError, match="is no store of slice vectors"):
        VectorStore.open(tmp_path / "elsewhere", "h1")


def test_vectors_beyond_float16_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    store = VectorStore.create(tmp_path, "h1")
    with pytest.raises(DataError, match=r"a: slice vectors reach 7e\+04; finite values up to 65504"):
        store.write("a", np.full((2, 1, 1), 7e4, dtype=np.float32))
    with pytest.raises(DataError, match="a: slice vectors reach nan"):
        store.write("a", np.full((2, 1, 1), np.nan, dtype=np.float32))
    assert "a" not in store
    with pytest.raises(DataError, match="a: no slice vectors"):
        store.read("a")
