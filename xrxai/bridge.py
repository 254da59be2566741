"""Labelled arrays -> blocks -> kernel -> labelled arrays; the only file that knows dask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.labelled.cube import Cube
from xrxai.model import Model
from xrxai.spec import Output, Spec
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

    def empty(self, name: str, n: int) -> np.ndarray:
        """What a sample without valid pixels answers."""
        shape = (n, *(self.sizes[d] for d in self.dims(name)))
        dtype = self.dtype(name)
        return np.full(shape, 0 if dtype.kind in "bi" else np.nan, dtype)


def run(
    place: Cube,
    valid: xr.DataArray,
    job: Job,
    inputs: Mapping[str, xr.DataArray],
    tick: Callable[[int], object] | None,
) -> dict[str, xr.DataArray]:
    """Run the job on every sample of the cube, now or (dask) later."""
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
        **{name: _aligned(array, order) for name, array in inputs.items()},
    }
    if place.lazy:
        blocks = _later(job, whole, len(samples))
    else:
        blocks = _now(job, whole, len(samples), tick)
    out = {}
    for name, array in blocks.items():
        dims = [*samples, *(names.get(d) or d for d in job.dims(name))]
        out[name] = xr.DataArray(array, dims=dims)
        if samples == [_SAMPLE]:
            out[name] = out[name].isel({_SAMPLE: 0})
    return out


def _aligned(array: xr.DataArray, order: list[Any]) -> Any:
    """Values with an axis for each of `order`, of length 1 where the array has no such dim."""
    missing = [d for d in order if d not in array.dims]
    return array.expand_dims(missing).transpose(*order).data


def _now(job: Job, whole: Mapping[str, Any], n_axes: int, tick: Any) -> dict[str, Any]:
    shape = whole["x"].shape[:n_axes]
    flat = {name: _flat(np.asarray(array), shape) for name, array in whole.items()}
    blocks = compute(job, flat.pop("x"), flat.pop("valid"), flat, tick)
    return {name: block.reshape(*shape, *block.shape[1:]) for name, block in blocks.items()}


def _flat(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sample axes -> one, which stays of length 1 when the array is the same for all."""
    rest = array.shape[len(shape) :]
    if all(n == 1 for n in array.shape[: len(shape)]):
        return array.reshape(1, *rest)
    return np.broadcast_to(array, (*shape, *rest)).reshape(-1, *rest)


def _later(job: Job, whole: Mapping[str, Any], n_axes: int) -> dict[str, Any]:
    import dask.array as da
    from dask.base import tokenize

    x = whole["x"].rechunk(dict.fromkeys(range(n_axes, whole["x"].ndim), -1))
    arguments: list[Any] = []
    for name, array in whole.items():
        # `valid` lacks the spectral axis: its axes are the samples', then rows and columns.
        axes = [i for i in range(x.ndim) if name != "valid" or i != n_axes]
        chunks = tuple(
            x.chunks[axis] if axis < n_axes and n == x.shape[axis] else (n,)
            for axis, n in zip(axes, array.shape, strict=True)
        )
        already = isinstance(array, da.Array)
        block = array.rechunk(chunks) if already else da.from_array(array, chunks)
        arguments += [block, tuple(axes)]
    samples = tuple(range(n_axes))
    token = tokenize(
        job.kernel, job.reference, job.targets, dict(job.static), job.good_band, *arguments
    )
    answers = da.blockwise(
        _block,
        samples,
        *arguments,
        job=job,
        names=tuple(whole),
        concatenate=True,
        dtype=object,
        meta=np.empty((0,) * n_axes, dtype=object),
        name=f"xrxai-{token}",
        align_arrays=False,
    )
    out = {}
    for name in job.outputs:
        sizes = [job.sizes[d] for d in job.dims(name)]
        new = tuple(range(n_axes, n_axes + len(sizes)))
        dtype = job.dtype(name)
        out[name] = da.blockwise(
            _pick,
            (*samples, *new),
            answers,
            samples,
            key=name,
            new_axes=dict(zip(new, sizes, strict=True)),
            dtype=dtype,
            meta=np.empty((0,) * (n_axes + len(new)), dtype=dtype),
            name=f"xrxai-{name}-{token}",
        )
    return out


def _block(*arrays: np.ndarray, job: Job, names: tuple[str, ...]) -> dict[str, Any]:
    whole = dict(zip(names, arrays, strict=True))
    n_axes = arrays[0].ndim - (1 if job.model.takes == "spectrum" else 3)
    return _now(job, whole, n_axes, None)


def _pick(answers: dict[str, Any], key: str) -> Any:
    return answers[key]


def compute(
    job: Job,
    x: np.ndarray,
    valid: np.ndarray,
    inputs: _Arrays,
    tick: Callable[[int], object] | None = None,
) -> _Arrays:
    """Run the kernel on samples x (n, band[, y, x]) with valid (n[, y, x]).

    Samples without a valid pixel are never sent to the model. What stands in invalid pixels
    and bad bands is replaced before the model can see it, and is NaN in the answer.
    """
    n = x.shape[0]
    valid = np.broadcast_to(valid, (n, *valid.shape[1:]))
    spectra = job.model.takes == "spectrum"
    alive = np.flatnonzero(valid if spectra else valid.any(axis=(1, 2)))
    if not alive.size:
        return {name: job.empty(name, n) for name in job.outputs}
    known = job.good_band[None] if spectra else _pixels_and_bands(valid[alive], job.good_band)
    dtype = job.dtype("prediction")
    chosen = {k: v if v.shape[0] == 1 else v[alive] for k, v in inputs.items()}
    region = chosen.pop("region", None)
    weight = None
    if not spectra:
        weight = valid[alive] if region is None else valid[alive] & region[:, 0].astype(bool)
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
        inputs=chosen,
        static=dict(job.static),
        device=job.device,
        batch_size=job.batch_size,
        tick=tick,
    )
    out = {}
    for name in job.outputs:
        # A copy only where it is needed: results can be larger than all else.
        block = found[name].astype(job.dtype(name), order="C", copy=False)
        if alive.size < n:
            block = job.empty(name, n)
            block[alive] = found[name]
        out[name] = block
        dims = job.dims(name)
        if "band" in dims:
            _blank(block, ~job.good_band, dims.index("band") + 1)
        if "y" in dims:
            # (n, y, x) -> aligned with the axes of the block, whatever lies between
            lead = block.shape[1 : dims.index("y") + 1]
            hidden = ~valid.reshape(n, *(1,) * len(lead), *valid.shape[1:])
            np.copyto(block, 0 if block.dtype.kind == "i" else np.nan, where=hidden)
    return out


def _filled(values: np.ndarray, known: np.ndarray, fill: float, dtype: np.dtype[Any]) -> np.ndarray:
    """Values where they are known, elsewhere the fill, in one new array."""
    out = np.full(np.broadcast_shapes(values.shape, known.shape), fill, dtype)
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
    """The kernel's outputs, and the pixel counts of a segmentation."""
    found = dict(spec.outputs)
    if model.gives == "map":
        found["target_pixels"] = Output(("target",), "pixels of the target", "1", "int64")
    return found
