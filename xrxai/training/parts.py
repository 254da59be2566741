"""The parts of a split: their windows, their labels, the blocks they are made of."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.errors import OptionError
from xrxai.training.classes import UNLABELLED, Classes
from xrxai.training.windows import counted, grid


def windows_of(
    split: xr.Dataset, part: str, size: int, *, stride: int | None = None, share: float = 0.5
) -> xr.Dataset:
    """
    Lay windows over one part of a split: none of them sees a pixel of another.

    Parameters
    ----------
    split : Dataset
        What `split_blocks` made.
    part : str
        Which part, such as "train".
    size : int
        Side of a window in pixels.
    stride : int, optional
        From one window to the next, in pixels. Default: `size`, windows side by side.
    share : float, default: 0.5
        At least so much of a window lies in the part; the rest is in none.

    Returns
    -------
    Dataset
        As of `grid`. Labels outside the part count for nothing with `part_labels`.

    Raises
    ------
    OptionError
        There is no such part, or no such window.
    """
    number = part_number(split, part)
    values = np.asarray(split["split"].values)
    if not 0 < share <= 1:
        raise OptionError(f"share={share!r} is no share; type a number above 0 and up to 1.")
    windows = grid(split["split"], size, stride=stride)
    own = counted(values == number, windows)
    other = counted((values != number) & (values >= 0), windows)
    kept = np.flatnonzero((other == 0) & (own >= share * size**2))
    if not kept.size:
        raise OptionError(
            f"No window of {size} pixels lies in the part {part!r} and sees no other; type a "
            f"smaller size, a stride below it, or split_blocks with larger blocks."
        )
    return windows.isel(tile=kept)


def part_labels(labels: xr.DataArray, split: xr.Dataset, part: str) -> xr.DataArray:
    """
    Keep the labels of one part of a split; all others become -1, not labelled.

    Parameters
    ----------
    labels : DataArray, (y, x)
        What the split was made of.
    split : Dataset
        What `split_blocks` made.
    part : str
        Which part, such as "train".

    Returns
    -------
    DataArray of int16, (y, x)
        Labels with the same classes.

    Raises
    ------
    OptionError
        There is no such part.
    """
    keep = split["split"].transpose(*labels.dims).values == part_number(split, part)
    return labels.copy(data=np.where(keep, labels.values, UNLABELLED).astype(np.int16))


def part_number(split: xr.Dataset, part: str) -> int:
    """Tell the number of a part by its name."""
    names = [str(name) for name in checked(split)["part"].values]
    if part not in names:
        raise OptionError(
            f"part={part!r} is not in the split; choose one of {', '.join(map(repr, names))}."
        )
    return names.index(part)


def checked(split: xr.Dataset) -> xr.Dataset:
    """Refuse what is no split."""
    if not isinstance(split, xr.Dataset) or not {"split", "block", "part"} <= set(split.variables):
        raise OptionError(
            f"A {type(split).__name__} came where a split is needed; type "
            f"split = training.split_blocks(labels, block=64)."
        )
    return split


def blocks_of(shape: tuple[int, ...], block: int) -> np.ndarray:
    """Number of the block of each pixel."""
    row, column = (along(n, block) for n in shape)
    made: np.ndarray = row[:, None] * (int(column[-1]) + 1) + column[None]
    return made


def along(size: int, block: int) -> np.ndarray:
    """Number of the block of each row; what is left over joins the last."""
    return np.minimum(np.arange(size) // block, max(size // block - 1, 0))


def table(codes: tuple[np.ndarray, ...], sizes: tuple[int, ...]) -> np.ndarray:
    """How often each combination of numbers occurs, in the shape `sizes`."""
    flat = np.ravel_multi_index(codes, sizes)
    return np.bincount(flat, minlength=int(np.prod(sizes))).reshape(sizes)


def fields_of(array: np.ndarray, known: Classes) -> np.ndarray:
    """Number from 1 of the field of each pixel, connected by edges; 0 in background and nowhere."""
    from skimage.measure import label

    rest = UNLABELLED if known.background is None else known.names.index(known.background)
    crop = np.where((array >= 0) & (array != rest), array + 1, 0)
    made: np.ndarray = label(crop, background=0, connectivity=1)  # type: ignore[no-untyped-call]
    return made
