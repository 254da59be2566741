"""Explanations to Zarr: at once, or tile by tile, going on after a kill where it stopped."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import DataError, ResultError, note
from xrxai.io import overview
from xrxai.io.bar import counting
from xrxai.io.layout import Layout, lay_out
from xrxai.io.lock import held
from xrxai.io.record import NotWritten, Record, Unreadable, create, mark, read, sweep, write_whole
from xrxai.io.write import part_of, prepared, refuse_existing, require_explanation, strings


def to_zarr(
    explanation: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write an explanation to a Zarr store (format 3); a lazy one tile by tile.

    Each tile of a lazy explanation is computed once for all variables and written by one dask
    task, on the scheduler that is set: threads, processes or a cluster. When the process or a
    worker is killed, the same call goes on with the tiles that are missing.

    Parameters
    ----------
    explanation : Dataset
        As every method of xrxai returns it. The chunks of a lazy one become the chunks of the
        store; chunks of uneven size are evened out.
    path : str or path
        The folder, usually ending in ``.zarr``. For a cluster it lies where all workers see it.
    overwrite : bool
        True replaces an existing store by the new one once that is complete.
    progress : bool
        Show a bar that counts tiles, when it takes more than a second.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    ResultError
        When the Dataset is not an explanation, the store exists and holds another run, is
        damaged, or is being written by another process, and `overwrite` is False.
    DataError
        When the disk is full or may not be written. Tiles that are done stay.

    Notes
    -----
    A store that is not complete has the attribute ``complete`` = 0, and open_explanation refuses
    it. Runs are the same when method, options, model, grid and data are. A complete store of the
    same run is returned as it is; where files are missing or cut short, their tiles are computed
    again.

    With `overwrite` the new store grows beside the old one, under a hidden name, and the same call
    finishes it after a kill. A store of the same run that is not complete is finished instead.

    Beside a large explanation lie coarse copies of what figures show, such as the sum over bands of
    every k-th pixel; figures of the opened store read these.

    Lazy variables without the dims that the tiles cut, such as the mean spectrum of all pixels, are
    computed in a pass of their own after the last tile.
    """
    ds = require_explanation(explanation)
    target = Path(path)
    lazy = any(v.chunks is not None for v in ds.variables.values())
    if not lazy:
        refuse_existing(target, overwrite)
    with ExitStack() as stack:
        with _told(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(target))
        if lazy:
            _by_tiles(ds, target, overwrite, progress)
        else:
            _at_once(ds, target)
    return target


def _at_once(ds: xr.Dataset, target: Path) -> None:
    ds, part = _checked(strings(prepared(ds), np.dtypes.StringDType())), part_of(target)
    try:
        with _told(target):
            _write(ds, part, compute=True)
            _overview(ds, part, overview.copies_of(ds))
            _move(part, target)
    finally:
        _remove(part)


def _by_tiles(ds: xr.Dataset, target: Path, overwrite: bool, progress: bool) -> None:
    from dask.base import compute, tokenize

    from xrxai.io.tasks import write_tiles

    ds = strings(prepared(ds), np.dtypes.StringDType())
    ds.attrs.pop("complete", None)
    # Wavelengths and names are small, and a store without them cannot be looked at.
    layout, cut = lay_out(ds)
    loaded = {
        str(n): ds[n].compute()
        for n, v in ds.variables.items()
        if v.chunks is not None and n not in cut and (n in ds.coords or v.dtype.kind not in "biufc")
    }
    ds = ds.assign_coords({n: v for n, v in loaded.items() if n in ds.coords})
    ds = ds.assign({n: v for n, v in loaded.items() if n not in ds.coords})
    run = _run(ds, layout, cut, tokenize)
    place, record = _existing(target, run, overwrite)
    with _told(target):
        if record is None:
            record = _created(ds, place, run, layout, cut)
    done = record.done()
    bad = record.damaged(done)
    if bad:
        note(
            f"{len(bad)} finished tiles of {str(target)!r} are damaged (their files are not as "
            "long as they were written) and are computed again."
        )
        done[tuple(np.transpose(bad))] = 0
    missing = [at for at in layout.positions() if not done[at or (0,)]]
    if missing or not record.complete:
        with _told(target):
            sweep(place)
            mark(place, 0)
        bar = counting("to_zarr", done.size, done.size - len(missing), progress=progress)
        with _told(target, NotWritten), bar as tick:
            write_tiles(record, cut, missing, tick)
        rest = {str(n): v.data for n, v in ds.variables.items() if v.chunks is not None}
        rest = {n: v for n, v in rest.items() if n not in cut}
        values = compute(*rest.values())
        with _told(target):
            write_whole(place, dict(zip(rest, values, strict=True)))
            overview.join(place, record.copies, record.layout)
            mark(place, 1)
    if place != target:
        with _told(target):
            _move(place, target)


