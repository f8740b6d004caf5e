"""What a scanner adds to painted anatomy: a little blur within slices, and noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from msvlm.phantom.canvas import Canvas, Volume

_SLAB = 16
"""Slices handled at a time, so that memory does not grow with the scan."""
_BLUR = np.array((0.14, 0.72, 0.14), dtype=np.float32)
_GRAIN = np.array((0.45, 1.0, 0.45), dtype=np.float32)
"""How far noise reaches into the neighbouring pixels, before it is scaled to unit energy."""


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


def _within_slices(slab: Volume, weights: Volume) -> Volume:
    once = ndimage.correlate1d(slab, weights, axis=1, mode="nearest")
    return ndimage.correlate1d(once, weights, axis=2, mode="nearest")
