"""draw_chest_ct(): a synthetic chest CT with its lesions, the truth about them, and a report."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msvlm.findings import FindingStatement
from msvlm.phantom.canvas import Canvas, Volume
from msvlm.phantom.chest.lesion_plan import Painted, draw_findings, paint_findings
from msvlm.phantom.chest.scene import ScanShape, Scene, draw_scene
from msvlm.phantom.chest.truth import ENLARGED_HEART_SHARE, Lesion, measure_heart_share, merged_truth, visible_lesions
from msvlm.phantom.wording import write_report
from msvlm.study import Modality, Series, Study, Weighting

__all__ = ["Lesion", "ScanShape", "SyntheticStudy", "draw_chest_ct"]

_SLAB = 16
"""Slices handled at a time, so that memory does not grow with the scan."""
_BLUR = np.array((0.14, 0.72, 0.14), dtype=np.float32)
_GRAIN = np.array((0.45, 1.0, 0.45), dtype=np.float32)
"""How far noise reaches into the neighbouring pixels, before it is scaled to unit energy."""


@dataclass(frozen=True)
class SyntheticStudy:
    """A synthetic study, and all that is true of it.

    Attributes:
        study: one axial CT series in HU.
        lesion_labels: (slices, rows, columns) as the voxels; the label of the lesion that painted a voxel last, or 0.
        lesions: those that can be seen, in the order of their labels.
        truth: one statement for each of the 18 chest findings, in their order, present or absent.
    """

    study: Study
    lesion_labels: NDArray[np.int16]
    lesions: tuple[Lesion, ...]
    truth: tuple[FindingStatement, ...]
    findings_text: str
    impression_text: str


def draw_chest_ct(seed: int, scan: ScanShape | None = None) -> SyntheticStudy:
    """A patient, drawn from the seed alone; without a scan's shape, one that fits the patient is drawn too.

    What the scan does not reach, and what other lesions hide, is neither in the truth nor in the report.
    """
    generator = np.random.default_rng(seed)
    wanted = draw_findings(generator)
    scene = draw_scene(generator, scan, "cardiomegaly" in wanted)
    heart_share = measure_heart_share(scene)
    painted: tuple[Painted, ...] = ()
    if heart_share >= ENLARGED_HEART_SHARE:
        painted = (Painted(1, "cardiomegaly"),)
        scene.canvas.mark(scene.thorax.heart, 1)
    painted += paint_findings(scene, wanted, len(painted))
    blur(scene.canvas)
    labels, lesions = visible_lesions(scene, painted, heart_share)
    voxels = with_noise(scene.canvas, generator, scene.thorax.patient.noise_hu)
    truth = merged_truth(lesions)
    report = write_report(np.random.default_rng((seed, 1)), truth, lesions)
    study = Study(f"phantom-{seed}", (_series(scene, voxels),))
    return SyntheticStudy(study, labels, lesions, truth, report.findings_text, report.impression_text)


def blur(canvas: Canvas) -> None:
    """Softens borders within slices in place, as a pixel's finite size does."""
    for first in range(0, canvas.shape[0], _SLAB):
        canvas.hu[first : first + _SLAB] = _within_slices(canvas.hu[first : first + _SLAB], _BLUR)


def with_noise(canvas: Canvas, generator: np.random.Generator, noise_hu: float) -> NDArray[np.int16]:
    """The scan in whole HU with grainy noise of the given standard deviation, from -1024 to 3071."""
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
    """The scan in RAS: the canvas runs to the left and to posterior, so both in-plane steps are negative."""
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