def _created(
    ds: xr.Dataset,
    place: Path,
    run: Mapping[str, str],
    layout: Layout,
    cut: Mapping[str, xr.Variable],
) -> Record:
    """Make the store without its tiles; it gets its name when it can be gone on with."""
    import dask.array as da

    part = place.with_name(f".{place.name.lstrip('.')}.part")
    _remove(part)
    try:
        empty = {}
        for name, variable in ds.variables.items():
            if variable.chunks is None:
                continue
            blank = da.zeros(variable.shape, chunks=variable.shape, dtype=variable.dtype)
            empty[str(name)] = array = ds[name].copy(data=blank)
            chunks = tuple(max(1, n) for n in variable.shape)
            if name in cut:
                chunks = layout.chunks(str(name), variable.dtype.itemsize)
            array.encoding["chunks"] = chunks
            if variable.dtype.kind == "f":
                array.encoding["fill_value"] = np.nan
        coords = {n: v for n, v in empty.items() if n in ds.coords}
        template = ds.assign_coords(coords)
        template = template.assign({n: v for n, v in empty.items() if n not in coords})
        _write(_checked(template.assign_attrs(complete=0)), part, compute=False)
        # What tiles do not write is here already; a sum over bands in pieces is left out.
        copies = [c for c in overview.copies_of(ds) if c.over not in layout.tiles]
        create(part, run, layout, [c for c in copies if c.source in cut])
        _overview(ds, part, [c for c in copies if ds.variables[c.source].chunks is None])
        os.rename(part, place)
    finally:
        _remove(part)
    record = read(place)
    assert record is not None
    return record


def _overview(ds: xr.Dataset, place: Path, copies: Sequence[overview.Copy]) -> None:
    """Write the copies of variables that are in memory."""
    if copies:
        overview.write(place, {c: c.taken(ds.variables[c.source].values, {}) for c in copies})


def _existing(target: Path, run: Mapping[str, str], overwrite: bool) -> tuple[Path, Record | None]:
    """Where to write, and what is there already of this run."""
    try:
        record = read(target)
        reason = "" if record is None else _difference(record.run, run)
        if record is not None and not reason and not (overwrite and record.complete):
            return target, record
    except Unreadable as error:
        reason = f" and is damaged ({error})"
    if target.exists() and not overwrite:
        raise ResultError(
            f"{str(target)!r} exists{reason}; type overwrite=True to replace it, or another path."
        )
    # Beside the old store. Also looked for where no store is: a kill may have come between the
    # old one's leaving and the new one's coming.
    place = _beside(target, "new")
    try:
        record = read(place)
    except Unreadable:
        record = None
    if record is not None and not _difference(record.run, run):
        return place, record
    _remove(place)
    return (place if target.exists() else target), None


def _beside(target: Path, what: str) -> Path:
    return target.with_name(f".{target.stem}.{what}{target.suffix}")


