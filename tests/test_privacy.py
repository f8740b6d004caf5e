"""Patient data in free text of DICOM files and in file names reach no study, message, log or warning."""

import logging
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from dicom_files import ct_series, mr_series, written
from pydicom.dataset import FileDataset

from msvlm.errors import StudyError
from msvlm.imaging.inspect import describe_study
from msvlm.imaging.read import read_study

SECRET = "DOE^JANE 1970"


def truncated(dataset: FileDataset) -> None:
    dataset.PixelData = dataset.PixelData[:20]


def with_secret_everywhere(dataset: FileDataset) -> None:
    """Puts the secret into every free-text element, and into codes and ids that software may fill with free text."""
    for keyword in (
        "PatientName", "PatientID", "PatientComments", "PatientAddress", "ReferringPhysicianName", "InstitutionName",
        "BodyPartExamined", "SeriesDescription", "StudyDescription", "ProtocolName", "ImageComments", "SequenceName",
        "ContrastBolusAgent", "ConvolutionKernel", "AccessionNumber", "StudyID", "StationName", "Manufacturer",
        "PatientSex", "RequestedProcedureDescription", "FrameOfReferenceUID", "StudyInstanceUID",
    ):  # fmt: skip
        value = f"2.25.{SECRET}" if keyword.endswith("UID") else SECRET
        dataset.add_new(keyword, pydicom.datadict.dictionary_VR(keyword), value)
    dataset.PatientBirthDate, dataset.ScanningSequence = "19700101", "SE"
    dataset.ImageType = ["ORIGINAL", SECRET, SECRET]


def secret_class(dataset: FileDataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = f"1.2.{SECRET}"


def secret_modality(dataset: FileDataset) -> None:
    dataset.Modality = SECRET


def secret_colours(dataset: FileDataset) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, f"RGB {SECRET}", 0


def secret_rescale(dataset: FileDataset) -> None:
    dataset.RescaleType = SECRET


def secret_syntax(dataset: FileDataset) -> None:
    dataset.file_meta.TransferSyntaxUID = f"1.2.{SECRET}"


def unchanged(dataset: FileDataset) -> None:
    assert dataset.Rows


@pytest.mark.parametrize(
    "change", [unchanged, secret_class, secret_modality, secret_colours, secret_rescale, secret_syntax, truncated]
)
def test_no_patient_data_reaches_a_study_a_log_a_warning_or_a_message(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    recwarn: pytest.WarningsRecorder,
    change: Callable[[FileDataset], None],
) -> None:
    folder = tmp_path / "Doe_Jane_1970"
    for series in (ct_series(slices=3), mr_series()):
        for index, path in enumerate(written(folder, series)):
            dataset = pydicom.dcmread(path)
            with_secret_everywhere(dataset)
            change(dataset)
            dataset.save_as(path, implicit_vr=False, little_endian=True)
            path.rename(path.with_name(f"Doe_Jane_1970_{index}"))
    (folder / "Jane_Doe.txt").write_text("Jane Doe")
    caplog.clear()
    recwarn.clear()
    caplog.set_level(logging.DEBUG)
    for given in (
        folder,
        folder / "s3",
        folder / "s3" / "Doe_Jane_1970_0",
        folder / "Jane_Doe.txt",
        folder / "Doe_Jane",
    ):
        try:
            study = read_study(given)
            text = repr(study) + describe_study(study).to_text() + describe_study(study).to_json()
        except StudyError as error:
            text = str(error)
        text += caplog.text + "".join(str(warning.message) for warning in recwarn.list)
        for word in ("jane", "doe^", "doe_", "doe ", "1970"):
            assert word not in text.lower()
