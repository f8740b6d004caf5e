"""Reads DICOM files into series: grouped, ordered by position, rescaled slice by slice.

Steps: headers are read (header.py), files that are no slices are left out with a reason (screening.py), the rest is
split into stacks (stacks.py), and only then are pixel data decoded (pixels.py), once per file.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.dicom.header import DicomHeader, read_header
from msvlm.imaging.dicom.pixels import DecodedSlice, decode_slice, rescale_slices
from msvlm.imaging.dicom.quiet import quiet_pydicom
from msvlm.imaging.dicom.screening import reason_to_leave_out
from msvlm.imaging.dicom.stacks import Stack, positions_along_normal_mm, split_into_stacks
from msvlm.imaging.geometry import LPS_TO_RAS, describe_geometry
from msvlm.imaging.source_files import SourceFile, describe_files
from msvlm.study import SPACING_TOLERANCE_MM, DicomIdentity, LeftOut, Modality, Series, Weighting, describe_slice_pair


@dataclass(frozen=True)
class DicomReading:
    """The series read from DICOM files, what was left out, and a key without patient data."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    study_key: str


def read_dicom(sources: Sequence[SourceFile], keep_single_images: bool = False) -> DicomReading:
    """Reads the DICOM files of one study; single images are left out unless `keep_single_images` is set.

    Raises:
        StudyError: the files belong to several studies.
    """
    with quiet_pydicom():
        headers, left_out = _read_headers(sources)
        keys = _series_keys(headers)
        usable, refused = _screen_headers(headers, keys)
        _refuse_several_studies(usable)
        left_out += refused
        series: list[Series] = []
        main_frame = _main_frame_of_reference(usable)
        for key, members in usable.items():
            found, refused = _read_series(key, members, main_frame, keep_single_images)
            series += found
            left_out += refused
    return DicomReading(tuple(series), tuple(left_out), _study_key(usable))


def _read_headers(sources: Sequence[SourceFile]) -> tuple[list[DicomHeader], list[LeftOut]]:
    headers, unreadable = [], []
    for source in sources:
        header = read_header(source)
        if header is None:
            unreadable.append(source)
        else:
            headers.append(header)
    if not unreadable:
        return headers, []
    return headers, [
        LeftOut(describe_files(unreadable), "not readable as DICOM: corrupt or truncated; export them again")
    ]


def _series_keys(headers: Iterable[DicomHeader]) -> dict[tuple[str, int | None], str]:
    """Returns a key for each series: `s2010` for series number 2010, with a suffix where several share a number."""
    keys: dict[tuple[str, int | None], str] = {}
    taken: dict[str, int] = defaultdict(int)
    for header in sorted(headers, key=lambda header: (header.series_number or 0, header.source.number)):
        series = _series_identity(header)
        if series not in keys:
            stem = "unnumbered" if header.series_number is None else f"s{header.series_number}"
            taken[stem] += 1
            keys[series] = stem if taken[stem] == 1 else f"{stem}-{taken[stem]}"
    return keys


def _series_identity(header: DicomHeader) -> tuple[str, int | None]:
    """Returns the series UID, or the series number where anonymisation removed the UID."""
    return (header.series_uid, None if header.series_uid else header.series_number)


def _screen_headers(
    headers: Sequence[DicomHeader], keys: dict[tuple[str, int | None], str]
) -> tuple[dict[str, list[DicomHeader]], list[LeftOut]]:
    usable: dict[str, list[DicomHeader]] = {key: [] for key in keys.values()}
    refused: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
    for header in headers:
        key = keys[_series_identity(header)]
        reason = reason_to_leave_out(header)
        if reason is None:
            usable[key].append(header)
        else:
            refused[key if header.series_uid or header.rows else "", reason].append(header.source)
    left_out = [
        LeftOut(key or describe_files(sources), _with_count(len(sources), reason) if key else reason)
        for (key, reason), sources in refused.items()
    ]
    return {key: members for key, members in usable.items() if members}, left_out


def _with_count(count: int, reason: str) -> str:
    return reason if count == 1 else f"{count} files: {reason}"


