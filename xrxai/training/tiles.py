"""Windows of a cube and of its labels, as tensors; read when they are asked for, and no more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import xarray as xr
from torch.utils.data import Dataset

from xrxai.errors import CubeError, LabelError, OptionError
from xrxai.labelled.cube import Cube, locate, mask_over
from xrxai.training.augment import Augmentation
from xrxai.training.classes import UNLABELLED, classes_of
from xrxai.training.windows import tile_size

Item = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
"""Image float32 (band, y, x), label int64 (y, x), valid bool (y, x)."""


class Tiles(Dataset[Item]):
    """
    Windows of a labelled cube, for a `torch.utils.data.DataLoader`.

    An item is the image, float32 (band, y, x); the label, int64 (y, x), -1 where nobody has looked
    or a pixel has no data; and where it has, bool (y, x). A window is read from the cube when its
    item is asked for, so that a lazy cube is never in memory.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        Eager or lazy.
    labels : DataArray of int, (y, x)
        What `rasterise` or `labels_of` made, on the grid of the cube.
    windows : Dataset
        The variables ``row`` and ``column`` of the upper left pixels along the dim ``tile``, and
        the attribute ``tile_size``, as `grid` and `plan_tiles` make them.
    augmentation : Augmentation, optional
        What is done to each item, anew in each epoch. Not for validation and test.
    fill : float or "mean", default: 0.0
        What a pixel without data and a band marked bad hold. The default is what `xrxai.Model`
        shows to a net in such places. "mean" is the band's mean over the valid pixels of the
        window, which `xrxai.Model` cannot do.

    Attributes
    ----------
    classes : Classes
        Of the labels.
    cube, labels, windows, augmentation, fill
        As given.
    wavelength : array (band,) or None
        Nanometres.
    tile_size : int
        Rows and columns of a window.
    epoch : int
        Of which the augmentation is; see `set_epoch`.

    Raises
    ------
    CubeError, LabelError, OptionError
        The labels have another grid, a window is not inside the cube, or there are none.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xrxai.training import Classes, Tiles, labels_of
    >>> cube = xr.DataArray(np.ones((3, 8, 8), np.float32), dims=("band", "y", "x"))
    >>> labels = labels_of(np.zeros((8, 8), int), cube, Classes(["background", "wheat"]))
    >>> windows = xr.Dataset({"row": ("tile", [0, 4]), "column": ("tile", [0, 4])})
    >>> tiles = Tiles(cube, labels, windows.assign_attrs(tile_size=4))
    >>> len(tiles), [tuple(part.shape) for part in tiles[1]]
    (2, [(3, 4, 4), (4, 4), (4, 4)])
    """

    def __init__(
        self,
        cube: xr.DataArray,
        labels: xr.DataArray,
        windows: xr.Dataset,
        *,
        augmentation: Augmentation | None = None,
        fill: float | Literal["mean"] = 0.0,
    ) -> None:
        place = _one_scene(cube)
        self.classes = classes_of(labels)
        self.cube, self.labels, self.windows = cube, labels, windows
        self._labels = _on_grid(labels, place)
        self._corners, self.tile_size = corners(windows, place)
        if fill != "mean" and (isinstance(fill, str) or not np.isfinite(fill)):
            raise OptionError(f"fill={fill!r} is no finite number; type fill=0.0, or fill='mean'.")
        self.fill = fill
        self.wavelength = place.wavelength
        self.augmentation = augmentation
        if augmentation is not None:
            augmentation.check(place.data.sizes[place.band], self.wavelength, self.tile_size)
        self.epoch = 0
        self._place = place

    def __len__(self) -> int:
        """How many windows there are."""
        return len(self._corners)

    def __getitem__(self, index: int) -> Item:
        """Read one window, and augment it."""
        index = range(len(self))[index]  # from the end, and IndexError, which ends a for loop
        row, column = self._corners[index]
        values, valid = read(self._place, row, column, self.tile_size)
        y, x = self._place.y, self._place.x
        spot = {y: slice(row, row + self.tile_size), x: slice(column, column + self.tile_size)}
        known = np.asarray(self._labels.isel(spot).values).astype(np.int64)
        known[~valid] = UNLABELLED
        item = (
            torch.from_numpy(_filled(values, valid, self._place.good_band, self.fill)),
            torch.from_numpy(known),
            torch.from_numpy(valid),
        )
        if self.augmentation is None:
            return item
        fill = 0.0 if self.fill == "mean" else float(self.fill)
        made = self.augmentation(
            *(part[None] for part in item),
            epoch=self.epoch,
            index=[index],
            fill=fill,
            wavelength=self.wavelength,
        )
        image, label, good = (part[0] for part in made)
        image[torch.from_numpy(~self._place.good_band)] = fill
        return image, label, good

    def set_epoch(self, epoch: int) -> None:
        """
        Say which epoch it is: augmentation is drawn from the seed, the epoch and the index.

        Parameters
        ----------
        epoch : int
            From 0. Workers of a `DataLoader` that were started before (``persistent_workers``)
            do not hear of it.
        """
        if epoch < 0:
            raise OptionError(f"epoch={epoch} is too small; type epoch=0 or more.")
        self.epoch = int(epoch)


def band_statistics(cube: xr.DataArray, where: xr.Dataset | xr.DataArray) -> xr.Dataset:
    """
    Compute mean and standard deviation of each band over valid pixels, window by window.

    Give the windows, or the pixels, that are trained on, and no others: what validation and test
    look like must not reach the net.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        Eager or lazy; a window is in memory at a time.
    where : Dataset, or bool DataArray (y, x)
        Windows as of `Tiles`, where pixels of windows that overlap count once; or True for the
        pixels that count, such as ``split == 0``.

    Returns
    -------
    Dataset
        ``mean`` and ``std`` along the band dim, float64, in units of the cube, NaN for bands
        marked bad; ``pixels``, how many there were.

    Raises
    ------
    CubeError, OptionError
        There is no valid pixel, or the windows or the mask do not fit the cube.
    """
    place = _one_scene(cube)
    n_bands = place.data.sizes[place.band]
    count, mean, squares = 0, np.zeros(n_bands), np.zeros(n_bands)
    for values, take in _parts(place, where):
        spectra = values[:, take].astype(np.float64)
        n = spectra.shape[1]
        if n == 0:
            continue
        # Chan, Golub & LeVeque 1983: sums of squares about the mean of each part are joined, which
        # float64 survives where the sum of squares minus the square of the sum does not.
        here = spectra.mean(axis=1)
        step = here - mean
        squares += ((spectra - here[:, None]) ** 2).sum(axis=1) + step**2 * (
            count * n / (count + n)
        )
        mean += step * (n / (count + n))
        count += n
    if count == 0:
        raise CubeError(
            "None of the pixels asked for has data in all good bands; look at the cube's nodata "
            "value with xrxai.to_cube(cube, nodata=...), or give other windows."
        )
    mean[~place.good_band], squares[~place.good_band] = np.nan, np.nan
    units = {"units": str(cube.attrs["units"])} if "units" in cube.attrs else {}
    band = place.band
    kept = {n: c for n, c in cube.coords.items() if set(c.dims) == {band}}
    return xr.Dataset(
        {
            "mean": (band, mean, {"long_name": "mean of the band", **units}),
            "std": (
                band,
                np.sqrt(squares / count),
                {"long_name": "standard deviation of the band", **units},
            ),
            "pixels": ((), count, {"long_name": "valid pixels", "units": "1"}),
        },
        coords=kept,
    )


def read(place: Cube, row: int, column: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A window -> values (band, y, x) float32 and where a pixel has data (y, x)."""
    rows, columns = slice(row, row + size), slice(column, column + size)
    part = place.data.isel({place.y: rows, place.x: columns}).transpose(
        place.band, place.y, place.x
    )
    # xarray's own load() would keep the values of a cube that is opened from a file.
    part = part.copy(data=np.asarray(part.values))
    found = locate(part, band_dim=place.band, y_dim=place.y, x_dim=place.x)
    return part.values.astype(np.float32), np.array(found.valid().values)


