"""RISE: against its formula, all masks of a grid, and the linear world."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xrxai
from tests import oracles_coalitions as oracles
from tests import worlds
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch as patches
from xrxai import patterns
from xrxai.errors import BaselineError, OptionError, SegmentError


def masks(n, cells, size, p, seed):
    """The masks of the method, stretched and cut by hand."""
    out = []
    for draw in range(n):
        rng = np.random.default_rng([seed, draw])
        coins = (rng.random(cells) < p).astype(float)
        cell = [-(-length // k) for length, k in zip(size, cells, strict=True)]
        shift = [rng.integers(c) for c in cell]
        out.append(oracles.soft_mask(coins, shift, cell, size))
    return np.array(out)


@pytest.mark.parametrize(("cells", "p"), [(2, 0.5), ((3, 5), 0.3), (1, 0.8), ((4, 1), 0.5)])
def test_twin(cells, p):
    cube, model = worlds.cube(y=4, x=5), worlds.model("patch")
    f, x = worlds.function(model, cube.values)
    known = np.isfinite(cube.values)
    b = np.where(known, 0.2, 0.0)
    grid = cells if isinstance(cells, tuple) else (cells, cells)
    drawn = masks(25, grid, (4, 5), p, 4)
    found = cube.xai.rise(
        model, n_samples=25, cells=cells, probability=p, baseline=0.2, seed=4, batch_size=3
    )
    slow, error = oracles.rise(f, x, b, drawn, p)
    hide = np.where(known[0], 1.0, np.nan)
    np.testing.assert_allclose(found.attribution, slow * hide, atol=1e-12)
    np.testing.assert_allclose(found.standard_error, error * hide, atol=1e-10)
    scores = np.array([f(m * x + (1 - m) * b) for m in drawn])
    np.testing.assert_allclose(found.masked_prediction, scores.mean(0), atol=1e-12)
    assert found.model_evaluations == 26
    # Centred: the unbiased covariance of score and mask, over p.
    centred = cube.xai.rise(
        model, n_samples=25, cells=cells, probability=p, baseline=0.2, seed=4, centre=True
    )
    slow = np.einsum("mk,myx->kyx", scores - scores.mean(0), drawn - drawn.mean(0)) / 24 / p
    np.testing.assert_allclose(centred.attribution, slow * hide, atol=1e-12)


def test_masks_have_the_mean_that_is_divided_by():
    drawn = np.array([patterns.soft_mask(i, (3, 4), (8, 9), 0.3, 0) for i in range(4000)])
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    error = drawn.std(0) / np.sqrt(len(drawn))
    assert (abs(drawn.mean(0) - 0.3) < 4.5 * error).all()
    assert (error > 0).all()


def test_a_constant_is_itself_without_bias_and_zero_when_centred():
    cube = worlds.cube(invalid=False)
    model = xrxai.Model(
        lambda x: torch.full((len(x), 1), 7.0, dtype=x.dtype),
        takes="patch",
        targets=["K"],
        dtype="float64",
    )
    found = cube.xai.rise(model, n_samples=400, cells=3)
    assert (abs(found.attribution - 7) < 4.5 * found.standard_error).all()
    np.testing.assert_allclose(found.masked_prediction, 7)
    found = cube.xai.rise(model, n_samples=400, cells=3, centre=True)
    np.testing.assert_allclose(found.attribution, 0, atol=1e-12)


def test_linear_world():
    """The mean of w (b + m (x - b)) m follows from the second moments of the masks."""
    cube = worlds.cube(y=4, x=4, invalid=False)
    w = np.random.default_rng(2).normal(size=(3, 10, 4, 4))
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, torch.as_tensor(w)) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    gain = (w * (cube.values - 0.3)).sum(1)
    nothing = (w * 0.3).sum((1, 2, 3)) + 5
    drawn = masks(2000, (2, 2), (4, 4), 0.4, 0)
    second = np.einsum("mab,mcd->abcd", drawn, drawn) / len(drawn)
    expected = np.einsum("kab,abcd->kcd", gain, second) + np.einsum(
        "k,cd->kcd", nothing, drawn.mean(0)
    )
    found = cube.xai.rise(model, n_samples=2000, cells=2, probability=0.4, baseline=0.3)
    np.testing.assert_allclose(found.attribution, expected / 0.4, rtol=1e-9)
    centred = cube.xai.rise(
        model, n_samples=2000, cells=2, probability=0.4, baseline=0.3, centre=True
    )
    assert centred.standard_error.mean() < 0.7 * found.standard_error.mean()


def test_the_place_that_matters_is_found():
    cube = worlds.cube(y=12, x=12, invalid=False)
    model = xrxai.Model(
        lambda x: torch.tanh(2 * x[:, :, 2:5, 7:10].mean((1, 2, 3)))[:, None] + 3,
        takes="patch",
        targets=["K"],
        dtype="float64",
    )
    found = cube.xai.rise(model, n_samples=400, cells=4, centre=True).attribution[0]
    y, x = np.unravel_index(found.values.argmax(), (12, 12))
    assert 2 <= y < 5
    assert 7 <= x < 10


REFUSED = [
    ({"n_samples": 1}, OptionError, "n_samples=1 is too small; type n_samples=2 or more."),
    (
        {"n_samples": 1e3},
        OptionError,
        "n_samples=1000.0 is not a whole number; type n_samples=1000.",
    ),
    (
        {"cells": 7},
        SegmentError,
        "cells=(7, 7) are finer than the cube of 6 x 5 pixels; type cells=(6, 5) or less.",
    ),
    ({"cells": 0}, OptionError, "cells=0 is too small; type cells=1 or more."),
    (
        {"cells": (2, 2, 2)},
        OptionError,
        "cells=(2, 2, 2) is no size; type cells=7 or cells=(7, 7).",
    ),
    (
        {"cells": 2.5},
        OptionError,
        "cells=2.5 is not a whole number; type cells=1 or more.",
    ),
    (
        {"probability": 0},
        OptionError,
        "probability=0 is not a positive number; type for example probability=0.5.",
    ),
    (
        {"probability": 1.0},
        OptionError,
        "probability=1.0 keeps every pixel; type a number between 0 and 1 such as probability=0.5.",
    ),
    (
        {"probability": "half"},
        OptionError,
        "probability='half' is not a positive number; type for example probability=0.5.",
    ),
    (
        {"centre": "mean"},
        OptionError,
        "centre='mean' is not known; choose one of True, False.",
    ),
    ({"seed": -1}, OptionError, "seed=-1 is too small; type seed=0 or more."),
    (
        {"baseline": "zero"},
        BaselineError,
        "baseline='zero' is not known; type 'mean', 'median', a percentile such as 'p05', 'blur', "
        "a number or an array.",
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_refused(options, error, message):
    with pytest.raises(xrxai.XrxaiError) as caught:
        xrxai.rise(plain(), patches(), **{"cells": 3, **options})
    assert str(caught.value) == message
    assert type(caught.value) is error
