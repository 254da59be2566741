"""An explanation, and perhaps its cube, as the explorer asks: a plane or a pixel at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai.errors import ResultError
from xrxai.explorer.backdrop import Backdrop
from xrxai.explorer.spread import Spread
from xrxai.explorer.window import (
    Window,
    chunks_of,
    read,
    read_means,
    read_sum,
    sample,
    touched,
    whole,
)
from xrxai.plot.axis import Axis, Group, groups_of, spectral_axis
from xrxai.plot.grid import Grid, grid
from xrxai.plot.style import Scale, scale
from xrxai.plot.view import View, is_signed, view

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

# One step of a slider that reads more is slow, also on a local disk.
STEP_BYTES = 64 * 10**6


@dataclass(frozen=True)
class At:
    """What is looked at: the position of the target, and of every leading dim."""

    target: int = 0
    lead: tuple[tuple[str, int], ...] = ()


@dataclass(eq=False)
class Scene:
    """Reads what is asked for and nothing larger; colour limits are kept once they are known."""

    explanation: xr.Dataset
    cube: xr.DataArray | None = None
    targets: list[str] = field(init=False)
    lead: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        explanation = self.explanation
        if "attribution" not in getattr(explanation, "data_vars", ()):
            view(explanation)  # raises
        self.targets = [""]
        if "target" in explanation.dims:
            names = explanation.coords.get("target", np.arange(explanation.sizes["target"]))
            self.targets = [str(name) for name in np.asarray(names)]
        elif "target" in explanation.coords:
            self.targets = [str(explanation["target"].item())]
        if not self.targets:
            view(explanation)  # raises
        first = view(self._of_target(0))
        if 0 in first.attribution.shape:
            raise ResultError("This explanation has no values: one of its dims has length 0.")
        self.spread = Spread(first)
        self.lead = {d: _labels(explanation, d) for d in first.lead if d not in self.spread.dims}
        self.chunks = chunks_of(explanation["attribution"])
        self._kept: dict[Any, Any] = {}
        self.backdrop = Backdrop(self.cube, first, self.lead)
        self.start = At(0, tuple((d, 0) for d in self.lead))
        self.first = self.seen(self.start)

    # what there is

    @property
    def kind(self) -> str:
        """At which resolution the attribution is true."""
        return self.first.kind

    @property
    def has_values_in_space(self) -> bool:
        """Whether there is a map of the attribution."""
        return self.per_pixel or self.kind == "segments"

    @property
    def per_pixel(self) -> bool:
        """Whether every pixel has values of its own, or of the tile or region that it is in."""
        return self.first.per_pixel or (bool(self.spread.dims) and self.kind != "segments")

    @property
    def feature(self) -> str:
        """The dim that a slider runs along, '' when a pixel has one value."""
        return self.first.feature if self.per_pixel else ""

    def placed(self) -> Grid | None:
        """Return where the pixels lie; None for a table of spectra."""
        y, x = self.first.y, self.first.x
        if {y, x} <= set(self.first.dataset.dims):
            return grid(self.first.dataset, y, x)
        return self.backdrop.grid

    def axis(self) -> Axis | None:
        """Return the spectral axis, None where there are no bands."""
        return spectral_axis(self.first) if self.first.band in self.first.dataset.dims else None

    def groups(self, axis: Axis | None) -> list[Group]:
        """Return the band groups of the bars: the explanation's own, else the palette."""
        return [] if axis is None else groups_of(self.first, axis, None)

    def step_bytes(self) -> int:
        """Return what one step of the slider reads of the whole scene."""
        one = {d: 0 for d in ("target", *self.lead, self.feature) if d}
        return touched(self.explanation["attribution"], self.chunks, **one)

    def sum_bytes(self) -> int:
        """Return what the sum over all bands reads."""
        one = {d: 0 for d in ("target", *self.lead) if d}
        return touched(self.explanation["attribution"], self.chunks, **one)

    # what is looked at

    def seen(self, at: At) -> View:
        """Return the View of a target and a sample; reads nothing large."""
        key = ("seen", at)
        if key not in self._kept:
            self._kept[key] = view(self._of_target(at.target).isel(dict(at.lead)))
        made: View = self._kept[key]
        return made

    def plane(self, at: At, feature: int | None, window: Window) -> Floats:
        """Return the map in a window, (y, x): of one band or group, or the sum over all (None)."""
        seen = self.seen(at)
        if seen.kind == "segments":
            return self._segments(seen, window)
        array = seen.attribution
        if self.spread.dims:
            if seen.feature and feature is None:
                array = array.sum(seen.feature, skipna=True, min_count=1)
            elif seen.feature:
                array = array.isel({seen.feature: feature})
            return self.spread.take(array, window)
        if not seen.feature:
            values = read(array, seen.y, seen.x, window, self.chunks)
        elif feature is None:
            values = self._sums(at, window)
        else:
            values = read(array.isel({seen.feature: feature}), seen.y, seen.x, window, self.chunks)
        return np.asarray(values, dtype=np.float64)

    def _sums(self, at: At, window: Window) -> Floats:
        """Sum over all bands or groups; the last windows are kept, since they may be costly."""
        kept: dict[Any, Floats] = self._kept.setdefault("sums", {})
        key = (at, window)
        if key not in kept:
            seen = self.seen(at)
            found = read_sum(seen.attribution, seen.feature, seen.y, seen.x, window, self.chunks)
            while len(kept) >= 8:
                kept.pop(next(iter(kept)))
            kept[key] = found
        return kept[key]

    def _segments(self, seen: View, window: Window) -> Floats:
        ids = self.ids(seen, window)
        labels = seen.dataset["segment"].to_numpy().astype(np.int64)
        position = np.full(int(max(ids.max(initial=0), labels.max())) + 1, -1)
        position[labels] = np.arange(labels.size)
        place = position[ids]
        found = seen.attribution.transpose(..., *self.spread.dims, "segment").to_numpy()
        # Segments are counted in each tile by itself.
        places = [*(self.spread.places(window) if self.spread.dims else ()), place]
        inside = np.logical_and.reduce([p >= 0 for p in places])
        values: Floats = np.where(inside, found[tuple(p.clip(0) for p in places)], np.nan)
        if "valid" in seen.dataset:
            valid = seen.dataset["valid"]
            keep = read(valid, seen.y, seen.x, window, chunks_of(valid))
            values = np.where(keep.astype(bool), values, np.nan)
        return values

    def ids(self, seen: View, window: Window) -> NDArray[np.int64]:
        """Return the segments in a window."""
        raster = seen.dataset["segment_of_pixel"]
        ids = read(raster, seen.y, seen.x, window, chunks_of(raster))
        return np.asarray(ids).astype(np.int64)

    def limits(self, at: At, *, summed: bool) -> Scale:
        """Return the colours of a target: the same for all bands and windows.

        Of the sum they are those of the static map; of single bands, of a sample from all over.
        """
        # Single bands of all samples share their colours; sums are read anew for each sample.
        key = ("limits", at if summed else at.target, summed)
        if key not in self._kept:
            seen = self.seen(at)
            placed = self.placed()
            if seen.kind == "segments":
                values = np.asarray(seen.attribution.to_numpy(), dtype=np.float64)
                shown = self._segments(seen, whole(placed)) if placed else values
            elif summed or not seen.feature:
                assert placed is not None
                values = shown = self.plane(at, None, whole(placed))
            else:
                array = self.explanation["attribution"]
                if "target" in array.dims:
                    array = array.isel(target=at.target)
                values = shown = sample(array, self.chunks)
            self._kept[key] = scale(shown, robust=True, signed=is_signed(seen, values))
        made: Scale = self._kept[key]
        return made

    def own_limits(self, at: At, values: Floats) -> Scale:
        """Return the colours of one band by itself."""
        return scale(values, robust=True, signed=is_signed(self.seen(at), values))

    def strongest(self, at: At) -> int:
        """Return the band or group whose values are largest in a sample of the scene."""
        array, dim = self.seen(at).attribution, self.feature
        seen = self.seen(at)
        if self.spread.dims:
            others = [d for d in array.dims if d != dim]
            return int(np.argmax(abs(array).fillna(0).mean(others).to_numpy()))
        n = array.sizes[dim]
        rows, columns = (array.sizes[d] for d in (seen.y, seen.x))
        best, largest = 0, -1.0
        chunk = self.chunks.get(dim, n)
        tall = min(rows, self.chunks.get(seen.y, rows))
        wide = min(columns, self.chunks.get(seen.x, columns))
        top, left = (rows // 2 // tall) * tall, (columns // 2 // wide) * wide
        window = Window(
            (top, min(rows, top + tall)),
            (left, min(columns, left + wide)),
            max(1, max(tall, wide) // 64),
        )
        for start in range(0, n, chunk):
            part = array.isel({dim: slice(start, start + chunk)})
            values = np.abs(read(part, seen.y, seen.x, window, self.chunks)).astype(np.float64)
            finite = np.isfinite(values)
            count = np.maximum(finite.sum(axis=(1, 2)), 1)
            means = np.where(finite, values, 0.0).sum(axis=(1, 2)) / count
            if means.max() > largest:
                best, largest = start + int(means.argmax()), float(means.max())
        return best

    # what lies below

    def picture(self, at: At, window: Window) -> Floats | None:
        """Return the true colours in a window, (y, x, rgba); None when nothing holds them."""
        placed, seen = self.placed(), self.seen(at)
        if placed is None or not self.backdrop.has_colours(seen):
            return None
        return self.backdrop.picture(seen, at.lead, window, whole(placed))

    def colours_said(self, at: At) -> str:
        """Return which bands make the picture, in words."""
        return self.backdrop.said(self.seen(at))

    def spectrum(self, at: At, row: int, column: int) -> Floats | None:
        """Return the cube's values at a pixel, (band,); None without the cube."""
        return self.backdrop.spectrum(at.lead, row, column)

    # one pixel

    def typical(self, at: At) -> Floats | None:
        """Return mean, 5 % and 95 % of the spectra of the scene, (3, band)."""
        seen = self.seen(at)
        stored = seen.dataset.get("spectrum")
        if stored is None or set(stored.dims) != {"statistic", seen.band}:
            return None
        names = [str(n) for n in stored["statistic"].to_numpy()]
        if not {"mean", "p05", "p95"} <= set(names):
            return None
        values = stored.transpose("statistic", seen.band).to_numpy().astype(np.float64)
        return np.asarray(values[[names.index(n) for n in ("mean", "p05", "p95")]])

    def features(self, at: At, row: int, column: int) -> Floats:
        """Return the attribution at a pixel, per band or group; of others than maps, everywhere."""
        seen = self.seen(at)
        return self.at_pixel(seen, seen.attribution, row, column)

    def at_pixel(self, seen: View, array: xr.DataArray, row: int, column: int) -> Floats:
        """Return the values of an array like the attribution at a pixel, its tile or region."""
        if seen.per_pixel:
            array = array.isel({seen.y: row, seen.x: column})
        elif self.spread.dims:
            places = self.spread.pixel(row, column)
            array = array.isel(places or dict.fromkeys(self.spread.dims, 0))
            array = array if places else array.where(False)
        return np.asarray(array.to_numpy(), dtype=np.float64).reshape(-1)

    def seen_at(self, at: At, row: int, column: int) -> View:
        """Return the View of the tile or region that a pixel is in."""
        if not self.spread.dims:
            return self.seen(at)
        places = self.spread.pixel(row, column) or dict.fromkeys(self.spread.dims, 0)
        return view(self.seen(at).dataset.isel(places))

    # for a page

    def means(self, at: At, window: Window) -> NDArray[np.float32]:
        """Return means of k x k pixels of a map, (feature, y, x); (1, y, x) without features."""
        seen = self.seen(at)
        if seen.kind == "segments":
            every = Window(window.rows, window.columns, 1)
            drawn = xr.DataArray(self._segments(seen, every), dims=(seen.y, seen.x))
            return read_means(drawn, seen.y, seen.x, window, {})[None]
        if self.spread.dims:
            every = Window(window.rows, window.columns, 1)
            order = (*self.spread.dims, *([seen.feature] if seen.feature else ()))
            array = seen.attribution.transpose(*order)
            parts = [array] if not seen.feature else array.transpose(seen.feature, ...)
            planes = [
                xr.DataArray(self.spread.take(part, every), dims=(seen.y, seen.x)) for part in parts
            ]
            return np.stack([read_means(p, seen.y, seen.x, window, {}) for p in planes])
        found = read_means(seen.attribution, seen.y, seen.x, window, self.chunks)
        return found if seen.feature else found[None]

    def every_target(self, at: At, row: int, column: int) -> Floats:
        """Return the value of a map at a pixel, for all targets."""
        found = [self.features(At(t, at.lead), row, column) for t in range(len(self.targets))]
        return np.concatenate(found)

    def _of_target(self, position: int) -> xr.Dataset:
        if "target" not in self.explanation.dims:
            return self.explanation
        return self.explanation.isel(target=position)


def _labels(dataset: xr.Dataset, dim: str) -> list[str]:
    """Return the names along a dim for a selector; positions where they are not unique."""
    n = dataset.sizes[dim]
    if dim in dataset.coords and dataset[dim].dims == (dim,):
        names = [str(v) for v in dataset[dim].to_numpy()]
        if len(set(names)) == n:
            return names
    return [str(i) for i in range(n)]


def group_sums(values: Floats, groups: list[Group]) -> Floats:
    """Sum a pixel's values per band over each group; NaN where none of its bands has a value."""
    out = np.full(len(groups), np.nan)
    for i, group in enumerate(groups):
        inside = values[group.member]
        if np.isfinite(inside).any():
            out[i] = np.nansum(inside)
    return out


def warning(scene: Scene) -> str | None:
    """Say what to type when one step of the slider reads too much, None when it does not."""
    size = scene.step_bytes()
    if not scene.feature or size <= STEP_BYTES:
        return None
    seen = scene.first
    chunks = {"target": 1} if "target" in scene.explanation.dims else {}
    chunks |= {seen.feature: 10, seen.y: 256, seen.x: 256}
    typed = ", ".join(f"{dim}={n}" for dim, n in chunks.items())
    return (
        f"One step of the slider reads {size / 1e6:.0f} MB, because chunks hold many bands "
        f"({scene.chunks.get(seen.feature)}). Write the explanation anew in chunks of few: "
        f"why.drop_encoding().chunk({typed}).xai.to_zarr('flat.zarr')."
    )
