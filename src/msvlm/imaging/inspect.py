"""Describes a study as text or JSON: its series, their geometry and notes, and what was left out with the reason."""

import json
from dataclasses import asdict, dataclass

from msvlm.imaging.geometry import distinct_gaps_mm, median_gap_mm
from msvlm.study import LeftOut, Modality, Series, Study

_GAPS_SHOWN = 6


@dataclass(frozen=True)
class SeriesDescription:
    """Properties of one series.

    Attributes:
        spacing_mm: between rows, between columns, and the median gap between slices (0 for a single slice).
        gaps_mm: the distinct gaps, ascending.
        lowest, highest: values without padding; in HU for CT, else on the scanner's scale.
        extent_mm: from the first slice to the last, along their normal.
        first_image, last_image: the DICOM instance numbers of the first and the last slice, which viewers show;
            None where the source has none.
    """

    key: str
    modality: str
    plane: str
    weighting: str
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]
    gaps_mm: tuple[float, ...]
    tilt_degrees: float
    extent_mm: float
    lowest: float
    highest: float
    padding_value: float | None
    body_part: str
    b_value_s_mm2: float | None
    first_image: int | None
    last_image: int | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class StudyDescription:
    """Description of a study, free of patient data."""

    key: str
    series: tuple[SeriesDescription, ...]
    left_out: tuple[LeftOut, ...]

    def to_text(self) -> str:
        """Returns the description as lines for a terminal."""
        lines = [f"study {self.key}: {len(self.series)} series read, {len(self.left_out)} left out"]
        for each in self.series:
            lines += _lines(each)
        if self.left_out:
            lines.append("left out:")
            lines += [f"  {item.name}: {item.reason}" for item in self.left_out]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Returns the description as one indented JSON object."""
        return json.dumps(asdict(self), indent=2)


def describe_study(study: Study) -> StudyDescription:
    """Returns the description that `msvlm inspect` prints."""
    return StudyDescription(study.key, tuple(describe_series(series) for series in study.series), study.left_out)


def describe_series(series: Series) -> SeriesDescription:
    """Returns the properties of one series."""
    slices, rows, columns = series.voxels.shape
    gaps_mm = series.slice_gaps_mm
    lowest, highest = _value_range(series)
    row_mm, column_mm = series.pixel_spacing_mm
    return SeriesDescription(
        key=series.key,
        modality=series.modality.value,
        plane=series.plane.value,
        weighting=series.weighting.value,
        slices=slices,
        rows=rows,
        columns=columns,
        spacing_mm=(round(row_mm, 4), round(column_mm, 4), round(median_gap_mm(gaps_mm), 4)),
        gaps_mm=tuple(round(gap_mm, 4) for gap_mm in distinct_gaps_mm(gaps_mm)),
        tilt_degrees=round(series.tilt_degrees, 2),
        extent_mm=round(float(abs(gaps_mm.sum())), 2),
        lowest=lowest,
        highest=highest,
        padding_value=series.padding_value,
        body_part=series.body_part,
        b_value_s_mm2=series.b_value_s_mm2,
        first_image=None if series.instance_numbers is None else int(series.instance_numbers[0]),
        last_image=None if series.instance_numbers is None else int(series.instance_numbers[-1]),
        notes=series.notes,
    )


def _value_range(series: Series) -> tuple[float, float]:
    voxels = series.voxels
    if series.padding_value is not None and (
        voxels.min() == series.padding_value or voxels.max() == series.padding_value
    ):
        valid = voxels[voxels != series.padding_value]
        voxels = valid if valid.size else voxels
    return round(float(voxels.min()), 4), round(float(voxels.max()), 4)


def _lines(each: SeriesDescription) -> list[str]:
    row_mm, column_mm, gap_mm = each.spacing_mm
    unit = " HU" if each.modality == Modality.CT.value else ""
    b_value = "" if each.b_value_s_mm2 is None else f" b {each.b_value_s_mm2:g} s/mm2"
    body_part = f", {each.body_part}" if each.body_part else ""
    padding = "" if each.padding_value is None else f", padding {each.padding_value:g}"
    gaps = f"{gap_mm:g} mm"
    if len(each.gaps_mm) > 1:
        more = " ..." if len(each.gaps_mm) > _GAPS_SHOWN else ""
        gaps = f"{', '.join(f'{gap:g}' for gap in each.gaps_mm[:_GAPS_SHOWN])}{more} mm"
    return [
        f"{each.key}: {each.modality} {each.plane} {each.weighting}{b_value}{body_part}",
        f"  {each.slices} slices of {each.rows} x {each.columns}, {row_mm:g} x {column_mm:g} mm, gaps {gaps}, "
        f"extent {each.extent_mm:g} mm, tilt {each.tilt_degrees:g} degrees",
        *_images(each),
        f"  {each.lowest:g} to {each.highest:g}{unit}{padding}",
        *(f"  note: {note}" for note in each.notes),
    ]


def _images(each: SeriesDescription) -> list[str]:
    """Returns the line that relates slices, counted from 1, to the image numbers that viewers show."""
    if each.first_image is None or each.slices == 1:
        return [] if each.first_image is None else [f"  slice 1 is image {each.first_image}"]
    return [f"  slice 1 is image {each.first_image}, slice {each.slices} is image {each.last_image}"]
