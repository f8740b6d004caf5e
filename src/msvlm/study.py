"""Series and Study: voxels and their positions in the patient, in mm along RAS axes (right, anterior, superior)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import GeometryError

SPACING_TOLERANCE_MM = 0.01
"""Two gaps between slices count as equal where they differ by at most this, or by at most 1 % of the gap."""


def describe_slice_pair(first: int, instance_numbers: Sequence[int] | NDArray[np.int64] | None) -> str:
    """Names the slice with index `first` (from 0) and the next one, counted from 1, with image numbers where known.

    For example `slices 4 and 5 (images 97 and 96)`.
    """
    images = (
        "" if instance_numbers is None else f" (images {instance_numbers[first]} and {instance_numbers[first + 1]})"
    )
    return f"slices {first + 1} and {first + 2}{images}"


class Modality(StrEnum):
    """Imaging modality, by its DICOM code."""

    CT = "CT"
    MR = "MR"


class Plane(StrEnum):
    """The anatomical plane nearest to a series' slices."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"


class Weighting(StrEnum):
    """MR sequence weighting or CT contrast phase; `MR` and `CT` where the header does not state it."""

    CT = "ct"
    CT_CONTRAST = "ct_contrast"
    CT_ARTERIAL = "ct_arterial"
    CT_VENOUS = "ct_venous"
    MR = "mr"
    T1 = "t1"
    T1_CONTRAST = "t1_contrast"
    T2 = "t2"
    PD = "pd"
    DWI = "dwi"
    ADC = "adc"


@dataclass(frozen=True)
class Role:
    """Role of a series within its study: plane, from its geometry, and weighting or phase, from its header."""

    plane: Plane
    weighting: Weighting

    COUNT: ClassVar[int] = len(Plane) * len(Weighting)

    @property
    def index(self) -> int:
        """Index of the role, from 0 to `COUNT` - 1, the same in every run."""
        return list(Plane).index(self.plane) * len(Weighting) + list(Weighting).index(self.weighting)


@dataclass(frozen=True)
class DicomIdentity:
    """What names a series in a PACS; for documents and viewers, never for messages or logs. Empty where unknown.

    Attributes:
        study_instance_uid, series_instance_uid: UIDs (0020,000D) and (0020,000E).
        sop_instance_uids: UID (0008,0018) of each slice, in the order of the voxels.
        acquisition_time: start of the acquisition as DICOM writes it, `YYYYMMDDHHMMSS.FFFFFF`.
    """

    study_instance_uid: str = ""
    series_instance_uid: str = ""
    sop_instance_uids: tuple[str, ...] = ()
    acquisition_time: str = ""


