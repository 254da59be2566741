"""Labelled arrays -> blocks -> kernel -> labelled arrays; the only file that knows dask."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.blocks import Job, now
from xrxai.labelled.chips import COLUMN, ROW
from xrxai.labelled.cube import Cube
from xrxai.tiles import Grid, Tile

_SAMPLE = "__sample"
_Arrays = dict[str, np.ndarray]


def run(
    place: Cube,
    valid: xr.DataArray,
    job: Job,
    inputs: Mapping[str, xr.DataArray],
    tick: Callable[[int], object] | None,
    told: dict[str, str],
) -> tuple[dict[str, xr.DataArray], str]:
    """Run the job on every sample of the cube, now or (dask) later, which gives a token too.

    Same model, options, data and tiles: same token. What runs now writes how into `told`.
    """
    features = [place.band] if job.model.takes == "spectrum" else [place.band, place.y, place.x]
    samples = [str(d) for d in place.data.dims if d not in features]
    data = place.data
    if not samples:
        data, samples = data.expand_dims(_SAMPLE), [_SAMPLE]
        valid = valid.expand_dims(_SAMPLE)
    order = [*samples, *features]
    names = {"band": place.band, "y": place.y, "x": place.x}
    whole = {
        "x": _aligned(data, order),
        "valid": _aligned(valid, [d for d in order if d != place.band]),
        **{name: _aligned(_own(array, place), order) for name, array in inputs.items()},
    }
    token = ""
    if job.grid is not None:
        blocks, token = _tiled(job, job.grid, whole, len(samples))
    elif place.lazy:
        blocks, token = _later(job, whole, len(samples))
    else:
        size = data.sizes
        patch = None
        if job.model.takes == "patch":
            patch = Tile.whole((size[place.y], size[place.x]))
        blocks = now(job, whole, len(samples), tick, patch, told)
    out = {}
    for name, array in blocks.items():
        own = job.dims(name)
        tiles = () if job.grid is None or "y" in own else (ROW, COLUMN)
        dims = [*samples, *tiles, *(names.get(d) or d for d in own)]
        out[name] = xr.DataArray(array, dims=dims)
        if samples == [_SAMPLE]:
            out[name] = out[name].isel({_SAMPLE: 0})
    return out, token


def _apart(array: xr.DataArray) -> xr.DataArray:
    """Let what needs the whole cube at once read it for itself.

    Every tile waits for it: with keys in common, dask would hold all chunks until it is there.
    """
    import dask.array as da
    import dask.base
    from dask._task_spec import convert_legacy_graph
    from dask.highlevelgraph import HighLevelGraph

    if not isinstance(array.data, da.Array):
        return array

    def renamed(key: Any) -> Any:
        return (f"apart-{key[0]}", *key[1:]) if isinstance(key, tuple) else f"apart-{key}"

    # dask.graph_manipulation.clone makes graphs that dask cannot fuse (dask 2026.8).
    (lean,) = dask.base.optimize(array.data)
    tasks = convert_legacy_graph(dict(lean.__dask_graph__()))
    graph = {
        renamed(k): t.substitute({d: renamed(d) for d in t.dependencies}, key=renamed(k))
        for k, t in tasks.items()
    }
    name = f"apart-{lean.name}"
    layers = HighLevelGraph.from_collections(name, graph, dependencies=())
    return array.copy(data=da.Array(layers, name, lean.chunks, meta=lean._meta))


def workers() -> int:
    """Threads that run blocks at the same time: of the distributed client, or of the scheduler."""
    import dask.base
    from dask.system import CPU_COUNT

    scheduler = dask.config.get("scheduler", None)
    if scheduler in (None, "dask.distributed", "distributed") and "distributed" in sys.modules:
        import distributed

        with contextlib.suppress(ValueError):  # no client
            client: Any = distributed.get_client()
            return int(sum(client.nthreads().values()))
    if scheduler in ("sync", "synchronous", "single-threaded"):
        return 1
    return int(dask.config.get("num_workers", None) or CPU_COUNT)


def _beside() -> int:
    """Blocks that run at the same time in this process."""
    if "distributed" in sys.modules:
        import distributed

        with contextlib.suppress(ValueError):  # no worker
            worker: Any = distributed.get_worker()
            return int(worker.state.nthreads)
    return workers()


def measured(array: Any) -> tuple[float, int, int]:
    """Seconds of a round of blocks that run at the same time, one each, and what was in it.

    Blocks in the middle, as many as workers, under the scheduler that will run them all: alone, one
    would have the cores and the caches to itself. Gives seconds, blocks and counted evaluations.
    """
    import dask.base

    total = int(np.prod(array.numblocks))
    some = min(workers(), total)
    middle = np.arange(some) + (total - some) // 2
    places = np.stack(np.unravel_index(middle, array.numblocks), axis=1).tolist()
    chosen = [array.blocks[tuple(place)] for place in places]
    seconds, counted = np.inf, 0
    for _ in range(2):  # the first time models travel, and torch and the disk's caches wake up
        began = time.perf_counter()
        counted = sum(int(block.sum()) for block in dask.base.compute(*chosen))
        seconds = time.perf_counter() - began
        if seconds > 10:
            break
    return seconds, len(chosen), counted


def _own(array: xr.DataArray, place: Cube) -> xr.DataArray:
    """What is made of all rows and columns, such as a mean spectrum, reads them for itself."""
    return array if {place.y, place.x} & set(array.dims) else _apart(array)


def _aligned(array: xr.DataArray, order: list[Any]) -> Any:
    """Values with an axis for each of `order`, of length 1 where the array has no such dim."""
    missing = [d for d in order if d not in array.dims]
    return array.expand_dims(missing).transpose(*order).data


def _later(job: Job, whole: Mapping[str, Any], n_axes: int) -> tuple[dict[str, Any], str]:
    """Blocks of whole samples."""
    x = whole["x"].rechunk(dict.fromkeys(range(n_axes, whole["x"].ndim), -1))
    arguments: list[Any] = []
    for name, array in whole.items():
        axes = _axes(name, x.ndim, n_axes)
        chunks = tuple(
            x.chunks[axis] if axis < n_axes and n == x.shape[axis] else (n,)
            for axis, n in zip(axes, array.shape, strict=True)
        )
        arguments += [_chunked(array, chunks), axes]
    return _graph(job, _block, tuple(whole), arguments, tuple(range(n_axes)), {})


def _tiled(
    job: Job, grid: Grid, whole: Mapping[str, Any], n_axes: int
) -> tuple[dict[str, Any], str]:
    """Tiles with their halo, one task each."""
    import dask.array as da

    from xrxai import halo

    down, right = n_axes + 1, n_axes + 2
    cores = dict(zip((down, right), grid.chunks, strict=True))
    x = whole["x"]
    arguments: list[Any] = []
    for name, array in whole.items():
        axes = _axes(name, x.ndim, n_axes)
        chunks: list[Any] = []
        # Its axes of rows and columns, where there is more than one of them.
        cut: dict[int, int | None] = dict.fromkeys((down, right))
        for i, (axis, n) in enumerate(zip(axes, array.shape, strict=True)):
            full = n == x.shape[axis]
            if axis in cores and full:
                chunks.append(cores[axis])
                cut[axis] = i
            else:
                chunks.append(x.chunks[axis] if axis < n_axes and full else (n,))
        block = _chunked(array, tuple(chunks))
        if grid.halo and any(i is not None for i in cut.values()):
            block = halo.windows(block, grid, (cut[down], cut[right]))
        arguments += [block, axes]
    for axis, n in zip((down, right), grid.shape, strict=True):
        arguments += [da.from_array(np.arange(n), chunks=1, name=f"xrxai-place-{n}"), (axis,)]
    samples = (*range(n_axes), down, right)
    return _graph(job, _tile, tuple(whole), arguments, samples, cores)


def _axes(name: str, n_dims: int, n_axes: int) -> tuple[int, ...]:
    """`valid` lacks the spectral axis: its axes are the samples', then rows and columns."""
    return tuple(i for i in range(n_dims) if name != "valid" or i != n_axes)


