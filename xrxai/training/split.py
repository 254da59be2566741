"""Whole blocks of a scene to train, to validate and to test on, and whether any split leaks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from xrxai.errors import LabelError, OptionError, at_least, note
from xrxai.training.classes import Classes, classes_of
from xrxai.training.parts import along, blocks_of, fields_of, table
from xrxai.training.places import kept_coords, numbers
from xrxai.training.stratify import stratified

FRACTIONS = {"train": 0.7, "validation": 0.1, "test": 0.2}
UNUSED = -1
"""What a split holds between its parts and where nothing is labelled."""


def split_blocks(
    labels: xr.DataArray,
    *,
    block: int,
    buffer: int = 0,
    whole_fields: bool = False,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """
    Give whole blocks of the scene to the parts, so that each class is in all of them.

    Neighbouring pixels are alike: a model that trained beside a test pixel has all but seen it,
    and its score says nothing of other fields. Blocks larger than fields, and a strip of pixels
    between the parts, keep them apart.

    Parameters
    ----------
    labels : DataArray, (y, x)
        What `rasterise` or `labels_of` made.
    block : int
        Side of a block in pixels; more than a field, and than the range of spatial
        autocorrelation. The last ones of a row or column take what is left over.
    buffer : int, default: 0
        At least so many unused pixels lie between two parts.
    whole_fields : bool, default: False
        Use of each field, a connected area of a class that is not background, only what lies in
        the part that has most of it: no field is in two parts.
    fractions : mapping of str to float, optional
        About which share of the labelled pixels of each class a part gets, strips not counted.
        Default: ``{"train": 0.7, "validation": 0.1, "test": 0.2}``.
    seed : int, default: 0
        Of the order among equal blocks.

    Returns
    -------
    Dataset
        ``split`` (y, x) int8, the number of the part, -1 = in none (the strips, and blocks
        without a label), with ``flag_values`` and ``flag_meanings`` of CF; ``block`` (y, x), the
        number of the block; ``pixels`` (part, class), labelled pixels that are left, and
        ``blocks`` (part, class), in how many blocks.

    Raises
    ------
    LabelError
        Fewer labelled blocks than parts.
    OptionError
        Fractions that are no shares, or a strip that leaves nothing of a block.

    Warns
    -----
    UserWarning
        A class is not in every part.

    References
    ----------
    .. [1] D. R. Roberts et al. (2017). Cross-validation strategies for data with temporal,
       spatial, hierarchical, or phylogenetic structure. Ecography 40(8).
       https://doi.org/10.1111/ecog.02881
    .. [2] P. Ploton et al. (2020). Spatial validation reveals poor predictive performance of
       large-scale ecological mapping models. Nature Communications 11, 4540.
       https://doi.org/10.1038/s41467-020-18321-y
    .. [3] K. Sechidis, G. Tsoumakas, I. Vlahavas (2011). On the stratification of multi-label
       data. ECML PKDD. https://doi.org/10.1007/978-3-642-23808-6_10

    Examples
    --------
    >>> import numpy as np, xarray as xr
    >>> from xrxai import training
    >>> cube = xr.DataArray(np.zeros((2, 40, 40)), dims=("band", "y", "x"))
    >>> fields = np.arange(40)[:, None] // 4 % 2 + 0 * np.arange(40)
    >>> labels = training.labels_of(fields, cube, training.Classes(["wheat", "rye"]))
    >>> made = training.split_blocks(labels, block=10, buffer=2)
    >>> made.split.attrs["flag_meanings"]
    'train validation test'
    """
    array, dims = numbers(labels)
    known = classes_of(labels)
    parts = _shares(fractions)
    at_least(block, 1, "block")
    at_least(buffer, 0, "buffer")
    trim = -(-buffer // 2)  # both sides give half
    if block <= 2 * trim:
        raise OptionError(
            f"buffer={buffer} takes {trim} pixels off each side of a block, and nothing is left of "
            f"block={block}; type block={4 * trim} or more, or a smaller buffer."
        )
    ids = blocks_of(array.shape, block)
    # What stays of a block whatever its neighbours become: classes are promised from that.
    inner = _inner(array.shape, block, trim)
    core = (array >= 0) & inner
    pixels = table((ids[core], array[core]), (int(ids.max()) + 1, len(known)))
    used = np.flatnonzero(pixels.sum(1))
    if used.size < len(parts):
        raise LabelError(
            f"Labels lie in {used.size} block{'s' * (used.size != 1)} of {block} pixels, and "
            f"{len(parts)} parts take at least one each; type a smaller block, or label elsewhere "
            f"too."
        )
    part_of = np.full(len(pixels), UNUSED, np.int8)
    part_of[used] = stratified(pixels[used], np.array(list(parts.values())), seed)
    split = _apart(part_of[ids], inner, buffer)
    if whole_fields:
        split = _in_one(split, fields_of(array, known), len(parts))
    made = _dataset(split, ids, array, labels, dims, list(parts), known)
    made.attrs |= {"block": block, "buffer": buffer, "seed": seed, "kind": "blocks"}
    _say_absent(made, block)
    return made


def random_split(
    labels: xr.DataArray,
    tile: int,
    *,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """
    Give tiles to the parts at random, as is often done, to compare with: it leaks.

    Tiles of two parts lie side by side and share fields, so that a score on such a test part is
    too good. `check_leakage` says so.

    Parameters
    ----------
    labels : DataArray, (y, x)
        What `rasterise` or `labels_of` made.
    tile : int
        Side of a tile in pixels.
    fractions : mapping of str to float, optional
        Share of the labelled tiles by part. Default: that of `split_blocks`.
    seed : int, default: 0
        Of the draw.

    Returns
    -------
    Dataset
        As of `split_blocks`; ``block`` is the number of the tile.

    Raises
    ------
    LabelError
        Fewer labelled tiles than parts.
    OptionError
        Fractions that are no shares.
    """
    array, dims = numbers(labels)
    known = classes_of(labels)
    parts = _shares(fractions)
    ids = blocks_of(array.shape, at_least(tile, 1, "tile"))
    used = np.unique(ids[array >= 0])
    if used.size < len(parts):
        raise LabelError(
            f"Labels lie in {used.size} tile{'s' * (used.size != 1)} of {tile} pixels, and "
            f"{len(parts)} parts take at least one each; type a smaller tile, or label elsewhere "
            f"too."
        )
    ends = np.rint(np.cumsum(list(parts.values())) * used.size)
    drawn = np.searchsorted(ends, np.arange(used.size), side="right").clip(0, len(parts) - 1)
    part_of = np.full(int(ids.max()) + 1, UNUSED, np.int8)
    part_of[used] = np.random.default_rng(seed).permutation(drawn)
    made = _dataset(part_of[ids], ids, array, labels, dims, list(parts), known)
    made.attrs |= {"block": tile, "buffer": 0, "seed": seed, "kind": "random tiles"}
    return made


def _shares(fractions: Mapping[str, float] | None) -> dict[str, float]:
    parts = {str(k): float(v) for k, v in (FRACTIONS if fractions is None else fractions).items()}
    total = sum(parts.values())
    if len(parts) < 2 or min(parts.values()) <= 0 or abs(total - 1) > 1e-6:
        raise OptionError(
            f"fractions={parts} is no split: two parts or more, each above 0, sum up to 1 (here "
            f"{total:g}); type fractions={FRACTIONS}."
        )
    return parts


def _inner(shape: tuple[int, ...], block: int, trim: int) -> np.ndarray:
    """Pixels that are more than `trim` away from every other block."""
    keep = []
    for size in shape:
        number = along(size, block)
        at = np.arange(size)
        after, before = np.roll(number, -trim), np.roll(number, trim)
        same = (after == number) | (at >= size - trim)
        keep.append(same & ((before == number) | (at < trim)))
    made: np.ndarray = keep[0][:, None] & keep[1][None]
    return made


def _apart(split: np.ndarray, inner: np.ndarray, buffer: int) -> np.ndarray:
    """Drop what has a pixel of another part within `buffer`, but for the inside of blocks.

    Insides of two blocks are farther apart than that.
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    side = 2 * buffer + 1
    highest = maximum_filter(split, side, mode="nearest")
    beyond = np.iinfo(split.dtype).max
    lowest = minimum_filter(np.where(split < 0, beyond, split), side, mode="nearest")
    return np.where((split >= 0) & (inner | (highest == lowest)), split, UNUSED).astype(np.int8)


