"""Whether the parts of a split are apart: near pixels, shared blocks, tiles that see two."""

from __future__ import annotations

import numpy as np
import xarray as xr

from xrxai.errors import LabelError, at_least
from xrxai.training.classes import classes_of
from xrxai.training.parts import blocks_of, checked, fields_of, table
from xrxai.training.places import numbers
from xrxai.training.windows import counted, grid


def check_leakage(
    split: xr.Dataset,
    *,
    tile_size: int,
    labels: xr.DataArray | None = None,
    block: int | None = None,
    min_distance: int = 2,
    strict: bool = False,
) -> xr.Dataset:
    """
    Tell how far the parts of a split are apart, and whether it leaks.

    Parameters
    ----------
    split : Dataset
        What `split_blocks` or `random_split` made.
    tile_size : int
        Side in pixels of the tiles that will be trained on.
    labels : DataArray, (y, x), optional
        What the split was made of: fields that are in several parts are counted, too.
    block : int, optional
        Side in pixels of blocks that parts must not share; larger than a field. Default: the
        blocks of the split itself.
    min_distance : int, default: 2
        Least distance in pixels between parts; 1 is side by side.
    strict : bool, default: False
        Raise where it leaks.

    Returns
    -------
    Dataset
        ``distance`` (part, other), smallest distance in pixels, the larger of rows and columns,
        NaN with itself; ``shared_blocks``, blocks with pixels of several parts;
        ``shared_tiles``, tiles at any place side by side that would see several parts, out of
        ``tiles``; and ``leaks``: shared blocks, or parts that are too near. With labels also
        ``shared_fields``, connected areas of one class, but not background, with pixels of
        several parts, which are half known; ``split_blocks(..., whole_fields=True)`` has none.

    Raises
    ------
    LabelError
        It leaks, and `strict` is True.

    References
    ----------
    .. [1] P. Ploton et al. (2020). Spatial validation reveals poor predictive performance of
       large-scale ecological mapping models. Nature Communications 11, 4540.
       https://doi.org/10.1038/s41467-020-18321-y
    """
    values = np.asarray(checked(split)["split"].values)
    at_least(min_distance, 1, "min_distance")
    parts = [str(name) for name in split["part"].values]
    each = np.stack([values == p for p in range(len(parts))])
    ids = np.asarray(split["block"].values)
    if block is not None:
        ids = blocks_of(values.shape, at_least(block, 1, "block"))
    used = values >= 0
    sizes = (int(ids.max()) + 1, len(parts))
    met = table((ids[used], values[used].astype(np.int64)), sizes) > 0
    shared = int((met.sum(1) > 1).sum())
    distance = _distances(each)
    windows = grid(split["split"], tile_size)
    two = int(((counted(each, windows) > 0).sum(0) > 1).sum())
    near = float(np.nanmin(distance)) if np.isfinite(distance).any() else np.inf
    leaks = shared > 0 or near < min_distance
    if leaks and strict:
        far = max(2 * tile_size, int(split.attrs.get("block", 1)), block or 1)
        raise LabelError(
            f"The split leaks: {near:g} pixel{'s' * (near != 1)} between parts, where "
            f"min_distance={min_distance}, and {shared} blocks with several parts; type "
            f"split = training.split_blocks(labels, block={far}, buffer={min_distance})."
        )
    pairs = ("part", "other")
    about = {"long_name": "smallest distance between parts", "units": "px"}
    made = xr.Dataset(
        {
            "distance": (pairs, distance, about),
            "shared_blocks": ((), shared, {"long_name": "blocks with several parts"}),
            "shared_tiles": ((), two, {"long_name": "tiles that see several parts"}),
            "tiles": ((), windows.sizes["tile"], {"long_name": "tiles side by side"}),
            "leaks": ((), bool(leaks), {"long_name": "parts are too near"}),
        },
        coords={"part": parts, "other": parts},
        attrs={"tile_size": tile_size, "min_distance": min_distance},
    )
    if labels is not None:
        array, _ = numbers(labels)
        if array.shape != values.shape:
            raise LabelError(
                f"The labels have shape {array.shape}, and the split {values.shape}; type "
                f"labels= with those that it was made of."
            )
        fields = fields_of(array, classes_of(labels))
        seen = used & (fields > 0)
        sizes = (int(fields.max()) + 1, len(parts))
        met = table((fields[seen], values[seen].astype(np.int64)), sizes) > 0
        about = {"long_name": "fields with several parts", "units": "1"}
        made["shared_fields"] = ((), int((met.sum(1) > 1).sum()), about)
    return made


def _distances(each: np.ndarray) -> np.ndarray:
    """(part, y, x) bool -> (part, part), NaN with itself and where a part is empty."""
    from scipy.ndimage import distance_transform_cdt

    made = np.full((len(each), len(each)), np.nan)
    for a in range(len(each)):
        if not each[a].any():
            continue
        far = distance_transform_cdt(~each[a], metric="chessboard")
        for b in range(len(each)):
            if a != b and each[b].any():
                made[a, b] = far[each[b]].min()
    return made
