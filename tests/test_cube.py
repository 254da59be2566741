"""Finding the dims and wavelengths of a cube, and bringing anything to one convention."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.conftest import no_compute, raises_exactly
from xrxai.errors import BandError, CubeError
from xrxai.labelled.cube import locate, to_cube

NM = [450.5, 550.0, 650.0, 850.0]


def plain(dims: tuple[str, ...] = ("band", "y", "x"), **coords: Any) -> xr.DataArray:
    sizes = {"time": 2, "sample": 2}
    bands = [d for d in dims if d not in (*sizes, "y", "x")]
    shape = [sizes.get(d, 4 if d in bands[:1] else 3 if d == "y" else 5) for d in dims]
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape) / 100
    return xr.DataArray(values, dims=dims, coords=coords)


# ------------------------------------------------------------------------------- dims


@pytest.mark.parametrize("band", ["band", "bands", "wavelength", "wl", "channel", "Band", "lambda"])
@pytest.mark.parametrize(
    ("y", "x"), [("y", "x"), ("lat", "lon"), ("latitude", "longitude"), ("row", "column"),
                 ("northing", "easting"), ("downtrack", "crosstrack"), ("line", "sample")]
)  # fmt: skip
def test_dims_are_found_in_any_order(band: str, y: str, x: str) -> None:
    for dims in [(band, y, x), (y, x, band), ("time", x, band, y)]:
        found = locate(xr.DataArray(np.zeros((2,) * len(dims)), dims=dims))
        assert (found.band, found.y, found.x) == (band, y, x)
        assert found.lead == tuple(d for d in dims if d == "time")


def test_dims_are_found_by_cf_attributes() -> None:
    da = xr.DataArray(
        np.zeros((2, 3, 4)),
        dims=("a", "b", "c"),
        coords={
            "a": ("a", [0.0, 1.0], {"axis": "X"}),
            "b": ("b", [1.0, 2, 3], {"standard_name": "projection_y_coordinate"}),
            "c": ("c", [0.4, 0.5, 0.6, 0.7], {"units": "um"}),
        },
    )
    found = locate(da)
    assert (found.band, found.y, found.x) == ("c", "b", "a")
    np.testing.assert_allclose(found.wavelength, [400, 500, 600, 700])


def test_a_table_of_spectra_has_no_y_and_x() -> None:
    found = locate(plain(("sample", "band")))
    assert (found.band, found.y, found.x, found.lead) == ("band", None, None, ("sample",))


def test_a_dim_with_wavelengths_wins_over_a_name() -> None:
    da = xr.DataArray(
        np.zeros((2, 3, 4, 4)), dims=("channel", "foo", "y", "x"),
        coords={"radiation_wavelength": ("foo", [500.0, 600, 700])},
    )  # fmt: skip
    assert locate(da).band == "foo"


def test_spatial_dims_told_to_rioxarray_are_used() -> None:
    pytest.importorskip("rioxarray")
    da = plain(("band", "y", "x")).rename(y="v", x="u").rio.set_spatial_dims("u", "v")
    assert (locate(da).y, locate(da).x) == ("v", "u")


@pytest.mark.parametrize(
    ("dims", "options", "message"),
    [
        (("a", "y", "x"), {},
         "No dim of ('a', 'y', 'x') is known as the spectral one (names such as 'band' or "
         "'wavelength', or a coordinate of wavelengths); name it: "
         "xrxai.to_cube(cube, band_dim='a')."),
        (("band", "channel", "y", "x"), {},
         "The dims ('band', 'channel') could both be the spectral one; say which holds the bands: "
         "xrxai.to_cube(cube, band_dim='band')."),
        (("band", "y", "x"), {"band_dim": "z"},
         "band_dim='z' is not a dim of the cube, whose dims are ('band', 'y', 'x'); type band_dim= "
         "with one of them."),
        (("band", "y", "x"), {"band_dim": "band", "y_dim": "band"},
         "band_dim='band', y_dim='band' and x_dim=None name one dim twice; type three different "
         "ones of ('band', 'y', 'x')."),
        (("band", "p", "q"), {"y_dim": "p"},
         "y_dim='p' came alone and no dim of ('band', 'p', 'q') is plainly its partner; type "
         "x_dim= too."),
    ],
)  # fmt: skip
def test_dims_that_cannot_be_told(dims: tuple[str, ...], options: Any, message: str) -> None:
    da = xr.DataArray(np.zeros((2,) * len(dims)), dims=dims)
    with raises_exactly(CubeError, message):
        locate(da, **options)


def test_one_spatial_dim_told_finds_its_partner() -> None:
    found = locate(plain(), y_dim="y")
    assert (found.y, found.x) == ("y", "x")
    found = locate(plain(), x_dim="x")
    assert (found.y, found.x) == ("y", "x")


def test_not_an_array_and_no_bands() -> None:
    with raises_exactly(
        CubeError,
        "A list came where a DataArray is needed; type xrxai.to_cube(...) to make one.",
    ):
        locate([1, 2])  # type: ignore[arg-type]
    with raises_exactly(CubeError, "The cube has no band along 'band'; select at least one."):
        locate(plain().isel(band=slice(0)))


# ------------------------------------------------------------------------ wavelengths


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        (NM, {"units": "nm"}), (NM, {"units": "Nanometers"}), (NM, {}), (NM, {"units": "Unknown"}),
        (np.divide(NM, 1e3), {"units": "um"}), (np.divide(NM, 1e3), {"units": "\u00b5m"}),
        (np.divide(NM, 1e3), {"units": "\u03bcm"}), (np.divide(NM, 1e3), {}),
        (np.divide(NM, 1e3), {"units": "Micrometers"}), (np.divide(NM, 1e9), {"units": "m"}),
    ],
)  # fmt: skip
def test_units_of_wavelengths(values: Any, attrs: dict[str, str]) -> None:
    found = locate(plain(wavelength=("band", values, attrs)))
    assert found.wavelength is not None
    assert found.wavelength.dtype == np.float64
    np.testing.assert_allclose(found.wavelength, NM, atol=1e-6)


def test_units_in_the_attributes_of_the_cube() -> None:
    da = plain(wavelength=("band", np.divide(NM, 1e3))).assign_attrs(
        wavelength_units="Micrometers", wavelength="0.4505"
    )
    np.testing.assert_array_equal(locate(da).require_wavelength(), NM)


@pytest.mark.parametrize(
    "name", ["wavelengths", "wl", "radiation_wavelength", "center_wavelength", "Wavelength"]
)
def test_names_of_wavelengths(name: str) -> None:
    np.testing.assert_array_equal(locate(plain(**{name: ("band", NM)})).require_wavelength(), NM)


def test_standard_name_of_wavelengths() -> None:
    cf = {"standard_name": "sensor_band_central_radiation_wavelength", "units": "nm"}
    da = plain(centre=("band", NM, cf), wavelength=("band", [1.0, 2, 3, 4]))
    np.testing.assert_array_equal(locate(da).require_wavelength(), NM)


def test_band_numbers_are_no_wavelengths() -> None:
    assert locate(plain(band=[400, 500, 600, 700])).wavelength is None


def test_order_and_duplicates_of_wavelengths_are_kept() -> None:
    values = [850.0, 650.0, 650.0, 450.5]
    found = locate(plain(wavelength=("band", values, {"units": "nm"})))
    np.testing.assert_array_equal(found.require_wavelength(), values)


@pytest.mark.parametrize(
    ("values", "attrs", "message"),
    [
        ([50.0, 60, 70, 80], {},
         "The wavelengths run from 50 to 80 and carry no units, which fits neither micrometres "
         "(below 30) nor nanometres (200 to 30000); set units='nm', 'um' or 'm' on the coordinate "
         "or in xrxai.to_cube(..., units=)."),
        ([0.4, 0.5, 0.6, 0.7], {"units": "nm"},
         "The wavelengths run from 0.4 to 0.7 and their units say 'nm', which is outside 100 to "
         "1000000 nm; correct the units of the coordinate or type units= in xrxai.to_cube(...)."),
        (NM, {"units": "GHz"},
         "The wavelengths have units 'GHz', which are no length that is known; type wavelength= in "
         "nanometres, or units='nm', 'um' or 'm'."),
        ([450.0, np.nan, 0.0, 700], {"units": "nm"},
         "The wavelengths of the bands at positions [1, 2] are not positive numbers ([nan, 0.0]); "
         "drop these bands with .isel() or type wavelength= anew."),
    ],
)  # fmt: skip
def test_wavelengths_that_cannot_be(values: Any, attrs: Any, message: str) -> None:
    with raises_exactly(BandError, message):
        locate(plain(wavelength=("band", values, attrs)))


def test_no_wavelengths() -> None:
    found = locate(plain())
    assert found.wavelength is None
    with raises_exactly(
        BandError,
        "The cube has no wavelengths along 'band' (4 bands), and they are needed here; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ):
        found.require_wavelength()


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        ([7.4] * 4, {}),
        ([0.0074] * 4, {}),
        ([0.0074] * 4, {"units": "um"}),
        ([7.4] * 4, {"units": "nm"}),
    ],
)
def test_fwhm_has_its_own_units(values: Any, attrs: Any) -> None:
    nm = np.arange(450, 490, 10.0)
    da = plain(wavelength=("band", nm, {"units": "nm"}), fwhm=("band", values, attrs))
    np.testing.assert_allclose(locate(da).fwhm, [7.4] * 4)


def test_fwhm_with_unknown_units() -> None:
    da = plain(wavelength=("band", NM), fwhm=("band", [1.0] * 4, {"units": "GHz"}))
    with raises_exactly(
        BandError,
        "The band widths (fwhm) have units 'GHz', which are no length that is known; type fwhm= in "
        "nanometres in xrxai.to_cube(...).",
    ):
        locate(da)


@pytest.mark.parametrize("name", ["good_band", "good_wavelengths", "bbl"])
def test_good_bands_from_a_coordinate(name: str) -> None:
    da = plain(**{name: ("band", np.array([1, 0, 1, 1], "u1"))})
    assert locate(da).good_band.tolist() == [True, False, True, True]


def test_good_bands_from_the_bbl_of_envi() -> None:
    assert locate(plain().assign_attrs(bbl="1, 1, 0, 1")).good_band.tolist() == [1, 1, 0, 1]
    assert locate(plain()).good_band.all()
    with raises_exactly(
        BandError,
        "attrs['bbl'] lists 4 bands and the cube has 2, so they no longer belong together; type "
        "del cube.attrs['bbl'], or select bands after xrxai.to_cube(cube), which turns the list "
        "into the coordinate good_band.",
    ):
        locate(plain().assign_attrs(bbl="1, 1, 0, 1").isel(band=[0, 2]))
    with raises_exactly(
        BandError,
        "attrs['bbl'] is 'yes', and a list of 1 (good) and 0 (bad) is needed; type "
        "xrxai.to_cube(cube, good_band=[...]).",
    ):
        locate(plain().assign_attrs(bbl="yes"))
    with raises_exactly(
        BandError,
        "All 4 bands are marked bad (good_band or bbl is False everywhere); correct it with "
        "xrxai.to_cube(cube, good_band=[...]).",
    ):
        locate(plain().assign_attrs(bbl="0,0,0,0"))


# ----------------------------------------------------------------------------- valid


def test_valid_counts_good_bands_fill_values_coordinate_and_mask() -> None:
    da = plain(good_band=("band", [True, True, True, False])).assign_attrs(_FillValue=-9999.0)
    da = da.assign_coords(valid=(("y", "x"), np.ones((3, 5), bool)))
    da[0, 0, 0] = np.nan
    da[1, 0, 1] = -9999.0
    da[2, 0, 2] = np.inf
    da[3, 1, 1] = np.nan  # a bad band: the pixel stays
    da.coords["valid"][2, 4] = False
    mask = np.ones((3, 5), bool)
    mask[2, 0] = False
    expected = np.ones((3, 5), bool)
    expected[0, :3] = expected[2, 4] = expected[2, 0] = False
    for dims in [("band", "y", "x"), ("y", "x", "band"), ("x", "band", "y")]:
        valid = locate(da.transpose(*dims)).valid(xr.DataArray(mask, dims=("y", "x")))
        assert valid.dtype == bool
        assert valid.dims == tuple(d for d in dims if d != "band")
        np.testing.assert_array_equal(valid.transpose("y", "x"), expected)
        assert "valid" not in valid.coords


def test_fill_value_of_float32_said_in_float64() -> None:
    da = plain().assign_attrs(_FillValue=-3.4028234663852886e38, missing_value=None)
    da[0, 0, 0] = np.float32(-3.4028234663852886e38)
    da.attrs["nodata"] = 0.1
    da[0, 0, 1] = np.float32(0.1)
    assert not locate(da).valid()[0, 0]
    assert not locate(da).valid()[0, 1]


def test_valid_of_a_stack_takes_a_mask_of_either_shape() -> None:
    found = locate(plain(("time", "band", "y", "x")))
    flat = np.zeros((3, 5), bool)
    flat[0] = True
    assert found.valid(flat).dims == ("time", "y", "x")
    assert found.valid(flat).sum() == 10
    assert found.valid(np.stack([flat, ~flat])).sum() == 15


def test_masks_that_do_not_fit() -> None:
    found = locate(plain(y=[3.0, 2, 1]))
    with raises_exactly(
        CubeError,
        "The mask has dtype float64, and it must say True (keep) or False; type "
        "mask=mask.astype(bool) or a comparison such as mask > 0.",
    ):
        found.valid(np.ones((3, 5)))
    with raises_exactly(
        CubeError,
        "The mask has shape (5, 3) and the cube {'y': 3, 'x': 5}; type a mask of shape (3, 5) over "
        "('y', 'x').",
    ):
        found.valid(np.ones((5, 3), bool))
    with raises_exactly(
        CubeError,
        "The mask has the dims {'y': 3, 'z': 5} and the cube {'y': 3, 'x': 5}; type a mask over "
        "dims of the cube other than the spectral one, of the same sizes.",
    ):
        found.valid(xr.DataArray(np.ones((3, 5), bool), dims=("y", "z")))
    with raises_exactly(
        CubeError,
        "The mask and the cube differ in the values of 'y'; type mask.reindex_like(cube, "
        "method='nearest') or drop the coordinate with mask.drop_vars('y').",
    ):
        found.valid(xr.DataArray(np.ones((3, 5), bool), dims=("y", "x"), coords={"y": [1.0, 2, 3]}))


# --------------------------------------------------------------------------- laziness


def test_nothing_is_computed() -> None:
    da = plain(("time", "band", "y", "x")).chunk()
    ds = xr.Dataset({n: da[:, i] for i, n in enumerate(["B02", "B03", "B04", "B8A"])})
    inside = xr.DataArray(np.ones((3, 5), bool), dims=("y", "x")).chunk()
    # open_zarr makes every coordinate that is no index a dask array
    da = da.assign_coords(
        wavelength=xr.DataArray(NM, dims="band").chunk(), valid=inside, elevation=inside * 1.0
    ).assign_attrs(_FillValue=0.0)
    with no_compute():
        found = locate(da)
        assert found.lazy
        np.testing.assert_array_equal(found.require_wavelength(), NM)
        valid = found.valid(np.ones((3, 5), bool))
        cube = to_cube(da, scale=0.1, offset=1.0, nodata=5, mask=np.ones((3, 5), bool))
        bands = to_cube(ds)
    for lazy in (valid, cube, bands):
        assert lazy.chunks is not None
    xr.testing.assert_equal(valid.compute(), locate(da.compute()).valid())
    xr.testing.assert_identical(bands.compute(), to_cube(ds.compute()))


# --------------------------------------------------------------------------- to_cube


def test_to_cube_of_an_array() -> None:
    values = np.arange(24, dtype=np.int16).reshape(4, 2, 3)
    mask = np.array([[True, True, False], [True, True, True]])
    cube = to_cube(
        values, wavelength=np.divide(NM, 1e3), scale=0.5, offset=1.0, nodata=0, fwhm=[7.0] * 4,
        good_band=[1, 1, 0, 1], mask=mask,
    )  # fmt: skip
    assert cube.dims == ("band", "y", "x")
    assert cube.dtype == np.float32
    expected = np.where(values == 0, np.nan, values * 0.5 + 1).astype(np.float32)
    np.testing.assert_array_equal(cube, expected)
    np.testing.assert_array_equal(cube.wavelength, NM)
    assert cube.wavelength.attrs == {
        "units": "nm",
        "standard_name": "sensor_band_central_radiation_wavelength",
        "long_name": "wavelength",
    }
    assert cube.fwhm.attrs["units"] == "nm"
    assert cube.good_band.dtype == bool
    np.testing.assert_array_equal(cube.good_band, [True, True, False, True])
    np.testing.assert_array_equal(cube.coords["valid"], mask)
    np.testing.assert_array_equal(locate(cube).valid(), mask & (values[0] != 0))
    xr.testing.assert_identical(to_cube(cube), cube)


def test_to_cube_of_tables_and_stacks() -> None:
    assert to_cube(np.ones((7, 4)), wavelength=NM).dims == ("sample", "band")
    assert to_cube(np.ones((2, 4, 3, 5)), wavelength=NM).dims == ("sample", "band", "y", "x")


def test_to_cube_keeps_crs_coordinates_and_attributes() -> None:
    pytest.importorskip("rioxarray")
    da = plain(
        ("time", "y", "x", "band"), wavelength=("band", NM), y=[9.0, 6, 3], x=[0.0, 3, 6, 9, 12],
        time=np.array(["2020-01-01", "2020-01-02"], "datetime64[ns]"), band=list("abcd"),
        elevation=(("y", "x"), np.ones((3, 5))),
    ).rio.write_crs("EPSG:32633", grid_mapping_name="utm")  # fmt: skip
    da = da.assign_attrs(units="1", long_name="reflectance", sensor_note="x").rename("rfl")
    before = da.copy(deep=True)
    cube = to_cube(da)
    xr.testing.assert_identical(da, before)
    assert cube.dims == ("time", "band", "y", "x")
    assert cube.rio.crs.to_epsg() == 32633
    assert cube.encoding["grid_mapping"] == "utm"
    assert {"time", "y", "x", "elevation", "utm", "wavelength", "band"} <= set(cube.coords)
    assert cube.band.values.tolist() == list("abcd")
    assert cube.attrs == {"units": "1", "long_name": "reflectance", "sensor_note": "x"}
    assert cube.name == "rfl"


def test_to_cube_of_wavelength_as_dim() -> None:
    """HyperCoast: dims (y, x, wavelength), CRS in an attribute."""
    pytest.importorskip("rioxarray")
    ds = xr.Dataset(
        {"reflectance": (("latitude", "longitude", "wavelength"), np.ones((3, 5, 4), "f4")),
         "fwhm": ("wavelength", [7.0] * 4)},
        coords={"wavelength": NM, "latitude": [3.0, 2, 1], "longitude": np.arange(5.0)},
        attrs={"crs": "EPSG:4326"},
    )  # fmt: skip
    cube = to_cube(ds)
    assert cube.dims == ("band", "y", "x")
    assert cube.band.values.tolist() == [1, 2, 3, 4]
    np.testing.assert_array_equal(cube.wavelength, NM)
    np.testing.assert_array_equal(cube.fwhm, [7.0] * 4)
    assert cube.rio.crs.to_epsg() == 4326
    assert cube.y.values.tolist() == [3, 2, 1]


def test_to_cube_of_a_dataset_of_bands() -> None:
    """odc-stac: one variable per band, only nodata in the attributes."""
    dn = np.array([[[0, 1000, 11000]]], "u2")
    ds = xr.Dataset(
        {n: (("time", "y", "x"), dn + i * (dn > 0), {"nodata": 0})
         for i, n in enumerate(["red", "nir", "B8A", "B10"])},
    )  # fmt: skip
    cube = to_cube(ds.assign_attrs(platform="sentinel-2b"), scale=1e-4, offset=-0.1)
    np.testing.assert_array_equal(cube.wavelength, [665.0, 833.0, 864.0, 1373.5])
    assert cube.attrs["wavelength_source"] == "band names, as sentinel2b"
    np.testing.assert_allclose(cube[0, 0, 0], [np.nan, 0.0, 1.0], atol=1e-6)
    assert cube.band.values.tolist() == ["red", "nir", "B8A", "B10"]


def test_to_cube_scales_each_band_of_a_dataset_by_its_own() -> None:
    ds = xr.Dataset(
        {"a": (("y", "x"), [[10, -1]], {"scale_factor": 0.1, "_FillValue": -1, "wavelength": 0.5}),
         "b": (("y", "x"), [[10, -1]], {"add_offset": 5.0, "wavelength": 0.6})},
    )  # fmt: skip
    cube = to_cube(ds)
    np.testing.assert_allclose(cube[:, 0], [[1.0, np.nan], [15.0, 4.0]])
    np.testing.assert_allclose(cube.wavelength, [500, 600])


def test_to_cube_takes_the_scale_of_envi_and_of_cf_once() -> None:
    da = plain(wavelength=("band", NM)).assign_attrs(reflectance_scale_factor="100")
    cube = to_cube(da)
    np.testing.assert_allclose(cube, da / 100, rtol=1e-6)
    xr.testing.assert_identical(to_cube(cube), cube)
    cf = plain(wavelength=("band", NM)).assign_attrs(scale_factor=2.0, add_offset=1.0)
    np.testing.assert_allclose(to_cube(cf), cf * 2 + 1, rtol=1e-6)
    np.testing.assert_allclose(
        to_cube(cf, scale=[1, 2, 3, 4], offset=0), cf * np.array([1, 2, 3, 4])[:, None, None]
    )


@pytest.mark.parametrize(
    ("names", "attrs", "expected"),
    [
        (["B02", "B03", "B04", "B8A"], {}, [492.4, 559.8, 664.6, 864.7]),
        (["B2", "B3", "B4", "B8A"], {}, [492.4, 559.8, 664.6, 864.7]),
        (["blue", "green", "red", "nir"], {}, [492.4, 559.8, 664.6, 832.8]),
        (["B2", "B3", "B4", "B5"], {"platform": "LANDSAT_8"}, [480, 560, 655, 865]),
        (["SR_B2", "green", "red", "nir"], {"platform": "landsat-9"}, [480, 560, 655, 865]),
    ],
)
def test_wavelengths_by_band_name(names: list[str], attrs: Any, expected: list[float]) -> None:
    cube = to_cube(plain(band=names).assign_attrs(attrs))
    np.testing.assert_array_equal(cube.wavelength, expected)


@pytest.mark.parametrize(
    ("da", "message"),
    [
        (plain(),
         "The cube has 4 bands without wavelengths or names; type xrxai.to_cube(cube, "
         "wavelength=[...]) with one number in nanometres per band."),
        (plain(band=["B2", "B3", "B4", "B5"]),
         "The bands ['B2', 'B3', 'B4', 'B5'] have no wavelengths, and their names do not tell the "
         "sensor; type xrxai.to_cube(cube, wavelength=[...]) with one number in nanometres per "
         "band, or set the attribute platform, for example 'Sentinel-2A' or 'Landsat-8'."),
        (plain(band=["B02", "B03", "B04", "SCL"]),
         "The bands ['SCL'] have no wavelengths and are not known for sentinel2a; drop them, or "
         "type xrxai.to_cube(cube, wavelength=[...]) with one number in nanometres per band."),
    ],
)  # fmt: skip
def test_to_cube_needs_wavelengths(da: xr.DataArray, message: str) -> None:
    with raises_exactly(BandError, message):
        to_cube(da)


def test_to_cube_refuses_what_is_no_cube() -> None:
    what = (
        "came where a cube is needed; type a DataArray, a Dataset of bands, or an array with the "
        "axes (band, y, x), (sample, band) or (sample, band, y, x)."
    )
    with raises_exactly(CubeError, f"A list {what}"):
        to_cube([1, 2], wavelength=NM)  # type: ignore[arg-type]
    with raises_exactly(CubeError, f"A numpy array of shape (4,) {what}"):
        to_cube(np.ones(4), wavelength=NM)
    with raises_exactly(
        CubeError,
        "The values have dtype complex64, and real numbers are needed; type "
        "cube.astype('float32') or take .real first.",
    ):
        to_cube(plain().astype("c8"), wavelength=NM)
    with raises_exactly(
        BandError,
        "wavelength= has shape (4,) and the cube 3 bands along 'band'; type one value per band; "
        "the last axis has that length, so type np.moveaxis(array, -1, 0) or band_dim='x'.",
    ):
        to_cube(np.ones((3, 5, 4)), wavelength=NM)


def test_to_cube_refuses_an_ambiguous_dataset() -> None:
    da = plain(wavelength=("band", NM))
    with raises_exactly(
        CubeError,
        "The variables ['a', 'b'] of the Dataset could all be the cube; type "
        "xrxai.to_cube(ds['a'], ...) with the one you mean.",
    ):
        to_cube(xr.Dataset({"a": da, "b": da}))
    xr.testing.assert_equal(
        to_cube(xr.Dataset({"radiance": da, "reflectance": 2 * da})), 2 * to_cube(da)
    )
    with raises_exactly(
        CubeError,
        "The bands of the Dataset have different dims [\"('y', 'x')\", \"('y', 'z')\"]; drop those "
        "that are no bands with ds.drop_vars([...]).",
    ):
        to_cube(xr.Dataset({"a": (("y", "x"), [[1]]), "b": (("y", "z"), [[1]])}))
    with raises_exactly(
        CubeError,
        "The Dataset has no variable of numbers with two dims or more, only ['a']; type "
        "xrxai.to_cube(ds[name]) with the one that holds the cube.",
    ):
        to_cube(xr.Dataset({"a": ("y", [1])}))


def test_names_of_a_raster_become_a_coordinate() -> None:
    da = plain().assign_attrs(long_name=("blue", "green", "red", "nir"))
    cube = to_cube(da)
    assert cube.description.values.tolist() == ["blue", "green", "red", "nir"]
    assert "long_name" not in cube.attrs


def test_a_taken_name_stays() -> None:
    da = plain(("band", "row", "column")).isel(column=slice(0, 3))
    da = da.assign_coords(y=(("row", "column"), np.ones(da.shape[1:])), wavelength=("band", NM))
    cube = to_cube(da)
    assert cube.dims == ("band", "row", "x")
    assert locate(cube, y_dim="row", x_dim="x").y == "row"
