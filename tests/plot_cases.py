"""Explanations of a made-up field, one of each kind, for the tests of figures."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

WKT = (
    'PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,'
    '298.257223563,AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
    'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AUTHORITY["EPSG","4326"]],PROJECTION["Transverse_Mercator"],PARAMETER["latitude_of_origin",0],'
    'PARAMETER["central_meridian",15],PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",'
    '500000],PARAMETER["false_northing",0],UNIT["metre",1,AUTHORITY["EPSG","9001"]],'
    'AXIS["Easting",EAST],AXIS["Northing",NORTH],AUTHORITY["EPSG","32633"]]'
)
WGS84 = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,'
    'AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,'
    'AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,AUTHORITY["EPSG","9122"]],'
    'AUTHORITY["EPSG","4326"]]'
)
# 150 bands, 462-938 nm: a field spectrometer flown over farmland.
WAVELENGTH = np.linspace(462.08, 938.37, 150)
SENTINEL2 = np.array(
    [442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1613.7, 2202.4]
)
GROUPS = {
    "Blue": (450.0, 520.0),
    "Green": (520.0, 600.0),
    "Red": (630.0, 690.0),
    "Red edge": (690.0, 785.0),
    "NIR": (785.0, 900.0),
}


def cube(
    *,
    shape: tuple[int, int] = (36, 44),
    wavelength: np.ndarray | None = None,
    crs: str | None = WKT,
    bad: tuple[float, float] | None = None,
) -> xr.DataArray:
    """A field of vegetation and soil between pale margins; `valid` marks the field."""
    nm = WAVELENGTH if wavelength is None else wavelength
    ny, nx = shape
    y, x = np.mgrid[0:ny, 0:nx] / np.array([ny, nx]).reshape(2, 1, 1)
    cover = 0.5 + 0.3 * np.sin(7 * x + 2 * y) * np.cos(6 * y) + 0.2 * (x - 0.5)
    plant = 0.04 + 0.07 * np.exp(-(((nm - 555) / 40) ** 2)) + 0.42 / (1 + np.exp((715 - nm) / 14))
    soil = 0.08 + 0.27 * (nm - 400) / 600
    values = cover * plant[:, None, None] + (1 - cover) * soil[:, None, None].clip(0, 0.5)
    valid = (y > 0.06 + 0.15 * (x - 0.4) ** 2) & (y < 0.95 - 0.25 * (1 - x)) & (x > 0.05 * y)
    rng = np.random.default_rng(1)
    values = values + 0.004 * rng.standard_normal(values.shape)
    # Nothing was measured in one corner.
    values[:, : ny // 10, : nx // 10] = np.nan
    made = xr.DataArray(
        values.astype(np.float32),
        dims=("band", "y", "x"),
        coords={
            "band": np.arange(1, nm.size + 1),
            "wavelength": ("band", nm, {"units": "nm"}),
            "good_band": ("band", _good(nm, bad)),
            "valid": (("y", "x"), valid & np.isfinite(values[0])),
        },
        attrs={"long_name": "reflectance", "units": "1"},
    )
    if crs is None:
        return made
    if crs == WGS84:
        step = 2e-5
        coords = {"y": 50.1 - step * np.arange(ny), "x": 15.0 + step * np.arange(nx)}
    else:
        coords = {"y": 5_550_000.0 - 2 - 4 * np.arange(ny), "x": 500_002.0 + 4 * np.arange(nx)}
    return made.assign_coords(coords).assign_coords(
        spatial_ref=((), 0, {"crs_wkt": crs, "spatial_ref": crs})
    )


def _good(nm: np.ndarray, bad: tuple[float, float] | None) -> np.ndarray:
    return np.ones(nm.size, bool) if bad is None else ~((nm >= bad[0]) & (nm <= bad[1]))


def _context(source: xr.DataArray) -> dict[str, xr.DataArray]:
    valid = source["valid"].reset_coords(drop=True)
    inside = source.where(source["valid"])
    out = {"valid": valid}
    nm, good = source["wavelength"].values, source["good_band"].values
    planes = [np.flatnonzero(good & (np.abs(nm - c) <= 15)) for c in (660, 550, 480)]
    if all(p.size for p in planes):
        rgb = np.stack([inside.values[p].mean(axis=0) for p in planes])
        out["rgb"] = xr.DataArray(
            rgb,
            dims=("channel", "y", "x"),
            coords={"channel": ["red", "green", "blue"]},
            attrs={"wavelengths": "R 660 · G 550 · B 480 nm"},
        )
    flat = inside.values.reshape(nm.size, -1)
    flat = flat[:, np.isfinite(flat[0])]
    spectrum = np.stack([flat.mean(axis=1), *np.percentile(flat, (5, 95), axis=1)])
    spectrum[:, ~good] = np.nan
    out["spectrum"] = xr.DataArray(
        spectrum,
        dims=("statistic", "band"),
        coords={"statistic": ["mean", "p05", "p95"]},
        attrs=dict(source.attrs),
    )
    return out


def _finish(
    source: xr.DataArray, method: str, variables: dict[str, xr.DataArray], *, units: str = "1"
) -> xr.Dataset:
    made = xr.Dataset({**variables, **_context(source)})
    made = made.assign_coords({k: c for k, c in source.coords.items() if k != "valid"})
    made["attribution"].attrs = {"long_name": "attribution", "units": units}
    made.attrs = {
        "method": method,
        "options": json.dumps({}),
        "seed": 0,
        "references": "",
        "model": "net",
        "model_hash": "0",
        "versions": "{}",
        "band_dim": "band",
        "y_dim": "y",
        "x_dim": "x",
    }
    return made


def _by_target(value: float, targets: tuple[str, ...]) -> xr.DataArray:
    return xr.DataArray(
        value + 0.01 * np.arange(len(targets)), dims="target", coords={"target": list(targets)}
    )


def _spread(source: xr.DataArray) -> np.ndarray:
    """What a pixel's attribution is multiplied by: of both signs, smooth."""
    ny, nx = source.sizes["y"], source.sizes["x"]
    y, x = np.mgrid[0:ny, 0:nx] / max(ny, nx)
    return np.sin(9 * x + 2 * y) + 0.9 * np.cos(7 * y - 4 * x) + 0.6


