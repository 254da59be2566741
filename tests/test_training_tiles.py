"""Tiles: what a window holds, what is read for it, and the statistics that nets standardise by."""

from __future__ import annotations

from typing import Any

import dask.array
import numpy as np
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader

from tests.conftest import Watched, no_compute, raises_exactly
from xrxai.errors import CubeError, LabelError, OptionError
from xrxai.training import Augmentation, Classes, Tiles, band_statistics, grid, labels_of

BANDS, ROWS, COLUMNS = 4, 30, 20
CLASSES = Classes(["background", "wheat", "rye"])


def cube(**attrs: Any) -> xr.DataArray:
    """Four bands; one pixel without data, one with a single band missing."""
    values = np.random.default_rng(0).normal(5, 2, (BANDS, ROWS, COLUMNS)).astype(np.float32)
    values[:, 3, 2] = np.nan
    values[1, 4, 7] = np.nan
    nm = ("band", [450.0, 550.0, 650.0, 850.0], {"units": "nm"})
    return xr.DataArray(
        values,
        dims=("band", "y", "x"),
        coords={"wavelength": nm, "y": -10.0 * np.arange(ROWS), "x": 10.0 * np.arange(COLUMNS)},
        attrs=attrs,
    )


def labels(of: xr.DataArray | None = None) -> xr.DataArray:
    """Classes at random, a quarter of them not labelled."""
    values = np.random.default_rng(1).integers(-1, 3, (ROWS, COLUMNS))
    return labels_of(values, cube() if of is None else of, CLASSES)


def windows(*at: tuple[int, int], size: int = 8) -> xr.Dataset:
    rows, columns = zip(*at, strict=True)
    return xr.Dataset(
        {"row": ("tile", list(rows)), "column": ("tile", list(columns))}, attrs={"tile_size": size}
    )


def test_an_item_is_the_window():
    tiles = Tiles(cube(), labels(), windows((0, 0), (22, 12)))
    assert len(tiles) == 2
    assert tiles.classes.names == CLASSES.names
    np.testing.assert_array_equal(tiles.wavelength, [450, 550, 650, 850])
    image, label, valid = tiles[0]
    assert (image.dtype, label.dtype, valid.dtype) == (torch.float32, torch.int64, torch.bool)
    gone = np.zeros((8, 8), bool)
    gone[3, 2] = gone[4, 7] = True
    np.testing.assert_array_equal(~valid.numpy(), gone)
    np.testing.assert_array_equal(image.numpy(), np.where(gone, 0, cube().values[:, :8, :8]))
    np.testing.assert_array_equal(label.numpy(), np.where(gone, -1, labels().values[:8, :8]))
    np.testing.assert_array_equal(tiles[-1][0].numpy(), cube().values[:, 22:, 12:])
    assert tiles.cube.isnull().sum() == 5  # the cube itself is left as it was
    with pytest.raises(IndexError):
        tiles[2]


def test_any_order_of_dims_and_names():
    want = Tiles(cube(), labels(), windows((5, 6)))[0]
    turned = cube().rename(y="lat", x="lon").transpose("lon", "band", "lat")
    named = labels(turned.transpose("band", "lat", "lon")).transpose("lon", "lat")
    for one, other in zip(Tiles(turned, named, windows((5, 6)))[0], want, strict=True):
        assert torch.equal(one, other)


def test_bad_bands_and_the_valid_mask():
    flagged = cube().assign_coords(
        good_band=("band", [True, False, True, True]),
        valid=(("y", "x"), np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 3 > 0),
    )
    plain = Tiles(flagged, labels(), windows((0, 0)), fill=-1.0)
    image, label, valid = plain[0]
    assert (image[1] == -1).all()
    want = flagged.valid.values[:8, :8].copy()
    want[3, 2] = False  # (4, 7) lacks the bad band alone
    np.testing.assert_array_equal(valid.numpy(), want)
    assert (image[:, ~valid] == -1).all()
    assert (label[~valid] == -1).all()
    bright = Augmentation(brightness=0.5, noise=10, p=1.0)
    loud = Tiles(flagged, labels(), windows((0, 0)), fill=-1.0, augmentation=bright)
    assert (loud[0][0][1] == -1).all()


def test_fill_by_the_mean_of_the_window():
    image, _, valid = Tiles(cube(), labels(), windows((0, 0)), fill="mean")[0]
    want = image[:, valid].mean(1)
    torch.testing.assert_close(image[:, 3, 2], want)
    nothing = Tiles(cube() * np.nan, labels(), windows((0, 0)), fill="mean")[0]
    assert (nothing[0] == 0).all()


def test_only_the_window_is_read():
    store = Watched(cube().values)
    lazy = cube().copy(data=dask.array.from_array(store, chunks=(2, 5, 5)))
    with no_compute():
        tiles = Tiles(lazy, labels(), windows((0, 0), (10, 10), size=5))
    store.reads.clear()
    item = tiles[1]
    assert store.count() == BANDS * 5 * 5
    for one, other in zip(item, Tiles(cube(), labels(), tiles.windows)[1], strict=True):
        assert torch.equal(one, other)


