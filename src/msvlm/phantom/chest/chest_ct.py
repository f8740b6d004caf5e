"""draw_chest_ct(): a synthetic chest CT with its lesions, ground truth and report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msvlm.phantom.canvas import Canvas, Volume
from msvlm.phantom.chest.lesion_plan import PaintedLesion, paint_findings, sample_findings
from msvlm.phantom.chest.scene import ScanShape, Scene, draw_scene
from msvlm.phantom.chest.truth import (
    ENLARGED_HEART_RATIO,
    Lesion,
    find_visible_lesions,
    measure_cardiothoracic_ratio,
    merge_truth,
)
from msvlm.phantom.wording import write_report
from msvlm.study import Modality, Series, Study, Weighting
from msvlm.vocabulary.vocabulary import FindingStatement

__all__ = ["Lesion", "ScanShape", "SyntheticStudy", "draw_chest_ct"]

_SLAB = 16
"""Slices processed at a time, so that memory does not grow with the scan."""
_BLUR = np.array((0.14, 0.72, 0.14), dtype=np.float32)
_GRAIN = np.array((0.45, 1.0, 0.45), dtype=np.float32)
"""Kernel that correlates the noise of neighbouring pixels, before scaling to unit energy."""


@dataclass(frozen=True)
class SyntheticStudy:
    """A synthetic study with its ground truth and report.

    Attributes:
        study: one axial CT series in HU.
        lesion_labels: (slices, rows, columns) as the voxels; label of the lesion visible in a voxel, or 0.
        lesions: the visible ones, in the order of their labels.
        truth: one statement for each of the 18 chest findings, in their order, present or absent.
    """

    study: Study
    lesion_labels: NDArray[np.int16]
    lesions: tuple[Lesion, ...]
    truth: tuple[FindingStatement, ...]
    findings_text: str
    impression_text: str


def draw_chest_ct(seed: int, scan: ScanShape | None = None) -> SyntheticStudy:
    """Generates a patient that depends on the seed alone; without `scan`, samples a grid that fits the patient.

    Lesions outside the scan or hidden by others are neither in the truth nor in the report.
    """
    generator = np.random.default_rng(seed)
    wanted = sample_findings(generator)
    scene = draw_scene(generator, scan, "cardiomegaly" in wanted)
    cardiothoracic_ratio = measure_cardiothoracic_ratio(scene)
    painted: tuple[PaintedLesion, ...] = ()
    if cardiothoracic_ratio >= ENLARGED_HEART_RATIO:
        painted = (PaintedLesion(1, "cardiomegaly"),)
        scene.canvas.mark(scene.thorax.heart, 1)
    painted += paint_findings(scene, wanted, len(painted))
    blur(scene.canvas)
    labels, lesions = find_visible_lesions(scene, painted, cardiothoracic_ratio)
    voxels = add_noise(scene.canvas, generator, scene.thorax.patient.noise_hu)
    truth = merge_truth(lesions)
    report = write_report(np.random.default_rng((seed, 1)), truth, lesions)
    study = Study(f"phantom-{seed}", (_series(scene, voxels),))
    return SyntheticStudy(study, labels, lesions, truth, report.findings_text, report.impression_text)


def blur(canvas: Canvas) -> None:
    """Blurs within slices in place, as the finite size of pixels does."""
    for first in range(0, canvas.shape[0], _SLAB):
        canvas.hu[first : first + _SLAB] = _within_slices(canvas.hu[first : first + _SLAB], _BLUR)


def add_noise(canvas: Canvas, generator: np.random.Generator, noise_hu: float) -> NDArray[np.int16]:
    """Returns the scan in whole HU from -1024 to 3071, with correlated noise of the given standard deviation."""
    voxels = np.empty(canvas.shape, dtype=np.int16)
    grain = _GRAIN / np.sqrt((_GRAIN**2).sum())
    for first in range(0, canvas.shape[0], _SLAB):
        slab = canvas.hu[first : first + _SLAB]
        noise = _within_slices(generator.standard_normal(slab.shape, dtype=np.float32), grain)
        noise *= np.float32(noise_hu)
        noise += slab
        voxels[first : first + _SLAB] = np.rint(np.clip(noise, -1024.0, 3071.0, out=noise))
    return voxels


def _series(scene: Scene, voxels: NDArray[np.int16]) -> Series:
    """Returns the scan in RAS: the canvas runs to the left and to posterior, so both in-plane steps are negative."""
    canvas, count = scene.canvas, len(voxels)
    positions = np.zeros((count, 3))
    positions[:, 0] = -float(canvas.x.flat[0])
    positions[:, 1] = -float(canvas.y.flat[0])
    positions[:, 2] = np.arange(count) * canvas.spacing_mm[0] - canvas.base_z
    return Series(
        key="s1",
        voxels=voxels,
        positions_ras_mm=positions,
        row_steps_ras_mm=np.tile((0.0, -canvas.spacing_mm[1], 0.0), (count, 1)),
        column_steps_ras_mm=np.tile((-canvas.spacing_mm[2], 0.0, 0.0), (count, 1)),
        modality=Modality.CT,
        weighting=Weighting.CT_CONTRAST if scene.thorax.patient.has_contrast else Weighting.CT,
        body_part="chest",
    )


def _within_slices(slab: Volume, weights: Volume) -> Volume:
    once = ndimage.correlate1d(slab, weights, axis=1, mode="nearest")
    return ndimage.correlate1d(once, weights, axis=2, mode="nearest")