def _along(nm: np.ndarray) -> np.ndarray:
    return 0.05 * np.exp(-(((nm - 760) / 35) ** 2)) - 0.03 * np.exp(-(((nm - 900) / 15) ** 2))


def gradient(
    source: xr.DataArray | None = None, *, targets: tuple[str, ...] = ("Potassium",)
) -> xr.Dataset:
    source = cube() if source is None else source
    nm = source["wavelength"].values
    values = _along(nm)[:, None, None] * _spread(source)
    values = np.where(source["valid"].values, values, np.nan)
    values[~source["good_band"].values] = np.nan
    scales = 1.0 + np.arange(len(targets))
    attribution = xr.DataArray(
        (scales[:, None, None, None] * values).astype(np.float32),
        dims=("target", "band", "y", "x"),
        coords={"target": list(targets)},
    )
    return _finish(
        source,
        "integrated_gradients",
        {
            "attribution": attribution,
            "prediction": _by_target(2.4, targets),
            "baseline_prediction": _by_target(0.4, targets),
            "completeness_gap": _by_target(0.013, targets),
        },
    )


def _group_coords(source: xr.DataArray, number: np.ndarray, names: list[str]) -> dict[str, object]:
    nm = source["wavelength"].values
    members = [nm[number == k + 1] for k in range(len(names))]
    return {
        "group": names,
        "group_size": ("group", [m.size for m in members]),
        "group_wavelength_min": ("group", [m.min() for m in members]),
        "group_wavelength_max": ("group", [m.max() for m in members]),
    }


def lime_spectral(
    source: xr.DataArray | None = None,
    *,
    groups: dict[str, tuple[tuple[float, float], ...]] | None = None,
    targets: tuple[str, ...] = ("K",),
    units: str = "mg/kg",
) -> xr.Dataset:
    source = cube() if source is None else source
    nm = source["wavelength"].values
    intervals = groups or {k: (v,) for k, v in GROUPS.items()}
    number = np.zeros(nm.size, dtype=int)
    for k, parts in enumerate(intervals.values(), start=1):
        for low, high in parts:
            number[(nm >= low) & (nm < high) & source["good_band"].values] = k
    names = list(intervals)
    value = np.resize([-0.8, 0.15, -1.9, 2.4, -0.9], len(names))
    half = np.resize([0.25, 0.2, 0.3, 0.35, 0.6], len(names))
    scales = 1.0 + np.arange(len(targets))
    coords = {"target": list(targets)} | _group_coords(source, number, names)
    parts = {
        name: xr.DataArray(np.outer(scales, v), dims=("target", "group"), coords=coords)
        for name, v in (
            ("attribution", value),
            ("standard_error", half / 1.96),
            ("ci_low", value - half),
            ("ci_high", value + half),
        )
    }
    return _finish(
        source,
        "lime_spectral",
        {
            **parts,
            "group_of_band": xr.DataArray(number, dims="band"),
            "prediction": _by_target(412.0, targets),
            "baseline_prediction": _by_target(405.0, targets),
            "fidelity": _by_target(0.48, targets),
            "fidelity_heldout": _by_target(0.41, targets),
        },
        units=units,
    )


