"""Own work at the floor: one buffer, patterns once, and what that must not change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xrxai
from tests import worlds
from xrxai import designs, patterns
from xrxai.tensors import surrogate
from xrxai.tensors.device import room

OPTIONS = {"takes": "patch", "targets": worlds.TARGETS, "dtype": "float64", "stem": "off"}
METHODS = {
    "lime_spectral": {"bands": 150.0, "n_samples": 20},
    "lime_spatial": {"segments": "patch", "patch": 3, "n_samples": 20},
    "occlusion_spectral": {"window": 150.0},
    "occlusion_spatial": {"window": 3},
    "occlusion": {"window": (150.0, 3, 3)},
    "rise": {"n_samples": 6, "cells": 3},
}


def run(name, forward, cube, **more):
    return getattr(cube.xai, name)(xrxai.Model(forward, **{**OPTIONS, **more}), **METHODS[name])


@pytest.mark.filterwarnings("ignore:20 samples")
@pytest.mark.parametrize("name", METHODS)
def test_a_model_that_writes_into_its_input_changes_nothing(name):
    net = worlds.PatchNet().double()

    def rude(x):
        out = net(x)
        x.mul_(-3.0).add_(7.0)
        return out

    cube = worlds.cube(lead={"time": 2})
    before = cube.copy(deep=True)
    fine, found = run(name, net, cube), run(name, rude, cube)
    xr.testing.assert_allclose(found.attribution, fine.attribution, rtol=1e-12)
    xr.testing.assert_identical(cube, before)


def test_a_callable_on_arrays_may_write_into_them():
    def rude(x):
        out = np.tanh(x[:, :3] * x[:, 3:6])
        x[:] = -5.0
        return out

    options = {"takes": "spectrum", "arrays": "numpy", "targets": worlds.TARGETS}
    models = [xrxai.Model(f, **options) for f in (rude, lambda x: rude(x.copy()))]
    cube = worlds.cube()
    one, two = (cube.xai.occlusion_spectral(m, window=100.0, batch_size=7) for m in models)
    xr.testing.assert_identical(one.attribution, two.attribution)


def test_large_values_beside_small_ones_are_kept_to_the_bit():
    cube = worlds.cube(invalid=False)
    cube[0] = 3e38
    seen = []

    def spy(x):
        seen.append(x.clone())
        return x[:, :3].mean((2, 3)) * 0

    xrxai.lime_spectral(
        cube, xrxai.Model(spy, **OPTIONS), bands=150.0, n_samples=20, baseline=-1e-30
    )
    values = {float(v) for x in seen for v in x[:, 1, 0, 0]}
    assert values == {float(cube[1, 0, 0]), -1e-30}


def test_equal_patterns_are_evaluated_once():
    cube = worlds.cube()
    model = xrxai.Model(worlds.PatchNet().double(), **OPTIONS)
    options = {"bands": 250.0, "n_samples": 64, "seed": 3, "design": "random"}
    found = cube.xai.lime_spectral(model, **options)
    n_groups = found.sizes["group"]
    assert n_groups <= 3
    (drawn,) = designs.draw("random", [64], n_groups, 3)
    once = len(np.unique(drawn.on, axis=0))
    assert int(found.model_evaluations) == once + 2 < 12
    assert xrxai.plan(cube, model, "lime_spectral", options=options).evaluations == once + 2


def test_distinct_patterns_keep_their_order():
    on = np.array([[1, 0, 1], [0, 0, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=bool)
    some, back = patterns.distinct(on)
    np.testing.assert_array_equal(some, on[[0, 1, 3]])
    np.testing.assert_array_equal(some[back], on)
    wide = np.random.default_rng(0).random((50, 70)) < 0.5
    np.testing.assert_array_equal(patterns.distinct(wide)[0], wide)


@pytest.mark.parametrize("design", ["random", "balanced"])
def test_fits_of_many_samples_are_those_of_few(design, monkeypatch):
    (drawn,) = designs.draw(design, [14], 4, 0)
    y = torch.from_numpy(np.random.default_rng(1).normal(size=(9, 14, 2)))
    whole = surrogate.fit(y, drawn, None, "ridge", 1e-3, None)
    monkeypatch.setattr(surrogate, "_RIDGE_VALUES", 70)
    few = surrogate.fit(y, drawn, None, "ridge", 1e-3, None)
    for one, two in zip(few, whole, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_networks_on_spectra_get_smaller_batches():
    most = []

    class Spy(nn.Linear):
        def forward(self, x):
            most.append(len(x))
            return super().forward(x)

    net = Spy(150, 3)
    cube = worlds.cube(bands=150, y=30, x=30, invalid=False, dtype="float32")
    for forward, rows in ((net, 436), (lambda x: net(x), 900)):
        most.clear()
        cube.xai.saliency(xrxai.Model(forward, takes="spectrum", targets=worlds.TARGETS))
        assert max(most) == rows
    assert room(torch.device("cpu")) == 4 * 2**20
