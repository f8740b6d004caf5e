"""Canvas: a voxel grid in mm on which anatomy and lesions are painted.

Frame of the canvas: x to the patient's left, y to posterior, z to superior, mm; x and y are 0 in the middle of the
field, z is 0 in the lowest slice. Voxels are (slices, rows, columns); points are (z, y, x).
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Volume = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = NDArray[np.float64]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A part of the grid, and its voxels' coordinates in mm, shaped to broadcast against it."""

    index: tuple[slice, slice, slice]
    z: Volume
    y: Volume
    x: Volume

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.z.shape[0], self.y.shape[1], self.x.shape[2]


@dataclass(frozen=True)
class Overpainted:
    """Voxels that a lesion painted, as flat indices, and their HU before."""

    flat: NDArray[np.int64]
    hu_before: Volume


@dataclass
class Canvas:
    """The painted HU values, and the lesion that painted each voxel last.

    Attributes:
        shape: (slices, rows, columns).
        spacing_mm: (slice gap, row spacing, column spacing).
        base_z: height in mm of z = 0 above the lowest slice, so that anatomy can be placed from the base of the lungs.
        hu: the painted values.
        labels: number of the lesion that painted a voxel last; 0 for none.
        z, y, x: coordinates in mm, shaped to broadcast.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    base_z: float = 0.0
    hu: Volume = field(init=False)
    labels: NDArray[np.int16] = field(init=False)
    z: Volume = field(init=False)
    y: Volume = field(init=False)
    x: Volume = field(init=False)
    _overpainted: dict[int, list[Overpainted]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        slices, rows, columns = self.shape
        gap, row_mm, column_mm = self.spacing_mm
        self.hu = np.full(self.shape, -1000.0, dtype=np.float32)
        self.labels = np.zeros(self.shape, dtype=np.int16)
        self.z = (np.arange(slices) * gap - self.base_z).astype(np.float32)[:, None, None]
        self.y = ((np.arange(rows) - (rows - 1) / 2) * row_mm).astype(np.float32)[None, :, None]
        self.x = ((np.arange(columns) - (columns - 1) / 2) * column_mm).astype(np.float32)[None, None, :]

    @property
    def voxel_ml(self) -> float:
        return float(np.prod(self.spacing_mm)) / 1000.0

    def box(self, low: Point, high: Point) -> Box:
        """Returns the part of the grid between two corners; empty outside the grid."""
        axes = (self.z.ravel(), self.y.ravel(), self.x.ravel())
        ranges = [
            slice(int(np.searchsorted(axis, low[i])), int(np.searchsorted(axis, high[i], side="right")))
            for i, axis in enumerate(axes)
        ]
        return Box((ranges[0], ranges[1], ranges[2]), self.z[ranges[0]], self.y[:, ranges[1]], self.x[:, :, ranges[2]])

    @property
    def whole(self) -> Box:
        return Box((slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2])), self.z, self.y, self.x)

    def ellipsoid(self, centre: Point, radii_mm: Point) -> tuple[Box, Mask]:
        """Returns the voxels whose centres lie in an axis-parallel ellipsoid, as a box and a mask within it."""
        box = self.box(centre - radii_mm, centre + radii_mm)
        return box, ellipsoid_distance(box, centre, radii_mm) <= 1.0

    def tube(self, path: Points, radii_mm: NDArray[np.float64]) -> tuple[Box, Mask]:
        """Returns the voxels within a tube along a path (points, 3) with a radius at each point."""
        reach = float(radii_mm.max())
        box = self.box(path.min(axis=0) - reach, path.max(axis=0) + reach)
        inside = np.zeros(box.shape, dtype=bool)
        axes = (box.z.ravel(), box.y.ravel(), box.x.ravel())
        lows = [np.searchsorted(axis, path[:, i] - radii_mm) for i, axis in enumerate(axes)]
        highs = [np.searchsorted(axis, path[:, i] + radii_mm, side="right") for i, axis in enumerate(axes)]
        squares = [(axis[None, :] - path[:, i, None].astype(np.float32)) ** 2 for i, axis in enumerate(axes)]
        for point, radius in enumerate(radii_mm):
            z, y, x = (slice(int(lows[i][point]), int(highs[i][point])) for i in range(3))
            distance = squares[0][point, z, None, None] + squares[1][point, y, None] + squares[2][point, x]
            inside[z, y, x] |= distance <= radius * radius
        return box, inside

    def paint(self, box: Box, mask: Mask, hu: float | Volume, lesion: int = 0) -> None:
        """Paints the masked voxels of a box; `hu` is a number or broadcasts against the box; `lesion` 0 is anatomy."""
        view = self.hu[box.index]
        if lesion:
            self._record(box, mask & (self.labels[box.index] != lesion), lesion)
            self.labels[box.index][mask] = lesion
        view[mask] = np.broadcast_to(hu, view.shape)[mask] if isinstance(hu, np.ndarray) else hu

    def mark(self, mask: Mask, lesion: int) -> None:
        """Labels masked voxels of the whole grid as a lesion without painting: the anatomy itself is the lesion."""
        self.labels[mask] = lesion

    def overpainted(self, lesion: int) -> Overpainted:
        """Returns all voxels that a lesion painted, and their HU before."""
        parts = self._overpainted.get(lesion, [])
        if not parts:
            return Overpainted(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32))
        return Overpainted(
            np.concatenate([part.flat for part in parts]), np.concatenate([part.hu_before for part in parts])
        )

    def _record(self, box: Box, unlabelled: Mask, lesion: int) -> None:
        indices = np.nonzero(unlabelled)
        starts = [part.start for part in box.index]
        grid = tuple(index + start for index, start in zip(indices, starts, strict=True))
        flat = np.ravel_multi_index(grid, self.shape)
        self._overpainted.setdefault(lesion, []).append(Overpainted(flat, self.hu[box.index][unlabelled]))

    def splat(self, points: Points, amounts_hu: NDArray[np.float64], ceiling_hu: float, within: Mask) -> None:
        """Spreads the HU of each point over the 8 voxels around it, within a mask and up to a ceiling."""
        position = (points - (self.z.flat[0], self.y.flat[0], self.x.flat[0])) / np.array(self.spacing_mm)
        inside = ((position >= 0) & (position < np.array(self.shape) - 1)).all(axis=1)
        position, amounts_hu = position[inside], amounts_hu[inside]
        low = np.floor(position).astype(np.int64)
        fraction = position - low
        corners = np.array(list(np.ndindex(2, 2, 2)))
        strides = np.array((self.shape[1] * self.shape[2], self.shape[2], 1))
        flat = ((low @ strides)[:, None] + corners @ strides).ravel()
        weights = np.prod(np.where(corners[None] == 1, fraction[:, None], 1.0 - fraction[:, None]), axis=2)
        voxels, inverse = np.unique(flat, return_inverse=True)
        total = np.bincount(inverse, weights=(weights * amounts_hu[:, None]).ravel())
        keep = within.reshape(-1)[voxels]
        voxels, total = voxels[keep], total[keep]
        hu = self.hu.reshape(-1)
        hu[voxels] = np.maximum(hu[voxels], np.minimum(hu[voxels] + total, ceiling_hu))


def ellipsoid_distance(box: Box, centre: Point, radii_mm: Point) -> Volume:
    """Returns the squared distance from the centre of an ellipsoid, scaled to 1 on its surface."""
    z, y, x = (
        ((axis - np.float32(middle)) / np.float32(radius)) ** 2
        for axis, middle, radius in zip((box.z, box.y, box.x), centre, radii_mm, strict=True)
    )
    return (z + y) + x


def smooth_field(box: Box, generator: np.random.Generator, wavelength_mm: float, terms: int = 5) -> Volume:
    """Returns a smooth random field of about unit variance, with blobs about half a wavelength wide."""
    total = np.zeros(box.shape, dtype=np.float32)
    for _ in range(terms):
        direction = generator.normal(size=3)
        wave = direction / np.linalg.norm(direction) * (2 * np.pi / (wavelength_mm * generator.uniform(0.7, 1.4)))
        shifts = generator.uniform(0, 2 * np.pi, size=3)
        # A product of three cosines costs one pass; it is a sum of plane waves in eight mirrored directions.
        along = [
            np.cos(axis * np.float32(frequency) + np.float32(shift))
            for axis, frequency, shift in zip((box.z, box.y, box.x), wave, shifts, strict=True)
        ]
        total += (along[0] * along[1]) * along[2]
    return total * np.float32(np.sqrt(8.0 / terms))


def dense_path(corners: Points, step_mm: float) -> Points:
    """Returns points along a polyline (corners, 3), at most `step_mm` apart."""
    pieces = []
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        count = max(2, int(np.linalg.norm(end - start) / step_mm) + 2)
        pieces.append(start + (end - start) * np.linspace(0.0, 1.0, count)[:, None])
    return np.concatenate(pieces)