def _chunked(array: Any, chunks: tuple[Any, ...]) -> Any:
    import dask.array as da

    return array.rechunk(chunks) if isinstance(array, da.Array) else da.from_array(array, chunks)


def _graph(
    job: Job,
    block: Callable[..., dict[str, Any]],
    names: tuple[str, ...],
    arguments: list[Any],
    samples: tuple[int, ...],
    cores: Mapping[int, tuple[int, ...]],
) -> tuple[dict[str, Any], str]:
    """One task per block that answers everything, and pickers that hand each output its part.

    `samples` are the axes along which there are blocks, `cores` the sizes of those that are
    rows and columns of a scene.
    """
    import dask.array as da
    from dask.base import tokenize

    token = tokenize(
        job.kernel, job.reference, job.targets, dict(job.static), job.good_band, *arguments
    )
    answers = da.blockwise(
        block,
        samples,
        *arguments,
        job=replace(job, token=token),
        names=names,
        concatenate=True,
        dtype=object,
        meta=np.empty((0,) * len(samples), dtype=object),
        adjust_chunks=dict(cores),
        name=f"xrxai-{token}",
        align_arrays=False,
    )
    out = {}
    lead = tuple(axis for axis in samples if axis not in cores)
    for name in job.outputs:
        own = job.dims(name)
        dtype = job.dtype(name)
        new = {d: 1000 + i for i, d in enumerate(own) if not (cores and d in ("y", "x"))}
        axes = {**new, **dict(zip(("y", "x"), cores, strict=False))}
        index = (*lead, *(axes[d] for d in own))
        sizes = dict(cores)
        if cores and "y" not in own:
            index = (*lead, *cores, *(axes[d] for d in own))
            sizes = {axis: (1,) * len(each) for axis, each in cores.items()}
        out[name] = da.blockwise(
            _pick,
            index,
            answers,
            samples,
            key=name,
            new_axes={axis: job.sizes[d] for d, axis in new.items()},
            adjust_chunks=sizes,
            dtype=dtype,
            meta=np.empty((0,) * len(index), dtype=dtype),
            name=f"xrxai-{name}-{token}",
        )
    return out, str(token)


def _block(*arrays: np.ndarray, job: Job, names: tuple[str, ...]) -> dict[str, Any]:
    tensors.run.share_cores(_beside())
    whole = dict(zip(names, arrays, strict=True))
    n_axes = arrays[0].ndim - (1 if job.model.takes == "spectrum" else 3)
    tile = None
    if job.model.takes == "patch":
        rows, columns = arrays[0].shape[-2:]
        tile = Tile.whole((rows, columns))
    return now(job, whole, n_axes, None, tile)


def _tile(*arrays: np.ndarray, job: Job, names: tuple[str, ...]) -> dict[str, Any]:
    tensors.run.share_cores(_beside())
    *given, row, column = arrays
    assert job.grid is not None  # only tiled runs come here
    tile = job.grid.tile(int(row[0]), int(column[0]))
    n_axes = given[0].ndim - 3
    found = now(job, dict(zip(names, given, strict=True)), n_axes, None, tile)
    # What is one for the tile gets the two axes of tiles.
    return {
        name: block
        if "y" in job.dims(name)
        else block.reshape(*block.shape[:n_axes], 1, 1, *block.shape[n_axes:])
        for name, block in found.items()
    }


def _pick(answers: dict[str, Any], key: str) -> Any:
    return answers[key]