def _in_one(split: np.ndarray, fields: np.ndarray, parts: int) -> np.ndarray:
    """Drop what lies outside the part that has most of its field."""
    seen = (split >= 0) & (fields > 0)
    sizes = (int(fields.max()) + 1, parts)
    most = table((fields[seen], split[seen].astype(np.int64)), sizes).argmax(1)
    return np.where(seen & (split != most[fields]), UNUSED, split).astype(np.int8)


def _dataset(
    split: np.ndarray,
    ids: np.ndarray,
    array: np.ndarray,
    labels: xr.DataArray,
    dims: tuple[str, str],
    parts: list[str],
    known: Classes,
) -> xr.Dataset:
    seen = (split >= 0) & (array >= 0)
    sizes = (int(ids.max()) + 1, len(parts), len(known))
    each = table((ids[seen], split[seen].astype(np.int64), array[seen]), sizes)
    pixels, blocks = each.sum(0), (each > 0).sum(0)
    flags = {
        "long_name": "part of the split, -1 = in none",
        "flag_values": np.arange(len(parts), dtype=np.int8),
        "flag_meanings": " ".join("_".join(name.split()) for name in parts),
    }
    pair = ("part", "class")
    return xr.Dataset(
        {
            "split": (dims, split.astype(np.int8), flags),
            "block": (dims, ids, {"long_name": "number of the block"}),
            "pixels": (pair, pixels, {"long_name": "labelled pixels", "units": "1"}),
            "blocks": (pair, blocks, {"long_name": "blocks with the class", "units": "1"}),
        },
        coords=kept_coords(labels, dims) | {"part": parts, "class": list(known.names)},
    )


def _say_absent(made: xr.Dataset, block: int) -> None:
    """Warn of classes that a part lacks though they are labelled."""
    pixels, blocks = made["pixels"].values, made["blocks"].values
    names, parts = made["class"].values.tolist(), made["part"].values
    lacks = [
        f"{names[k]!r} ({blocks[:, k].sum()} blocks) is not in "
        f"{' and '.join(map(str, parts[pixels[:, k] == 0]))}"
        for k in range(len(names))
        if pixels[:, k].any() and not pixels[:, k].all()
    ]
    if lacks:
        note(
            f"Not every class is in every part: {'; '.join(lacks)}. Type a block smaller than "
            f"{block}, or label more places with them."
        )