def _run(
    ds: xr.Dataset, layout: Layout, cut: Mapping[str, xr.Variable], tokenize: Any
) -> dict[str, str]:
    """What makes a run this run; compared one by one, in this order."""
    from dask.utils import key_split

    words = ("method", "options", "model_hash", "model_options", "seed")
    eager = {str(n): v for n, v in ds.variables.items() if v.chunks is None}
    known = {  # strings by their letters, not by their addresses
        n: (v.dims, v.values if v.dtype.kind in "biufcmM" else v.values.tolist())
        for n, v in eager.items()
    }
    # How it was made, without the tokens: what was done to it after the method.
    steps = {n: sorted(key_split(layer) for layer in v.data.dask.layers) for n, v in cut.items()}
    main = "attribution" if "attribution" in cut else next(iter(cut), "")
    data = cut[main].data.name if main else ""
    return {
        **{word: str(ds.attrs.get(word, "")) for word in words},
        "grid": json.dumps(layout.to_json()),
        "steps": tokenize(steps),
        "coordinates": tokenize(known),
        "data": str(ds.attrs.get("run") or tokenize(data)),
    }


def _difference(stored: Mapping[str, str], run: Mapping[str, str]) -> str:
    """Name the first thing in which a stored run is another one; empty when it is the same."""
    word = next((w for w in run if stored.get(w) != run[w]), None)
    if word is None:
        return ""
    there, here = stored.get(word, ""), run[word]
    text = f" and holds another run: its {word.replace('_', ' ')}"
    if word == "data":
        return f"{text} is not the same (a file that was moved or touched counts as another)"
    if word in ("steps", "coordinates"):
        return f"{text} are not the same"
    if word == "grid":
        shown = [_grid_in_words(json.loads(w)) for w in (there, here)]
        return f"{text} is {shown[0]}, and here it is {shown[1]}"
    try:
        before, now = json.loads(there), json.loads(here)
        name = next(k for k in {**before, **now} if before.get(k) != now.get(k))
        return f"{text} have {name}={before.get(name)!r}, and here it is {now.get(name)!r}"
    except (ValueError, StopIteration, AttributeError):
        return f"{text} is {there!r}, and here it is {here!r}"


def _grid_in_words(grid: Mapping[str, Any]) -> str:
    tiles = " x ".join(f"{len(sizes)} tiles along {d}" for d, sizes in grid["tiles"].items())
    name = next(iter(grid["shapes"]), "")
    return f"{tuple(grid['shapes'].get(name, ()))} for {name!r} in {tiles or 'one tile'}"


def _checked(ds: xr.Dataset) -> xr.Dataset:
    """A check sum in every chunk: one that was cut short or changed is refused when it is read."""
    from zarr.codecs import ZstdCodec

    for variable in ds.variables.values():
        if variable.dtype.kind in "biufc":
            variable.encoding["compressors"] = (ZstdCodec(level=0, checksum=True),)
    return ds


def _write(ds: xr.Dataset, part: Path, *, compute: bool) -> None:
    with warnings.catch_warnings():
        # Consolidated, because xr.open_zarr warns about a store that is not; zarr warns about
        # one that is, as format 3 does not describe it yet.
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        ds.to_zarr(part, mode="w-", zarr_format=3, consolidated=True, compute=compute)  # type: ignore[call-overload]


def _move(part: Path, target: Path) -> None:
    """Put a complete store in its place; what was there goes last."""
    old = _beside(target, "old")
    try:
        if target.exists():
            _remove(old)
            os.replace(target, old)
        os.replace(part, target)
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _told(target: Path, kind: type[OSError] = OSError) -> Iterator[None]:
    """Say of a disk that is full or may not be written what stays and what to do."""
    try:
        yield
    except kind as error:
        raise DataError(_why(target, error)) from error


def _why(target: Path, error: OSError) -> str:
    done = "nothing was written"
    for place in (target, _beside(target, "new")):
        try:
            record = read(place)
        except Unreadable:
            continue
        if record is not None and not record.complete:
            count = record.done()
            done = f"{np.count_nonzero(count)} of {count.size} tiles are done and stay"
    return (
        f"{str(target)!r} cannot be written ({error.strerror or error}); {done}. Make room, or see "
        "to the rights of the folder, and type the same call again."
    )
