"""Arrays on disk of which single slices are read."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from msvlm.data.prepared import SliceArray, write_slices
from msvlm.errors import DataError


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.bool_])
@pytest.mark.parametrize("is_compressed", [True, False])
def test_slices_are_read_as_they_were_written_and_as_zarr_reads_them(
    tmp_path: Path, dtype: type, is_compressed: bool
) -> None:
    values = np.random.default_rng(0).integers(-3, 3, (7, 5, 4)).astype(dtype)
    values[3] = 0  # zarr writes no chunk of zeros
    write_slices(tmp_path / "array", values, is_compressed)
    array = SliceArray(tmp_path / "array")
    assert array.shape == (7, 5, 4)
    np.testing.assert_array_equal(array.read(), values)
    np.testing.assert_array_equal(array.read(np.array([6, 3, 0])), values[[6, 3, 0]])
    assert array.read().dtype == dtype
    np.testing.assert_array_equal(zarr.open_array(tmp_path / "array", mode="r")[:], values)


def test_an_array_of_zeros_and_no_slices_at_all_can_be_read(tmp_path: Path) -> None:
    write_slices(tmp_path / "array", np.zeros((3, 2, 2), dtype=bool))
    assert not SliceArray(tmp_path / "array").read().any()
    assert SliceArray(tmp_path / "array").read(np.array([], dtype=np.int64)).shape == (0, 2, 2)


def test_one_shard_file_holds_all_slices_and_ct_takes_little_more_than_half(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(40, 15, (20, 64, 64)).astype(np.int16)
    write_slices(tmp_path / "array", noise)
    shards = [path for path in (tmp_path / "array" / "c").rglob("*") if path.is_file()]
    assert len(shards) == 1
    assert shards[0].stat().st_size < 0.6 * noise.nbytes


def test_slices_that_are_not_there_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "array", np.ones((3, 2, 2), dtype=np.int16))
    with pytest.raises(DataError, match="slices 1 to 3 are asked for; there are 3"):
        SliceArray(tmp_path / "array").read(np.array([1, 3]))
