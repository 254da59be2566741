"""Which classes there are, what the names found in labels mean, and maps that know it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr

from xrxai.errors import LabelError, OptionError
from xrxai.plot.palette import colours_of

UNLABELLED = -1
"""What a map of labels holds where nobody has looked: no class, not even background."""

BACKGROUND = "#e6d9c0"


@dataclass(frozen=True)
class Classes:
    """
    The classes that a model tells apart, and what each name found in labels becomes.

    The number of a class is its position in `names`. The whole hierarchy is stated in one mapping:
    rare classes are lumped into another, confusable ones are kept apart by leaving them out of it,
    and what must not be learned from, such as clouds, becomes None.

    Parameters
    ----------
    names : sequence of str
        The classes, in the order of their numbers from 0.
    lump : mapping, optional
        From a name (or number) found in labels to the class that it counts as, or to None for
        not labelled. Names of `names` stand for themselves and need no entry.
    background : str, optional
        The class of what was looked at and not drawn. Default: the first of `names` when that is
        called "background" in any case, else none.
    colors : mapping of str to str, or sequence of str, optional
        A colour of matplotlib for some classes by name, or for all in the order of `names`.
        Default: beige for the background, for the others those of class maps.

    Raises
    ------
    OptionError
        Fewer than two classes, a name twice, or a mapping to a class that there is not.

    Examples
    --------
    >>> from xrxai.training import Classes
    >>> lump = {"winter wheat": "wheat", "poppies": "background", "cloud": None}
    >>> crops = Classes(["background", "wheat", "rye"], lump=lump)
    >>> crops.numbers(["rye", "winter wheat", "poppies", "cloud"]).tolist()
    [2, 1, 0, -1]
    """

    names: Sequence[str]
    lump: Mapping[Any, str | None] = field(default_factory=dict)
    background: str | None = None
    colors: Any = None

    def __post_init__(self) -> None:
        """Settle names and colours, refuse what cannot be."""
        if isinstance(self.names, str):
            raise OptionError(f"names={self.names!r} is one string; type names=[{self.names!r}].")
        names = tuple(str(name) for name in self.names)
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OptionError(f"names has {twice[0]!r} twice; give each class one name.")
        if len(names) < 2:
            raise OptionError(
                f"names={list(names)} is {len(names)} class{'es' * (not names)}, and telling apart "
                f"takes two; type names=['background', ...]."
            )
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "lump", dict(self.lump))
        for found, meant in self.lump.items():
            if meant is not None and meant not in names:
                raise OptionError(
                    f"lump maps {found!r} to {meant!r}, which is no class; choose one of "
                    f"{_listed(names)}, or None for not labelled."
                )
            if found in names and found != meant:
                raise OptionError(
                    f"lump maps {found!r} to {meant!r}, and {found!r} is a class of its own; take "
                    f"it out of names, or out of lump."
                )
        if self.background is None:
            first = names[0] if names[0].lower() == "background" else None
            object.__setattr__(self, "background", first)
        elif self.background not in names:
            raise OptionError(
                f"background={self.background!r} is no class; choose one of {_listed(names)}."
            )
        object.__setattr__(self, "colors", self._colours())

    def _colours(self) -> tuple[str, ...]:
        """Those that were given, a grey for the background, and a palette for the others."""
        if self.background is None or not (self.colors is None or hasattr(self.colors, "items")):
            return tuple(c.lower() for c in colours_of(list(self.names), self.colors))
        others = [name for name in self.names if name != self.background]
        own = dict(zip(others, colours_of(others, None), strict=True))
        own[self.background] = BACKGROUND
        made = colours_of(list(self.names), own | dict(self.colors or {}))
        return tuple(c.lower() for c in made)

    def __len__(self) -> int:
        """How many classes there are."""
        return len(self.names)

    def number(self, name: Any) -> int:
        """
        Tell the number of what a name found in labels counts as.

        Parameters
        ----------
        name : str or int
            A class, or a key of `lump`.

        Returns
        -------
        int
            Position in `names`, or -1 for not labelled.

        Raises
        ------
        LabelError
            When it is neither.
        """
        if name in self.lump:
            meant = self.lump[name]
            return UNLABELLED if meant is None else self.names.index(meant)
        if name in self.names:
            return self.names.index(name)
        raise LabelError(
            f"{name!r} is no class and not in lump; choose one of {_listed(self.names)}, or say "
            f"what it counts as: Classes(..., lump={{{name!r}: {self.names[0]!r}}}), or None for "
            f"not labelled."
        )

    def numbers(self, found: Any) -> np.ndarray:
        """
        Tell the numbers of many names.

        Parameters
        ----------
        found : sequence or array of str or int
            Classes or keys of `lump`.

        Returns
        -------
        array of int16
            In the shape of `found`.

        Raises
        ------
        LabelError
            When one is neither; the message counts the others.
        """
        values = np.asarray(found)
        if values.dtype.kind == "O":  # names may be of several kinds, which do not sort
            kinds = list(dict.fromkeys(values.ravel().tolist()))
            where = {kind: i for i, kind in enumerate(kinds)}
            inverse = np.array([where[v] for v in values.ravel().tolist()], dtype=np.int64)
        else:
            unique, inverse = np.unique(values, return_inverse=True)
            kinds = unique.tolist()
        unknown = [k for k in kinds if k not in self.lump and k not in self.names]
        if len(unknown) > 1:
            raise LabelError(
                f"{_listed(unknown)} are no classes and not in lump; the classes are "
                f"{_listed(self.names)}. Say what each counts as: "
                f"Classes(..., lump={{{unknown[0]!r}: {self.names[0]!r}, ...}}), or None for not "
                f"labelled."
            )
        table = np.array([self.number(k) for k in kinds], dtype=np.int16)
        return table[inverse.reshape(values.shape)] if kinds else np.zeros(values.shape, np.int16)


def labels_of(
    values: Any, cube: xr.DataArray, classes: Classes, *, missing: Any = UNLABELLED
) -> xr.DataArray:
    """
    Make a map of labels from an array of class numbers or names.

    Parameters
    ----------
    values : array or DataArray, (y, x)
        Numbers of `classes`, or names that these know, on the grid of the cube.
    cube : DataArray, (band, y, x)
        Gives rows, columns and CRS.
    classes : Classes
        What the values mean.
    missing : int or str, default: -1
        The value of pixels that nobody has looked at.

    Returns
    -------
    DataArray of int16, (y, x)
        Class numbers from 0, -1 = not labelled, with the attributes ``flag_values`` and
        ``flag_meanings`` of CF, and the names and colours of the classes.

    Raises
    ------
    LabelError
        Another shape than the cube's, other coordinates, or values that are no class.
    """
    from xrxai.labelled.cube import locate

    place = locate(cube)
    y, x = str(place.y), str(place.x)
    want = (place.data.sizes[y], place.data.sizes[x])
    if isinstance(values, xr.DataArray) and {y, x} <= set(values.dims):
        values = values.transpose(..., y, x)
        for dim in (y, x):
            if dim in values.coords and dim in cube.coords and values.sizes[dim] == cube.sizes[dim]:
                _same_grid(values, cube, dim)
    array = np.asarray(values)
    if array.shape != want:
        raise LabelError(
            f"The labels have shape {array.shape}, and the cube has {want[0]} rows and {want[1]} "
            f"columns; cut or resample the labels to its grid by nearest neighbour, such as "
            f"labels.rio.reproject_match(cube)."
        )
    gone = _equals(array, missing)
    if array.dtype.kind in "US" or array.dtype.kind == "O":
        made = np.full(want, UNLABELLED, np.int16)
        made[~gone] = classes.numbers(array[~gone])
    else:
        made = _checked(array, gone, classes)
    return dressed(made, cube, classes)


def dressed(values: np.ndarray, cube: xr.DataArray, classes: Classes) -> xr.DataArray:
    """Class numbers (y, x) -> labels with coordinates and the table of classes."""
    from xrxai.labelled.cube import locate

    place = locate(cube)
    dims = (str(place.y), str(place.x))
    kept = {n: c for n, c in cube.coords.items() if set(c.dims) <= set(dims)}
    made = xr.DataArray(values.astype(np.int16), dims=dims, coords=kept, name="label")
    made.attrs = {
        "long_name": "class, -1 = not labelled",
        "flag_values": np.arange(len(classes), dtype=np.int16),
        "flag_meanings": " ".join("_".join(name.split()) for name in classes.names),
        # Names may hold blanks, which flag_meanings cannot.
        "classes": table_of(classes),
    }
    return made


def table_of(classes: Classes) -> str:
    """Classes -> what `classes_of` reads in the attribute ``classes``."""
    return json.dumps(
        {"names": classes.names, "colors": classes.colors, "background": classes.background}
    )


def classes_of(labels: xr.DataArray | xr.Dataset) -> Classes:
    """
    Read the classes that a map of labels knows.

    Parameters
    ----------
    labels : DataArray or Dataset
        What `rasterise` or `labels_of` made; or `evaluate`, or the history of `fit`.

    Returns
    -------
    Classes
        Names, colours and background; what was lumped is lumped already.

    Raises
    ------
    LabelError
        When the map knows none.
    """
    kept = getattr(labels, "attrs", {}).get("classes")
    if kept is None:
        what = "DataArray" if isinstance(labels, xr.DataArray) else type(labels).__name__
        raise LabelError(
            f"This {what} does not say what its numbers mean; type "
            f"labels = training.labels_of(numbers, cube, training.Classes([...]))."
        )
    table = json.loads(kept)
    return Classes(table["names"], background=table["background"], colors=table["colors"])


def _checked(array: np.ndarray, gone: np.ndarray, classes: Classes) -> np.ndarray:
    """Class numbers -> int16, or which of them are none."""
    with np.errstate(invalid="ignore"):
        wrong = ~gone & ~((array >= 0) & (array < len(classes)) & (array == np.floor(array)))
    keys = {k for k in classes.lump if isinstance(k, int)}
    found = np.unique(array[wrong])
    unknown = [v for v in found.tolist() if v not in keys]
    if unknown:
        raise LabelError(
            f"The labels hold {_listed(unknown)} ({int(wrong.sum())} pixels), and the "
            f"{len(classes)} classes have the numbers 0 to {len(classes) - 1}; type "
            f"missing={unknown[0]} if that means not labelled, or "
            f"Classes(..., lump={{{unknown[0]}: None}})."
        )
    made = np.full(array.shape, UNLABELLED, np.int16)
    made[~gone & ~wrong] = array[~gone & ~wrong]
    for key in keys:
        made[~gone & (array == key)] = classes.number(key)
    return made


def _equals(array: np.ndarray, missing: Any) -> np.ndarray:
    """Where an array holds what means not labelled; NaN means it always."""
    gone = np.zeros(array.shape, dtype=bool)
    if array.dtype.kind == "f":
        gone |= np.isnan(array)
    if array.dtype.kind == "O":
        gone |= np.array([v is None or v != v for v in array.ravel()]).reshape(array.shape)
    same = np.asarray(array == missing)
    return gone | same if same.shape == array.shape else gone


def _same_grid(labels: xr.DataArray, cube: xr.DataArray, dim: str) -> None:
    """Refuse rows or columns that lie elsewhere."""
    ours, theirs = np.asarray(cube[dim].values), np.asarray(labels[dim].values)
    if ours.dtype.kind not in "fiu" or theirs.dtype.kind not in "fiu" or len(ours) < 2:
        return
    step = abs(float(ours[1]) - float(ours[0])) or 1.0
    far = float(np.abs(ours.astype(float) - theirs.astype(float)).max())
    if far > step / 2:
        raise LabelError(
            f"The labels lie up to {far:g} beside the cube along {dim!r}, where a pixel is "
            f"{step:g} wide; type labels.rio.reproject_match(cube), or take the part of the cube "
            f"that they cover."
        )


def _listed(names: Sequence[Any]) -> str:
    """Name a few."""
    return ", ".join(map(repr, names[:12])) + ", ..." * (len(names) > 12)
