"""Arrays on disk of which single slices are read."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from msvlm.data.slice_file import count_slices, read_slices, write_slices
from msvlm.errors import DataError


@pytest.mark.parametrize("dtype", [np.int16, np.float16, np.bool_])
def test_slices_are_read_as_they_were_written(tmp_path: Path, dtype: type) -> None:
    values = np.random.default_rng(0).integers(-3, 3, (7, 5, 4)).astype(dtype)
    values[3] = 0
    write_slices(tmp_path / "array", values)
    assert count_slices(tmp_path / "array") == 7
    np.testing.assert_array_equal(read_slices(tmp_path / "array"), values)
    np.testing.assert_array_equal(read_slices(tmp_path / "array", np.array([6, 3, 0])), values[[6, 3, 0]])
    assert read_slices(tmp_path / "array").dtype == dtype


def test_an_array_of_zeros_a_single_slice_and_no_slices_at_all_can_be_read(tmp_path: Path) -> None:
    write_slices(tmp_path / "array", np.zeros((1, 2, 2), dtype=bool))
    assert read_slices(tmp_path / "array").shape == (1, 2, 2)
    assert not read_slices(tmp_path / "array").any()
    assert read_slices(tmp_path / "array", np.array([], dtype=np.int64)).shape == (0, 2, 2)


def test_ct_takes_little_more_than_half_of_its_bytes(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(40, 15, (20, 64, 64)).astype(np.int16)
    write_slices(tmp_path / "array", noise)
    assert (tmp_path / "array").stat().st_size < 0.6 * noise.nbytes


def test_slices_out_of_range_are_refused(tmp_path: Path) -> None:
    write_slices(tmp_path / "array", np.ones((3, 2, 2), dtype=np.int16))
    for slices in ([1, 3], [-1, 1]):
        with pytest.raises(DataError, match="slices -?1 to [13] requested; array has 3 slices, counted from 0"):
            read_slices(tmp_path / "array", np.array(slices))


@pytest.mark.parametrize(
    "damage", [lambda whole: bytes(200) + whole[200:], lambda whole: whole[:500] + bytes(500) + whole[1000:]]
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "array"
    write_slices(path, np.arange(7 * 16 * 16, dtype=np.int16).reshape(7, 16, 16))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match="array is damaged or missing"):
        read_slices(path)


def test_a_truncated_or_missing_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "array"
    write_slices(path, np.random.default_rng(0).integers(-1000, 1000, (7, 16, 16)).astype(np.int16))
    whole = path.read_bytes()
    for length in (0, 10, 200, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match="array is damaged or missing; delete the study's folder"):
            read_slices(path)
    path.unlink()
    with pytest.raises(DataError, match="array is damaged or missing"):
        count_slices(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "array").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device"):
        write_slices(tmp_path / "array", np.ones((3, 2, 2), dtype=np.int16))