def lime_per_pixel(source: xr.DataArray | None = None) -> xr.Dataset:
    """Of a model of single spectra: a coefficient per group and pixel."""
    source = cube() if source is None else source
    plain = lime_spectral(source)
    field = xr.DataArray(np.where(source["valid"].values, _spread(source), np.nan), dims=("y", "x"))
    made = plain.drop_vars(["fidelity", "fidelity_heldout", "prediction", "baseline_prediction"])
    for name in ("attribution", "standard_error", "ci_low", "ci_high"):
        attrs = made[name].attrs
        made[name] = (made[name] * field).transpose("target", "y", "x", "group").assign_attrs(attrs)
    made["fidelity"] = (0.6 + 0.05 * field).expand_dims(target=plain["target"].values)
    return made


def segment_ids(source: xr.DataArray, *, across: int = 6) -> np.ndarray:
    """Cells about scattered seeds within the valid pixels, numbered 1..S; 0 elsewhere."""
    ny, nx = source.sizes["y"], source.sizes["x"]
    rng = np.random.default_rng(3)
    gy, gx = np.mgrid[0:across, 0:across]
    seeds = (np.stack([gy, gx], -1).reshape(-1, 2) + rng.uniform(0.2, 0.8, (across**2, 2))) / across
    y, x = np.mgrid[0:ny, 0:nx]
    far = (y[..., None] / ny - seeds[:, 0]) ** 2 + (x[..., None] / nx - seeds[:, 1]) ** 2
    nearest = np.where(source["valid"].values, far.argmin(-1) + 1, 0)
    kept = np.unique(nearest)
    ids: np.ndarray = np.searchsorted(kept[kept > 0], nearest) + 1
    return np.where(nearest > 0, ids, 0)


def lime_spatial(source: xr.DataArray | None = None, *, across: int = 6) -> xr.Dataset:
    source = cube() if source is None else source
    ids = segment_ids(source, across=across)
    count = int(ids.max())
    strength = np.array([_spread(source)[ids == k].mean() for k in range(1, count + 1)])
    coords = {
        "target": ["K"],
        "segment": np.arange(1, count + 1),
        "segment_size": ("segment", np.bincount(ids.ravel(), minlength=count + 1)[1:]),
    }
    parts = {
        name: xr.DataArray(v[None], dims=("target", "segment"), coords=coords)
        for name, v in (
            ("attribution", strength),
            ("standard_error", np.full(count, 0.1)),
            ("ci_low", strength - 0.2),
            ("ci_high", strength + 0.2),
        )
    }
    return _finish(
        source,
        "lime_spatial",
        {
            **parts,
            "segment_of_pixel": xr.DataArray(ids, dims=("y", "x")),
            "fidelity": _by_target(0.55, ("K",)),
            "fidelity_heldout": _by_target(0.43, ("K",)),
        },
    )


def occlusion_spectral(source: xr.DataArray | None = None) -> xr.Dataset:
    source = cube() if source is None else source
    value = 40 * np.where(source["good_band"].values, _along(source["wavelength"].values), np.nan)
    attribution = xr.DataArray(value[None], dims=("target", "band"), coords={"target": ["K"]})
    return _finish(
        source,
        "occlusion_spectral",
        {"attribution": attribution, "prediction": _by_target(2.4, ("K",))},
    )


def occlusion_spatial(source: xr.DataArray | None = None, *, positive: bool = False) -> xr.Dataset:
    source = cube() if source is None else source
    value = np.where(source["valid"].values, _spread(source), np.nan)
    attribution = xr.DataArray(
        (np.abs(value) if positive else value)[None],
        dims=("target", "y", "x"),
        coords={"target": ["K"]},
    )
    return _finish(source, "occlusion_spatial", {"attribution": attribution})


def samples(one: xr.Dataset, *, count: int = 12) -> xr.Dataset:
    """The explanation of several samples: `one` made stronger, weaker and shifted."""
    rng = np.random.default_rng(5)
    scales = xr.DataArray(rng.normal(0.9, 0.6, count), dims="sample")
    shifts = xr.DataArray(rng.normal(0, 0.1, count), dims="sample")
    made = one.copy()
    attrs = one["attribution"].attrs
    size = float(np.abs(one["attribution"]).max())
    array = one["attribution"] * scales + size * shifts
    made["attribution"] = array.transpose("target", "sample", ...).assign_attrs(attrs)
    return made.drop_vars(
        ["ci_low", "ci_high", "standard_error", "rgb", "spectrum", "valid"], errors="ignore"
    )
