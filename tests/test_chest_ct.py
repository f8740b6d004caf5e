"""Synthetic chest CT: depends on the seed alone; each finding of the truth is visible in the voxels at its location."""

import hashlib
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from msvlm.errors import GeometryError
from msvlm.phantom.canvas import Box
from msvlm.phantom.chest.chest_ct import ScanShape, SyntheticStudy, blur, draw_chest_ct
from msvlm.phantom.chest.lesion_plan import PaintedLesion, sample_findings
from msvlm.phantom.chest.scene import Scene, draw_scene
from msvlm.phantom.chest.truth import find_visible_lesions
from msvlm.study import Plane
from msvlm.vocabulary.chest import CHEST, LOBES
from msvlm.vocabulary.vocabulary import DEGREES, LEFT, RIGHT, SIDES, Certainty

SEEDS = range(200)
COARSE = ScanShape(28, 64, 64, (11.0, 6.0, 6.0))
TYPICAL = ScanShape(64, 128, 128, (5.0, 3.0, 3.0))
IN_LUNGS = tuple(kind.name for kind in CHEST.findings if set(LOBES) & set(kind.attributes))

# (lowest, highest) median HU of a lesion; the blur mixes the borders of thin and small lesions with lung.
MIDDLE_HU = {
    "medical_material": (700, 3071),
    "arterial_wall_calcification": (300, 1100),
    "coronary_artery_wall_calcification": (250, 1100),
    "pericardial_effusion": (-40, 40),
    "pleural_effusion": (-15, 35),
    "lymphadenopathy": (-75, 80),
    "emphysema": (-1024, -930),
    "lung_opacity": (-760, -450),
    "consolidation": (-60, 80),
    "atelectasis": (-110, 110),
    "lung_nodule": (-300, 90),
    "interlobular_septal_thickening": (-720, -200),
}


@dataclass(frozen=True)
class Summary:
    """What the tests need of summary study, without its voxels."""

    present: frozenset[str]
    middle_hu: tuple[tuple[str, float], ...]
    change_hu: tuple[tuple[str, float], ...]
    errors: tuple[str, ...]
    report: str


@pytest.fixture(scope="module")
def summaries() -> list[Summary]:
    """Returns a summary of each seed's study."""
    return [_summarise(seed) for seed in SEEDS]


def _summarise(seed: int) -> Summary:
    drawn, healthy = draw_chest_ct(seed), _healthy(seed)
    voxels = drawn.study.series[0].voxels
    middle, change, errors = [], [], []
    for lesion in drawn.lesions:
        mask = drawn.lesion_labels == lesion.label
        middle.append((lesion.finding, float(np.median(voxels[mask]))))
        change.append((lesion.finding, float(np.abs(voxels[mask] - healthy.canvas.hu[mask]).mean())))
        errors += [
            f"seed {seed}, {lesion.finding}: {what}" for what in _location_errors(drawn, healthy, mask, lesion.label)
        ]
    present = frozenset(statement.name for statement in drawn.truth if statement.certainty is Certainty.PRESENT)
    report = f"{drawn.findings_text} {drawn.impression_text}"
    return Summary(present, tuple(middle), tuple(change), tuple(errors), report)


def _healthy(seed: int) -> Scene:
    """Returns the same patient and scan without lesions, except for an enlarged heart."""
    generator = np.random.default_rng(seed)
    wanted = sample_findings(generator)
    scene = draw_scene(generator, None, "cardiomegaly" in wanted)
    blur(scene.canvas)
    return scene


def _location_errors(drawn: SyntheticStudy, healthy: Scene, mask: NDArray[np.bool_], label: int) -> list[str]:
    """Returns each disagreement between a lesion's voxels and its attributes."""
    lesion = drawn.lesions[label - 1]
    errors = []
    if lesion.label != label or int(mask.sum()) != lesion.voxels:
        errors.append("label or number of voxels")
    lobes = healthy.thorax.lobes[mask]
    if lesion.finding in (*IN_LUNGS, "pleural_effusion", "mosaic_attenuation_pattern"):
        if not (lobes > 0).all():
            errors.append("voxels outside the lungs")
        where = _points_ras_mm(drawn, mask)
        sides = lesion.attributes & set(SIDES)
        if len(sides) == 1 and (where[:, 0].mean() > 0) != (RIGHT in sides):
            errors.append("on the other side")
    for lobe in lesion.attributes & set(LOBES):
        if (lobes == 1 + LOBES.index(lobe)).mean() < 0.1:
            errors.append(f"not in the {lobe}")
    return errors


