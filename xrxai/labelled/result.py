"""Build the explanation: the one place where a result gets its names, coords and provenance."""

from __future__ import annotations

import importlib.metadata
import json
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import note
from xrxai.labelled.cube import Cube
from xrxai.spec import Spec

RGB_NM = {"red": 660.0, "green": 550.0, "blue": 480.0}
_RGB_HALF_WIDTH, _RGB_NEAREST = 15.0, 40.0
_CONTEXT_PIXELS = 20_000
_CONTEXT_CHUNKS = 8  # along each dim


def build(
    place: Cube,
    valid: xr.DataArray,
    arrays: Mapping[str, xr.DataArray],
    spec: Spec,
    *,
    extra: Mapping[str, xr.DataArray],
    units: str,
    provenance: Mapping[str, Any],
) -> xr.Dataset:
    """Arrays with named dims -> Dataset: order of dims, units, coords, context, attrs."""
    out: dict[str, xr.DataArray] = {}
    for name, array in arrays.items():
        about = spec.outputs.get(name)
        order = _order(place, array)
        attrs: dict[str, Any] = {}
        if about is not None:
            attrs = {"long_name": about.long_name, "units": _units(about.units, units, place)}
        if name == "attribution":
            # Tells figures which colours to use; whether values happen to be positive does not.
            absolute = provenance["options"].get("absolute", False)
            attrs["signed"] = int(spec.outputs[name].signed and not absolute)
        out[name] = array.transpose(*order).assign_attrs(attrs)
    if "target_pixels" in out:
        out |= counted(out["target_pixels"])
        if "attribution" in out and not place.lazy and provenance["reduction"] != "area":
            _tell_absent(out["target_absent"])
    out |= dict(extra)
    out |= context(place, valid)
    made = xr.Dataset(out)
    coords = {
        k: c
        for k, c in place.data.coords.items()
        if set(c.dims) <= set(made.dims) and k not in made and k != "valid"
    }
    made = made.assign_coords(coords)
    mapping = place.data.encoding.get("grid_mapping", place.data.attrs.get("grid_mapping"))
    for array in made.data_vars.values():
        if mapping in made.coords and {place.y, place.x} <= set(array.dims):
            array.encoding["grid_mapping"] = mapping
    made.attrs = _attrs(place, spec, provenance)
    return made


def context(place: Cube, valid: xr.DataArray) -> dict[str, xr.DataArray]:
    """What figures need of the cube: colours, the spectrum's spread, the valid pixels."""
    out = {"valid": valid.rename(None).reset_coords(drop=True).assign_attrs(long_name="valid")}
    pixels = [d for d in (place.y, place.x) if d is not None]
    if place.wavelength is not None and pixels:
        colours = {name: near(place, nm) for name, nm in RGB_NM.items()}
        if all(c is not None and c.size for c in colours.values()):
            out["rgb"] = _rgb(place, valid, colours)
    over = pixels or [str(d) for d in place.data.dims if d != place.band]
    some = _few(place, over)
    few = place.data.isel(some).where(valid.isel(some)).reset_coords(drop=True)
    if not over:  # one spectrum: its spread is none
        few, over = few.expand_dims("_alone"), ["_alone"]
    # In double precision the order of the pixels does not show.
    few = few.astype(np.float64).where(xr.DataArray(place.good_band, dims=place.band))
    if place.lazy:
        few = few.chunk(dict.fromkeys(over, -1))
    with warnings.catch_warnings():
        # All-NaN bands (bad ones) are NaN here, as they should be.
        warnings.simplefilter("ignore", RuntimeWarning)
        spread = few.quantile([0.05, 0.95], dim=over).rename(quantile="statistic")
        mean = few.mean(over).expand_dims("statistic")
        if not place.lazy:
            spread, mean = spread.load(), mean.load()
    names = np.array(["mean", "p05", "p95"], dtype=object)
    spectrum = xr.concat([mean, spread.drop_vars("statistic")], dim="statistic")
    about = {k: place.data.attrs[k] for k in ("long_name", "units") if k in place.data.attrs}
    out["spectrum"] = (
        spectrum.astype(np.float32).assign_coords(statistic=names).rename(None).assign_attrs(about)
    )
    return out


