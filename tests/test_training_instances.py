"""Objects of a map of classes: which pixels, which outline, how many, how large."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import OptionError, ResultError

geopandas = pytest.importorskip("geopandas")

CLASSES = training.Classes(["background", "wheat", "rye"])
STEPS = {4: [(0, 1), (1, 0), (0, -1), (-1, 0)]}
STEPS[8] = [*STEPS[4], (1, 1), (1, -1), (-1, 1), (-1, -1)]


def scene(crs: int | None = 32633, dims: tuple[str, str] = ("y", "x")) -> xr.DataArray:
    """A map of noise, so that there are corners, holes and single pixels."""
    import rioxarray  # noqa: F401  registers .rio

    values = np.random.default_rng(0).choice([-1, 0, 1, 2], (18, 23), p=[0.05, 0.35, 0.4, 0.2])
    step = 10.0 if crs == 32633 else 0.001
    y, x = 50 - step * (np.arange(18) + 0.5), 10 + step * (np.arange(23) + 0.5)
    cube = xr.DataArray(
        np.zeros((1, 18, 23)), dims=("band", *dims), coords={dims[0]: y, dims[1]: x}
    )
    cube = cube if crs is None else cube.rio.write_crs(crs)
    return training.labels_of(values, cube, CLASSES)


def flooded(values: np.ndarray, connectivity: int) -> list[tuple[int, set[tuple[int, int]]]]:
    """The slow twin: objects in reading order."""
    seen: set[tuple[int, int]] = set()
    made = []
    for start in np.ndindex(values.shape):
        if start in seen or values[start] < 1:
            continue
        found, todo = {start}, [start]
        while todo:
            r, c = todo.pop()
            for down, right in STEPS[connectivity]:
                at = (r + down, c + right)
                inside = 0 <= at[0] < values.shape[0] and 0 <= at[1] < values.shape[1]
                if inside and at not in found and values[at] == values[start]:
                    found.add(at)
                    todo.append(at)
        seen |= found
        made.append((int(values[start]), found))
    return made


@pytest.mark.parametrize("connectivity", [4, 8])
def test_objects_are_those_of_a_flood_fill(connectivity: Any) -> None:
    from rasterio.features import rasterize

    found = scene()
    made = training.instances(found, connectivity=connectivity)
    want = flooded(found.values, connectivity)
    assert made["class"].tolist() == [CLASSES.names[k] for k, _ in want]
    assert made["color"].tolist() == [training.classes_of(found).colors[k] for k, _ in want]
    assert made["object"].tolist() == list(range(1, len(want) + 1))
    assert made.pixels.tolist() == [len(p) for _, p in want]
    assert made.geometry.is_valid.all()
    np.testing.assert_allclose(made.area, 100.0 * made.pixels)
    np.testing.assert_allclose(made.area_m2, 100.0 * made.pixels)
    np.testing.assert_allclose(made.perimeter_m, made.length)
    np.testing.assert_allclose(made.x, made.centroid.x)
    np.testing.assert_allclose(made.y, made.centroid.y)
    transform = found.rio.transform()
    for shape, (_, pixels) in zip(made.geometry, want, strict=True):
        inside = rasterize([shape], out_shape=found.shape, transform=transform)
        assert {tuple(at) for at in np.argwhere(inside).tolist()} == pixels


def test_objects_burn_back_to_the_map() -> None:
    found = scene()
    cube = found.expand_dims(band=1)
    made = training.rasterise(training.instances(found), cube, CLASSES)
    np.testing.assert_array_equal(made.values, np.where(found.values < 1, -1, found.values))


def test_small_objects_and_other_classes_are_left_out() -> None:
    found = scene()
    all_of_them = training.instances(found)
    large = training.instances(found, min_pixels=4)
    assert large.pixels.tolist() == [n for n in all_of_them.pixels if n >= 4]
    rye = training.instances(found, keep="rye")
    assert rye.pixels.tolist() == all_of_them.pixels[all_of_them["class"] == "rye"].tolist()
    assert set(training.instances(found, keep=["background", "rye"])["class"]) == {
        "background",
        "rye",
    }
    none = training.instances(found, min_pixels=10_000)
    assert len(none) == 0
    assert list(none.columns) == list(all_of_them.columns)


def test_counts_by_class() -> None:
    made = training.instances(scene())
    found = training.count_instances(made)
    for name in ("wheat", "rye"):
        some = made[made["class"] == name]
        one = found.sel({"class": name})
        assert int(one.objects) == len(some)
        assert int(one.pixels) == some.pixels.sum()
        assert float(one.area) == pytest.approx(some.area_m2.sum())
        assert float(one.median_area) == np.median(some.area_m2)
    none = training.count_instances(training.instances(scene() * 0, classes=CLASSES))
    assert none.objects.values.tolist() == [0, 0]
    assert none["class"].values.tolist() == ["wheat", "rye"]
    assert none.area.values.tolist() == [0, 0]
    plain = training.count_instances(training.instances(scene(None).drop_vars(["y", "x"])))
    assert np.isnan(plain.area).all()


def test_objects_in_degrees_have_areas_on_the_ellipsoid() -> None:
    import pyproj

    made = training.instances(scene(4326, ("lat", "lon")))
    geod = pyproj.Geod(ellps="WGS84")
    want = [abs(geod.geometry_area_perimeter(g)[0]) for g in made.geometry]
    # Long edges of outlines are geodesics, not parallels.
    np.testing.assert_allclose(made.area_m2, want, rtol=1e-5)
    around = [geod.geometry_area_perimeter(g)[1] for g in made.geometry]
    np.testing.assert_allclose(made.perimeter_m, around)
    north, south = made.y.argmax(), made.y.argmin()
    each = made.area_m2 / made.pixels
    assert each[north] < each[south]


def test_a_geopackage_keeps_objects(tmp_path: Path) -> None:
    made = training.instances(scene())
    made.to_file(tmp_path / "objects.gpkg")
    back = geopandas.read_file(tmp_path / "objects.gpkg")
    assert back.crs == made.crs
    assert back.geometry.geom_equals(made.geometry).all()
    for name in made.columns.drop("geometry"):
        assert back[name].tolist() == made[name].tolist()


def test_predictions_become_objects_and_lazy_maps_are_the_same() -> None:
    found = scene()
    one = training.instances(found)
    assert training.instances(found.chunk({"y": 5, "x": 7})).equals(one)
    assert training.instances(found.T).equals(one)
    nm = ("band", [490.0, 560.0], {"units": "nm"})
    values = np.stack([found.values != 1, found.values == 1]).astype(np.float32)
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})
    targets = ["background", "winter wheat"]
    model = xrxai.Model(lambda x: x, takes="patch", gives="map", targets=targets)
    made = training.instances(xrxai.predict(cube, model, progress=False).class_map)
    assert set(made["class"]) == {"winter wheat"}
    assert made.pixels.tolist() == one.pixels[one["class"] == "wheat"].tolist()


def test_objects_refused() -> None:
    with raises_exactly(
        OptionError,
        "connectivity=6 is not known; type 4 (pixels touch by edges) or 8 (by corners too).",
    ):
        training.instances(scene(), connectivity=6)  # type: ignore[arg-type]
    with raises_exactly(
        OptionError,
        "keep='oats' names 'oats', and the classes are 'background', 'wheat', 'rye'; choose some "
        "of them.",
    ):
        training.instances(scene(), keep="oats")
    with raises_exactly(OptionError, "min_pixels=0 is too small; type min_pixels=1 or more."):
        training.instances(scene(), min_pixels=0)
    with raises_exactly(
        ResultError,
        "A DataArray without 'class', 'pixels', 'area_m2' came where objects are needed; type "
        "objects = training.instances(class_map).",
    ):
        training.count_instances(scene())
