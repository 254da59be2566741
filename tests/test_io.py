"""Cubes come in, explanations go out and come back the same."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from rasterio.transform import from_origin

from tests.conftest import no_compute, raises_exactly
from xrxai.errors import BandError, CubeError, DataError, ResultError
from xrxai.io import open_cube, open_explanation, to_geotiff, to_netcdf, to_zarr
from xrxai.labelled.cube import locate

NM = [450.5, 550.0, 650.25]
STORED = np.arange(36, dtype=np.int16).reshape(3, 3, 4)


def raster(path: Path, *, driver: str = "GTiff", **profile: Any) -> Any:
    options: dict[str, Any] = {
        "width": 4, "height": 3, "count": 3, "dtype": "int16", "nodata": 0,
        "crs": "EPSG:32633", "transform": from_origin(500000, 5000000, 30, 30),
    }  # fmt: skip
    return rasterio.open(path, "w", driver=driver, **(options | profile))


def envi(path: Path, *, interleave: str = "bsq", **tags: str) -> Path:
    with raster(path, driver="ENVI", interleave=interleave) as dst:
        dst.write(STORED)
        dst.update_tags(ns="ENVI", **tags)
    return path


def geotiff(path: Path, band_tags: list[dict[str, str]] | None = None, **more: Any) -> Path:
    with raster(path) as dst:
        dst.write(STORED)
        for i, tags in enumerate(band_tags or [], start=1):
            dst.update_tags(i, **tags)
        for i, name in enumerate(more.get("names", []), start=1):
            dst.set_band_description(i, name)
        for i, um in enumerate(more.get("imagery", []), start=1):
            dst.update_tags(i, ns="IMAGERY", CENTRAL_WAVELENGTH_UM=um, FWHM_UM="0.01")
        dst.update_tags(ns="ENVI", **more.get("envi", {}))
    return path


ENVI_TAGS = {
    "wavelength": "{450.5, 550.0, 650.25}", "wavelength_units": "Nanometers",
    "fwhm": "{0.0074,0.0075,0.0076}", "bbl": "{1,0,1}", "reflectance_scale_factor": "10000",
}  # fmt: skip


# ------------------------------------------------------------------------------- ENVI


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("name", ["scene", "scene.img", "scene.dat", "scene.bsq"])
def test_envi(tmp_path: Path, interleave: str, name: str) -> None:
    raw = envi(tmp_path / name, interleave=interleave, **ENVI_TAGS)
    for path in (raw, tmp_path / "scene.hdr"):
        cube = open_cube(path)
        assert cube.dims == ("band", "y", "x")
        expected = np.where(STORED == 0, np.nan, STORED / 1e4)
        np.testing.assert_allclose(cube, expected, rtol=1e-6)
        np.testing.assert_array_equal(cube.wavelength, NM)
        # widths in um beside wavelengths in nm
        np.testing.assert_allclose(cube.fwhm, [7.4, 7.5, 7.6])
        np.testing.assert_array_equal(cube.good_band, [True, False, True])
        assert cube.rio.crs.to_epsg() == 32633
        np.testing.assert_array_equal(cube.x, 500015 + 30 * np.arange(4))
        assert not {"wavelength", "bbl", "fwhm", "Band_1", "_FillValue"} & set(cube.attrs)


def test_envi_header_named_after_the_whole_raw_file(tmp_path: Path) -> None:
    envi(tmp_path / "scene.img", **ENVI_TAGS)
    shutil.move(tmp_path / "scene.hdr", tmp_path / "scene.img.hdr")
    np.testing.assert_array_equal(open_cube(tmp_path / "scene.img.hdr").wavelength, NM)


def test_envi_with_a_turned_map_keeps_2d_coordinates(tmp_path: Path) -> None:
    envi(tmp_path / "scene.img", **ENVI_TAGS)
    header = (tmp_path / "scene.hdr").read_text().replace("WGS-84}", "WGS-84, rotation=20}")
    (tmp_path / "scene.hdr").write_text(header)
    cube = open_cube(tmp_path / "scene.hdr")
    assert cube.xc.dims == ("y", "x")
    assert (locate(cube).y, locate(cube).x) == ("y", "x")


def test_envi_without_a_map(tmp_path: Path) -> None:
    envi(tmp_path / "scene.img", **ENVI_TAGS)
    lines = (tmp_path / "scene.hdr").read_text().splitlines(keepends=True)
    kept = [n for n in lines if not n.startswith(("map info", "coordinate system"))]
    (tmp_path / "scene.hdr").write_text("".join(kept))
    cube = open_cube(tmp_path / "scene.hdr")
    assert cube.rio.crs is None
    np.testing.assert_array_equal(cube.x, [0.5, 1.5, 2.5, 3.5])


def test_envi_header_alone(tmp_path: Path) -> None:
    (tmp_path / "scene.hdr").write_text("ENVI\n")
    with raises_exactly(
        DataError,
        f"The header {str(tmp_path / 'scene.hdr')!r} has no raw file beside it (looked for scene, "
        "scene.img, scene.dat, scene.raw, scene.bin, scene.bsq, scene.bil, scene.bip, scene.ndi); "
        "put it there, or type the path of the raw file.",
    ):
        open_cube(tmp_path / "scene.hdr")


# ---------------------------------------------------------------------------- GeoTIFF


def tags_of(values: list[float], units: str) -> list[dict[str, str]]:
    return [{"wavelength": str(v), "wavelength_units": units, "fwhm": "7.5"} for v in values]


@pytest.mark.parametrize(
    "content",
    [
        {"band_tags": tags_of(NM, "nm")},
        {"band_tags": tags_of([0.4505, 0.55, 0.65025], "Micrometers")},
        {"envi": {"wavelength": "{0.4505,0.55,0.65025}", "wavelength_units": "Micrometers"}},
        {"imagery": ["0.4505", "0.55", "0.65025"]},
        {"names": [f"band {i} ({v} Nanometers)" for i, v in enumerate(NM)]},
        {"names": ["B1 0.4505 um", "B2 0.55 um", "B3 0.65025um"]},
    ],
)
def test_geotiff_says_its_wavelengths_in_five_ways(tmp_path: Path, content: Any) -> None:
    cube = open_cube(geotiff(tmp_path / "a.tif", **content))
    np.testing.assert_allclose(cube.wavelength, NM, atol=1e-9)
    assert cube.rio.crs.to_epsg() == 32633
    assert np.isnan(cube[0, 0, 0])


def test_geotiff_order_of_the_sources(tmp_path: Path) -> None:
    wrong = {"wavelength": "{500,600,700}", "wavelength_units": "nm"}
    names = ["800 nm", "900 nm", "1000 nm"]
    more: dict[str, Any] = {"imagery": ["0.7", "0.8", "0.9"], "names": names}
    cube = open_cube(geotiff(tmp_path / "a.tif", tags_of(NM, "nm"), envi=wrong, **more))
    np.testing.assert_array_equal(cube.wavelength, NM)
    np.testing.assert_array_equal(cube.fwhm, [7.5] * 3)
    assert cube.description.values.tolist() == names
    cube = open_cube(geotiff(tmp_path / "b.tif", envi=wrong, **more))
    np.testing.assert_array_equal(cube.wavelength, [500, 600, 700])
    cube = open_cube(geotiff(tmp_path / "c.tif", **more))
    np.testing.assert_array_equal(cube.wavelength, [700, 800, 900])


def test_geotiff_with_known_band_names(tmp_path: Path) -> None:
    cube = open_cube(geotiff(tmp_path / "a.tif", names=["B02", "B03", "B8A"]))
    np.testing.assert_array_equal(cube.wavelength, [492.4, 559.8, 864.7])


def test_geotiff_without_wavelengths(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif")
    with raises_exactly(
        BandError,
        "The cube has 3 bands without wavelengths or names; type xrxai.to_cube(cube, "
        "wavelength=[...]) with one number in nanometres per band.",
    ):
        open_cube(path)
    cube = open_cube(path, wavelength=np.divide(NM, 1e3), scale=0.1, offset=1, good_band=[1, 1, 0])
    np.testing.assert_allclose(cube.wavelength, NM)
    np.testing.assert_allclose(cube, np.where(STORED == 0, np.nan, STORED * 0.1 + 1), rtol=1e-6)
    np.testing.assert_array_equal(cube.good_band, [True, True, False])


def test_wavelengths_of_the_caller_win(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", tags_of(NM, "nm"))
    cube = open_cube(path, wavelength=[1000.0, 1100, 1200], mask=np.ones((3, 4), bool))
    np.testing.assert_array_equal(cube.wavelength, [1000, 1100, 1200])
    assert cube.coords["valid"].all()


def test_chunks_make_a_cube_lazy(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", tags_of(NM, "nm"))
    eager = open_cube(path)
    assert not locate(eager).lazy
    with no_compute():
        lazy = open_cube(path, chunks={"y": 2, "x": 2})
    assert lazy.chunksizes["y"] == (2, 1)
    xr.testing.assert_identical(lazy.compute(), eager)


def test_what_cannot_be_opened(tmp_path: Path) -> None:
    with raises_exactly(
        DataError, f"There is no file {str(tmp_path / 'no.tif')!r}; type the path of a cube."
    ):
        open_cube(tmp_path / "no.tif")
    (tmp_path / "text.tif").write_text("hello")
    with pytest.raises(CubeError, match=r"^'.*text\.tif' is not a raster that GDAL can read \("):
        open_cube(tmp_path / "text.tif")


# --------------------------------------------------------------------- netCDF and npz


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_cube_written_with_xarray_comes_back(tmp_path: Path, suffix: str) -> None:
    cube = open_cube(geotiff(tmp_path / "a.tif", tags_of(NM, "nm"))).rename("reflectance")
    if suffix == ".nc":
        cube.to_netcdf(tmp_path / "a.nc")
    else:
        cube.to_dataset().to_zarr(tmp_path / "a.zarr", consolidated=False, zarr_format=2)
    back = open_cube(tmp_path / f"a{suffix}")
    xr.testing.assert_identical(back.drop_attrs(deep=False), cube.drop_attrs(deep=False))
    assert back.rio.crs == cube.rio.crs
    with no_compute():
        assert open_cube(tmp_path / f"a{suffix}", chunks={}).chunks


def npz(path: Path, bands: int = 150, **more: Any) -> Path:
    data = np.arange(bands * 6, dtype=np.int16).reshape(bands, 2, 3)
    excluded = np.zeros_like(data, dtype=bool)
    excluded[:, 0, 1] = True
    np.savez(path, data=data, mask=excluded, **more)
    return path


def test_hyperview_layout_and_its_inverted_mask(tmp_path: Path) -> None:
    cube = open_cube(npz(tmp_path / "0.npz"))
    assert cube.dims == ("band", "y", "x")
    assert cube.wavelength[0] == 462.08
    assert cube.wavelength[-1] == 938.37
    np.testing.assert_array_equal(cube.coords["valid"], [[True, False, True], [True, True, True]])
    assert cube.dtype == np.float32
    assert cube[3, 1, 2] == 23
    assert open_cube(tmp_path / "0.npz", chunks={"y": 1}).chunks
    cube = open_cube(npz(tmp_path / "4.npz", 4), wavelength=[0.5, 0.6, 0.7, 0.8])
    np.testing.assert_allclose(cube.wavelength, [500, 600, 700, 800])


def test_npz_that_is_no_cube(tmp_path: Path) -> None:
    with raises_exactly(
        BandError,
        "'4.npz' has 4 bands and no wavelengths (only HYPERVIEW's 150 bands are known); type "
        "wavelength=[...] with one number in nanometres per band.",
    ):
        open_cube(npz(tmp_path / "4.npz", 4))
    np.savez(tmp_path / "other.npz", a=np.ones((2, 2)))
    with raises_exactly(
        CubeError,
        "'other.npz' holds {'a': (2, 2)}, and a HYPERVIEW cube holds 'data' (band, y, x) and "
        "'mask'; type xrxai.to_cube(array, wavelength=...) with the array you mean.",
    ):
        open_cube(tmp_path / "other.npz")


# ----------------------------------------------------------------------- explanations


def explanation(*, lazy: bool = False) -> xr.Dataset:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    values[:, :, 0, 0] = np.nan
    ds = xr.Dataset(
        {
            "attribution": (
                ("target", "band", "y", "x"), values,
                {"long_name": "attribution", "units": "score"},
            ),
            "prediction": ("target", [0.5, -1.0]),
            "group_of_band": ("band", [1, 0, 2]),
            "valid": (("y", "x"), np.isfinite(values[0, 0])),
            "target_absent": ("target", [False, True]),
        },
        coords={
            "target": np.array(["K", "cloud shadow"], dtype=object),
            "group": np.array(["red edge", "N"], dtype=object),
            "group_size": ("group", [1, 2]),
            "wavelength": ("band", NM, {"units": "nm"}),
            "fwhm": ("band", [7.5, np.nan, 7.5]),
            "good_band": ("band", [True, False, True]),
            "band": [1, 2, 3],
            "y": 5000000.0 - 30 * np.arange(4),
            "x": 500000.0 + 30 * np.arange(5),
            "time": np.datetime64("2020-01-01", "ns"),
        },
        attrs={
            "method": "integrated_gradients", "band_dim": "band", "y_dim": "y", "x_dim": "x",
            "options": '{"n_steps": 50, "mask": null}', "seed": 0, "model": "net",
        },
    ).rio.write_crs("EPSG:32633")  # fmt: skip
    return ds.chunk({"y": (1, 3), "x": 2, "band": 3}) if lazy else ds


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(("write", "name"), [(to_netcdf, "why.nc"), (to_zarr, "why.zarr")])
def test_round_trip(tmp_path: Path, write: Any, name: str, lazy: bool) -> None:
    ds, before = explanation(lazy=lazy), explanation()
    path = write(ds, tmp_path / "new" / name)
    assert path == tmp_path / "new" / name
    xr.testing.assert_identical(ds.compute(), before)  # the input is as it was
    back = open_explanation(path)
    xr.testing.assert_identical(back.compute(), before)
    for key in before.variables:
        assert back[key].dtype == before[key].dtype, key
    assert back.rio.crs.to_epsg() == 32633
    assert back.attribution.rio.crs.to_epsg() == 32633
    # and a second time, with the storage settings of the first
    again = open_explanation(write(back, tmp_path / "again" / name))
    xr.testing.assert_identical(again.compute(), before)
    with no_compute():
        assert open_explanation(path, chunks={}).attribution.chunks
    assert [p.name for p in path.parent.iterdir()] == [name]
    back.close()
    again.close()


@pytest.mark.parametrize(("write", "name"), [(to_netcdf, "why.nc"), (to_zarr, "why.zarr")])
def test_plain_xarray_reads_it_without_a_warning(tmp_path: Path, write: Any, name: str) -> None:
    path = write(explanation(), tmp_path / name)
    with xr.open_dataset(path, decode_coords="all") as ds:
        assert ds.rio.crs.to_epsg() == 32633
        assert ds.target.values.tolist() == ["K", "cloud shadow"]


@pytest.mark.parametrize(("write", "name"), [(to_netcdf, "why.nc"), (to_zarr, "why.zarr")])
def test_overwrite_must_be_asked_for(tmp_path: Path, write: Any, name: str) -> None:
    path = write(explanation(), tmp_path / name)
    with raises_exactly(
        ResultError, f"{str(path)!r} exists; type overwrite=True to replace it, or another path."
    ):
        write(explanation(), path)
    write(explanation().assign_attrs(seed=1), path, overwrite=True)
    with open_explanation(path) as back:
        assert back.attrs["seed"] == 1
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(("write", "name"), [(to_netcdf, "why.nc"), (to_zarr, "why.zarr")])
def test_nothing_half_written_is_left(tmp_path: Path, write: Any, name: str) -> None:
    path = write(explanation(), tmp_path / name)
    lazy = explanation(lazy=True)

    def fail(block: np.ndarray) -> np.ndarray:
        if block.size:
            raise RuntimeError("the model failed")
        return block

    broken = lazy.assign(
        attribution=lazy.attribution.copy(
            data=lazy.attribution.data.map_blocks(fail, dtype="f4", meta=np.empty((0,) * 4, "f4"))
        )
    )
    with pytest.raises(RuntimeError, match=r"^the model failed$"):
        write(broken, path, overwrite=True)
    # Tiles that are done are kept beside the old store: the same call goes on with them.
    kept = {to_netcdf: set(), to_zarr: {".why.new.zarr"}}[write]
    assert {p.name for p in tmp_path.iterdir()} == {name} | kept
    with open_explanation(path) as back:
        xr.testing.assert_identical(back.compute(), explanation())


def test_attributes_that_files_cannot_hold(tmp_path: Path) -> None:
    ds = explanation()
    ds.attribution.attrs |= {"flag": True, "none": None, "table": {"a": 1}, "pair": ("a", "b")}
    for path in (to_netcdf(ds, tmp_path / "a.nc"), to_zarr(ds, tmp_path / "a.zarr")):
        with open_explanation(path) as back:
            assert back.attribution.attrs["flag"] == "true"
            assert back.attribution.attrs["table"] == '{"a": 1}'
            assert list(back.attribution.attrs["pair"]) == ["a", "b"]
            assert "none" not in back.attribution.attrs
    assert ds.attribution.attrs["flag"] is True


def test_what_is_no_explanation(tmp_path: Path) -> None:
    cube = xr.Dataset({"reflectance": (("band", "y", "x"), np.ones((3, 2, 2)))})
    for write in (to_netcdf, to_zarr, to_geotiff):
        with raises_exactly(
            ResultError,
            "A Dataset with the variables ['reflectance'] is not an explanation, which has the "
            "variable 'attribution'; type the Dataset that a method such as "
            "cube.xai.lime_spectral(...) returned.",
        ):
            write(cube, tmp_path / "a.nc")
    path = tmp_path / "cube.nc"
    cube.to_netcdf(path)
    with raises_exactly(
        ResultError,
        f"{str(path)!r} holds the variables ['reflectance'] and no 'attribution', so it is not an "
        f"explanation; type xrxai.open_cube({str(path)!r}) if it is a cube.",
    ):
        open_explanation(path)
    with raises_exactly(
        DataError,
        f"There is no file {str(tmp_path / 'no.nc')!r}; type the path of an explanation.",
    ):
        open_explanation(tmp_path / "no.nc")
    (tmp_path / "text.txt").write_text("hello")
    with pytest.raises(ResultError, match=r"^'.*text\.txt' is neither netCDF nor Zarr \("):
        open_explanation(tmp_path / "text.txt")
    written = to_netcdf(explanation(), tmp_path / "why.nc")
    with raises_exactly(
        CubeError,
        f"{str(written)!r} holds an explanation, not a cube; type "
        f"xrxai.open_explanation({str(written)!r}).",
    ):
        open_cube(written)


# ------------------------------------------------------------- explanations to GeoTIFF


@pytest.mark.parametrize("lazy", [False, True])
def test_geotiff_of_each_target(tmp_path: Path, lazy: bool) -> None:
    ds = explanation(lazy=lazy)
    paths = to_geotiff(ds, tmp_path / "maps")
    assert [p.name for p in paths] == ["attribution-K.tif", "attribution-cloud_shadow.tif"]
    assert sorted(p.name for p in (tmp_path / "maps").iterdir()) == sorted(p.name for p in paths)
    for i, path in enumerate(paths):
        with rasterio.open(path) as src:
            np.testing.assert_array_equal(src.read(), ds.attribution[i])
            assert src.crs.to_epsg() == 32633
            assert np.isnan(src.nodata)
            assert src.transform == from_origin(499985, 5000015, 30, 30)
            assert src.descriptions == tuple(f"attribution {v:g} nm" for v in NM)
            assert src.tags(1)["wavelength"] == "450.5"
            assert src.tags(1, ns="IMAGERY")["CENTRAL_WAVELENGTH_UM"] == "0.4505"
            assert src.tags()["target"] == str(ds.target.values[i])
            assert src.tags()["method"] == "integrated_gradients"
            assert src.tags()["options"] == ds.attrs["options"]
            assert src.units == ("score",) * 3
            assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        back = open_cube(path)
        np.testing.assert_array_equal(back.wavelength, NM)
        np.testing.assert_array_equal(back.good_band, ds.good_band)
        np.testing.assert_array_equal(back.y, ds.y)


def test_geotiff_of_a_selection_is_where_it_is(tmp_path: Path) -> None:
    source = rioxarray.open_rasterio(geotiff(tmp_path / "a.tif"))
    part = source.isel(x=slice(1, 3), y=slice(1, 3)).drop_attrs()
    ds = part.to_dataset(name="attribution").assign_attrs(y_dim="y", x_dim="x", band_dim="band")
    (path,) = to_geotiff(ds, tmp_path)
    with rasterio.open(path) as src:
        assert src.transform == from_origin(500030, 4999970, 30, 30)
        assert src.dtypes == ("int32",) * 3


def test_geotiff_of_flags_times_and_groups(tmp_path: Path) -> None:
    ds = explanation()
    (path,) = to_geotiff(ds, tmp_path, variables="valid")
    with rasterio.open(path) as src:
        assert src.nodata is None
        np.testing.assert_array_equal(src.read(1), ds.valid)
    ds = ds.drop_vars("time")
    grouped = ds.attribution.isel(band=[0, 1]).drop_vars(["band", "wavelength", "fwhm"])
    grouped = grouped.drop_vars("good_band").rename(band="group").expand_dims(time=2)
    ds = xr.Dataset({"attribution": grouped}, attrs=ds.attrs)
    ds = ds.assign_coords(group=["red edge", "N"])
    paths = to_geotiff(ds, tmp_path)
    assert paths[0].name == "attribution-time0-K.tif"
    assert len(paths) == 4
    with rasterio.open(paths[0]) as src:
        assert src.descriptions == ("attribution red edge", "attribution N")


def test_geotiff_refuses(tmp_path: Path) -> None:
    ds = explanation()
    with raises_exactly(
        ResultError,
        "variables='score' is not in the explanation; choose of ['attribution', 'prediction', "
        "'group_of_band', 'valid', 'target_absent'].",
    ):
        to_geotiff(ds, tmp_path, variables="score")
    with raises_exactly(
        ResultError,
        "'prediction' has the dims ('target',) and no pixels to map; type "
        "explanation.xai.on_cube() first and write what it returns.",
    ):
        to_geotiff(ds, tmp_path, variables="prediction")
    with raises_exactly(
        ResultError,
        "The targets ['a b', 'a_b'] give the same file name twice; rename them with "
        "explanation.assign_coords(target=[...]).",
    ):
        to_geotiff(ds.assign_coords(target=["a b", "a_b"]), tmp_path)
    assert not list(tmp_path.iterdir())
    first, _ = to_geotiff(ds, tmp_path)
    with raises_exactly(
        ResultError, f"{str(first)!r} exists; type overwrite=True to replace it, or another path."
    ):
        to_geotiff(ds, tmp_path)
    to_geotiff(ds, tmp_path, overwrite=True)


def test_geotiff_computes_a_lazy_block_once_for_all_targets(tmp_path: Path) -> None:
    ds, calls = explanation(lazy=True), []

    def count(block: np.ndarray) -> np.ndarray:
        calls.append(block.shape)
        return block

    counted = ds.attribution.data.rechunk({0: -1, 1: -1}).map_blocks(
        count, dtype="f4", meta=np.empty((0,) * 4, "f4")
    )
    shared = ds.assign(attribution=ds.attribution.copy(data=counted))
    shared["rank"] = shared.attribution.sum("band").astype(int)
    names = ["attribution", "valid", "rank"]
    paths = to_geotiff(shared, tmp_path, variables=names)
    assert len(calls) == 2 * 3  # windows, not windows x targets x variables
    assert [p.stem for p in paths] == [
        "attribution-K", "attribution-cloud_shadow", "valid", "rank-K", "rank-cloud_shadow",
    ]  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in paths)
    for path, overviews in zip(paths, ["float32"] * 2 + ["uint8"] + ["int32"] * 2, strict=True):
        with rasterio.open(path) as src:
            assert src.dtypes[0] == overviews


def scene(n: int = 1100) -> xr.Dataset:
    values = np.random.default_rng(0).random((2, n, n), dtype=np.float32)
    values[:, :3, :] = np.nan
    return xr.Dataset(
        {
            "attribution": (("band", "y", "x"), values),
            "valid": (("y", "x"), np.isfinite(values[0])),
        },
        coords={"y": -1.0 * np.arange(n), "x": np.arange(float(n))},
    )


def test_geotiff_is_cloud_optimised_with_overviews(tmp_path: Path) -> None:
    ds = scene().chunk(y=300, x=500)
    paths = to_geotiff(ds, tmp_path, variables=["attribution", "valid"])
    for path, name in zip(paths, ["attribution", "valid"], strict=True):
        with rasterio.open(path) as src:
            assert src.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
            assert src.block_shapes[0] == (512, 512)
            assert src.compression.name == "deflate"
            assert src.overviews(1) == [2, 4]
            np.testing.assert_array_equal(src.read().squeeze(), ds[name].values)
            small = src.read(1, out_shape=(550, 550))
        four = ds[name].values.reshape(-1, 550, 2, 550, 2)[0]
        if name == "valid":
            assert set(np.unique(small)) == {0, 1}
        else:
            np.testing.assert_allclose(small[2:], four.mean((1, 3))[2:], rtol=1e-5)


def test_geotiff_of_many_bands_has_small_blocks(tmp_path: Path) -> None:
    ds = xr.Dataset({"attribution": (("band", "y", "x"), np.ones((70, 300, 300), "f4"))})
    (path,) = to_geotiff(ds, tmp_path)
    with rasterio.open(path) as src:
        assert src.block_shapes[0] == (128, 128)


def test_geotiff_as_one_file(tmp_path: Path) -> None:
    ds = explanation()
    path = tmp_path / "new" / "why.tif"
    with raises_exactly(
        ResultError,
        f"{str(path)!r} is one file, and there are 2 to write (attribution-K, "
        "attribution-cloud_shadow, ...); type the name of a folder, or select one target with "
        "explanation.sel(target=...).",
    ):
        to_geotiff(ds, path)
    assert to_geotiff(ds.sel(target="K"), path) == [path]
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(), ds.attribution[0])
        assert src.tags()["target"] == "K"
    assert [p.name for p in path.parent.iterdir()] == ["why.tif"]


def test_geotiff_leaves_nothing_half_written(tmp_path: Path) -> None:
    lazy = explanation(lazy=True)

    def fail(block: np.ndarray) -> np.ndarray:
        raise RuntimeError("the model failed")

    data = lazy.attribution.data.map_blocks(fail, dtype="f4", meta=np.empty((0,) * 4, "f4"))
    with pytest.raises(RuntimeError, match=r"^the model failed$"):
        to_geotiff(lazy.assign(attribution=lazy.attribution.copy(data=data)), tmp_path)
    assert not list(tmp_path.iterdir())