def corners(windows: xr.Dataset, place: Cube) -> tuple[np.ndarray, int]:
    """Rows and columns (tile, 2) of windows that lie inside the cube, and their size."""
    size = tile_size(windows)
    both = np.stack([np.ravel(windows["row"].values), np.ravel(windows["column"].values)], axis=1)
    if len(both) == 0:
        raise OptionError(
            "windows= has no window; give at least one, or make them smaller than the cube: "
            "training.grid(cube, 32)."
        )
    rows, columns = place.data.sizes[place.y], place.data.sizes[place.x]
    out = (both < 0).any(axis=1) | (both + size > (rows, columns)).any(axis=1)
    if out.any():
        row, column = both[out][0]
        raise OptionError(
            f"{int(out.sum())} of {len(both)} windows of {size} x {size} pixels are not inside the "
            f"cube of {rows} x {columns}, such as the one at row {row}, column {column}; type "
            f"windows=training.grid(cube, {size})."
        )
    return both.astype(np.int64), size


def _one_scene(cube: xr.DataArray) -> Cube:
    """Where the bands, rows and columns of a cube are that has nothing else."""
    place = locate(cube)
    if place.y is None or place.x is None:
        raise CubeError(
            f"The cube has the dims {tuple(cube.dims)}, and windows need rows and columns; type "
            f"xrxai.to_cube(cube, y_dim=..., x_dim=...)."
        )
    if place.lead:
        named = ", ".join(f"{d}=0" for d in place.lead)
        raise CubeError(
            f"The cube has the dims {place.lead} besides bands, rows and columns, and labels are "
            f"of one image; type cube.isel({named}), or make them bands with cube.stack."
        )
    return place