def test_a_loader_collates_and_epochs_differ():
    augment = Augmentation(crop=6, noise=50, seed=4)
    tiles = Tiles(cube(), labels(), grid(cube(), 8, stride=4), augmentation=augment)
    batches = list(DataLoader(tiles, batch_size=4))
    assert batches[0][0].shape == (4, BANDS, 6, 6)
    again = [tiles[i] for i in range(len(tiles))]
    assert torch.equal(torch.cat([b[0] for b in batches]), torch.stack([i[0] for i in again]))
    tiles.set_epoch(1)
    assert not torch.equal(tiles[0][0], again[0][0])
    tiles.set_epoch(0)
    assert torch.equal(tiles[0][0], again[0][0])
    with raises_exactly(OptionError, "epoch=-1 is too small; type epoch=0 or more."):
        tiles.set_epoch(-1)


def test_statistics_count_each_valid_pixel_once():
    place = windows((0, 0), (4, 4), (20, 10))
    seen = np.zeros((ROWS, COLUMNS), bool)
    for row, column in ((0, 0), (4, 4), (20, 10)):
        seen[row : row + 8, column : column + 8] = True
    seen &= np.isfinite(cube().values).all(axis=0)
    found = band_statistics(cube(units="1"), place)
    want = cube().values[:, seen].astype(np.float64)
    assert int(found["pixels"]) == seen.sum() == 174
    np.testing.assert_allclose(found["mean"], want.mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found["std"], want.std(axis=1), rtol=1e-12)
    assert found["mean"].attrs["units"] == "1"
    assert "wavelength" in found["mean"].coords
    mask = xr.DataArray(seen, dims=("y", "x"))
    xr.testing.assert_allclose(band_statistics(cube(units="1"), mask), found, rtol=1e-12)
    lazy = cube(units="1").chunk(y=7, x=9)
    xr.testing.assert_allclose(band_statistics(lazy, place), found, rtol=1e-12)


def test_statistics_survive_a_large_offset():
    far = cube() + 1e5
    found = band_statistics(far, grid(far, 5))
    want = np.nanstd(far.values[[0, 2, 3]].astype(np.float64), axis=(1, 2))
    np.testing.assert_allclose(found["std"].values[[0, 2, 3]], want, rtol=2e-3)


def test_statistics_of_bad_bands_are_unknown():
    flagged = cube().assign_coords(good_band=("band", [True, False, True, True]))
    found = band_statistics(flagged, grid(flagged, 10))
    assert np.isnan(found["mean"].values).tolist() == [False, True, False, False]


def time_series() -> xr.DataArray:
    return cube().expand_dims(time=2)


WRONG = {
    "outside": (
        OptionError,
        lambda: Tiles(cube(), labels(), windows((0, 0), (23, 0))),
        "1 of 2 windows of 8 x 8 pixels are not inside the cube of 30 x 20, such as the one at row "
        "23, column 0; type windows=training.grid(cube, 8).",
    ),
    "none": (
        OptionError,
        lambda: Tiles(cube(), labels(), windows((0, 0)).isel(tile=[])),
        "windows= has no window; give at least one, or make them smaller than the cube: "
        "training.grid(cube, 32).",
    ),
    "fill": (
        OptionError,
        lambda: Tiles(cube(), labels(), windows((0, 0)), fill=np.nan),
        "fill=nan is no finite number; type fill=0.0, or fill='mean'.",
    ),
    "crop": (
        OptionError,
        lambda: Tiles(cube(), labels(), windows((0, 0)), augmentation=Augmentation(crop=9)),
        "crop=9 is larger than the tiles of 8 pixels; type a crop of at most 8, or larger windows, "
        "training.grid(cube, 18).",
    ),
    "shape": (
        LabelError,
        lambda: Tiles(cube(), labels().isel(y=slice(4)), windows((0, 0))),
        "The labels have the dims {'y': 4, 'x': 20}, and the cube {'y': 30, 'x': 20}; make them of "
        "this cube, training.labels_of(values, cube, classes).",
    ),
    "grid": (
        LabelError,
        lambda: Tiles(cube(), labels().assign_coords(y=labels().y + 10), windows((0, 0))),
        "The labels and the cube differ in the values of 'y'; type "
        "labels.reindex_like(cube, method='nearest'), or make the labels of this cube.",
    ),
    "time": (
        CubeError,
        lambda: Tiles(time_series(), labels(), windows((0, 0))),
        "The cube has the dims ('time',) besides bands, rows and columns, and labels are of one "
        "image; type cube.isel(time=0), or make them bands with cube.stack.",
    ),
    "spectra": (
        CubeError,
        lambda: band_statistics(cube().stack(sample=("y", "x")), windows((0, 0))),
        "The cube has the dims ('band', 'sample'), and windows need rows and columns; type "
        "xrxai.to_cube(cube, y_dim=..., x_dim=...).",
    ),
    "empty": (
        CubeError,
        lambda: band_statistics(cube(), windows((3, 2), size=1)),
        "None of the pixels asked for has data in all good bands; look at the cube's nodata value "
        "with xrxai.to_cube(cube, nodata=...), or give other windows.",
    ),
}


@pytest.mark.parametrize(("error", "call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls_say_what_to_type(error, call, message):
    with raises_exactly(error, message):
        call()
