"""The numbers of a page: coarse enough for its size, each in two bytes."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xrxai.explorer.colours import upright
from xrxai.explorer.scene import At, Scene
from xrxai.explorer.window import Window

if TYPE_CHECKING:
    from numpy.typing import NDArray

NONE = -32768


def quantise(values: NDArray[Any]) -> tuple[NDArray[np.int16], float]:
    """Store finite values as multiples of one step, from -32767 to 32767; others as -32768.

    No value is further from its own than half the step, which is the largest over 32 767.
    """
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max()) if finite.any() else 0.0
    step = largest / 32767 or 1.0
    exact = np.where(finite, values, 0.0).astype(np.float64)
    # Clipped: next to the smallest numbers that there are, the step is not exact.
    numbers = (exact / step).round().clip(-32767, 32767)
    return np.where(finite, numbers, NONE).astype(np.int16), step


def unquantise(numbers: NDArray[np.int16], step: float) -> NDArray[np.float64]:
    """Return what `quantise` stored."""
    return np.where(numbers == NONE, np.nan, numbers * step)


@dataclass(frozen=True)
class Packed:
    """Arrays of a page by target, (feature, y, x) with the lowest y first, and their steps."""

    window: Window
    values: list[NDArray[np.int16]]
    scales: list[float]
    sums: list[NDArray[np.int16]]
    sum_scales: list[float]
    cube: NDArray[np.int16] | None
    cube_scale: float
    ids: NDArray[np.int32] | None = None

    def text_bytes(self) -> int:
        """Return about what the arrays take in a page: compressed, and as text."""
        arrays = [*self.values, *self.sums, self.cube, self.ids]
        packed = (len(zlib.compress(a.tobytes())) for a in arrays if a is not None)
        return sum(packed) * 4 // 3


def pack(scene: Scene, at: At, step: int) -> Packed:
    """Read an explanation and its cube as means of `step` x `step` pixels."""
    placed = scene.placed()
    if placed is None:
        nothing = Window((0, 1), (0, 1), 1)
        return Packed(nothing, [], [], [], [], None, 1.0)
    window = Window((0, placed.rows), (0, placed.columns), step)

    def stored(array: NDArray[Any]) -> tuple[NDArray[np.int16], float]:
        return quantise(np.stack([upright(plane, placed) for plane in array]))

    values, sums = [], []
    for target in range(len(scene.targets)) if scene.has_values_in_space else ():
        there = At(target, at.lead)
        means = scene.means(there, window)
        values.append(stored(means))
        if scene.feature:
            finite = np.isfinite(means)
            total = np.where(finite, means, 0.0).sum(axis=0, dtype=np.float64)
            sums.append(stored(np.where(finite.any(axis=0), total, np.nan)[None]))
    cube = scene.backdrop.means(at.lead, window)
    packed, scale = (None, 1.0) if cube is None else stored(cube)
    ids = None
    if scene.kind == "segments" and not scene.spread.dims:
        ids = upright(scene.ids(scene.seen(at), window).astype(np.int32), placed)
    return Packed(
        window,
        [v for v, _ in values], [s for _, s in values],
        [v for v, _ in sums], [s for _, s in sums],
        packed, scale, ids,
    )  # fmt: skip
