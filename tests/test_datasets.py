"""The sample cube, and scenes whose truth must be true."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.conftest import raises_exactly
from xrxai.datasets import hyperview, sample, wavelength_list
from xrxai.datasets.synthetic import Mosaic, band_depth, clouds, crops, soil, textures
from xrxai.errors import BandError, DataError, OptionError
from xrxai.labelled.cube import locate

URL = (
    "https://raw.githubusercontent.com/xai4space/meteors/f1b68eeb52da31aa421c336951aead57e2eb2cb9/"
    "examples/hyperview_challenge/data/0.npz"
)


# ------------------------------------------------------------------------- HYPERVIEW


def test_wavelength_lists_ship_with_the_package() -> None:
    nm = wavelength_list("hyperview")
    assert nm.shape == (150,)
    assert (nm[0], nm[-1]) == (462.08, 938.37)
    assert (np.diff(nm) > 0).all()
    assert wavelength_list("sentinel2").tolist() == [
        442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4
    ]  # fmt: skip


def test_hyperview(hyperview_cube: xr.DataArray) -> None:
    cube = hyperview_cube
    assert cube.sizes == {"band": 150, "y": 72, "x": 89}
    assert cube.dtype == np.float32
    assert (float(cube.min()), float(cube.max())) == (32, 4509)
    valid = locate(cube).valid()
    assert float(1 - valid.mean()) == pytest.approx(0.3458, abs=1e-4)
    np.testing.assert_array_equal(cube.wavelength, wavelength_list("hyperview"))


def test_both_file_names_are_found_without_network(
    hyperview_cube: xr.DataArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(sample._fetch("0.npz"), tmp_path / "0.npz")
    monkeypatch.setenv("XRXAI_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sample, "_download", lambda name: pytest.fail("went to the network"))
    xr.testing.assert_identical(hyperview(), hyperview_cube)
    (tmp_path / "0.npz").rename(tmp_path / "hyperview_0.npz")
    xr.testing.assert_identical(hyperview(), hyperview_cube)


def test_a_damaged_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.npz").write_bytes(b"")
    monkeypatch.setenv("XRXAI_DATA_DIR", str(tmp_path))
    with raises_exactly(
        DataError,
        f"{str(tmp_path / '0.npz')!r} has the SHA-256 "
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 and "
        "1b453b988ef0f8ee8d95d4848120ccfed44d425f075d6dbbf8287af0ba7dcdb1 is expected, so it is "
        "damaged or another file; delete it and download it again.",
    ):
        hyperview()


@pytest.mark.parametrize("error", [OSError("no network"), ValueError("SHA256 differs")])
def test_offline_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    import pooch

    def offline(*args: Any, **kwargs: Any) -> None:
        raise error

    monkeypatch.setattr(pooch, "retrieve", offline)
    monkeypatch.setenv("XRXAI_DATA_DIR", str(tmp_path))
    with raises_exactly(
        DataError,
        "The HYPERVIEW cube 0.npz is not here and could not be downloaded "
        f"({type(error).__name__}): download {URL}, put it into a folder as hyperview_0.npz, and "
        "set the environment variable XRXAI_DATA_DIR to that folder.",
    ):
        hyperview()


def test_only_one_cube_is_hosted() -> None:
    with raises_exactly(OptionError, "index=1 is not known; choose one of 0."):
        hyperview(1)


def test_datasets_load_nothing_heavy() -> None:
    heavy = ["torch", "pooch", "rioxarray", "rasterio", "matplotlib", "spyndex", "dask", "tqdm"]
    code = (
        "import sys, xarray; before = set(sys.modules); import xrxai.datasets, xrxai.io; "
        f"print([m for m in {heavy} if m in set(sys.modules) - before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ------------------------------------------------------------------------------ soil


@pytest.mark.parametrize("seed", [0, 1, 7])
@pytest.mark.parametrize("wide", [False, True])
def test_each_soil_target_follows_its_own_absorption_only(seed: int, wide: bool) -> None:
    scene = soil(seed, wavelength=np.arange(400.0, 2500, 7) if wide else None)
    truth = scene.truth
    names = ["goethite", "chlorophyll", "iron"] + ["clay", "carbonate"] * wide
    assert truth.targets == tuple(names)
    for name in names:
        value = truth.values.sel(target=name)
        for other in names:
            depth = band_depth(scene.cube, *truth.bands[other][0])
            r = float(xr.corr(value, depth))
            assert r > 0.95 if other == name else abs(r) < 0.15, (name, other, r)


def test_a_soil_target_is_a_function_of_its_own_abundance() -> None:
    truth = soil(3).truth
    assert truth.ingredients is not None
    for name in truth.targets:
        own = truth.ingredients.sel(ingredient=name).values.ravel()
        line = np.polyfit(own, truth.values.sel(target=name).values.ravel(), 1)
        np.testing.assert_allclose(
            np.polyval(line, own), truth.values.sel(target=name).values.ravel()
        )
    together = np.corrcoef(truth.ingredients.values.reshape(truth.ingredients.shape[0], -1))
    assert np.abs(together - np.eye(len(together))).max() < 0.15


def test_only_its_own_group_moves_the_estimate_of_a_target() -> None:
    """The bands of the other groups replaced by the mean spectrum: nothing changes."""
    scene = soil(0)
    truth, cube = scene.truth, scene.cube
    wl = cube.wavelength
    mean = cube.mean(("y", "x"))
    for name in truth.targets:
        low, high = truth.bands[name][0]
        assert truth.groups[truth.group[name]] == (low, high)
        own = (wl >= low) & (wl <= high)
        clean = band_depth(cube, low, high)
        xr.testing.assert_allclose(band_depth(cube.where(own, mean), low, high), clean)
        without = band_depth(cube.where(~own, mean), low, high)
        assert float(without.std()) < 1e-5 < float(clean.std())


def test_soil_groups_cover_every_band_once() -> None:
    for wl in (None, np.arange(400.0, 2500, 7)):
        scene = soil(0, wavelength=wl, size=(8, 8))
        nm = scene.cube.wavelength.values
        inside = np.array([(nm >= a) & (nm <= b) for a, b in scene.truth.groups.values()])
        np.testing.assert_array_equal(inside.sum(axis=0), 1)
        assert inside.any(axis=1).all()


def test_soil_is_plausible_and_follows_the_convention() -> None:
    scene = soil(0, border=3, size=(20, 30))
    cube = scene.cube
    assert cube.dims == ("band", "y", "x")
    assert cube.sizes == {"band": 150, "y": 20, "x": 30}
    valid = locate(cube).valid()
    assert int(valid.sum()) == 14 * 24
    np.testing.assert_array_equal(valid, cube.coords["valid"])
    assert 0.02 < float(cube.min()) < float(cube.max()) < 0.6
    np.testing.assert_array_equal(np.isfinite(scene.truth.values[0]), valid)


def test_soil_chips_and_seeds() -> None:
    chips = soil(5, n_samples=3, size=(8, 9))
    assert chips.cube.dims == ("sample", "band", "y", "x")
    assert chips.truth.values.dims == ("target", "sample", "y", "x")
    assert not np.allclose(chips.cube[0], chips.cube[1])
    xr.testing.assert_identical(soil(5, size=(8, 9)).cube, soil(5, size=(8, 9)).cube)
    assert not np.allclose(soil(5, size=(8, 9)).cube, soil(6, size=(8, 9)).cube)
    np.testing.assert_array_equal(soil(5, size=(8, 9)).cube, chips.cube[0])


def test_soil_refuses() -> None:
    with raises_exactly(
        BandError,
        "The wavelengths run from 1000 to 1100 nm and cover no absorption (goethite 472-538, "
        "chlorophyll 643-709, iron 819-921, clay 2130-2280, carbonate 2284-2392 nm); type "
        "wavelengths around one of them.",
    ):
        soil(wavelength=[1000.0, 1100.0])
    with raises_exactly(
        OptionError,
        "size=(4, 4) is too small for what is planted; type size=(8, 8) or more.",
    ):
        soil(size=(4, 4))
    with raises_exactly(OptionError, "border=4 leaves no pixel of (8, 8); type a smaller border."):
        soil(size=(8, 8), border=4)
    with raises_exactly(OptionError, "n_samples=0 makes no chip; type 1 or more, or None."):
        soil(n_samples=0)
    with raises_exactly(
        BandError,
        "The range 600 to 601 nm holds 0 bands on its shoulders and 0 at its centre, and one of "
        "each is needed; type a wider range.",
    ):
        band_depth(soil(size=(8, 8)).cube, 600, 601)


# ---------------------------------------------------------------------------- clouds


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [{}, {"noise": 0.005, "size": (40, 56)}])
def test_the_bands_said_to_tell_a_cloud_class_do(seed: int, options: Any) -> None:
    scene = clouds(seed, **options)
    labels, cube = scene.truth.labels, scene.cube
    assert labels is not None
    blue, nir, cirrus = (cube.sel(band=b).values for b in ("B02", "B8A", "B10"))
    np.testing.assert_array_equal(blue > 0.45, labels == "thick cloud")
    np.testing.assert_array_equal(cirrus > 0.006, labels == "thin cloud")
    shadow = (nir > 0.06) & (nir < 0.20) & (cirrus < 0.006)
    np.testing.assert_array_equal(shadow, labels == "cloud shadow")
    assert set(scene.truth.targets) == set(np.unique(labels))


def test_shadows_lie_where_the_sun_puts_them() -> None:
    # Sun in the south at 45 degrees: 200 m of height are ten rows to the north.
    scene = clouds(1, sun_azimuth=180, sun_elevation=45, cloud_height=200)
    thick = scene.truth.region.sel(target="thick cloud").values
    shadow = scene.truth.region.sel(target="cloud shadow").values
    assert shadow.any()
    moved = np.zeros_like(thick)
    moved[:-10] = thick[10:]
    assert (moved | ~shadow).all()
    # Sun in the east: shadows to the west.
    scene = clouds(1, sun_azimuth=90, sun_elevation=45, cloud_height=200)
    thick = scene.truth.region.sel(target="thick cloud").values
    moved = np.zeros_like(thick)
    moved[:, :-10] = thick[:, 10:]
    assert (moved | ~scene.truth.region.sel(target="cloud shadow").values).all()


def test_clouds_follow_the_convention() -> None:
    scene = clouds(0)
    cube = scene.cube
    assert cube.rio.crs.to_epsg() == 32640
    assert cube.rio.resolution() == (20.0, -20.0)
    assert cube.band.values.tolist()[8:11] == ["B8A", "B09", "B10"]
    np.testing.assert_array_equal(cube.wavelength, wavelength_list("sentinel2"))
    np.testing.assert_array_equal(scene.truth.region.sum("target"), 1)
    np.testing.assert_array_equal(cube.y, scene.truth.labels.y)
    xr.testing.assert_identical(clouds(0).cube, cube)
    for name, ranges in scene.truth.bands.items():
        for low, high in ranges:
            assert ((cube.wavelength >= low) & (cube.wavelength <= high)).sum() == 1, name


def test_clouds_refuse() -> None:
    with raises_exactly(OptionError, "cover=0.5 is outside 0.02 to 0.3; type one inside."):
        clouds(cover=0.5)
    with raises_exactly(OptionError, "sun_elevation=0 is outside 5 to 90; type one inside."):
        clouds(sun_elevation=0)


# -------------------------------------------------------------------------- textures


def test_the_object_alone_tells_the_class() -> None:
    scene = textures(0, n_per_class=20)
    cube, truth = scene.cube, scene.truth
    assert truth.region is not None
    assert truth.labels is not None
    assert cube.dims == ("sample", "band", "y", "x")
    assert np.unique(truth.labels, return_counts=True)[1].tolist() == [20, 20, 20]
    said = [truth.targets.index(str(v)) for v in truth.labels.values]
    np.testing.assert_array_equal(truth.values.argmax("target").values, said)
    inside, outside = cube.where(truth.region), cube.where(~truth.region)
    assert float(inside.min()) > 0.45 > float(outside.max())
    # The object lies wholly within, and ground and paint are alike for every class.
    assert not truth.region.isel(y=[0, -1]).any()
    assert not truth.region.isel(x=[0, -1]).any()
    for part in (inside, outside):
        mean = part.mean(("y", "x")).groupby(truth.labels.rename("label")).mean()
        assert float((mean.max("label") - mean.min("label")).max()) < 0.01


def test_textures_are_seeded_and_checked() -> None:
    xr.testing.assert_identical(textures(2, n_per_class=1).cube, textures(2, n_per_class=1).cube)
    with raises_exactly(OptionError, "n_per_class=0 makes no chip; type 1 or more."):
        textures(n_per_class=0)
    with raises_exactly(
        OptionError,
        "size=(16, 16) is too small for what is planted; type size=(24, 24) or more.",
    ):
        textures(size=(16, 16))


# ------------------------------------------------------------------------------- crops

FIELDS: Any = {"size": (64, 80), "field": 8.0}


def test_crops_are_named_fields_with_their_truth() -> None:
    made = crops(**FIELDS)
    names = np.array(made.truth.targets)
    assert len(names) == 10
    assert set(np.unique(made.truth.labels)) == set(names)  # each class is somewhere
    assert made.cube.dims == ("band", "y", "x")
    assert made.cube.shape == (12, 64, 80)
    assert 0 < float(made.cube.min()) < float(made.cube.max()) < 1.2
    assert made.cube.rio.crs.to_epsg() == 32632
    assert made.cube.rio.resolution() == (10.0, -10.0)
    numbers = made.fields.values
    assert np.array_equal(np.unique(numbers), np.arange(1, numbers.max() + 1))
    per_field = [len(np.unique(made.truth.labels.values[numbers == n])) for n in np.unique(numbers)]
    assert set(per_field) == {1}
    assert made.truth.region.sum("target").min() == made.truth.region.sum("target").max() == 1
    for name in names:
        np.testing.assert_array_equal(
            made.truth.region.sel(target=name), made.truth.labels.values == name
        )
    assert not made.wrong.any()
    assert (made.given == made.truth.labels).all()
    assert made.truth.group == {"Rye": "SWIR 1"}
    assert made.truth.bands["Rye"] == (made.truth.groups["SWIR 1"],)


@pytest.mark.parametrize("group", ["red edge", "SWIR 2"])
def test_one_group_tells_rye_from_wheat_and_stressed_wheat_from_wheat(group: str) -> None:
    plain: Any = {**FIELDS, "variety": 0.0, "noise": 0.0, "confused_by": group}
    made = crops(stressed=0.5, **plain)
    assert made.stressed.any()
    assert (made.truth.labels.values[made.stressed.values] == "Wheat").all()
    ((low, high),) = made.truth.bands["Rye"]
    wl = made.cube["wavelength"].values
    inside = (wl >= low) & (wl < high)

    def mean(where: xr.DataArray) -> np.ndarray:
        found: np.ndarray = made.cube.where(where).mean(("y", "x")).values
        return found

    wheat = mean((made.truth.labels == "Wheat") & ~made.stressed)
    rye, ill = mean(made.truth.labels == "Rye"), mean(made.stressed)
    np.testing.assert_allclose(rye / wheat, np.where(inside, 1.35, 1.05), rtol=0.01)
    np.testing.assert_allclose(ill / wheat, np.where(inside, 1.35, 1.0), rtol=0.01)


def test_label_errors_are_whole_fields_that_were_drawn() -> None:
    made = crops(label_errors=0.2, **FIELDS)
    assert made.wrong.values.any()
    np.testing.assert_array_equal(made.wrong, made.given != made.truth.labels)
    numbers, wrong = made.fields.values, made.wrong.values
    assert {len(np.unique(wrong[numbers == n])) for n in np.unique(numbers)} == {1}
    assert "Background" not in made.truth.labels.values[wrong]
    assert "Background" not in made.given.values[wrong]
    crop = np.unique(numbers[made.truth.labels.values != "Background"])
    assert len(np.unique(numbers[wrong])) == round(0.2 * len(crop))


@pytest.mark.slow
def test_each_option_of_crops_changes_what_it_says() -> None:
    base = crops(**FIELDS)
    xr.testing.assert_identical(crops(0, **FIELDS).cube, base.cube)
    assert not crops(1, **FIELDS).truth.labels.equals(base.truth.labels)
    # What is on the ground does not depend on the sensor, the annotators or the noise.
    for options in ({"wavelength": [500.0, 860.0, 1600.0]}, {"label_errors": 0.3}, {"noise": 0.0}):
        other = crops(**FIELDS | options)
        xr.testing.assert_identical(other.fields, base.fields)
        xr.testing.assert_identical(other.truth.labels, base.truth.labels)
    assert crops(size=(64, 80), field=16.0).fields.max() < base.fields.max() / 2
    wheat = base.truth.labels == "Wheat"

    def spread(made: Mosaic) -> float:
        per_field = made.cube.isel(band=7).where(wheat).groupby(base.fields).mean()
        return float(per_field.std())

    assert spread(crops(variety=0.0, **FIELDS)) < 0.3 * spread(base)
    assert spread(crops(variety=2.0, **FIELDS)) > 1.3 * spread(base)
    noisy = crops(noise=0.05, **FIELDS).cube - crops(noise=0.0, **FIELDS).cube
    assert float(noisy.isel(band=7).std()) == pytest.approx(0.05, rel=0.05)


def test_crops_cover_only_the_groups_that_the_sensor_sees() -> None:
    made = crops(wavelength=[490.0, 560.0, 665.0, 705.0], confused_by="red", **FIELDS)
    assert list(made.truth.groups) == ["blue", "green", "red", "red edge"]
    np.testing.assert_array_equal(made.cube["wavelength"], [490.0, 560.0, 665.0, 705.0])


def test_polygons_of_crops_are_what_the_annotators_drew() -> None:
    from xrxai import training

    made = crops(label_errors=0.1, **FIELDS)
    drawn = made.polygons("2024-06-01")
    assert drawn.crs.to_epsg() == 32632
    assert set(drawn["date"]) == {"2024-06-01"}
    assert "Background" not in set(drawn["class"])
    assert drawn["field"].is_unique
    classes = training.Classes(made.truth.targets)
    labels = training.rasterise(drawn, made.cube, classes)
    want = np.array(
        [[classes.names.index(n) if n != "Background" else -1 for n in row]
         for row in made.given.values]
    )  # fmt: skip
    np.testing.assert_array_equal(labels, want)


def test_crops_refuse() -> None:
    for name, value, low, high in (
        ("field", 3.0, 4, 16),
        ("field", 17.0, 4, 16),
        ("variety", 3.5, 0, 3),
        ("stressed", 1.1, 0, 1),
        ("label_errors", 0.6, 0, 0.5),
        ("noise", -0.1, 0, 0.05),
    ):
        with raises_exactly(
            OptionError, f"{name}={value!r} is outside {low} to {high}; type one inside."
        ):
            crops(**FIELDS | {name: value})
    with raises_exactly(
        OptionError,
        "confused_by='UV' is no group; choose one of 'blue', 'green', 'red', 'red edge', 'NIR', "
        "'SWIR 1', 'SWIR 2'.",
    ):
        crops(confused_by="UV", **FIELDS)
    with raises_exactly(
        BandError,
        "No wavelength lies in 'SWIR 1' (1500 to 1800 nm), which tells Rye from Wheat; add one, or "
        "choose confused_by= out of 'green', 'NIR'.",
    ):
        crops(wavelength=[560.0, 860.0], **FIELDS)
    with raises_exactly(
        OptionError,
        "size=(48, 80) is too small for what is planted; type size=(64, 64) or more.",
    ):
        crops(size=(48, 80))