def _points_ras_mm(drawn: SyntheticStudy, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Returns the centres of the masked voxels (voxels, 3) in RAS mm."""
    index = np.argwhere(mask)
    affine_ras = drawn.study.series[0].affine_ras
    return index @ affine_ras[:3, :3].T + affine_ras[:3, 3]


@cache
def _coarse(seed: int) -> SyntheticStudy:
    return draw_chest_ct(seed, COARSE)


def test_one_seed_gives_the_same_bytes_and_another_seed_another_patient() -> None:
    def fingerprint(seed: int) -> tuple[str, str, str]:
        drawn = draw_chest_ct(seed, COARSE)
        texts = (drawn.study.series[0].voxels.tobytes(), drawn.lesion_labels.tobytes(), drawn.findings_text.encode())
        first, second, third = (hashlib.sha256(text).hexdigest() for text in texts)
        return first, second, third

    assert fingerprint(5) == fingerprint(5)
    assert len({fingerprint(seed)[0] for seed in range(8)}) == 8


@pytest.mark.slow
def test_every_finding_is_in_a_fair_share_of_the_studies(summaries: list[Summary]) -> None:
    for name in CHEST.names:
        share = statistics.fmean(name in summary.present for summary in summaries)
        assert 0.15 <= share <= 0.35, f"{name}: {share:.3f}"


@pytest.mark.slow
def test_some_patients_have_nothing_and_none_has_everything(summaries: list[Summary]) -> None:
    counts = [len(summary.present) for summary in summaries]
    assert 0.02 < statistics.fmean(count == 0 for count in counts) < 0.2
    assert 3 < statistics.fmean(counts) < 6
    assert max(counts) < 18


@pytest.mark.slow
def test_every_lesion_differs_from_the_same_patient_without_it(summaries: list[Summary]) -> None:
    changes = [(name, change) for summary in summaries for name, change in summary.change_hu if name != "cardiomegaly"]
    assert {name for name, _ in changes} == set(CHEST.names) - {"cardiomegaly"}
    assert min(change for _, change in changes) > 35
    for name in set(CHEST.names) - {"cardiomegaly"}:
        assert statistics.median(change for other, change in changes if other == name) > 45, name


@pytest.mark.parametrize("name", sorted(MIDDLE_HU))
@pytest.mark.slow
def test_a_lesion_is_as_dense_as_its_kind(summaries: list[Summary], name: str) -> None:
    low, high = MIDDLE_HU[name]
    levels = [level for summary in summaries for other, level in summary.middle_hu if other == name]
    assert statistics.fmean(low <= level <= high for level in levels) > 0.97


@pytest.mark.slow
def test_lesions_lie_where_the_truth_says(summaries: list[Summary]) -> None:
    assert [complaint for summary in summaries for complaint in summary.errors] == []


@pytest.mark.slow
def test_no_two_reports_are_the_same(summaries: list[Summary]) -> None:
    assert len({summary.report for summary in summaries}) == len(summaries)


def test_voxels_without_lesions_are_the_healthy_patient_with_noise() -> None:
    drawn, healthy = draw_chest_ct(1), _healthy(1)
    labels = drawn.lesion_labels
    near = labels > 0
    for axis in (1, 2):
        near = near | np.roll(near, 1, axis) | np.roll(near, -1, axis)
    difference = drawn.study.series[0].voxels - np.clip(healthy.canvas.hu, -1024, 3071)
    untouched = ~near & (healthy.canvas.hu > -900)
    noise_hu = healthy.thorax.patient.noise_hu
    assert difference[untouched].std() == pytest.approx(noise_hu, rel=0.15)
    assert abs(difference[untouched].mean()) < 1


def test_the_truth_merges_the_lesions() -> None:
    for seed in range(60):
        drawn = _coarse(seed)
        assert tuple(statement.name for statement in drawn.truth) == CHEST.names
        for statement, kind in zip(drawn.truth, CHEST.findings, strict=True):
            own = [lesion for lesion in drawn.lesions if lesion.finding == statement.name]
            assert (statement.certainty is Certainty.PRESENT) == bool(own)
            assert statement.attributes == frozenset().union(*(lesion.attributes for lesion in own))
            assert statement.attributes <= set(kind.attributes)
            assert statement.size_mm == max((lesion.size_mm for lesion in own if lesion.size_mm), default=None)
            assert len(statement.attributes & set(DEGREES)) == (1 if own and set(DEGREES) & set(kind.attributes) else 0)


def test_labels_count_from_one_without_gaps() -> None:
    for seed in range(60):
        drawn = _coarse(seed)
        assert [lesion.label for lesion in drawn.lesions] == list(range(1, len(drawn.lesions) + 1))
        assert set(np.unique(drawn.lesion_labels)) - {0} == {lesion.label for lesion in drawn.lesions}
        assert drawn.lesion_labels.shape == drawn.study.series[0].voxels.shape


def test_the_patient_lies_in_ras() -> None:
    scene = _healthy(4)
    canvas = scene.canvas

    def middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        drawn = draw_chest_ct(4)
        return np.median(_points_ras_mm(drawn, mask), axis=0)

    heart, lobes = middle(scene.thorax.heart), scene.thorax.lobes
    right_upper, right_middle, right_lower, left_upper, left_lower = (middle(lobes == lobe) for lobe in range(1, 6))
    assert heart[0] < 0 < right_upper[0]
    assert left_upper[0] < 0 and left_lower[0] < 0
    assert right_lower[2] < right_middle[2] < right_upper[2] and left_lower[2] < left_upper[2]
    assert right_lower[1] < right_middle[1] and heart[1] > middle(canvas.hu > 450)[1]


def test_the_series_is_an_ascending_axial_ct_on_the_requested_grid() -> None:
    series = draw_chest_ct(3, TYPICAL).study.series[0]
    assert series.voxels.shape == (64, 128, 128) and series.voxels.dtype == np.int16
    assert series.plane is Plane.AXIAL and series.body_part == "chest"
    assert series.slice_gaps_mm == pytest.approx(np.full(63, 5.0))
    assert series.pixel_spacing_mm == pytest.approx((3.0, 3.0))
    assert series.normals_ras[0] == pytest.approx((0.0, 0.0, 1.0))
    assert series.column_steps_ras_mm[0] == pytest.approx((-3.0, 0.0, 0.0))
    assert series.row_steps_ras_mm[0] == pytest.approx((0.0, -3.0, 0.0))


def test_scans_fit_their_patients_when_no_grid_is_given() -> None:
    matrices = set()
    for seed in range(12):
        series = draw_chest_ct(seed).study.series[0]
        slices, rows, columns = series.voxels.shape
        assert 40 <= slices <= 70 and 112 <= rows <= 160 and rows == columns
        assert 4.0 <= series.slice_gaps_mm[0] <= 7.0
        assert 360 <= series.pixel_spacing_mm[0] * rows <= 400.001
        matrices.add(rows)
    assert len(matrices) > 2


def test_findings_outside_the_scan_are_not_in_the_truth() -> None:
    """Eight slices at the height of the hila contain no diaphragm, so no hernia, however many are painted."""
    short = ScanShape(8, 64, 64, (5.0, 6.0, 6.0))
    statements = [statement for seed in range(40) for statement in draw_chest_ct(seed, short).truth]
    present = {statement.name for statement in statements if statement.certainty is Certainty.PRESENT}
    assert "hiatal_hernia" not in present
    assert "lung_nodule" in present


@pytest.mark.slow
def test_a_heart_is_clearly_normal_or_clearly_enlarged(summaries: list[Summary]) -> None:
    """The ratio as measured on the voxels separates the two."""
    normal, enlarged = [], []
    for seed in range(60):
        scene = _healthy(seed)
        slices = scene.thorax.heart.any(axis=(1, 2))
        heart, lungs = (
            np.flatnonzero(mask[slices].any(axis=(0, 1))) for mask in (scene.thorax.heart, scene.thorax.lobes > 0)
        )
        (enlarged if "cardiomegaly" in summaries[seed].present else normal).append(np.ptp(heart) / np.ptp(lungs))
    assert max(normal) < 0.50 < 0.55 < min(enlarged)


def test_sizes_are_those_of_the_voxels() -> None:
    """The size of a nodule on a fine grid is within a pixel of the extent of its voxels along rows or columns."""
    fine = ScanShape(90, 160, 160, (2.5, 2.2, 2.2))
    nodules = 0
    for seed in range(12):
        drawn = draw_chest_ct(seed, fine)
        for lesion in drawn.lesions:
            if lesion.finding == "lung_nodule":
                index = np.argwhere(drawn.lesion_labels == lesion.label)
                widest = max(
                    (np.ptp(index[index[:, 0] == height, axis]) + 1) * 2.2
                    for height in np.unique(index[:, 0])
                    for axis in (1, 2)
                )
                assert widest - 2.2 <= lesion.size_mm <= 1.42 * widest
                nodules += 1
    assert nodules > 3


def right_lung_ball() -> tuple[Scene, Box, NDArray[np.bool_]]:
    """Returns a patient without findings, and a ball of 12 mm radius in the middle of the right upper lobe."""
    scene = draw_scene(np.random.default_rng(11), TYPICAL, heart_is_enlarged=False)
    inside = np.argwhere(scene.thorax.lobes == 1)
    index = inside[np.argmin(np.abs(inside - inside.mean(axis=0)).sum(axis=1))]
    canvas = scene.canvas
    centre = np.array([canvas.z.flat[index[0]], canvas.y.flat[index[1]], canvas.x.flat[index[2]]])
    box, ball = canvas.ellipsoid(centre, np.full(3, 12.0))
    return scene, box, ball


@pytest.mark.parametrize(("contrast_hu", "is_visible"), [(10.0, False), (400.0, True)])
def test_a_nodule_as_dense_as_its_surroundings_is_not_a_lesion(contrast_hu: float, is_visible: bool) -> None:
    scene, box, ball = right_lung_ball()
    scene.canvas.paint(box, ball, scene.canvas.hu[box.index] + contrast_hu, 1)
    _, lesions = find_visible_lesions(scene, (PaintedLesion(1, "lung_nodule"),), 0.4)
    assert [lesion.finding for lesion in lesions] == (["lung_nodule"] if is_visible else [])


def test_a_nodule_that_another_lesion_covers_is_not_a_lesion() -> None:
    scene, box, ball = right_lung_ball()
    scene.canvas.paint(box, ball, 40.0, 1)
    larger = np.ones(box.shape, dtype=bool)
    scene.canvas.paint(box, larger, 30.0, 2)
    _, lesions = find_visible_lesions(scene, (PaintedLesion(1, "lung_nodule"), PaintedLesion(2, "consolidation")), 0.4)
    assert [lesion.finding for lesion in lesions] == ["consolidation"]


def test_a_nodule_of_one_voxel_is_not_a_lesion() -> None:
    scene, box, ball = right_lung_ball()
    summary = np.zeros_like(ball)
    summary[tuple(length // 2 for length in ball.shape)] = True
    scene.canvas.paint(box, summary, 300.0, 1)
    assert find_visible_lesions(scene, (PaintedLesion(1, "lung_nodule"),), 0.4)[1] == ()


@pytest.mark.parametrize(
    "make",
    [lambda: ScanShape(1, 64, 64, (5.0, 3.0, 3.0)), lambda: ScanShape(20, 64, 64, (5.0, 0.0, 3.0))],
)
def test_a_scan_without_extent_is_refused(make: Callable[[], ScanShape]) -> None:
    with pytest.raises(GeometryError, match="at least 2 voxels"):
        make()


@pytest.mark.slow
def test_left_and_right_are_about_equally_frequent(summaries: list[Summary]) -> None:
    texts = " ".join(summary.report for summary in summaries).lower()
    assert 0.6 < texts.count(LEFT) / texts.count(RIGHT) < 1.3
