"""read_study(): folders, zip files, lists of files, and the errors for what cannot be read."""

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from dicom_files import assert_same_series, ct_series, mr_series, set_values, written

from msvlm.errors import StudyError
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.read import read_study


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


def test_files_that_are_no_images_are_listed_and_never_fatal(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "a_note.txt").write_text("read me")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "broken.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05")
    (tmp_path / "half.nii.gz").write_bytes(b"\x1f\x8b\x08\x00broken")
    with zipfile.ZipFile(tmp_path / "inner.zip", "w") as archive:
        archive.writestr("a", "b")
    study = read_study(tmp_path)
    assert_same_series(study.series[0], ct_series())
    message = "\n".join(f"{item.name}: {item.reason}" for item in study.left_out)
    assert "neither DICOM nor NIfTI" in message
    assert "a zip file inside the input" in message
    assert "corrupt" in message
    assert "read me" not in message
    assert "a_note" not in message


@pytest.mark.parametrize("content", [b"", b"not an image at all"])
def test_no_readable_series_is_an_error_that_lists_what_was_found(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "secret_name").write_bytes(content)
    with pytest.raises(StudyError, match=r"k: no readable series in 1 file: file 1: neither DICOM nor NIfTI") as caught:
        read_study(tmp_path, key="k")
    assert "secret" not in str(caught.value)


def test_missing_paths_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="path 1 of 1 does not exist; pass a folder, a zip file or image files"):
        read_study(tmp_path / "Jane_Doe")
    with pytest.raises(StudyError, match="the input contains no files"):
        read_study(tmp_path)
    with pytest.raises(StudyError, match="no input path"):
        read_study([])


def test_the_key_is_the_callers_or_a_hash_without_patient_data(tmp_path: Path) -> None:
    written(tmp_path / "Jane_Doe_1970", key="Jane")
    assert read_study(tmp_path / "Jane_Doe_1970", key="mine").key == "mine"
    key = read_study(tmp_path / "Jane_Doe_1970").key
    (tmp_path / "Jane_Doe_1970").rename(tmp_path / "elsewhere")
    assert read_study(tmp_path / "elsewhere").key == key, "the same study at another path"
    assert key.startswith("study-")
    assert len(key) == 16
    assert "jane" not in key.lower()


def test_volumes_of_different_patients_have_different_keys_whatever_their_files_are_called(tmp_path: Path) -> None:
    keys = []
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        write_nifti(ct_series(seed=seed), tmp_path / str(seed) / "ct.nii.gz")
        keys.append(read_study(tmp_path / str(seed) / "ct.nii.gz").key)
    assert keys[0] != keys[1]


def test_the_key_of_a_volume_does_not_depend_on_path_or_compression(tmp_path: Path) -> None:
    for name in ("ct.nii.gz", "copy.nii"):
        write_nifti(ct_series(), tmp_path / name)
    write_nifti(mr_series(), tmp_path / "mr.nii")
    assert read_study(tmp_path / "ct.nii.gz").key == read_study(tmp_path / "copy.nii").key
    both = [tmp_path / "ct.nii.gz", tmp_path / "mr.nii"]
    assert read_study(both).key == read_study(both[::-1]).key != read_study(both[0]).key


def test_dicom_without_a_study_uid_gets_a_key_from_its_voxels(tmp_path: Path) -> None:
    keys = []
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        for path in written(tmp_path / name / "scan", ct_series(seed=seed)):
            set_values(path, StudyInstanceUID=None)
        keys.append(read_study(tmp_path / name / "scan").key)
    assert keys[0] == keys[2] != keys[1]


def test_one_different_voxel_gives_another_key(tmp_path: Path) -> None:
    voxels = ct_series().voxels.copy()
    voxels[3, 3, 3] += 1
    write_nifti(ct_series(), tmp_path / "a.nii")
    write_nifti(replace(ct_series(), voxels=voxels), tmp_path / "b.nii")
    assert read_study(tmp_path / "a.nii").key != read_study(tmp_path / "b.nii").key


AS_NOBODY = """
import os, sys
import numpy.ma  # which numpy loads only when it is needed, by then perhaps from a folder that nobody may read
import msvlm.imaging.dicom.read
from msvlm.errors import StudyError
from msvlm.imaging.read import read_study
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    study = read_study(sys.argv[1])
    print([len(series.voxels) for series in study.series], *(f"{each.name}: {each.reason}" for each in study.left_out))
except StudyError as error:
    print(error)
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may read, unlike the folders of pytest."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def read_as_nobody(path: Path) -> str:
    run = subprocess.run([sys.executable, "-c", AS_NOBODY, str(path)], capture_output=True, text=True, check=False)
    assert "Traceback" not in run.stderr, run.stderr
    assert "doe" not in run.stdout.lower().replace("does not", "")
    return run.stdout


def test_a_folder_without_read_permission_is_listed_by_its_number(open_folder: Path) -> None:
    written(open_folder / "a", ct_series())
    written(open_folder / "Doe_Jane", ct_series())
    (open_folder / "Doe_Jane").chmod(0)
    message = read_as_nobody(open_folder)
    assert message.startswith("[8] folder 2: cannot be opened (Permission denied); grant read permission")
    assert "the input contains no files; folder 1: cannot be opened (Permission denied)" in read_as_nobody(
        open_folder / "Doe_Jane"
    )
    message = read_as_nobody(open_folder / "Doe_Jane" / "s2")
    assert message.startswith("the input cannot be opened (Permission denied); grant read permission, or copy it")


def test_a_file_without_read_permission_is_listed_by_its_number(open_folder: Path) -> None:
    paths = written(open_folder, ct_series())
    paths[2].rename(open_folder / "Doe_Jane")
    (open_folder / "Doe_Jane").chmod(0)
    message = read_as_nobody(open_folder)
    assert message.startswith("[7] file 1: cannot be opened: no read permission")
    assert read_as_nobody(open_folder / "Doe_Jane").startswith("no readable series in 1 file: file 1: cannot be opened")


def test_links_to_folders_are_listed_and_not_followed(tmp_path: Path) -> None:
    written(tmp_path / "scan")
    (tmp_path / "scan" / "Jane_Doe").symlink_to(tmp_path)
    (tmp_path / "scan" / "nowhere").symlink_to(tmp_path / "Jane_Doe")
    os.mkfifo(tmp_path / "scan" / "pipe")
    study = read_study(tmp_path / "scan")
    assert_same_series(study.series[0], ct_series())
    assert [(item.name, item.reason[:24]) for item in study.left_out] == [
        ("files 1, 2", "cannot be opened: no rea"),
        ("folder 2", "a link to a folder, not "),
    ]
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises(StudyError, match="path 1 of 1 does not exist"):
        read_study(tmp_path / "circle")
