"""The one road: cube + model + kernel -> explanation."""

from __future__ import annotations

import contextlib
import contextvars
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from xrxai import blocks, bridge, travel
from xrxai import scene as cutting
from xrxai.errors import CubeError, ModelError, TargetError, at_least
from xrxai.labelled import areas, result
from xrxai.labelled import chips as tiling
from xrxai.labelled import target as regions
from xrxai.labelled.cube import Cube, locate
from xrxai.model import Model
from xrxai.spec import Output, Spec, Tiles
from xrxai.tiles import Tile


@dataclass(frozen=True, eq=False)
class Case:
    """A cube and a model that fit each other and the kernel.

    Of a scene that is cut into chips, `place`, `valid` and `region` are those of the chips.
    `asked` is the model as the user gave it.
    """

    place: Cube
    model: Model
    spec: Spec
    kernel: Callable[..., Mapping[str, Any]]
    targets: list[int]
    valid: xr.DataArray
    region: xr.DataArray | None
    scene: Cube
    scene_valid: xr.DataArray
    asked: Model

    @property
    def tiled(self) -> bool:
        """Whether the scene is seen through tiles with a halo."""
        return self.place.chips is None and cutting.in_tiles(self.scene, self.model)

    def giving(self, outputs: Mapping[str, Output]) -> Case:
        """The same case with more outputs, or other ones: what options decide, not the kernel."""
        both = {**self.spec.outputs, **outputs}
        return replace(self, spec=replace(self.spec, outputs=both))


def settle(
    cube: xr.DataArray,
    model: Any,
    kernel: Callable[..., Mapping[str, Any]],
    *,
    target: Any = None,
    mask: xr.DataArray | np.ndarray | None = None,
    region: Any = None,
    per: areas.Per | None = None,
    tiles: Tiles | None = None,
) -> Case:
    """Refuse what cannot be explained, before the model runs.

    With `per` a sample is a region of the scene. `tiles` replaces what the kernel's record says
    of tiles, where options decide it.
    """
    asked = model = Model.ensure(model)
    place = locate(cube)
    spec: Spec = kernel.spec  # type: ignore[attr-defined]
    if tiles is not None:
        spec = replace(spec, tiles=tiles)
    name = spec.method
    if cube.dtype.kind not in "fiu":
        raise CubeError(
            f"The cube has dtype {cube.dtype}, and a model needs real numbers; type "
            f"{'abs(cube)' if cube.dtype.kind == 'c' else 'cube'}.astype('float32')."
        )
    if model.takes == "patch" and (place.y is None or place.x is None):
        raise CubeError(
            f"The model takes a patch, but the cube has dims {tuple(cube.dims)} and no rows and "
            f"columns among them; name them with xrxai.to_cube(cube, y_dim=..., x_dim=...), or "
            f"type Model(..., takes='spectrum')."
        )
    if spec.spatial and model.takes == "spectrum":
        raise ModelError(
            f"The method {name} switches regions, but the model takes='spectrum' sees one pixel "
            f"at a time; its answer for a pixel cannot depend on others. "
            f"Use {_spectral(name)}."
        )
    if spec.needs == "gradient" and not model.differentiable:
        raise ModelError(
            f"The method {name} needs gradients, which {model.label} (arrays={model.arrays!r}) "
            f"cannot give; use lime_spectral or occlusion_spectral."
        )
    n_bands = cube.sizes[place.band]
    if model.n_bands is not None and model.n_bands != n_bands:
        raise ModelError(
            f"The model expects {model.n_bands} bands, the cube has {n_bands} along "
            f"{place.band!r}; select the bands the model was trained on."
        )
    if region is not None and model.gives != "map":
        raise TargetError(
            "region= sums a map inside a region, but the model gives one value per target; "
            "drop region=, or wrap a segmentation network with Model(..., gives='map')."
            if model.takes == "patch"
            else "region= sums a map inside a region, but the model takes one pixel at a time; "
            "type mask= to choose pixels."
        )
    targets = model.positions(target)
    valid = place.valid(mask)
    if not place.lazy and not bool(valid.any()):
        raise CubeError(_nothing_valid(place, mask))
    counted = regions.settle(place, region, valid)
    scene, scene_valid = place, valid
    if per is not None:
        if counted is not None:
            raise TargetError(
                "region= and per= came together: region= sums the map inside one region, per= "
                "asks of each region by itself; drop region=."
            )
        around, model = cutting.around_regions(scene, model, per, valid)
        place, valid, counted = around.place(), around.valid(valid), around.inside()
        if asked.takes == "spectrum":  # nothing beyond the region has a say
            valid = valid & counted
    elif (cut := cutting.into_chips(place, model, spec)) is not None:
        place, valid = cut.place(), cut.valid(valid)
        counted = None if counted is None else cut.cut(counted, False)
    return Case(place, model, spec, kernel, targets, valid, counted, scene, scene_valid, asked)