def _refuse_several_studies(usable: dict[str, list[DicomHeader]]) -> None:
    counts: dict[str, set[str]] = defaultdict(set)
    for key, members in usable.items():
        for header in members:
            counts[header.study_uid].add(key)
    if len(counts) > 1:
        sizes = ", ".join(str(len(keys)) for keys in counts.values())
        raise StudyError(
            f"images of {len(counts)} studies ({sizes} series), expected one study; pass each study separately"
        )


def _main_frame_of_reference(usable: dict[str, list[DicomHeader]]) -> str:
    """Returns the frame of reference that most series share; positions in different frames are not comparable."""
    frames = [frame for members in usable.values() for frame in {header.frame_of_reference_uid for header in members}]
    return max(frames, key=frames.count, default="")


def _study_key(usable: dict[str, list[DicomHeader]]) -> str:
    """Returns a key from a hash of the Study Instance UID; empty where there is none."""
    uid = next((header.study_uid for members in usable.values() for header in members), "")
    return f"study-{hashlib.sha256(uid.encode()).hexdigest()[:10]}" if uid else ""


def _read_series(
    key: str, headers: list[DicomHeader], main_frame: str, keep_single: bool
) -> tuple[list[Series], list[LeftOut]]:
    series: list[Series] = []
    left_out: list[LeftOut] = []
    taken: set[str] = set()
    for stack in split_into_stacks(_without_spurious_b_values(headers)):
        name = _stack_key(key, stack.label, taken)
        taken.add(name)
        result, refused = _read_stack(name, stack, keep_single)
        left_out += refused
        if isinstance(result, LeftOut):
            left_out.append(result)
        elif result is not None:
            notes: tuple[str, ...] = (
                (f"split from the rest of {key} by {stack.separated_by}",) if stack.separated_by else ()
            )
            if stack.headers[0].frame_of_reference_uid != main_frame:
                notes += ("frame of reference differs from that of most series; positions may not be comparable",)
            series.append(replace(result, notes=notes + result.notes))
    return series, left_out


