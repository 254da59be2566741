"""Figures of training: what they show is what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
import xarray as xr
from matplotlib.colors import to_rgb
from torch import nn

from tests.conftest import raises_exactly
from xrxai import training
from xrxai.errors import OptionError, ResultError
from xrxai.training import Classes, Tiles

pytestmark = pytest.mark.slow

CLASSES = Classes(["soil", "wheat", "rye", "oats"], colors={"soil": "#886644"})
NM = [480.0, 560.0, 660.0]


@pytest.fixture(autouse=True)
def closed() -> Any:
    yield
    plt.close("all")


def scene(wavelength: bool = True) -> tuple[xr.DataArray, xr.DataArray, xr.Dataset]:
    """Bands that hold the class number; a corner without data, a row that nobody looked at."""
    truth = np.kron(np.array([[0, 1, 2, 0], [1, 2, 0, 1]]), np.ones((4, 4), int))
    values = np.stack([truth == k for k in range(3)]).astype(np.float32)
    cube = xr.DataArray(values, dims=("band", "y", "x"))
    if wavelength:
        cube = cube.assign_coords(wavelength=("band", NM, {"units": "nm"}))
    cube[:, :2, :3] = np.nan
    labels = training.labels_of(truth, cube, CLASSES)
    labels[3] = -1
    windows = xr.Dataset({"row": ("tile", [0, 0]), "column": ("tile", [0, 8])})
    return cube, labels, windows.assign_attrs(tile_size=8)


def right() -> nn.Module:
    """A net that answers what the bands hold, and never oats."""
    net = nn.Conv2d(3, 4, 1)
    with torch.no_grad():
        net.weight[:] = torch.eye(4, 3)[:, :, None, None] * 5
        net.bias[:] = torch.tensor([0.0, 0.0, 0.0, -9.0])
    return net


def fitted(**options: Any) -> Any:
    cube, labels, windows = scene()
    tiles = Tiles(cube, labels, windows)
    options = {"epochs": 2, "lr": 1e-4, "progress": False, **options}
    return training.fit(right(), tiles, options.pop("validation", tiles), **options)


def panel(figure: Any, name: str) -> Any:
    return next(ax for ax in figure.axes if ax.get_label() == name)


def shown(ax: Any) -> Any:
    return np.ma.filled(ax.images[0].get_array(), -1)


def keys(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_predictions_stand_beside_the_truth() -> None:
    cube, labels, windows = scene()
    figure = training.plot_predictions(cube, labels, fitted(), windows)
    for k, column in enumerate((0, 8)):
        truth = labels.values[:8, column : column + 8].copy()
        found = np.kron([[0, 1, 2, 0], [1, 2, 0, 1]], np.ones((4, 4), int))[:, column : column + 8]
        if k == 0:
            truth[:2, :3], found[:2, :3] = -1, -1
        np.testing.assert_array_equal(shown(panel(figure, f"truth {k}")), truth)
        np.testing.assert_array_equal(shown(panel(figure, f"prediction {k}")), found)
    assert panel(figure, "prediction 1").get_title(loc="left") == "100 %"
    colours = panel(figure, "input 0").images[0].get_array()
    assert (colours[:2, :3, 3] == 0).all()  # what was not measured shows the ground
    np.testing.assert_allclose(colours[5, 1, :3], to_rgb("lime"))  # class 1: the band at 560 nm
    assert keys(figure) == ["soil", "wheat", "rye", "not labelled"]
    patches = figure.legends[0].get_patches()
    assert to_rgb(patches[0].get_facecolor()) == to_rgb("#886644")
    said = figure.get_suptitle()
    assert "100 % of labelled pixels right" in said
    assert "R 660 · G 560 · B 480 nm" in said


def test_tiles_are_drawn_as_the_net_gets_them() -> None:
    cube, labels, windows = scene(wavelength=False)
    turned = training.Augmentation(p=1.0, scale=(1.0, 1.0), rotate=0.0)
    tiles = Tiles(cube, labels, windows, augmentation=turned)
    tiles.set_epoch(3)
    figure = training.plot_tiles(tiles, columns=1)
    for k in range(2):
        np.testing.assert_array_equal(shown(panel(figure, f"label {k}")), tiles[k][1])
    said = " ".join(figure.get_suptitle().split())
    assert said == "Augmented tiles, epoch 3 2 of 2 bands 2 · 1 · 0"
    one = training.plot_tiles(Tiles(cube, labels, windows), count=1)
    assert one.get_suptitle().split()[:4] == ["Tiles", "—", "1", "of"]
    with raises_exactly(OptionError, "count=0 is too small; type count=1 or more."):
        training.plot_tiles(tiles, count=0)


@pytest.mark.slow
def test_pictures_after_each_epoch(tmp_path: Path) -> None:
    cube, labels, windows = scene()
    pictures = training.Pictures(cube, labels, windows, folder=tmp_path / "run", count=1)
    one = fitted(callback=pictures)
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == ["epoch_001.png", "epoch_002.png"]
    assert pictures.figure is not None
    assert pictures.figure.get_suptitle().startswith("Epoch 2")
    assert not plt.get_fignums()  # none stays open
    seldom = training.Pictures(cube, labels, windows, every=2)
    two = fitted(callback=seldom)
    assert seldom.figure is not None
    # Who looks does not change what is learned.
    for a, b in zip(one.net.parameters(), two.net.parameters(), strict=True):
        assert torch.equal(a, b)


def test_history_is_drawn() -> None:
    made = fitted()
    figure = training.plot_history(made)
    train, validation = panel(figure, "loss").lines[:2]
    np.testing.assert_array_equal(train.get_ydata(), made.history.train_loss)
    np.testing.assert_array_equal(validation.get_ydata(), made.history.validation_loss)
    lines = {line.get_label(): line for line in panel(figure, "iou").lines}
    assert {"soil", "wheat", "rye", "mean"} <= set(lines)
    assert "oats" not in lines  # nobody labelled any
    assert lines["soil"].get_color() == "#886644"
    np.testing.assert_array_equal(lines["mean"].get_ydata(), made.history.mean_iou)
    assert f"best is epoch {made.best_epoch}" in figure.get_suptitle()
    bare = training.plot_history(fitted(validation=None).history)
    assert [ax.get_label() for ax in bare.axes] == ["loss"]
    with raises_exactly(
        ResultError,
        "Expected what fit returned; found a Dataset without the variable 'train_loss'. Type "
        "training.plot_history(fitted).",
    ):
        training.plot_history(xr.Dataset())


def test_confusion_is_drawn() -> None:
    cube, labels, _ = scene()
    labels = labels.where(labels != 2, 1)  # so that half of what is called wheat is said to be rye
    made = training.evaluate(cube, labels, fitted().model, n_boot=20)
    figure = training.plot_confusion(made)
    image = panel(figure, "confusion").images[0].get_array()
    counts = made.confusion.values.astype(float)
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(np.ma.filled(image, np.nan), counts / counts.sum(1)[:, None])
    bars = [patch.get_width() for patch in panel(figure, "iou").patches]
    np.testing.assert_allclose(bars, np.nan_to_num(made.iou))
    assert sum(text.get_text() == "absent" for text in panel(figure, "iou").texts) == 2
    assert "absent: rye, oats" in figure.get_suptitle()
    assert panel(figure, "iou").get_xlabel() == "IoU, 95 % interval"
    with raises_exactly(
        ResultError,
        "Expected what evaluate returned; found a Dataset without the variables 'confusion' and "
        "'iou'. Type training.plot_confusion(training.evaluate(cube, labels, model)).",
    ):
        training.plot_confusion(xr.Dataset())
