"""Coarse copies beside a large explanation in a store: figures read them, not all of it.

A strided read of a chunked array reads every chunk. So `to_zarr` keeps what figures would pick: of
maps, and of the sum over bands, every k-th pixel; of the attributions of every band, fewer. Tiles
put their part aside as they are written, and the parts are joined when the last one is done. As the
copies are the pixels that a figure would pick, it is the same figure.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from xrxai.io.layout import Layout, Position

GROUP = "xrxai_overview"
# Twice what a full-width panel has at 300 dpi.
PIXELS_PER_SIDE = 2000
# More pixels than this change neither a quartile nor an interval that the eye could tell.
PIXELS_FOR_STATISTICS = 100_000
LARGE = 2**26  # bytes: less is read as it is
_COPY = 2**27  # bytes of one copy at most
_CHUNK = 2**23
_PARTS = "parts"
What = Literal["map", "pixels"]


def map_step(size: tuple[int, int], per_side: float) -> int:
    """Return k, so that every k-th row and column are no more than a panel can show."""
    return max(1, math.ceil(max(size) / per_side))


def sample_step(size: tuple[int, int], pixels: float) -> int:
    """Return k, so that every k-th row and column meet in no more pixels than these."""
    return max(1, math.ceil(math.sqrt(size[0] * size[1] / pixels)))


@dataclass(frozen=True)
class Copy:
    """A coarse copy: of which variable, every how manieth pixel, over which dim it is a sum."""

    name: str
    source: str
    dims: tuple[str, ...]
    step: int
    over: str
    y: str
    x: str

    @property
    def out(self) -> tuple[str, ...]:
        """The dims of the copy."""
        return tuple(d for d in self.dims if d != self.over)

    def taken(self, block: Any, start: Mapping[str, int]) -> np.ndarray:
        """Return what the copy holds of a block that begins at `start`."""
        first = {d: slice(-start.get(d, 0) % self.step, None, self.step) for d in (self.y, self.x)}
        some = xr.Variable(self.dims, np.asarray(block)).isel(first)
        return np.asarray((_sum(some, self.over) if self.over else some).values)


def _sum(array: xr.Variable, over: str) -> xr.Variable:
    # One missing band (bad, or not explained) does not make the pixel missing.
    return array.sum(over, skipna=True, min_count=1)


def copies_of(ds: xr.Dataset) -> list[Copy]:
    """Return the copies that a store of this explanation has; none of a small one."""
    y, x = (str(ds.attrs.get(f"{a}_dim") or a) for a in ("y", "x"))
    features = {str(ds.attrs.get("band_dim") or "band"), "group"}
    on_pixels = {
        str(n): v
        for n, v in ds.variables.items()
        if {y, x} <= set(v.dims) and v.dtype.kind in "biuf" and not (set(v.dims) & features)
    }
    main = ds.variables["attribution"] if "attribution" in ds else None
    over = "" if main is None else next((str(d) for d in main.dims if d in features), "")
    if main is not None and over and {y, x} <= set(main.dims):
        on_pixels["attribution"] = main
    if sum(v.nbytes for v in on_pixels.values()) <= LARGE:
        return []
    size = ds.sizes[y], ds.sizes[x]
    made = []
    for name, v in on_pixels.items():
        dims = tuple(map(str, v.dims))
        if name != "attribution" or not over:
            step = _at_most(v, map_step(size, PIXELS_PER_SIDE), y, x, "")
            if step > 1:
                made.append(Copy(name, name, dims, step, "", y, x))
            continue
        step = _at_most(v, map_step(size, PIXELS_PER_SIDE), y, x, over)
        made.append(Copy("attribution_map", name, dims, step, over, y, x))
        step = _at_most(v, sample_step(size, PIXELS_FOR_STATISTICS), y, x, "")
        made.append(Copy("attribution_pixels", name, dims, step, "", y, x))
    return made


def _at_most(v: xr.Variable, step: int, y: str, x: str, over: str) -> int:
    """Return the step, or a longer one for a variable of many targets or bands."""
    others = math.prod(n for d, n in v.sizes.items() if d not in (y, x, over))
    most = max(1, _COPY // (v.dtype.itemsize * max(1, others)))
    return max(step, sample_step((v.sizes[y], v.sizes[x]), most))


# ---------------------------------------------------------------------------------- writing


def to_json(copies: Sequence[Copy]) -> list[dict[str, Any]]:
    """Lists and strings."""
    return [asdict(c) for c in copies]


def from_json(found: Sequence[Mapping[str, Any]]) -> list[Copy]:
    """What to_json gave."""
    return [Copy(**{**c, "dims": tuple(c["dims"])}) for c in found]


def put_aside(
    store: Path, copies: Sequence[Copy], layout: Layout, at: Position, blocks: Sequence[Any]
) -> None:
    """Keep what the copies hold of one tile, in a file of its own: no two tasks share one."""
    made = _parts(copies, layout, at, dict(zip(layout.writes(at), blocks, strict=True)))
    if not made:
        return
    path = _part(store, at)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".partial")
    with part.open("wb") as file:
        np.savez(file, **made)  # type: ignore[arg-type]
    os.replace(part, path)


def _parts(
    copies: Sequence[Copy], layout: Layout, at: Position, blocks: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    made = {}
    for copy in copies:
        if copy.source in blocks:
            region = layout.region(copy.source, at)
            start = {d: s.start for d, s in zip(copy.dims, region, strict=True)}
            made[copy.name] = copy.taken(blocks[copy.source], start)
    return made


def _part(store: Path, at: Position) -> Path:
    return store / GROUP / _PARTS / (".".join(map(str, at or (0,))) + ".npz")


def join(store: Path, copies: Sequence[Copy], layout: Layout) -> None:
    """Write the copies from the parts of all tiles; those that are missing are read again."""
    import zarr

    if not copies or not layout.axes:
        return
    group = zarr.open_group(store, mode="r", use_consolidated=False)
    before = {c.name: _stored(group, c.name) for c in copies}
    copies = [c for c in copies if c.source in layout.axes]
    if all(before.get(c.name) is not None for c in copies) and not any(_left(store)):
        return
    out: dict[str, np.ndarray] = {}
    for c in copies:
        shape = dict(zip(c.dims, layout.shapes[c.source], strict=True))
        for d in (c.y, c.x):
            shape[d] = -(-shape[d] // c.step)
        source: Any = group[c.source]
        old = before[c.name]
        blank = np.zeros([shape[d] for d in c.out], source.dtype)
        out[c.name] = blank if old is None else old[...]
    known = all(before[c.name] is not None for c in copies)
    for at in layout.positions():
        part = _read_part(store, at)
        if part is None and known:
            continue
        if part is None:
            here = [n for n in layout.writes(at) if n in {c.source for c in copies}]
            whole: Any = {n: group[n][layout.region(n, at)] for n in here}  # type: ignore[index]
            part = _parts(copies, layout, at, whole)
        for c in copies:
            if c.name in part:
                out[c.name][_place(c, layout, at)] = part[c.name]
    write(store, {c: out[c.name] for c in copies})
    shutil.rmtree(store / GROUP / _PARTS, ignore_errors=True)


def _left(store: Path) -> Iterator[Path]:
    return (store / GROUP / _PARTS).glob("*.npz")


def _read_part(store: Path, at: Position) -> dict[str, np.ndarray] | None:
    try:
        with _part(store, at).open("rb") as file, np.load(file) as found:
            return {str(n): found[n] for n in found.files}
    except (OSError, ValueError, zipfile.BadZipFile):  # none, or cut short
        return None


def _place(copy: Copy, layout: Layout, at: Position) -> tuple[slice, ...]:
    out = []
    for d, part in zip(copy.dims, layout.region(copy.source, at), strict=True):
        if d in (copy.y, copy.x):
            out.append(slice(-(-part.start // copy.step), -(-part.stop // copy.step)))
        elif d != copy.over:
            out.append(part)
    return tuple(out)


def write(store: Path, arrays: Mapping[Copy, np.ndarray]) -> None:
    """Write copies into the group of a store; those that are there are replaced."""
    import zarr
    from zarr.codecs import ZstdCodec

    group = zarr.open_group(store, mode="r+", use_consolidated=False).require_group(GROUP)
    for copy, values in arrays.items():
        made = group.create_array(
            copy.name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=_chunks(copy, values),
            # Every step has dims of its own, so that the group can be opened as a Dataset.
            dimension_names=[f"{d}_{copy.step}" if d in (copy.y, copy.x) else d for d in copy.out],
            compressors=(ZstdCodec(level=0, checksum=True),),
            attributes={"step": copy.step, "dims": list(copy.out)},
            overwrite=True,
        )
        made[...] = values


def _chunks(copy: Copy, values: np.ndarray) -> tuple[int, ...]:
    """Return chunks that hold all pixels of a target, of some bands if those are many."""
    out = [n if d in (copy.y, copy.x) else 1 for d, n in zip(copy.out, values.shape, strict=True)]
    for i in reversed(range(len(out))):
        if copy.out[i] not in ("target", copy.y, copy.x):
            rest = max(1, math.prod(out) * values.dtype.itemsize)
            out[i] = max(1, min(values.shape[i], _CHUNK // rest))
    return tuple(max(1, n) for n in out)


def _stored(group: Any, name: str) -> Any:
    with contextlib.suppress(KeyError, FileNotFoundError):
        return group[f"{GROUP}/{name}"]
    return None


# ---------------------------------------------------------------------------------- reading


def find(
    array: xr.DataArray, y: str, x: str, what: What, over: str = ""
) -> tuple[xr.DataArray, int] | None:
    """Return the coarse copy of a variable that is still unread in its store, and its step.

    None where there is none, and of anything that was computed, cropped or turned since the store
    was opened: a copy of the store would show something else.
    """
    found = _unread(array)
    if found is None:
        return None
    stored, key = found
    name = str(stored.path).rpartition("/")
    dims = [str(d) for d in stored.metadata.dimension_names or ()]
    if len(key) != len(dims) or not {y, x} <= set(dims):
        return None
    wanted = f"{name[2]}_{what}" if over else name[2]
    copy = _copy(stored.store, name[0], wanted)
    if copy is None:
        return None
    summed = over if what == "map" else ""
    index = {}
    for d, part, n in zip(dims, key, stored.shape, strict=True):
        whole = isinstance(part, slice) and part.indices(n) == (0, n, 1)
        if d in (y, x, over) and not whole:
            return None
        if d != summed:
            index[d] = slice(None) if d in (y, x, over) else part
    out = [d for d in index if not isinstance(index[d], int | np.integer)]
    if list(index) != copy.attrs["dims"]:
        return None
    values = np.asarray(copy[tuple(index.values())])
    return xr.DataArray(values, dims=out, attrs=array.attrs), int(copy.attrs["step"])


def _copy(store: Any, path: str, name: str) -> Any:
    import zarr

    try:
        group = zarr.open_group(
            store, path=f"{path}/{GROUP}".lstrip("/"), mode="r", use_consolidated=False
        )
        return group.get(name)
    except (FileNotFoundError, ValueError):
        return None


def _unread(array: xr.DataArray) -> tuple[Any, tuple[Any, ...]] | None:
    """Return the array in the store, and the index that was asked of it, as xarray keeps them."""
    data: Any = array.variable._data
    keys = []
    while data is not None and not isinstance(data, np.ndarray):
        if (key := getattr(data, "key", None)) is not None:
            keys.append(key.tuple)
        stored = getattr(data, "_array", None)
        if hasattr(stored, "store") and hasattr(stored, "metadata"):
            simple = all(isinstance(p, int | np.integer | slice) for k in keys for p in k)
            return (stored, keys[0]) if len(keys) == 1 and simple else None
        data = getattr(data, "array", None)
    return None