def _stack_key(key: str, label: str, taken: set[str]) -> str:
    names = [f"{key}-{label}" if label else key, *(f"{key}-{label}{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _without_spurious_b_values(headers: list[DicomHeader]) -> list[DicomHeader]:
    """Drops b = 0 of series without diffusion, which scanners write too; in a diffusion series b = 0 is kept."""
    if any(header.b_value_s_mm2 for header in headers):
        return [
            replace(header, weighting=Weighting.DWI) if header.b_value_s_mm2 == 0.0 else header for header in headers
        ]
    return [replace(header, b_value_s_mm2=None) for header in headers]


def _read_stack(key: str, stack: Stack, keep_single: bool) -> tuple[Series | LeftOut | None, list[LeftOut]]:
    """Returns the series, or its reason (None if every slice has its own), and the slices left out."""
    single = LeftOut(key, "a single image; to read it anyway, pass its file on its own")
    if len(stack.headers) == 1 and not keep_single:
        return single, []
    slices, refused = _decode_slices(key, stack.headers)
    if not slices:
        return None, refused
    kept = _drop_duplicates(slices)
    conflict = _position_conflict(kept)
    if conflict is not None:
        return LeftOut(key, conflict), refused
    if len(kept) == 1 and not keep_single:
        return single, refused
    dropped = len(slices) - len(kept)
    notes = {0: (), 1: ("1 duplicate slice dropped",)}.get(dropped, (f"{dropped} duplicate slices dropped",))
    try:
        return _build_series(key, kept, notes), refused
    except StudyError as error:
        return LeftOut(key, str(error)), refused


def _decode_slices(key: str, headers: Sequence[DicomHeader]) -> tuple[list[DecodedSlice], list[LeftOut]]:
    slices: list[DecodedSlice] = []
    failures: dict[str, int] = defaultdict(int)
    for header in headers:
        try:
            slices.append(decode_slice(header))
        except StudyError as error:
            failures[str(error)] += 1
    refused = [
        LeftOut(key, reason if len(headers) == 1 else f"{count} of {len(headers)} slices: {reason}")
        for reason, count in failures.items()
    ]
    return slices, refused


def _drop_duplicates(slices: list[DecodedSlice]) -> list[DecodedSlice]:
    """Drops slices that equal another slice at the same position, voxel for voxel."""
    along_mm = positions_along_normal_mm([each.header for each in slices])
    kept: list[int] = []
    for index, one in enumerate(slices):
        twins = takewhile(lambda earlier: along_mm[index] - along_mm[earlier] <= SPACING_TOLERANCE_MM, reversed(kept))  # noqa: B023
        if not any(_are_duplicates(one, slices[twin]) for twin in twins):
            kept.append(index)
    return [slices[index] for index in kept]


def _are_duplicates(one: DecodedSlice, other: DecodedSlice) -> bool:
    same_scale = (one.header.rescale_slope, one.header.rescale_intercept) == (
        other.header.rescale_slope,
        other.header.rescale_intercept,
    )
    return same_scale and np.array_equal(one.stored, other.stored)


def _position_conflict(slices: Sequence[DecodedSlice]) -> str | None:
    gaps_mm = np.diff(positions_along_normal_mm([each.header for each in slices]))
    shared = np.flatnonzero(gaps_mm <= SPACING_TOLERANCE_MM)
    if not len(shared):
        return None
    first = int(shared[0])
    more = f" ({len(shared)} such pairs in total)" if len(shared) > 1 else ""
    pair = describe_slice_pair(first, _instance_numbers([each.header for each in slices]))
    return (
        f"{pair} of {len(slices)} have the same position but different voxels{more}, and "
        "no header element distinguishes them; export each acquisition as a separate series"
    )


def _instance_numbers(headers: Sequence[DicomHeader]) -> NDArray[np.int64] | None:
    """Returns the Instance Number of each slice, (slices,); None where a slice has none or shares it."""
    numbers = [header.instance_number for header in headers if header.instance_number is not None]
    return np.array(numbers, dtype=np.int64) if len(set(numbers)) == len(headers) else None


def _valid_uid(uid: str) -> str:
    """Returns a UID, empty where it is not one: other text may name the patient."""
    return uid if re.fullmatch(r"[0-9.]{1,64}", uid) else ""


def _build_series(
    key: str,
    slices: Sequence[DecodedSlice],
    notes: tuple[str, ...],
) -> Series:
    """Builds the series; each slice gets the position and orientation of its own header."""
    headers = [each.header for each in slices]
    voxels, padding_value = rescale_slices(slices)
    positions = np.array([header.position_lps_mm for header in headers], dtype=np.float64)
    orientations = np.array([header.orientation_lps for header in headers], dtype=np.float64).reshape(-1, 2, 3)
    spacings_mm = np.array([header.pixel_spacing_mm for header in headers], dtype=np.float64)
    first = headers[0]
    if first.photometric == "MONOCHROME1":
        notes += ("MONOCHROME1: low values are displayed bright; values are not inverted",)
    if voxels.dtype == np.float32:
        notes += ("rescaled values are fractional or exceed 16 bits; stored as float32",)
    series = Series(
        key=key,
        voxels=voxels,
        positions_ras_mm=positions * LPS_TO_RAS,
        row_steps_ras_mm=orientations[:, 1] * LPS_TO_RAS * spacings_mm[:, :1],
        column_steps_ras_mm=orientations[:, 0] * LPS_TO_RAS * spacings_mm[:, 1:],
        modality=Modality(first.modality),
        weighting=first.weighting,
        padding_value=padding_value,
        body_part=first.body_part,
        b_value_s_mm2=first.b_value_s_mm2,
        instance_numbers=_instance_numbers(headers),
        dicom=DicomIdentity(
            _valid_uid(first.study_uid),
            _valid_uid(first.series_uid),
            tuple(_valid_uid(header.sop_instance_uid) for header in headers),
            first.acquisition_time,
        ),
    )
    return replace(series, notes=notes + describe_geometry(series))
