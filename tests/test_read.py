"""read_study: the one door, whatever the caller points at."""

import zipfile
from pathlib import Path

import pytest
from dicom_files import assert_same_series, ct_series, mr_series, written

from msvlm.errors import StudyError
from msvlm.imaging.read import read_study
from msvlm.imaging.write_nifti import write_nifti


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.rglob("*"):
            archive.write(file, file.relative_to(folder))
    return path


def test_folder_zip_and_list_of_files_give_the_same_study(tmp_path: Path) -> None:
    files = written(tmp_path / "study", ct_series(), mr_series())
    for number, given in enumerate((tmp_path / "study", str(tmp_path / "study"), files, files[::-1])):
        study = read_study(given)
        assert study.key == read_study(tmp_path / "study").key, number
        assert [series.key for series in study.series] == ["s2", "s3"]
        assert_same_series(study.series[0], ct_series())
        assert_same_series(study.series[1], mr_series())
    assert_same_series(read_study(zipped(tmp_path / "study", tmp_path / "a.zip")).series[1], mr_series())


def test_nested_folders_and_names_without_extension_are_read(tmp_path: Path) -> None:
    for number, path in enumerate(written(tmp_path / "in")):
        folder = tmp_path / "out" / str(number % 3) / "deeper"
        folder.mkdir(parents=True, exist_ok=True)
        path.rename(folder / f"IM_{number}")
    assert_same_series(read_study(tmp_path / "out").series[0], ct_series())


def test_dicom_and_nifti_in_one_folder_are_one_study(tmp_path: Path) -> None:
    written(tmp_path)
    write_nifti(mr_series(), tmp_path / "mr.nii")
    study = read_study(tmp_path)
    assert [(series.key, series.modality) for series in study.series] == [("s2", "CT"), ("n1", "MR")]


def test_junk_is_listed_and_never_fatal(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "a_note.txt").write_text("read me")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05")
    (tmp_path / "half.nii.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("a", "b")
    study = read_study(tmp_path)
    assert_same_series(study.series[0], ct_series())
    told = "\n".join(f"{item.name}: {item.reason}" for item in study.left_out)
    assert "neither DICOM nor NIfTI" in told
    assert "a zip within the input" in told
    assert "broken" in told
    assert "read me" not in told
    assert "a_note" not in told


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_nothing_usable_is_one_error_that_names_what_was_found(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret_name").write_bytes(content)
    with pytest.raises(StudyError, match=r"k: nothing usable in 1 file: file 1: neither DICOM nor NIfTI") as caught:
        read_study(tmp_path, key="k")
    assert "secret" not in str(caught.value)


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="path 1 of 1 does not exist; pass a folder, a zip or image files"):
        read_study(tmp_path / "Jane_Doe")
    with pytest.raises(StudyError, match="no file in the input"):
        read_study(tmp_path)
    with pytest.raises(StudyError, match="an empty list of files"):
        read_study([])


def test_the_key_is_the_callers_or_a_hash_that_tells_nothing(tmp_path: Path) -> None:
    written(tmp_path / "Jane_Doe_1970", key="Jane")
    assert read_study(tmp_path / "Jane_Doe_1970", key="mine").key == "mine"
    key = read_study(tmp_path / "Jane_Doe_1970").key
    (tmp_path / "Jane_Doe_1970").rename(tmp_path / "elsewhere")
    assert read_study(tmp_path / "elsewhere").key == key, "the same study, wherever it lies"
    assert key.startswith("study-")
    assert len(key) == 16
    assert "jane" not in key.lower()