def _few(place: Cube, over: list[str]) -> dict[str, np.ndarray]:
    """Positions of about 20 000 pixels; of a lazy cube in many chunks, in some of them only."""
    positions = {}
    for d in over:
        here = np.arange(place.data.sizes[d])
        ends = np.cumsum(place.data.chunksizes.get(d, (here.size,)))
        if len(ends) > _CONTEXT_CHUNKS:
            kept = np.linspace(0, len(ends) - 1, _CONTEXT_CHUNKS).round()
            here = here[np.isin(np.searchsorted(ends, here, side="right"), kept)]
        positions[d] = here
    total = int(np.prod([p.size for p in positions.values()]))
    step = max(1, int(np.ceil((total / _CONTEXT_PIXELS) ** (1 / max(1, len(over))))))
    return {d: p[::step] for d, p in positions.items()}


def near(place: Cube, nm: float) -> np.ndarray | None:
    """Good bands within 15 nm, else the nearest one within 40 nm, else None."""
    assert place.wavelength is not None
    distance = np.where(place.good_band, np.abs(place.wavelength - nm), np.inf)
    inside = np.flatnonzero(distance <= _RGB_HALF_WIDTH)
    if inside.size:
        return inside
    best = int(np.argmin(distance))
    return np.array([best]) if distance[best] <= _RGB_NEAREST else None


def _rgb(place: Cube, valid: xr.DataArray, colours: Mapping[str, Any]) -> xr.DataArray:
    assert place.wavelength is not None
    planes = [place.data.isel({place.band: bands}).mean(place.band) for bands in colours.values()]
    channel = xr.DataArray(np.array(list(colours), dtype=object), dims="channel", name="channel")
    rgb = xr.concat([p.reset_coords(drop=True) for p in planes], dim=channel)
    text = " · ".join(
        f"{name[0].upper()} {place.wavelength[bands].mean():.0f}" for name, bands in colours.items()
    )
    rgb = rgb.where(valid).astype(np.float32).rename(None)
    rgb.attrs = {"long_name": "true colour", "wavelengths": f"{text} nm"}
    return rgb


def _order(place: Cube, array: xr.DataArray) -> list[Any]:
    """`target` first, then the cube's own order, then what is new."""
    own = [d for d in place.data.dims if d in array.dims]
    first = [d for d in ("target",) if d in array.dims]
    return [*first, *own, *(d for d in array.dims if d not in own and d not in first)]


def _units(kind: str, units: str, place: Cube) -> str:
    if kind.endswith("²"):
        base = _units(kind.removesuffix("²").strip("()"), units, place)
        return base if base == "1" else f"({base})²"
    if kind == "1":
        return "1"
    per = str(place.data.attrs.get("units", "1"))
    return units if kind == "score" or per in ("", "1") else f"{units} / ({per})"


def counted(pixels: xr.DataArray) -> dict[str, xr.DataArray]:
    """Pixels of each target, and which target has none."""
    pixels = pixels.assign_attrs(long_name="pixels that the cube gives to the target", units="1")
    absent = (pixels == 0).assign_attrs(long_name="the target wins no pixel")
    return {"target_pixels": pixels, "target_absent": absent}


def _tell_absent(absent: xr.DataArray) -> None:
    if bool(absent.any()):
        over = [d for d in absent.dims if d != "target"]
        names = absent["target"].values[absent.any(over).values]
        note(
            f"No pixel is given to {', '.join(map(str, names))}: score and attribution are 0 "
            f"there because nothing is summed, not because nothing matters. "
            f"Model(..., reduction='area') explains an absent target.",
        )


def _attrs(place: Cube, spec: Spec, provenance: Mapping[str, Any]) -> dict[str, Any]:
    packages = ("xrxai", "xarray", "numpy", "torch")
    versions = {name: _version(name) for name in packages}
    return {
        "method": provenance["method"],
        "options": json.dumps(provenance["options"], default=str),
        "seed": -1 if provenance.get("seed") is None else int(provenance["seed"]),
        "references": "; ".join(spec.references),
        "model": provenance["model"],
        "model_options": json.dumps(provenance["model_options"], default=str),
        "model_hash": provenance["model_hash"],
        "versions": json.dumps(versions),
        "band_dim": place.band,
        "y_dim": place.y or "",
        "x_dim": place.x or "",
        **provenance.get("tiles", {}),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
