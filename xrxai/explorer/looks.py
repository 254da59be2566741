"""What the panels say of one moment: the words over them, and the bars of a pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xrxai.explorer.scene import At, Scene, group_sums
from xrxai.plot.axis import Axis, Group
from xrxai.plot.grid import Grid
from xrxai.plot.ranking import read_bars
from xrxai.plot.view import head

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Bars:
    """Bars from top to bottom: names, values, limits of intervals (NaN: none), colours of names."""

    names: list[str]
    values: Floats
    low: Floats
    high: Floats
    title: str
    picked: int = -1


def headline(scene: Scene, at: At) -> str:
    """Return method, target and quality in words."""
    return " — ".join(head(scene.seen(at)))


def band_label(axis: Axis, position: int) -> str:
    """Return a band in words: its wavelength, and where it is in the cube."""
    if axis.nm:
        return f"{axis.x[position]:.1f} nm (band {position})"
    return f"band {position}"


def feature_labels(scene: Scene, axis: Axis | None) -> dict[str, int]:
    """Return what the slider runs along, in order of wavelength: words and positions."""
    if not scene.feature:
        return {}
    if scene.kind == "groups":
        names = scene.first.dataset["group"].to_numpy()
        return {str(name): i for i, name in enumerate(names)}
    assert axis is not None
    return {band_label(axis, int(i)): int(i) for i in axis.order}


def slider_title(scene: Scene, axis: Axis | None) -> str:
    """Return what the slider runs along."""
    if scene.kind == "groups":
        return "band group"
    return "wavelength" if axis is not None and axis.nm else "band"


def map_title(scene: Scene, axis: Axis | None, feature: int | None) -> str:
    """Return what the map shows."""
    if not scene.has_values_in_space:
        return "True colour"
    if scene.kind == "segments":
        return "Attribution per segment"
    if not scene.feature:
        return "Attribution"
    if feature is None:
        return f"Attribution, sum over {'groups' if scene.kind == 'groups' else 'bands'}"
    if scene.kind == "groups":
        return f"Attribution, {scene.first.dataset['group'].to_numpy()[feature]}"
    assert axis is not None
    unused = "" if axis.good[feature] else ", not used"
    return f"Attribution, {band_label(axis, feature)}{unused}"


def pixel_title(placed: Grid | None, row: int, column: int) -> str:
    """Return which pixel the strips show."""
    if placed is None:
        return ""
    words = f"Pixel: row {row}, column {column}"
    if placed.north_up:
        x = placed.column_edges(np.array([column, column + 1])).mean()
        y = placed.row_edges(np.array([row, row + 1])).mean()
        digits = 0 if placed.xlabel.startswith("easting") else 5
        words += f"  (x {x:.{digits}f}, y {y:.{digits}f})"
    return words


def bands_title(scene: Scene, at: At, step: int = 1) -> str:
    """Return what the attribution along the spectrum is of."""
    what = "Attribution"
    if scene.spread.dims:
        what += f" of this {'tile' if len(scene.spread.dims) == 2 else 'region'}"
    elif scene.per_pixel:
        what += f", mean of {step} × {step} pixels" if step > 1 else " at this pixel"
    target = scene.targets[at.target]
    return f"{what}, target “{target}”" if target else what


def bars_of(
    scene: Scene, groups: list[Group], at: At, row: int, column: int, values: Floats
) -> Bars:
    """Return the bars of a pixel; of an explanation without pixels, its own."""
    seen = scene.seen(at)
    if seen.kind == "map":
        every = scene.every_target(at, row, column)
        return _bars(scene.targets, every, "Targets at this pixel", picked=at.target)
    if seen.kind == "segments":
        made = read_bars(scene.seen_at(at, row, column), None)
        shown = made.shown
        names = [made.names[k] for k in shown]
        here = str(int(seen.dataset["segment_of_pixel"].isel({seen.y: row, seen.x: column})))
        low, high = made.summary.low, made.summary.high
        return Bars(
            names, made.summary.value[shown],
            _none(len(names)) if low is None else low[shown],
            _none(len(names)) if high is None else high[shown],
            f"{made.title} {made.note}".rstrip(),
            names.index(here) if here in names else -1,
        )  # fmt: skip
    if seen.kind == "groups":
        low, high = (_bound(scene, at, name, row, column) for name in ("ci_low", "ci_high"))
        names = [g.name for g in groups]
        if low is None or high is None:
            return _bars(names, values, "Band groups")
        return Bars(names, values, low, high, "Band groups (95 % CI)")
    return _bars(
        [g.name for g in groups], group_sums(values, groups), "Band groups, sum over bands"
    )


def _bars(names: list[str], values: Floats, title: str, picked: int = -1) -> Bars:
    return Bars(names, values, _none(len(names)), _none(len(names)), title, picked)


def _none(n: int) -> Floats:
    return np.full(n, np.nan)


def _bound(scene: Scene, at: At, name: str, row: int, column: int) -> Floats | None:
    seen = scene.seen(at)
    if name not in seen.dataset or seen.dataset[name].dims != seen.attribution.dims:
        return None
    return scene.at_pixel(seen, seen.dataset[name], row, column)


def first_pixel(scene: Scene, at: At) -> tuple[int, int]:
    """Return the pixel that is shown before any is tapped: the valid one next to the middle."""
    placed = scene.placed()
    if placed is None:
        return 0, 0
    seen = scene.seen(at)
    middle = placed.rows // 2, placed.columns // 2
    valid = seen.dataset.get("valid")
    if valid is None or set(valid.dims) != {seen.y, seen.x}:
        return middle
    step = max(1, max(placed.rows, placed.columns) // 500)
    every = {
        seen.y: slice(middle[0] % step, None, step),
        seen.x: slice(middle[1] % step, None, step),
    }
    rows, columns = np.nonzero(valid.isel(every).transpose(seen.y, seen.x).to_numpy())
    if not rows.size:
        return middle
    rows, columns = rows * step + middle[0] % step, columns * step + middle[1] % step
    nearest = int(np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2))
    return int(rows[nearest]), int(columns[nearest])