Evaluations = int | Callable[[Any], int] | None
"""Of the model for a sample: a number, one that depends on the tile, or not known before."""

_PLANNING: contextvars.ContextVar[bool] = contextvars.ContextVar("planning", default=False)


@dataclass(eq=False)
class Planned(Exception):
    """What would have been run."""

    case: Case
    job: blocks.Job
    evaluations: Evaluations


@contextlib.contextmanager
def planning() -> Iterator[None]:
    """Let every explanation stop where the model would run, and raise `Planned`."""
    token = _PLANNING.set(True)
    try:
        yield
    finally:
        _PLANNING.reset(token)


def trial(call: Callable[[], object]) -> Planned:
    """What a call of a method would run, which is refused where the method refuses it."""
    try:
        with planning():
            call()
    except Planned as planned:
        return planned
    raise AssertionError("it does not take the one road")


def explain(
    case: Case,
    *,
    options: Mapping[str, Any],
    evaluations: Evaluations,
    inputs: Mapping[str, xr.DataArray] | None = None,
    static: Mapping[str, Any] | None = None,
    coords: Mapping[str, Any] | None = None,
    extra: Mapping[str, xr.DataArray] | None = None,
    seed: int | None = None,
    device: str | None = None,
    batch_size: int | None = None,
    progress: bool = True,
    extent: int = 0,
) -> xr.Dataset:
    """Run the kernel of a case and build the explanation.

    `inputs` are arrays over dims of the cube, cut like it; `static` goes to every block as it
    is; `coords` name the new dims; `evaluations` per sample scale the progress
    bar; None when they are not known beforehand. `extent` is the width of windows that reach
    over the core of a tile.
    """
    if batch_size is not None:
        at_least(batch_size, 1, "batch_size")
    place, model = case.place, case.model
    if model.autocast is not None:
        evaluations = _one_more(evaluations)
    names = np.array([model.targets[k] for k in case.targets], dtype=object)
    named = {"target": ("target", names), **(coords or {})}
    settled = {k: c if isinstance(c, xr.Variable) else xr.Variable(*c) for k, c in named.items()}
    sizes = {key: c.size for key, c in settled.items() if c.dims == (key,)}
    for dim, own in (("band", place.band), ("y", place.y), ("x", place.x)):
        if own is not None:
            sizes[dim] = place.data.sizes[own]
    grid = None
    halo: dict[str, Any] = {}
    if case.tiled:
        grid, halo = cutting.into_tiles(case.scene, model, case.spec, extent)
    elif isinstance(place.chips, tiling.Chips):
        halo = {"halo": 0, "halo_exact": int(model.gives == "vector")}
    job = blocks.Job(
        case.kernel,
        travel.reference(model),
        tuple(case.targets),
        static or {},
        blocks.outputs_for(case.spec, case.asked),
        sizes,
        place.good_band,
        device,
        batch_size,
        case.spec.tiles,
        grid,
        mean=case.asked is not model,
    )
    if _PLANNING.get():
        raise Planned(case, job, evaluations)
    inputs = dict(inputs or {})
    if case.region is not None:
        inputs["region"] = case.region
    told: dict[str, str] = {}
    with _bar(case, evaluations, progress) as tick:
        arrays, token = bridge.run(place, case.valid, job, inputs, tick, told)
    arrays = {
        name: array.assign_coords(
            {key: c for key, c in settled.items() if set(c.dims) <= set(array.dims)}
        )
        for name, array in arrays.items()
    }
    extra = dict(extra or {})
    about = {} if grid is None else tiling.coords(case.scene, (grid.rows, grid.columns))
    if place.chips is not None:
        arrays, extra = (
            {k: joined for k, v in each.items() if (joined := place.chips.join(v)) is not None}
            for each in (arrays, extra)
        )
        extra |= place.chips.extra()
        about = place.chips.coords()
    provenance = {
        "method": case.spec.method,
        "options": {**options, "target": names.tolist()},
        "seed": seed,
        "model": repr(case.asked),
        "model_options": case.asked.options(),
        "model_hash": job.reference.weights_hash
        if case.asked is model
        else case.asked.weights_hash(),
        "reduction": model.reduction,
        "tiles": halo | ({"run": token} if token else {}) | told,
    }
    made = result.build(
        case.scene,
        case.scene_valid,
        arrays,
        case.spec,
        extra=extra,
        units=model.units,
        provenance=provenance,
    )
    return made.assign_coords({k: v for k, v in about.items() if set(v.dims) <= set(made.dims)})


