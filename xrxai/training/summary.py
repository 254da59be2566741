"""How much is labelled of each class, and in how many fields."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.training.classes import classes_of
from xrxai.training.places import numbers
from xrxai.training.polygons import ground_of, row_areas


def label_summary(labels: xr.DataArray) -> xr.Dataset:
    """
    Count the labels of each class: pixels, area, share, fields.

    Parameters
    ----------
    labels : DataArray, (y, x)
        What `rasterise` or `labels_of` made.

    Returns
    -------
    Dataset
        Along ``class``: ``pixels``, ``area`` in square metres (NaN without a CRS), ``share`` of
        the labelled pixels and ``fields``, connected areas (by edges); and ``labelled``, the
        share of the scene that is labelled.

    Raises
    ------
    LabelError
        The labels do not say what their numbers mean.

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xrxai import training
    >>> cube = xr.DataArray(np.zeros((1, 2, 4)), dims=("band", "y", "x"))
    >>> values = [[0, 1, 0, -1], [1, 1, 0, -1]]
    >>> labels = training.labels_of(values, cube, training.Classes(["oats", "rye"]))
    >>> training.label_summary(labels).fields.values.tolist()
    [2, 1]
    """
    from scipy.ndimage import label

    known = classes_of(labels)
    array, _ = numbers(labels)
    each = array == np.arange(len(known))[:, None, None]
    by_row = each.sum(2)
    pixels, sizes = by_row.sum(1), row_areas(labels, ground_of(labels, needed=False))
    area = by_row @ sizes if sizes is not None else np.full(len(known), np.nan)
    seen = int(pixels.sum())
    share = pixels / seen if seen else np.zeros(len(known))
    fields = [int(label(one)[1]) for one in each]  # by edges
    one = {"units": "1"}
    return xr.Dataset(
        {
            "pixels": ("class", pixels, {"long_name": "labelled pixels", **one}),
            "area": ("class", area, {"long_name": "labelled area", "units": "m2"}),
            "share": ("class", share, {"long_name": "share of the labelled pixels", **one}),
            "fields": ("class", fields, {"long_name": "connected areas", **one}),
            "labelled": ((), seen / array.size, {"long_name": "share of the scene", **one}),
        },
        coords={"class": list(known.names)},
    )
