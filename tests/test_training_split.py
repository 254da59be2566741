"""Windows, splits of whole blocks, and whether a split leaks."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import CubeError, LabelError, OptionError
from xrxai.training.stratify import stratified
from xrxai.training.windows import counted

NAMES = ["background", "wheat", "rye"]


def cube(rows: int = 48, columns: int = 60, dims: tuple[str, str] = ("y", "x")) -> xr.DataArray:
    return xr.DataArray(np.zeros((2, rows, columns), np.float32), dims=("band", *dims))


def fields(
    share: tuple[float, ...] = (0.6, 0.3, 0.1), *, seed: int = 0, unlabelled: int = 0, **place: Any
) -> xr.DataArray:
    """Squares of four pixels at random, the first rows not labelled."""
    grid = cube(**place)
    shape = grid.shape[1:]
    small = np.random.default_rng(seed).choice(len(share), [n // 4 for n in shape], p=share)
    values = np.kron(small, np.ones((4, 4), int))
    values[:unlabelled] = -1
    return training.labels_of(values, grid, training.Classes(NAMES))


@pytest.mark.parametrize(("size", "stride"), [(8, None), (8, 4), (7, 9), (48, 1)])
def test_windows_lie_side_by_side_and_inside(size: int, stride: int | None) -> None:
    made = training.grid(cube(), size, stride=stride)
    step = stride or size
    want = [
        (r, c)
        for r in range(48)
        for c in range(60)
        if r % step == c % step == 0 and r + size <= 48 and c + size <= 60
    ]
    assert list(zip(made.row.values.tolist(), made.column.values.tolist(), strict=True)) == want
    assert made.attrs == {"tile_size": size}


def test_windows_need_no_pixel_and_know_the_names_of_dims() -> None:
    lazy = cube(dims=("lat", "lon")).chunk()
    lazy = lazy.map_blocks(lambda block: 1 / 0, template=lazy)
    found = training.grid(lazy.transpose("lon", "band", "lat"), 12)
    xr.testing.assert_identical(found, training.grid(cube(), 12))
    odd = xr.DataArray(np.zeros((48, 60)), dims=("down", "over"))
    xr.testing.assert_identical(training.grid(odd, 12), found)


def test_windows_refused() -> None:
    with raises_exactly(
        OptionError,
        "size=49 is larger than the scene of 48 rows and 60 columns; type size=48 or less.",
    ):
        training.grid(cube(), 49)
    with raises_exactly(OptionError, "stride=0 is too small; type stride=1 or more."):
        training.grid(cube(), 8, stride=0)
    with raises_exactly(
        CubeError,
        "A Dataset came where a cube or a map is needed; type one variable of it, such as "
        "predicted.class_map.",
    ):
        training.grid(cube().to_dataset(name="a"), 8)  # type: ignore[arg-type]


def test_counts_of_windows_equal_a_loop() -> None:
    where = np.random.default_rng(0).random((3, 48, 60)) < 0.4
    windows = training.grid(cube(), 7, stride=5)
    corners = zip(windows.row.values, windows.column.values, strict=True)
    want = np.stack([where[:, r : r + 7, c : c + 7].sum((1, 2)) for r, c in corners], axis=-1)
    np.testing.assert_array_equal(counted(where, windows), want)


def nearest(split: np.ndarray) -> int:
    """The slow twin: chessboard distance of the nearest pixels of two parts."""
    places = [np.argwhere(split == p) for p in range(split.max() + 1)]
    return min(
        int(np.abs(a[:, None] - b[None]).max(-1).min())
        for a, b in itertools.combinations(places, 2)
        if len(a) and len(b)
    )


@pytest.mark.parametrize("buffer", [0, 1, 2, 5])
@pytest.mark.parametrize("unlabelled", [0, 20])
def test_a_buffer_keeps_parts_apart(buffer: int, unlabelled: int) -> None:
    labels = fields(unlabelled=unlabelled, rows=40, columns=44)
    if not unlabelled:  # a chessboard, whose blocks meet at their corners
        rows, columns = (np.minimum(np.arange(n) // 9, n // 9 - 1) for n in labels.shape)
        labels = labels.where((rows[:, None] + columns) % 2 == 0, -1).astype(int)
    made = training.split_blocks(labels, block=9, buffer=buffer)
    split = made.split.values
    least = nearest(split)
    assert least > buffer
    found = training.check_leakage(made, tile_size=8)
    assert float(found.distance.min()) == least
    assert int(found.shared_blocks) == 0
    assert bool(found.leaks) == (buffer == 0)
    for far in (least, least + 1):
        leaks = training.check_leakage(made, tile_size=8, min_distance=far).leaks
        assert bool(leaks) == (far > least)
    if not buffer:  # every labelled block is in one part, whole
        blocks = made.block.values
        assert all(len(np.unique(split[blocks == b])) == 1 for b in np.unique(blocks))
        assert (split[labels.values >= 0] >= 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_each_class_is_in_each_part_near_its_share(seed: int) -> None:
    labels = fields((0.68, 0.3, 0.02), rows=96, columns=96, seed=seed)
    made = training.split_blocks(labels, block=12, buffer=2, seed=seed)
    pixels = made.pixels.values
    assert (pixels > 0).all()
    for p, k in itertools.product(range(3), range(3)):
        seen = (made.split.values == p) & (labels.values == k)
        assert pixels[p, k] == seen.sum()
        assert made.blocks.values[p, k] == np.unique(made.block.values[seen]).size
    shares = pixels[:, :2] / pixels[:, :2].sum(0)  # frequent classes
    np.testing.assert_allclose(shares, np.array([[0.7], [0.1], [0.2]]) * [1, 1], atol=0.08)


def test_a_class_of_three_blocks_is_in_each_part() -> None:
    values = np.zeros((48, 60), int)
    for row, column in ((2, 2), (26, 26), (38, 50)):
        values[row : row + 6, column : column + 6] = 2
    values[:, 30:40] = np.where(values[:, 30:40] == 2, 2, 1)
    labels = training.labels_of(values, cube(), training.Classes(NAMES))
    for seed in range(4):
        made = training.split_blocks(labels, block=12, seed=seed)
        assert (made.pixels.sel({"class": "rye"}) > 0).all()


@pytest.mark.parametrize("seed", range(8))
def test_no_way_to_share_blocks_misses_fewer_classes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels, shares = np.zeros((8, 6), int), np.array([0.7, 0.1, 0.2])
    pixels[:, 0] = rng.integers(1, 400, 8)
    for k in range(1, 6):  # as many blocks as parts, many of them shared with other classes
        pixels[rng.choice(8, 3, replace=False), k] = rng.integers(1, 300, 3)
    ways = np.array([*itertools.product(range(3), repeat=8), stratified(pixels, shares, seed)])
    has = [((ways == p)[:, :, None] & (pixels > 0)).any(1) for p in range(3)]
    missing = sum((~one).sum(1) for one in has)
    assert missing[-1] == missing.min()


def test_the_rim_of_the_scene_counts() -> None:
    values = np.full((48, 60), -1)
    values[-1], values[0] = 1, 2
    labels = training.labels_of(values, cube(), training.Classes(NAMES))
    made = training.split_blocks(labels, block=6, buffer=2)
    assert (made.pixels.values[:, 1:] > 0).all()


def test_a_class_of_two_blocks_is_said_to_miss() -> None:
    values = np.zeros((48, 60), int)
    values[::4, 3::4] = 1
    values[14:20, 14:20] = values[38:40, 50:52] = 2
    labels = training.labels_of(values, cube(), training.Classes(NAMES))
    words = r"^Not every class is in every part: 'rye' \(2 blocks\) is not in \w+\. Type a block "
    with pytest.warns(UserWarning, match=words + "smaller than 12, or label more places with them"):
        made = training.split_blocks(labels, block=12)
    assert int((made.pixels.sel({"class": "rye"}) > 0).sum()) == 2


def test_splits_follow_the_seed_alone() -> None:
    labels = fields()
    one, two = (training.split_blocks(labels, block=12, seed=3) for _ in range(2))
    xr.testing.assert_identical(one, two)
    xr.testing.assert_identical(one, training.split_blocks(labels.chunk(), block=12, seed=3))
    other = training.split_blocks(labels, block=12, seed=4)
    assert (one.split != other.split).any()


def test_random_tiles_leak_and_blocks_do_not() -> None:
    labels = fields()
    tiles = training.random_split(labels, 6)
    of_tile = tiles.split.values[::6, ::6].ravel()
    np.testing.assert_array_equal(np.bincount(of_tile), [56, 8, 16])
    found = training.check_leakage(tiles, tile_size=6, block=12)
    assert bool(found.leaks)
    assert int(found.shared_blocks) > 10
    assert float(found.distance.min()) == 1
    assert int(found.shared_tiles) == 0  # each tile is in one part, and yet
    parts = tiles.split.values.reshape(4, 12, 5, 12).swapaxes(1, 2).reshape(20, -1)
    assert int(found.shared_blocks) == sum(len(np.unique(b)) > 1 for b in parts)
    with raises_exactly(
        LabelError,
        f"The split leaks: 1 pixel between parts, where min_distance=2, and "
        f"{int(found.shared_blocks)} blocks with several parts; type "
        f"split = training.split_blocks(labels, block=12, buffer=2).",
    ):
        training.check_leakage(tiles, tile_size=6, block=12, strict=True)


def test_windows_of_a_part_see_no_other() -> None:
    labels = fields()
    made = training.split_blocks(labels, block=12, buffer=2)
    for number, part in enumerate(("train", "validation", "test")):
        windows = training.windows_of(made, part, 8, stride=2, share=0.6)
        for row, column in zip(windows.row.values, windows.column.values, strict=True):
            seen = made.split.values[row : row + 8, column : column + 8]
            assert set(np.unique(seen)) <= {-1, number}
            assert (seen == number).mean() >= 0.6
        kept = training.part_labels(labels, made, part)
        assert training.classes_of(kept) == training.classes_of(labels)
        want = np.where(made.split.values == number, labels.values, -1)
        np.testing.assert_array_equal(kept.values, want)
    some = training.windows_of(made, "train", 8, stride=2, share=1.0).sizes["tile"]
    assert some < training.windows_of(made, "train", 8, stride=2, share=0.2).sizes["tile"]


def test_whole_fields_are_in_one_part() -> None:
    from scipy.ndimage import label

    labels = fields((0.7, 0.2, 0.1), rows=96, columns=96)
    cut, whole = (
        training.split_blocks(labels, block=18, buffer=1, whole_fields=one) for one in (False, True)
    )
    shared = 0
    for k in (1, 2):
        ids, n = label(labels.values == k)
        for i in range(1, n + 1):
            before = cut.split.values[ids == i]
            after = whole.split.values[ids == i]
            counts = np.bincount(before[before >= 0], minlength=3)
            shared += int((counts > 0).sum() > 1)
            np.testing.assert_array_equal(after, np.where(before == counts.argmax(), before, -1))
    assert shared > 3
    options = {"tile_size": 8, "labels": labels}
    assert int(training.check_leakage(cut, **options).shared_fields) == shared
    assert int(training.check_leakage(whole, **options).shared_fields) == 0
    rest = labels.values == 0
    np.testing.assert_array_equal(whole.split.values[rest], cut.split.values[rest])
    with raises_exactly(
        LabelError,
        "The labels have shape (96, 90), and the split (96, 96); type labels= with those that it "
        "was made of.",
    ):
        training.check_leakage(cut, tile_size=8, labels=labels[:, :90])


def test_splits_refused() -> None:
    labels = fields()
    made = training.split_blocks(labels, block=12, buffer=2)
    with raises_exactly(
        OptionError,
        "buffer=12 takes 6 pixels off each side of a block, and nothing is left of block=12; type "
        "block=24 or more, or a smaller buffer.",
    ):
        training.split_blocks(labels, block=12, buffer=12)
    with raises_exactly(
        OptionError,
        "fractions={'train': 0.7, 'test': 0.2} is no split: two parts or more, each above 0, sum "
        "up to 1 (here 0.9); type fractions={'train': 0.7, 'validation': 0.1, 'test': 0.2}.",
    ):
        training.split_blocks(labels, block=12, fractions={"train": 0.7, "test": 0.2})
    with raises_exactly(
        LabelError,
        "Labels lie in 1 block of 48 pixels, and 3 parts take at least one each; type a smaller "
        "block, or label elsewhere too.",
    ):
        training.split_blocks(labels, block=48)
    with raises_exactly(
        LabelError,
        "Labels lie in 1 tile of 48 pixels, and 3 parts take at least one each; type a smaller "
        "tile, or label elsewhere too.",
    ):
        training.random_split(labels, 48)
    with raises_exactly(
        OptionError,
        "part='val' is not in the split; choose one of 'train', 'validation', 'test'.",
    ):
        training.windows_of(made, "val", 8)
    with raises_exactly(OptionError, "share=2 is no share; type a number above 0 and up to 1."):
        training.windows_of(made, "train", 8, share=2)
    with raises_exactly(
        OptionError,
        "No window of 40 pixels lies in the part 'test' and sees no other; type a smaller size, a "
        "stride below it, or split_blocks with larger blocks.",
    ):
        training.windows_of(made, "test", 40)
    with raises_exactly(
        OptionError,
        "A DataArray came where a split is needed; type "
        "split = training.split_blocks(labels, block=64).",
    ):
        training.check_leakage(made.split, tile_size=8)  # type: ignore[arg-type]
