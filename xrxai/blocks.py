"""Blocks of samples -> kernel -> blocks of answers, on numpy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xrxai import tensors
from xrxai.model import Model
from xrxai.spec import Output, Placed, Spec, Tiles
from xrxai.tiles import Grid, Tile
from xrxai.travel import Reference

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
        return np.full(shape, self.missing(name), self.dtype(name))

    def missing(self, name: str) -> float:
        """What an output says where there is nothing to say."""
        return self.outputs[name].missing if self.dtype(name).kind in "bi" else np.nan


def now(
    job: Job,
    whole: Mapping[str, Any],
    n_axes: int,
    tick: Any,
    tile: Tile | None = None,
    told: dict[str, str] | None = None,
) -> dict[str, Any]:
    """Run the job on arrays whose first axes, `n_axes` of them, are those of samples."""
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
            np.copyto(block, job.missing(name), where=hidden, casting="unsafe")
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
        change = Output(("target",), "change of the score by autocast")
        found.setdefault("autocast_error", change)
    return found