def _one_more(evaluations: Evaluations) -> Evaluations:
    """That of the sample in full precision."""
    if callable(evaluations):
        return lambda tile: evaluations(tile) + 1
    return None if evaluations is None else evaluations + 1


@contextlib.contextmanager
def _bar(
    case: Case, evaluations: Evaluations, progress: bool
) -> Iterator[Callable[[int], object] | None]:
    """Show a progress bar for what takes longer than a second; lazy work shows its own."""
    if case.place.lazy or not progress:
        yield None
        return
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets the bar as text: nothing its reader must be told.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    valid = case.valid
    if case.model.takes == "patch":
        valid = valid.any([case.place.y, case.place.x])
    if callable(evaluations):
        size = (case.place.data.sizes[case.place.y], case.place.data.sizes[case.place.x])
        evaluations = evaluations(Tile.whole(size))
    total = None if evaluations is None else int(valid.sum()) * evaluations
    with tqdm(total=total, delay=1, desc=case.spec.method, unit="eval", unit_scale=True) as bar:
        yield bar.update


def _spectral(name: str) -> str:
    """Name the method that asks of bands what this one asks of regions."""
    stem = name.removesuffix("_spatial")
    return f"{stem}_spectral" if stem != name else "occlusion_spectral"


def _nothing_valid(place: Cube, mask: xr.DataArray | np.ndarray | None) -> str:
    if not place.data.size:
        return f"The cube is empty: its sizes are {dict(place.data.sizes)}; select some pixels."
    if mask is not None and bool(place.valid().any()):
        return (
            "The mask keeps none of the valid pixels; True means keep: type mask=~mask if yours "
            "is True where pixels are dropped."
        )
    good = place.data.isel({place.band: np.flatnonzero(place.good_band)})
    gone = good.isnull().all([d for d in good.dims if d != place.band])
    if bool(gone.any()) and not bool(gone.all()):
        others = [str(d) for d in place.data.dims if d != place.band]
        first = np.flatnonzero(place.good_band)[np.flatnonzero(gone.values)[0]]
        return (
            f"The cube has no valid pixel because {int(gone.sum())} of its {gone.size} good bands "
            f"hold NaN only (the first at position {first}); mark them bad: type "
            f"cube.assign_coords(good_band=cube.notnull().any({others}))."
        )
    return (
        "The cube has no valid pixel: every one holds a NaN or the fill value, or its coordinate "
        "valid is False; check the nodata value in cube.attrs, and type good_band= in "
        "xrxai.to_cube(...) for bands that were never measured."
    )
