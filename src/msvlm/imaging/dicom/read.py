"""DICOM files -> Series: grouped, ordered by position, rescaled slice by slice, each slice at its own place.

The way of a file: its header is read, files that are no slices are set aside with a reason (screening.py), the rest
are parted into stacks (stacks.py), and only then are pixels decoded (pixels.py), once per file.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.dicom.header import DicomHeader, read_header
from msvlm.imaging.dicom.pixels import DecodedSlice, decoded, rescaled
from msvlm.imaging.dicom.quiet import silent_pydicom
from msvlm.imaging.dicom.screening import reason_to_leave_out
from msvlm.imaging.dicom.stacks import Stack, positions_along_normal_mm, stacks_of
from msvlm.imaging.geometry import LPS_TO_RAS, notes_on_places
from msvlm.imaging.source_files import SourceFile, named_files
from msvlm.study import SPACING_TOLERANCE_MM, LeftOut, Modality, Series, Weighting, neighbours_in_words


@dataclass(frozen=True)
class DicomReading:
    """What was read of the DICOM files, what was left out, and a key that tells nothing of the patient."""

    series: tuple[Series, ...]
    left_out: tuple[LeftOut, ...]
    study_key: str


def read_dicom(sources: Sequence[SourceFile], keep_single_images: bool = False) -> DicomReading:
    """Reads files of one study. A single image is a series only where the caller asks for it by name.

    Raises:
        StudyError: the files belong to more than one study.
    """
    with silent_pydicom():
        headers, left_out = _headers(sources)
        keys = _series_keys(headers)
        usable, refused = _screened(headers, keys)
        _refuse_several_studies(usable)
        left_out += refused
        series: list[Series] = []
        main_frame = _main_frame_of_reference(usable)
        for key, members in usable.items():
            found, refused = _series_of(key, members, main_frame, keep_single_images)
            series += found
            left_out += refused
    return DicomReading(tuple(series), tuple(left_out), _study_key(usable))


def _headers(sources: Sequence[SourceFile]) -> tuple[list[DicomHeader], list[LeftOut]]:
    headers, unreadable = [], []
    for source in sources:
        header = read_header(source)
        if header is None:
            unreadable.append(source)
        else:
            headers.append(header)
    if not unreadable:
        return headers, []
    return headers, [LeftOut(named_files(unreadable), "not readable as DICOM: broken or cut short; export them again")]


def _series_keys(headers: Iterable[DicomHeader]) -> dict[tuple[str, int | None], str]:
    """`s2010` for series number 2010; series that share a number, or have none, are counted."""
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
    """The UID; anonymised files without one are told apart by series number."""
    return (header.series_uid, None if header.series_uid else header.series_number)


def _screened(
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
        LeftOut(key or named_files(sources), _counted(len(sources), reason) if key else reason)
        for (key, reason), sources in refused.items()
    ]
    return {key: members for key, members in usable.items() if members}, left_out


def _counted(count: int, reason: str) -> str:
    return reason if count == 1 else f"{count} files: {reason}"


def _refuse_several_studies(usable: dict[str, list[DicomHeader]]) -> None:
    counts: dict[str, set[str]] = defaultdict(set)
    for key, members in usable.items():
        for header in members:
            counts[header.study_uid].add(key)
    if len(counts) > 1:
        sizes = ", ".join(str(len(keys)) for keys in counts.values())
        raise StudyError(
            f"images of {len(counts)} studies ({sizes} series) where one study of one patient was wanted; "
            "pass each study by itself"
        )


def _main_frame_of_reference(usable: dict[str, list[DicomHeader]]) -> str:
    """The frame that most series share, the first of equals; places in another are not to be compared with it."""
    frames = [frame for members in usable.values() for frame in {header.frame_of_reference_uid for header in members}]
    return max(frames, key=frames.count, default="")


def _study_key(usable: dict[str, list[DicomHeader]]) -> str:
    """A one-way hash of the one Study Instance UID; empty where there is none."""
    uid = next((header.study_uid for members in usable.values() for header in members), "")
    return f"study-{hashlib.sha256(uid.encode()).hexdigest()[:10]}" if uid else ""


def _series_of(
    key: str, headers: list[DicomHeader], main_frame: str, keep_single: bool
) -> tuple[list[Series], list[LeftOut]]:
    series: list[Series] = []
    left_out: list[LeftOut] = []
    taken: set[str] = set()
    for stack in stacks_of(_with_meaningful_b_values(headers)):
        name = _name_of_stack(key, stack.label, taken)
        taken.add(name)
        result, refused = _read_stack(name, stack, keep_single)
        left_out += refused
        if isinstance(result, LeftOut):
            left_out.append(result)
        elif result is not None:
            notes: tuple[str, ...] = (
                (f"told apart from the rest of {key} by {stack.told_apart_by}",) if stack.told_apart_by else ()
            )
            if stack.headers[0].frame_of_reference_uid != main_frame:
                notes += ("another frame of reference than most series; its places may not fit theirs",)
            series.append(replace(result, notes=notes + result.notes))
    return series, left_out


def _name_of_stack(key: str, label: str, taken: set[str]) -> str:
    names = [f"{key}-{label}" if label else key, *(f"{key}-{label}{number}" for number in range(2, len(taken) + 3))]
    return next(name for name in names if name not in taken)


def _with_meaningful_b_values(headers: list[DicomHeader]) -> list[DicomHeader]:
    """Scanners write b = 0 into headers of series without diffusion; in a diffusion series it is a b-value."""
    if any(header.b_value_s_mm2 for header in headers):
        return [
            replace(header, weighting=Weighting.DWI) if header.b_value_s_mm2 == 0.0 else header for header in headers
        ]
    return [replace(header, b_value_s_mm2=None) for header in headers]


def _read_stack(key: str, stack: Stack, keep_single: bool) -> tuple[Series | LeftOut | None, list[LeftOut]]:
    """The series, or why it is left out, None where that is told of its slices; and the slices left out."""
    single = LeftOut(key, "a single image; to read it all the same, pass its file by itself")
    if len(stack.headers) == 1 and not keep_single:
        return single, []
    slices, refused = _decoded(key, stack.headers)
    if not slices:
        return None, refused
    kept = _without_copies(slices)
    clash = _clash(kept)
    if clash is not None:
        return LeftOut(key, clash), refused
    if len(kept) == 1 and not keep_single:
        return single, refused
    dropped = len(slices) - len(kept)
    copies = {0: (), 1: ("an exact copy of a slice dropped",)}.get(
        dropped, (f"{dropped} exact copies of slices dropped",)
    )
    try:
        return _placed(key, kept, copies), refused
    except StudyError as error:
        return LeftOut(key, str(error)), refused


def _decoded(key: str, headers: Sequence[DicomHeader]) -> tuple[list[DecodedSlice], list[LeftOut]]:
    slices: list[DecodedSlice] = []
    failures: dict[str, int] = defaultdict(int)
    for header in headers:
        try:
            slices.append(decoded(header))
        except StudyError as error:
            failures[str(error)] += 1
    refused = [
        LeftOut(key, reason if len(headers) == 1 else f"{count} of {len(headers)} slices: {reason}")
        for reason, count in failures.items()
    ]
    return slices, refused


def _without_copies(slices: list[DecodedSlice]) -> list[DecodedSlice]:
    """Drops slices that say the same, voxel for voxel, as another at their position."""
    along_mm = positions_along_normal_mm([each.header for each in slices])
    kept: list[int] = []
    for index, one in enumerate(slices):
        twins = takewhile(lambda earlier: along_mm[index] - along_mm[earlier] <= SPACING_TOLERANCE_MM, reversed(kept))  # noqa: B023
        if not any(_same_voxels(one, slices[twin]) for twin in twins):
            kept.append(index)
    return [slices[index] for index in kept]


def _same_voxels(one: DecodedSlice, other: DecodedSlice) -> bool:
    same_scale = (one.header.rescale_slope, one.header.rescale_intercept) == (
        other.header.rescale_slope,
        other.header.rescale_intercept,
    )
    return same_scale and np.array_equal(one.stored, other.stored)


def _clash(slices: Sequence[DecodedSlice]) -> str | None:
    gaps_mm = np.diff(positions_along_normal_mm([each.header for each in slices]))
    shared = np.flatnonzero(gaps_mm <= SPACING_TOLERANCE_MM)
    if not len(shared):
        return None
    first = int(shared[0])
    more = f" (and {len(shared)} such pairs in all)" if len(shared) > 1 else ""
    where = neighbours_in_words(first, _instance_numbers([each.header for each in slices]))
    return (
        f"{where} of {len(slices)} lie at the same position but differ{more}, and "
        "nothing in their headers tells them apart; export each acquisition as a series of its own"
    )


def _instance_numbers(headers: Sequence[DicomHeader]) -> NDArray[np.int64] | None:
    """(slices,); None where a slice has none or shares its own with another, so that it names no image."""
    numbers = [header.instance_number for header in headers if header.instance_number is not None]
    return np.array(numbers, dtype=np.int64) if len(set(numbers)) == len(headers) else None


def _placed(
    key: str,
    slices: Sequence[DecodedSlice],
    notes: tuple[str, ...],
) -> Series:
    """The series with each slice where its own header puts it."""
    headers = [each.header for each in slices]
    voxels, padding_value = rescaled(slices)
    positions = np.array([header.position_lps_mm for header in headers], dtype=np.float64)
    orientations = np.array([header.orientation_lps for header in headers], dtype=np.float64).reshape(-1, 2, 3)
    spacings_mm = np.array([header.pixel_spacing_mm for header in headers], dtype=np.float64)
    first = headers[0]
    if first.photometric == "MONOCHROME1":
        notes += ("stored for display with low values bright (MONOCHROME1); values are kept as they are",)
    if voxels.dtype == np.float32:
        notes += ("rescaled to fractions or beyond 16 bits, so kept as real numbers",)
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
    )
    return replace(series, notes=notes + notes_on_places(series))
