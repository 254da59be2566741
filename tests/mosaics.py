"""A small scene whose errors are planted, and a linear model of maps that makes them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

import xrxai
from xrxai import training

CLASSES = training.Classes(["soil", "wheat", "rye"])
WEIGHTS = np.array([[4.0, 1.0, 0.5, 1.0], [1.0, 4.0, 0.5, 1.0], [0.5, 1.0, 4.0, 1.5]])
BANDS = {"low": (400.0, 500.0), "mid": (500.0, 600.0), "high": (600.0, 800.0)}


def linear(
    weights: np.ndarray = WEIGHTS, targets: Any = CLASSES.names, **options: Any
) -> xrxai.Model:
    """Scores (n, class, y, x) = weights · spectrum."""
    w = torch.tensor(weights, dtype=torch.float32)
    return xrxai.Model(
        lambda x: torch.einsum("kb,nbyx->nkyx", w, x),
        takes="patch",
        gives="map",
        targets=targets,
        **options,
    )


def scene(seed: int = 0, rows: int = 12, columns: int = 18) -> tuple[xr.DataArray, xr.DataArray]:
    """Cube (band, y, x) and labels: stripes of each class, and two blocks of wheat taken for rye.

    In the blocks the third band (of "high") is too bright; nothing else differs.
    """
    rng = np.random.default_rng(seed)
    told = np.repeat(np.arange(3), columns // 3)[None].repeat(rows, 0)
    pure = np.array([[0.6, 0.2, 0.2, 0.3], [0.2, 0.6, 0.2, 0.3], [0.2, 0.2, 0.6, 0.3]])
    values = pure[told] + rng.uniform(-0.04, 0.04, (rows, columns, 4))
    for block in (slice(0, 4), slice(6, 9)):
        values[block, 7:10, 2] += 0.7
    cube = xr.DataArray(
        np.moveaxis(values, -1, 0).astype(np.float32),
        dims=("band", "y", "x"),
        coords={"y": np.arange(rows) * -10.0, "x": np.arange(columns) * 10.0},
    )
    cube = xrxai.to_cube(cube, wavelength=[450.0, 550.0, 650.0, 750.0])
    return cube, training.labels_of(told, cube, CLASSES)


def wrong_blocks(shape: tuple[int, int] = (12, 18)) -> np.ndarray:
    """Where `scene` has planted errors."""
    wrong = np.zeros(shape, bool)
    wrong[0:4, 7:10] = wrong[6:9, 7:10] = True
    return wrong
