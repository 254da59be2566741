"""Labelled arrays -> blocks -> kernel -> labelled arrays; the only file that knows dask."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.labelled.chips import COLUMN, ROW
from xrxai.labelled.cube import Cube
from xrxai.model import Model
from xrxai.spec import Output, Placed, Spec, Tiles
from xrxai.tiles import Grid, Tile
from xrxai.travel import Reference

_SAMPLE = "__sample"
_Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Job:
    """Everything a block needs besides its own arrays."""

    kernel: Callable[..., Mapping[str, Any]]
    reference: Reference
    targets: tuple[int, ...]
    static: Mapping[str, Any]
    outputs: Mapping[str, Output]
    sizes: Mapping[str, int]
    good_band: np.ndarray
    device: str | None
    batch_size: int | None
    tiles: Tiles = "alone"
    grid: Grid | None = None
    mean: bool = False  # over the pixels that count, in place of the sum
    token: str | None = None  # of a run in blocks, whose threads run beside each other

    @property
    def model(self) -> Model:
        """The live model, in whatever process this is."""
        return self.reference.model

    def dims(self, name: str) -> tuple[str, ...]:
        """Dims of an output after the sample's own."""
        spectrum = self.model.takes == "spectrum"
        words = {
            "features": ("band",) if spectrum else ("band", "y", "x"),
            "positions": ("band",) if spectrum else ("y", "x"),
        }
        dims: tuple[str, ...] = ()
        for dim in self.outputs[name].dims:
            dims += words.get(dim, (dim,))
        return dims

    def dtype(self, name: str) -> np.dtype[Any]:
        """Dtype of an output."""
        if self.outputs[name].dtype != "score":
            return np.dtype(self.outputs[name].dtype)
        return np.dtype(str(tensors.run.dtype_of(self.model)).removeprefix("torch."))

    def empty(self, name: str, n: int, tile: Tile | None) -> np.ndarray:
        """What a sample without valid pixels answers."""
        sizes = dict(self.sizes)
        if tile is not None:
            sizes["y"], sizes["x"] = (c.stop - c.start for c in tile.core)
        shape = (n, *(sizes[d] for d in self.dims(name)))
        dtype = self.dtype(name)
        return np.full(shape, 0 if dtype.kind in "bi" else np.nan, dtype)


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
        blocks = _now(job, whole, len(samples), tick, patch, told)
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

    places = np.array(list(np.ndindex(array.numblocks)))
    first = max(0, (len(places) - workers()) // 2)
    chosen = [array.blocks[tuple(place)] for place in places[first : first + workers()]]
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


def _now(
    job: Job,
    whole: Mapping[str, Any],
    n_axes: int,
    tick: Any,
    tile: Tile | None = None,
    told: dict[str, str] | None = None,
) -> dict[str, Any]:
    shape = whole["x"].shape[:n_axes]
    flat = {name: _flat(np.asarray(array), shape) for name, array in whole.items()}
    blocks = compute(job, flat.pop("x"), flat.pop("valid"), flat, tick, tile, told)
    return {name: block.reshape(*shape, *block.shape[1:]) for name, block in blocks.items()}


def _flat(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sample axes -> one, which stays of length 1 when the array is the same for all."""
    rest = array.shape[len(shape) :]
    if all(n == 1 for n in array.shape[: len(shape)]):
        return array.reshape(1, *rest)
    return np.broadcast_to(array, (*shape, *rest)).reshape(-1, *rest)


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
    return _now(job, whole, n_axes, None, tile)


def _tile(*arrays: np.ndarray, job: Job, names: tuple[str, ...]) -> dict[str, Any]:
    tensors.run.share_cores(_beside())
    *given, row, column = arrays
    assert job.grid is not None  # only tiled runs come here
    tile = job.grid.tile(int(row[0]), int(column[0]))
    n_axes = given[0].ndim - 3
    found = _now(job, dict(zip(names, given, strict=True)), n_axes, None, tile)
    # What is one for the tile gets the two axes of tiles.
    return {
        name: block
        if "y" in job.dims(name)
        else block.reshape(*block.shape[:n_axes], 1, 1, *block.shape[n_axes:])
        for name, block in found.items()
    }


def _pick(answers: dict[str, Any], key: str) -> Any:
    return answers[key]


def compute(
    job: Job,
    x: np.ndarray,
    valid: np.ndarray,
    inputs: _Arrays,
    tick: Callable[[int], object] | None = None,
    tile: Tile | None = None,
    told: dict[str, str] | None = None,
) -> _Arrays:
    """Run the kernel on samples x (n, band[, y, x]) with valid (n[, y, x]).

    Samples without a valid pixel are never sent to the model. What stands in invalid pixels
    and bad bands is replaced before the model can see it, and is NaN in the answer. Of the
    window of a tile, the answer holds the core.
    """
    n = x.shape[0]
    valid = np.broadcast_to(valid, (n, *valid.shape[1:]))
    spectra = job.model.takes == "spectrum"
    inner = () if tile is None else (..., *tile.inner)
    shown = valid[inner]
    asked = shown
    if job.grid is None and "region" in inputs:
        asked = shown & inputs["region"][:, 0].astype(bool)
    alive = np.flatnonzero(valid if spectra else asked.any(axis=(1, 2)))
    if not alive.size:
        return {name: job.empty(name, n, tile) for name in job.outputs}
    known = job.good_band[None] if spectra else _pixels_and_bands(valid[alive], job.good_band)
    dtype = job.dtype("prediction")
    chosen = {k: v if v.shape[0] == 1 else v[alive] for k, v in inputs.items()}
    region = chosen.pop("region", None)
    weight = core = None
    if not spectra:
        weight = valid[alive] if region is None else valid[alive] & region[:, 0].astype(bool)
    if tile is not None and tile.has_halo:
        core = np.zeros(tile.shape, dtype=bool)
        core[inner] = True
        if job.tiles == "score":
            weight, core = weight & core, None
    if weight is not None and job.mean:
        weight = weight / np.maximum(weight.sum((1, 2), keepdims=True), 1)
    if "part" in chosen and not spectra and chosen["part"].shape[-2:] == valid.shape[-2:]:
        chosen["part"] = np.where(valid[alive][:, None], chosen["part"], 0)
    fill = job.model.fill
    clean = _filled(x if alive.size == n else x[alive], known, fill, dtype)
    for name in [k for k in chosen if k.startswith("baseline")]:
        chosen[name] = _filled(chosen[name], known, fill, dtype)
    found = tensors.run.execute(
        job.kernel,
        job.model,
        clean,
        targets=list(job.targets),
        weight=weight,
        core=core,
        inputs=chosen,
        static=_placed(job.static, tile),
        device=job.device,
        batch_size=job.batch_size,
        tick=tick,
        replica=job.token,
        told=told,
    )
    out = {}
    for name in job.outputs:
        dims = job.dims(name)
        answer = found[name]
        if "y" in dims and tile is not None and tile.has_halo:
            answer = answer[inner]
        # A copy only where it is needed: results can be larger than all else.
        block = answer.astype(job.dtype(name), order="C", copy=False)
        if alive.size < n:
            block = job.empty(name, n, tile)
            block[alive] = answer
        out[name] = block
        if "band" in dims:
            _blank(block, ~job.good_band, dims.index("band") + 1)
        if "y" in dims:
            # (n, y, x) -> aligned with the axes of the block, whatever lies between
            lead = block.shape[1 : dims.index("y") + 1]
            hidden = ~shown.reshape(n, *(1,) * len(lead), *shown.shape[1:])
            np.copyto(block, 0 if block.dtype.kind == "i" else np.nan, where=hidden)
    return out


def _placed(static: Mapping[str, Any], tile: Tile | None) -> dict[str, Any]:
    if tile is None:
        return dict(static)
    return {k: v.at(tile) if isinstance(v, Placed) else v for k, v in static.items()}


def _filled(values: np.ndarray, known: np.ndarray, fill: float, dtype: np.dtype[Any]) -> np.ndarray:
    """Values where they are known, elsewhere the fill, in a new array.

    Where all are known it is a view, and nobody writes into it: a cube can be most of the memory.
    """
    shape = np.broadcast_shapes(values.shape, known.shape)
    if known.all():
        same = values.astype(dtype, copy=False)
        return same if same.shape == shape else np.broadcast_to(same, shape)
    out = np.full(shape, fill, dtype)
    np.copyto(out, values, where=known, casting="unsafe")
    return out


def _pixels_and_bands(valid: np.ndarray, good_band: np.ndarray) -> np.ndarray:
    both: np.ndarray = valid[:, None] & good_band[:, None, None]
    return both


def _blank(block: np.ndarray, where: np.ndarray, axis: int) -> None:
    index: list[Any] = [slice(None)] * block.ndim
    index[axis] = where
    block[tuple(index)] = np.nan


def outputs_for(spec: Spec, model: Model) -> dict[str, Output]:
    """The kernel's outputs, pixel counts of a segmentation, and what lower precision did."""
    found = dict(spec.outputs)
    if model.gives == "map":
        found["target_pixels"] = Output(("target",), "pixels of the target", "1", "int64")
    if model.autocast is not None:
        found["autocast_error"] = Output(("target",), "change of the score by autocast")
    return found
