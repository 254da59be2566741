"""Labels from polygons, what is wrong with polygons, and how much is labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import CubeError, LabelError, OptionError

geopandas = pytest.importorskip("geopandas")
shapely = pytest.importorskip("shapely")

LUMP = {"winter wheat": "wheat", "cloud": None}
CLASSES = training.Classes(["background", "wheat", "rye"], lump=LUMP)
CRS = 32633
ROWS, COLUMNS = 30, 40


def scene(dims: tuple[str, str] = ("y", "x"), crs: int | None = CRS) -> xr.DataArray:
    """Two bands on a grid of 10 m; the upper left corner is (400 000, 5 800 000)."""
    import rioxarray  # noqa: F401  registers .rio

    y, x = 5_800_000 - 10 * (np.arange(ROWS) + 0.5), 400_000 + 10 * (np.arange(COLUMNS) + 0.5)
    made = xr.DataArray(
        np.ones((2, ROWS, COLUMNS), np.float32),
        dims=("band", *dims),
        coords={dims[0]: y, dims[1]: x, "wavelength": ("band", [550.0, 660.0], {"units": "nm"})},
    )
    return made if crs is None else made.rio.write_crs(crs)


def field(left: float, top: float, right: float, bottom: float) -> Any:
    """A rectangle in pixels: columns left to right, rows top to bottom."""
    return shapely.box(
        400_000 + 10 * left, 5_800_000 - 10 * bottom, 400_000 + 10 * right, 5_800_000 - 10 * top
    )


def drawn(*rows: tuple[Any, Any], crs: int | None = CRS, **more: Any) -> Any:
    shapes, names = zip(*rows, strict=True) if rows else ((), ())
    return geopandas.GeoDataFrame({"class": list(names), **more}, geometry=list(shapes), crs=crs)


WHEAT, RYE = (field(2, 2, 12, 12), "wheat"), (field(8, 8, 14, 14), "rye")


def burned(*rows: tuple[Any, Any], **options: Any) -> np.ndarray:
    made: np.ndarray = training.rasterise(drawn(*rows), scene(), CLASSES, **options).values
    return made


def test_pixels_have_the_class_of_the_polygon_around_their_centre() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform([0, 0], [COLUMNS, ROWS], (4, 5, 2)) * [10, -10] + [400_000, 5_800_000]
    shapes = [shapely.convex_hull(shapely.multipoints(c)) for c in corners]
    rows = list(zip(shapes, ["wheat", "rye", "winter wheat", "background"], strict=True))
    cube = scene()
    made = training.rasterise(drawn(*rows), cube, CLASSES, overlap="last")
    want = np.full((ROWS, COLUMNS), -1)
    x, y = np.meshgrid(cube.x, cube.y)
    for shape, name in rows:
        want[shapely.contains_xy(shape, x, y)] = CLASSES.number(name)
    np.testing.assert_array_equal(made.values, want)
    assert set(np.unique(want)) == {-1, 0, 1, 2}
    assert made.dtype == np.int16
    assert made.rio.crs.to_epsg() == CRS
    assert training.classes_of(made).names == CLASSES.names


def test_polygons_of_another_crs_are_reprojected() -> None:
    here = drawn(WHEAT, (field(20.3, 5.2, 31.7, 22.6), "rye"))
    one = training.rasterise(here, scene(), CLASSES)
    xr.testing.assert_identical(one, training.rasterise(here.to_crs(4326), scene(), CLASSES))
    other = training.rasterise(here, scene(("lat", "lon")).transpose("lon", "lat", "band"), CLASSES)
    np.testing.assert_array_equal(other.transpose("lat", "lon").values, one.values)


def test_overlaps() -> None:
    one = np.full((ROWS, COLUMNS), -1)
    one[2:12, 2:12] = 1
    rye = one.copy()
    rye[8:14, 8:14] = 2
    wheat = one.copy()
    wheat[8:14, 8:14] = 2
    wheat[2:12, 2:12] = 1
    none = rye.copy()
    none[8:12, 8:12] = -1
    np.testing.assert_array_equal(burned(RYE, WHEAT), rye)  # the smaller one
    np.testing.assert_array_equal(burned(WHEAT, RYE), rye)
    np.testing.assert_array_equal(burned(WHEAT, RYE, overlap="last"), rye)
    np.testing.assert_array_equal(burned(RYE, WHEAT, overlap="last"), wheat)
    np.testing.assert_array_equal(burned(WHEAT, RYE, overlap="ignore"), none)
    with raises_exactly(
        LabelError,
        "Polygons of several classes claim 16 pixels, the first in row 8, column 8; type "
        "training.check_labels(...) for a list of them, or overlap='smaller', 'last' or 'ignore'.",
    ):
        burned(WHEAT, RYE, overlap="error")
    same = (field(8, 8, 14, 14), "winter wheat")
    both = np.where(rye == 2, 1, rye)
    for overlap in ("smaller", "last", "ignore", "error"):  # of one class there is no conflict
        np.testing.assert_array_equal(burned(WHEAT, same, overlap=overlap), both)


def test_what_counts_as_none_hides_what_lies_under_it() -> None:
    cloud = (field(0, 0, 20, 6), "cloud")
    want = burned(WHEAT)
    want[:6, :20] = -1
    for overlap in ("smaller", "last", "ignore", "error"):
        np.testing.assert_array_equal(burned(cloud, WHEAT, overlap=overlap), want)
    tiles = drawn((field(0, 0, 20, 20), ""))
    assert (burned(cloud, WHEAT, annotated=tiles)[:6, :20] == -1).all()


def test_what_was_looked_at_and_not_drawn_is_background() -> None:
    looked = np.zeros((ROWS, COLUMNS), bool)
    looked[:10, :20] = True
    tile = drawn((field(0, 0, 20, 10), "")).to_crs(4326)
    want = np.where(burned(WHEAT) == 1, 1, 0)
    want[~looked] = -1
    np.testing.assert_array_equal(burned(WHEAT, annotated=looked), want)
    np.testing.assert_array_equal(burned(WHEAT, annotated=tile), want)
    mask = xr.DataArray(looked.T, dims=("x", "y"))
    np.testing.assert_array_equal(burned(WHEAT, annotated=mask), want)
    np.testing.assert_array_equal(burned(annotated=looked), np.where(looked, 0, -1))
    np.testing.assert_array_equal(burned(WHEAT, annotated=tile.iloc[:0]), np.full(want.shape, -1))


def test_all_touched_labels_the_rim_too() -> None:
    small = (field(2.6, 2.6, 4.4, 3.4), "rye")
    words = "Polygon 0 has no pixel whose centre is inside, and is not on the map; type "
    with pytest.warns(UserWarning, match=f"^{words}all_touched=True to label what it touches.$"):
        assert not (burned(small, WHEAT) == 2).any()
    touched = burned(small, WHEAT, all_touched=True, overlap="smaller")
    np.testing.assert_array_equal(
        np.argwhere(touched == 2), [[r, c] for r in (2, 3) for c in (2, 3, 4)]
    )


def test_plans_serve_as_what_was_looked_at() -> None:
    guess = training.rasterise(
        drawn(WHEAT, RYE), scene(), CLASSES, annotated=np.ones((30, 40), bool)
    )
    plan = training.plan_tiles(guess, tile=10, budget=3, n_random=5)
    tiles = training.tiles_to_polygons(plan, guess)
    made = training.rasterise(drawn(WHEAT, RYE), scene(), CLASSES, annotated=tiles)
    assert int((made >= 0).sum()) == 300
    np.testing.assert_array_equal(training.label_summary(made).pixels, plan.expected_pixels)


def test_polygons_refused() -> None:
    point = (shapely.Point(400_050, 5_799_950), "rye")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (
            drawn(WHEAT, point),
            {},
            "Polygon 1 has a point for a geometry, and labels are areas: a net learns texture and "
            "edges, which a point does not have. Draw the outlines, or type "
            "polygons.assign(geometry=polygons.buffer(10)) if all within 10 units is that class.",
        ),
        (
            drawn(WHEAT, (None, "rye"), (shapely.Polygon(), "rye")),
            {},
            "2 polygons (1, 2) have no geometry; type polygons = "
            "polygons[~(polygons.geometry.isna() | polygons.geometry.is_empty)].",
        ),
        (
            drawn(WHEAT, (field(1, 1, 2, 2), None)),
            {},
            "Polygon 1 has no class in 'class'; fill it in, or type "
            "polygons = polygons[polygons['class'].notna()].",
        ),
        (
            drawn(WHEAT, (field(1, 1, 2, 2), "wheet")),
            {},
            "'wheet' is no class and not in lump; choose one of 'background', 'wheat', 'rye', or "
            "say what it counts as: Classes(..., lump={'wheet': 'background'}), or None for not "
            "labelled.",
        ),
        (
            drawn(WHEAT),
            {"column": "crop"},
            "column='crop' is not in the polygons; choose one of 'class'.",
        ),
        (
            drawn(WHEAT, crs=None),
            {},
            "polygons has no CRS, and the cube is in EPSG:32633; type "
            "polygons.set_crs('EPSG:32633') if their coordinates are in it.",
        ),
        (
            drawn((field(100, 100, 120, 120), "rye")),
            {},
            "No polygon covers the centre of a pixel: the polygons span x 401000 to 401200, "
            "y 5.7988e+06 to 5.799e+06 and the cube x 400000 to 400400, y 5.7997e+06 to 5.8e+06; "
            "check the CRS of both, or type all_touched=True for polygons smaller than a pixel.",
        ),
        (
            drawn(),
            {},
            "There is no polygon to put on the cube; give at least one, or annotated= if all that "
            "was looked at is background.",
        ),
        (
            [field(1, 1, 2, 2)],
            {},
            "polygons is a list, and a GeoDataFrame is needed; type "
            "geopandas.read_file('labels.gpkg').",
        ),
        (
            drawn(WHEAT),
            {"annotated": xr.DataArray(np.ones(30, bool), dims="y")},
            "annotated has the dims ('y',), and it says where somebody has looked; type a bool map "
            "over ('y', 'x').",
        ),
    ]
    for polygons, options, message in cases:
        with raises_exactly(LabelError, message):
            training.rasterise(polygons, scene(), CLASSES, **options)
    with raises_exactly(
        OptionError,
        "overlap='first' is not known; choose one of 'smaller', 'last', 'ignore', 'error'.",
    ):
        burned(WHEAT, overlap="first")
    with raises_exactly(
        LabelError,
        "polygons is in EPSG:32633, and the cube has no CRS; type "
        "cube = cube.rio.write_crs('EPSG:32633') if its coordinates are in it.",
    ):
        training.rasterise(drawn(WHEAT), scene(crs=None), CLASSES)
    with raises_exactly(
        LabelError,
        "The cube has no coordinates along 'y' and 'x', so polygons have no place on it; type "
        "cube.assign_coords(y=..., x=...) with the centres of its pixels.",
    ):
        training.rasterise(drawn(WHEAT), scene().drop_vars(["y", "x"]), CLASSES)
    with raises_exactly(
        LabelError,
        "annotated= makes background of what is not drawn, and the classes have none; type "
        "Classes([...], background='wheat') with the name of it.",
    ):
        bare = training.Classes(["wheat", "rye"])
        training.rasterise(drawn(WHEAT), scene(), bare, annotated=np.ones((30, 40), bool))
    with raises_exactly(
        CubeError,
        "The mask has shape (3, 4) and the cube {'y': 30, 'x': 40}; type a mask of shape (30, 40) "
        "over ('y', 'x').",
    ):
        burned(WHEAT, annotated=np.ones((3, 4), bool))


# ---------------------------------------------------------------------------------------- checks


def faults(
    polygons: Any, cube: xr.DataArray | None = None, **options: Any
) -> list[tuple[Any, ...]]:
    found = training.check_labels(polygons, scene() if cube is None else cube, CLASSES, **options)
    return list(zip(found.polygon, found.check, found.severity, found.message, strict=True))


def test_good_polygons_have_no_fault() -> None:
    good = drawn(WHEAT, (field(12, 2, 20, 12), "rye"), when=["2021-06-01", "2021-06-30"])
    options = {"date_column": "when", "image_date": "2021-06-15"}
    found = training.check_labels(good.to_crs(4326), scene(), CLASSES, **options)
    assert len(found) == 0
    assert list(found.columns) == ["polygon", "check", "severity", "message", "area_m2", "geometry"]
    assert found.crs.to_epsg() == CRS


def test_each_fault_is_listed() -> None:
    bow = shapely.Polygon(
        [(400_000, 5_799_800), (400_050, 5_799_750), (400_050, 5_799_800), (400_000, 5_799_750)]
    )
    rows = [
        WHEAT,
        RYE,
        (field(20, 2, 30, 12), "Wheat"),
        (field(20, 14, 30, 24), "winter wheet"),
        (field(2, 16, 3.5, 28), "rye"),  # one pixel and a half wide
        (field(32, 2, 34, 4), "rye"),
        (bow, "rye"),
        (field(36, 20, 44, 28), "rye"),
        (field(50, 20, 54, 28), "rye"),
        (None, "rye"),
        (field(32, 8, 36, 14), None),
        (shapely.Point(400_300, 5_799_750), "rye"),
        (field(9, 20, 13, 29), "quinoa"),
    ]
    names = list("abcdefghijklm")
    polygons = drawn(*rows).set_index(np.array(names))
    assert faults(polygons) == [
        ("a", "overlap", "error", "shares 16.0 pixels with polygon b of another "
         "class, 44 % of the smaller"),
        ("c", "class", "error", "'Wheat' is no class and not in lump; did you mean 'wheat'?"),
        ("d", "class", "error", "'winter wheet' is no class and not in lump; did "
         "you mean 'winter wheat'?"),
        ("e", "sliver", "warning", "is 1.5 pixels wide at most, less than min_width=2"),
        ("f", "sliver", "warning", "has 4.0 pixels, fewer than min_pixels=9"),
        ("g", "geometry", "error", "Self-intersection[400025 5799775]; type "
         "polygons.geometry.make_valid()"),
        ("h", "outside", "warning", "lies to 50.0 % outside the cube"),
        ("i", "outside", "error", "lies outside the cube"),
        ("j", "geometry", "error", "has no geometry; draw it again, or drop the row"),
        ("k", "class", "error", "has no class in 'class'; fill it in, or drop the row"),
        ("l", "geometry", "error", "is a point, and labels are areas; draw its outline"),
        ("m", "class", "error", "'quinoa' is no class and not in lump; type "
         "Classes(..., lump={'quinoa': ...})"),
    ]  # fmt: skip
    found = training.check_labels(polygons, scene(), CLASSES)
    overlap = found[found.check == "overlap"]
    np.testing.assert_allclose(overlap.area_m2, 1600)
    np.testing.assert_allclose(overlap.geometry.bounds.values[0], field(8, 8, 12, 12).bounds)
    assert len(faults(polygons, min_pixels=0, min_width=0)) == 10


def test_dates_of_labels_and_image() -> None:
    days = ["2021-05-01", "2021-06-10", None, "soon"]
    boxes = [(field(c, 2, c + 8, 12), "rye") for c in (0, 10, 20, 30)]
    polygons = drawn(*boxes, when=days)
    cube = scene().assign_coords(time=np.datetime64("2021-06-20T10:30"))
    want = [
        (0, "date", "error", "is of 2021-05-01 and the image of 2021-06-20: 50 days "
         "apart, more than max_days=30"),
        (2, "date", "warning", "has no date in 'when'; fill it in, such as '2021-06-20'"),
        (3, "date", "warning", "has 'soon', which is no date, in 'when'; fill it in, such "
         "as '2021-06-20'"),
    ]  # fmt: skip
    assert faults(polygons, cube, date_column="when") == want
    assert faults(polygons, date_column="when", image_date="2021-06-20T10:30Z") == want
    assert faults(polygons, cube, date_column="when", max_days=60) == want[1:]
    assert [f[0] for f in faults(polygons, cube, date_column="when", max_days=2)] == [0, 1, 2, 3]
    with raises_exactly(
        LabelError,
        "date_column= asks whether labels are of the day of the image, and the cube has no scalar "
        "coordinate 'time'; type image_date='2021-06-20' with its day.",
    ):
        faults(polygons, date_column="when")


def test_missing_pixels_under_polygons() -> None:
    cube = scene()
    cube[1, 2:4, 2:12] = np.nan  # one band is enough
    want = [(0, "nodata", "warning", "20 of its 100 pixels (20.0 %) have no data")]
    assert faults(drawn(WHEAT), cube) == want
    assert faults(drawn(WHEAT), cube.chunk({"y": 7})) == want
    cube[:, 2:10] = np.nan
    assert faults(drawn(WHEAT), cube)[0][2:] == (
        "error",
        "80 of its 100 pixels (80.0 %) have no data",
    )


def test_shared_edges_and_one_class_are_no_overlap() -> None:
    side = (field(12, 2, 20, 12), "rye")
    inside = (field(4, 4, 10, 10), "winter wheat")
    cloud = (field(0, 0, 30, 29), "cloud")
    assert faults(drawn(WHEAT, side, inside, cloud)) == []


# --------------------------------------------------------------------------------------- summary


def test_the_summary_counts_pixels_areas_and_fields() -> None:
    rows = [WHEAT, (field(20, 2, 24, 6), "rye"), (field(24, 6, 28, 10), "rye")]
    looked = np.zeros((ROWS, COLUMNS), bool)
    looked[:15] = True
    labels = training.rasterise(drawn(*rows), scene(), CLASSES, annotated=looked)
    found = training.label_summary(labels)
    assert found.pixels.values.tolist() == [600 - 132, 100, 32]
    np.testing.assert_allclose(found.area, 100.0 * found.pixels)
    np.testing.assert_allclose(found.share, found.pixels / 600)
    assert found.fields.values.tolist() == [1, 1, 2]  # corners do not touch
    assert float(found.labelled) == 0.5
    xr.testing.assert_identical(found, training.label_summary(labels.chunk({"x": 9})))
    plain = labels.drop_vars(["y", "x", "spatial_ref"])
    assert bool(np.isnan(training.label_summary(plain).area).all())


def test_areas_of_degrees_are_those_of_the_ellipsoid() -> None:
    import pyproj
    import rioxarray  # noqa: F401  registers .rio

    cube = xr.DataArray(
        np.zeros((1, 4, 5)),
        dims=("band", "lat", "lon"),
        coords={"lat": 52 - 0.5 * np.arange(4), "lon": 13 + 0.5 * np.arange(5)},
    ).rio.write_crs(4326)
    values = np.repeat([[0], [0], [1], [1]], 5, axis=1)
    found = training.label_summary(
        training.labels_of(values, cube, training.Classes(["oats", "rye"]))
    )
    geod = pyproj.Geod(ellps="WGS84")
    fine = np.linspace(12.75, 15.25, 501)  # the parallels, in short steps
    lon, lat = np.r_[fine, fine[::-1]], np.r_[np.full(501, 51.25), np.full(501, 52.25)]
    assert float(found.area[0]) == pytest.approx(
        abs(geod.polygon_area_perimeter(lon, lat)[0]), rel=2e-5
    )
    assert float(found.area[0]) < float(found.area[1])
