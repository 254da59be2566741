"""Tiles of several scenes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import LabelError, OptionError

CLASSES = training.Classes(["background", "wheat"])


def part(seed: int, *, side: int = 8, bands: int = 3, classes: training.Classes = CLASSES, **more):
    rng = np.random.default_rng(seed)
    nm = ("band", np.linspace(500, 800, bands) + more.pop("shift", 0), {"units": "nm"})
    values = rng.normal(seed, 1 + seed, (bands, side, side)).astype(np.float32)
    cube = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})
    labels = training.labels_of(rng.integers(0, 2, (side, side)), cube, classes)
    return training.Tiles(cube, labels, training.grid(cube, more.pop("tile", 4)), **more)


def test_items_come_one_part_after_the_other() -> None:
    parts = [part(0), part(1, side=12)]
    joined = training.TileList(parts)
    assert len(joined) == 4 + 9
    for index, (i, j) in {0: (0, 0), 3: (0, 3), 4: (1, 0), -1: (1, 8)}.items():
        for ours, theirs in zip(joined[index], parts[i][j], strict=True):
            assert torch.equal(ours, theirs)
    with pytest.raises(IndexError):
        joined[13]


def test_statistics_are_those_of_all_pixels() -> None:
    parts = [part(0), part(1, side=12), part(4)]
    made = training.TileList(parts).statistics()
    every = np.concatenate([p.cube.values.reshape(3, -1) for p in parts], axis=1)
    np.testing.assert_allclose(made["mean"], every.mean(1), rtol=1e-6)
    np.testing.assert_allclose(made["std"], every.std(1), rtol=1e-6)
    assert int(made["pixels"]) == every.shape[1]


def test_epochs_reach_every_part() -> None:
    changes = training.Augmentation(brightness=0.5, p=1.0)
    joined = training.TileList([part(0, augmentation=changes), part(1, augmentation=changes)])
    before = [joined[i][0] for i in (0, 4)]
    joined.set_epoch(1)
    assert not any(torch.equal(joined[i][0], b) for i, b in zip((0, 4), before, strict=True))


@pytest.mark.slow
def test_a_net_is_trained_on_them() -> None:
    net = torch.nn.Conv2d(3, 2, 1)
    made = training.fit(net, training.TileList([part(0), part(1)]), epochs=2, progress=False)
    assert made.history.sizes["epoch"] == 2


@pytest.mark.parametrize(
    ("other", "error", "message"),
    [
        (
            {"classes": training.Classes(["background", "rye"])},
            LabelError,
            "Part 1 has the classes ['background', 'rye'] and the first ['background', 'wheat']; "
            "make all labels with the same Classes.",
        ),
        (
            {"tile": 8},
            OptionError,
            "Part 1 has tile_size=8 and the first 4; give all the same.",
        ),
        (
            {"augmentation": training.Augmentation()},
            OptionError,
            "Of part 1 and the first, one is augmented and the other is not; give both an "
            "augmentation, or neither.",
        ),
        (
            {"shift": 40},
            OptionError,
            "Part 1 has 3 bands and the first 3, or their wavelengths differ by more than 10 nm; "
            "train on one sensor, and take the net over to the other with training.transfer.",
        ),
    ],
    ids=["classes", "size", "augmentation", "wavelength"],
)
def test_what_does_not_fit_is_refused(other, error, message) -> None:
    with raises_exactly(error, message):
        training.TileList([part(0), part(1, **other)])


def test_nothing_is_refused() -> None:
    with raises_exactly(
        OptionError,
        "TileList joins training.Tiles, and got nothing; type "
        "TileList([training.Tiles(cube, labels, windows), ...]).",
    ):
        training.TileList([])