def _on_grid(labels: xr.DataArray, place: Cube) -> xr.DataArray:
    """Labels (y, x) as they lie on the cube, or LabelError."""
    y, x = str(place.y), str(place.x)
    want = {y: place.data.sizes[y], x: place.data.sizes[x]}
    if dict(labels.sizes) != want:
        raise LabelError(
            f"The labels have the dims {dict(labels.sizes)}, and the cube {want}; make them of "
            f"this cube, training.labels_of(values, cube, classes)."
        )
    for dim in (y, x):
        ours, theirs = place.data.indexes.get(dim), labels.indexes.get(dim)
        if ours is not None and theirs is not None and not ours.equals(theirs):
            raise LabelError(
                f"The labels and the cube differ in the values of {dim!r}; type "
                f"labels.reindex_like(cube, method='nearest'), or make the labels of this cube."
            )
    return labels.transpose(y, x)


def _filled(
    values: np.ndarray, valid: np.ndarray, good_band: np.ndarray, fill: float | str
) -> np.ndarray:
    """Values (band, y, x) with the fill where a pixel has no data or a band is bad, in place."""
    if fill == "mean":
        values[:, ~valid] = values[:, valid].mean(axis=1, keepdims=True) if valid.any() else 0.0
    else:
        values[:, ~valid] = fill
    values[~good_band] = 0.0 if fill == "mean" else fill
    return values


def _parts(
    place: Cube, where: xr.Dataset | xr.DataArray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Values (band, y, x) and the valid pixels (y, x) that count, each pixel once."""
    rows, columns = place.data.sizes[place.y], place.data.sizes[place.x]
    if isinstance(where, xr.Dataset):
        spots, size = corners(where, place)
        left = np.ones((rows, columns), dtype=bool)
    else:
        left = np.array(mask_over(place, where).transpose(place.y, place.x).values)
        size = 256
        spots = np.array([(r, c) for r in range(0, rows, size) for c in range(0, columns, size)])
    for row, column in spots:
        mine = left[row : row + size, column : column + size]
        if not mine.any():
            continue
        values, valid = read(place, row, column, size)
        yield values, valid & mine
        mine[...] = False