@dataclass(frozen=True)
class Series:
    """One stack of slices, each with its own position and orientation, so tilted and uneven stacks are represented too.

    Attributes:
        key: unique in its study, free of patient data, for example `s2010`.
        voxels: (slices, rows, columns); HU for CT, the scanner's own scale for MR.
        positions_ras_mm: (slices, 3), centre of each slice's first voxel.
        row_steps_ras_mm: (slices, 3), from a voxel to the one in the next row.
        column_steps_ras_mm: (slices, 3), from a voxel to the one in the next column.
        padding_value: the voxel value that marks "outside the field of view", where the file defines one.
        body_part: DICOM Body Part Examined in lower case, empty where the header does not state it.
        b_value_s_mm2: diffusion b-value, where the series has one.
        notes: everything unusual, assumed or repaired while reading.
        instance_numbers: (slices,), DICOM Instance Number (0020,0013), which viewers show as the image number;
            None where the source has none or repeats one.
        dicom: its identity in DICOM; empty for other sources.
    """

    key: str
    voxels: NDArray[np.int16] | NDArray[np.float32]
    positions_ras_mm: NDArray[np.float64]
    row_steps_ras_mm: NDArray[np.float64]
    column_steps_ras_mm: NDArray[np.float64]
    modality: Modality
    weighting: Weighting
    padding_value: float | None = None
    body_part: str = ""
    b_value_s_mm2: float | None = None
    notes: tuple[str, ...] = ()
    instance_numbers: NDArray[np.int64] | None = None
    dicom: DicomIdentity = field(default=DicomIdentity(), repr=False)

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or 0 in self.voxels.shape:
            raise GeometryError(f"{self.key}: voxels of shape {self.voxels.shape}, expected (slices, rows, columns)")
        for name in ("positions_ras_mm", "row_steps_ras_mm", "column_steps_ras_mm"):
            shape = getattr(self, name).shape
            if shape != (len(self.voxels), 3):
                raise GeometryError(f"{self.key}: {name} of shape {shape} for {len(self.voxels)} slices")
        if self.instance_numbers is not None and self.instance_numbers.shape != (len(self.voxels),):
            raise GeometryError(
                f"{self.key}: instance_numbers of shape {self.instance_numbers.shape} for {len(self.voxels)} slices"
            )

    @property
    def normals_ras(self) -> NDArray[np.float64]:
        """(slices, 3), unit normal of each slice: cross product of its column step and its row step."""
        normals = np.cross(self.column_steps_ras_mm, self.row_steps_ras_mm)
        return normals / np.linalg.norm(normals, axis=1, keepdims=True)

    @property
    def pixel_spacing_mm(self) -> tuple[float, float]:
        """Distance between rows and between columns of the first slice, in mm."""
        return float(np.linalg.norm(self.row_steps_ras_mm[0])), float(np.linalg.norm(self.column_steps_ras_mm[0]))

    @property
    def slice_gaps_mm(self) -> NDArray[np.float64]:
        """(slices - 1), signed distance in mm from each slice to the next along the first slice's normal."""
        return np.diff(self.positions_ras_mm @ self.normals_ras[0])

    @property
    def plane(self) -> Plane:
        """The anatomical plane nearest to the first slice."""
        axis = int(np.argmax(np.abs(self.normals_ras[0])))
        return (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[axis]

    @property
    def role(self) -> Role:
        """Plane and weighting of the series."""
        return Role(self.plane, self.weighting)

    @property
    def tilt_degrees(self) -> float:
        """Angle between the first slice's normal and the line from the first position to the last; 0 for one slice."""
        if len(self.voxels) < 2:
            return 0.0
        line = self.positions_ras_mm[-1] - self.positions_ras_mm[0]
        length = float(np.linalg.norm(line))
        if length == 0.0:
            return 0.0
        cosine = abs(float(line @ self.normals_ras[0])) / length
        return float(np.degrees(np.arccos(min(1.0, cosine))))

    @property
    def slice_centres_ras_mm(self) -> NDArray[np.float64]:
        """(slices, 3), centre of each slice."""
        _, rows, columns = self.voxels.shape
        return (
            self.positions_ras_mm
            + self.row_steps_ras_mm * ((rows - 1) / 2)
            + self.column_steps_ras_mm * ((columns - 1) / 2)
        )

    @property
    def affine_ras(self) -> NDArray[np.float64]:
        """(4, 4), maps (slice, row, column) indices to RAS mm.

        Raises:
            GeometryError: the slices are not parallel and evenly spaced, so no single matrix gives their positions.
        """
        if len(self.voxels) < 2:
            raise GeometryError(f"{self.key}: one slice has no spacing; use positions_ras_mm")
        steps = np.diff(self.positions_ras_mm, axis=0)
        gaps_mm = np.linalg.norm(steps, axis=1)
        step = (self.positions_ras_mm[-1] - self.positions_ras_mm[0]) / (len(self.voxels) - 1)
        tolerance_mm = max(SPACING_TOLERANCE_MM, 0.01 * float(np.linalg.norm(step)))
        worst = int(np.argmax(np.linalg.norm(steps - step, axis=1)))
        if np.linalg.norm(steps[worst] - step) > tolerance_mm:
            raise GeometryError(
                f"{self.key}: slices are {gaps_mm[worst]:.2f} mm apart between "
                f"{describe_slice_pair(worst, self.instance_numbers)} and {np.linalg.norm(step):.2f} mm on average; "
                "use positions_ras_mm of each slice"
            )
        for steps_in_plane in (self.row_steps_ras_mm, self.column_steps_ras_mm):
            if np.abs(steps_in_plane - steps_in_plane[0]).max() > 1e-3:
                raise GeometryError(f"{self.key}: slices are not parallel; use positions_ras_mm of each slice")
        affine_ras = np.eye(4)
        affine_ras[:3, 0] = step
        affine_ras[:3, 1] = self.row_steps_ras_mm[0]
        affine_ras[:3, 2] = self.column_steps_ras_mm[0]
        affine_ras[:3, 3] = self.positions_ras_mm[0]
        return affine_ras


@dataclass(frozen=True)
class LeftOut:
    """A series or file of the study that msvlm does not read, and the reason."""

    name: str
    reason: str


@dataclass(frozen=True)
class Study:
    """The readable series of one study of one patient, and what was left out of it."""

    key: str
    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...] = ()
