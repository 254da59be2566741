"""Occlusion that halves the windows that matter."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import planted, worlds
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch as never
from xrxai.datasets import synthetic
from xrxai.labelled import windows


def slow(f, x, b, window, refine, share):
    """The same window by window, in a recursion per level; one target."""
    high, wide = x.shape[1:]
    level = [
        (r, min(r + window, high), c, min(c + window, wide))
        for r in range(0, high, window)
        for c in range(0, wide, window)
    ]
    found, value = {}, np.full((high, wide), np.nan)
    for _ in range(refine + 1):
        effects = {}
        for top, bottom, left, right in level:
            z = x.copy()
            z[:, top:bottom, left:right] = b
            effects[top, bottom, left, right] = f(x) - f(z)
            value[top:bottom, left:right] = f(x) - f(z)
        found |= effects
        total = sum(abs(e).item() for e in effects.values())
        level, sofar = [], 0.0
        for box, effect in sorted(effects.items(), key=lambda item: -abs(item[1]).item()):
            if sofar >= share * total or not effect:
                break
            sofar += abs(effect).item()
            top, bottom, left, right = box
            middle, centre = (top + bottom + 1) // 2, (left + right + 1) // 2
            for r in {(top, middle), (middle, bottom)}:
                for c in {(left, centre), (centre, right)}:
                    if r[0] < r[1] and c[0] < c[1] and (*r, *c) != box:
                        level.append((*r, *c))
    return found, value


@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_twin(share):
    cube = worlds.cube(bands=4, y=9, x=10, invalid=False, lead={"time": 2})
    model = worlds.model("patch", bands=4)
    found = cube.xai.occlusion_spatial(
        model, target="K", window=4, refine=3, share=share, baseline=0.2
    )
    assert json.loads(found.attrs["options"])["share"] == share
    for time in range(2):
        f, x = worlds.function(model, cube.values[time])
        boxes, value = slow(lambda z, f=f: f(z)[:1], x, 0.2, 4, 3, share)
        one = found.isel(time=time, target=0)
        np.testing.assert_allclose(one.attribution, value, rtol=1e-9, atol=1e-12)
        asked = one.window_effect.notnull()
        assert int(asked.sum()) == len(boxes)
        assert int(one.model_evaluations) == len(boxes) + 1
        ends = ("row_start", "row_stop", "column_start", "column_stop")
        table = np.stack([one[f"window_{end}"].values for end in ends], axis=1)[asked.values]
        for row, effect in zip(table, one.window_effect.values[asked.values], strict=True):
            np.testing.assert_allclose(effect, boxes[tuple(row.tolist())], rtol=1e-9, atol=1e-12)


def test_levels_cover_the_image_and_end_at_single_pixels():
    boxes = np.array([[0, 3, 0, 2], [3, 4, 0, 1]])
    parts, parent = windows.quarters(boxes)
    assert parent.tolist() == [0, 0, 0, 0], "one pixel has no parts"
    assert parts.tolist() == [[0, 2, 0, 1], [0, 2, 1, 2], [2, 3, 0, 1], [2, 3, 1, 2]]
    cube = worlds.cube(y=4, x=4, invalid=False)
    found = cube.xai.occlusion_spatial(worlds.model(), window=2, refine=9, share=1.0)
    assert found.window_level.values.tolist() == [0] * 4 + [1] * 16
    plain_windows = cube.xai.occlusion_spatial(worlds.model(), window=1)
    np.testing.assert_allclose(found.attribution, plain_windows.attribution, rtol=1e-9, atol=1e-12)


def test_a_small_object_is_found_with_few_evaluations():
    scene = synthetic.textures(seed=3)
    chip = scene.cube.isel(sample=0)
    here = scene.truth.region.isel(sample=0)
    model = xrxai.Model(planted.RegionNet(here, 4), takes="patch", targets=["object"])
    found = chip.xai.occlusion_spatial(model, window=8, refine=2)
    fixed = chip.xai.occlusion_spatial(model, window=2, stride=2)
    assert found.model_evaluations < 0.3 * fixed.model_evaluations
    effect = abs(found.window_effect.isel(target=0)).where(found.window_level == 2, drop=True)
    best = effect.window[effect.fillna(0).argsort().values[-20:]]
    ends = ("row_start", "row_stop", "column_start", "column_stop")
    inside = [
        float(here[a:b, c:d].mean())
        for a, b, c, d in zip(*(best[f"window_{end}"].values for end in ends), strict=True)
    ]
    assert np.mean(inside) > 0.7
    # Hardly anything of the object is left to large windows.
    size = xr.full_like(here, 0, float)
    asked = found.window_effect.isel(target=0).notnull().values
    for a, b, c, d in np.stack([found[f"window_{end}"].values for end in ends], 1)[asked]:
        size[a:b, c:d] = b - a
    assert (size.where(here) == 2).sum() > 0.6 * here.sum()


def test_batches_chunks_and_nodata():
    cube = worlds.cube(lead={"time": 2})
    model = worlds.model("map")
    options = {"window": 3, "refine": 1, "share": 0.5}
    whole = cube.xai.occlusion_spatial(model, **options)
    one = cube.xai.occlusion_spatial(model, batch_size=1, **options)
    xr.testing.assert_allclose(one, whole, rtol=1e-9)
    lazy = cube.chunk(time=1).xai.occlusion_spatial(model, **options).compute()
    xr.testing.assert_allclose(lazy.attribution, whole.attribution, rtol=1e-9)
    np.testing.assert_array_equal(lazy.model_evaluations, whole.model_evaluations)
    assert np.isnan(whole.attribution.where(~whole.valid, drop=True)).all()
    assert cube.xai.plan(model, "occlusion_spatial", options=options).evaluations is None


def test_nothing_that_matters_is_not_halved():
    model = xrxai.Model(
        lambda x: torch.ones(len(x), 1, dtype=x.dtype), takes="patch", targets=["one"]
    )
    found = worlds.cube(invalid=False).xai.occlusion_spatial(model, window=3, refine=2)
    assert int(found.model_evaluations) == 2 * 3 + 1
    assert (found.attribution == 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"refine": -1}, "refine=-1 is too small; type refine=0 or more."),
        (
            {"share": 0.5},
            "share=0.5 says which windows are halved, and refine=0 halves none; type refine=1 or "
            "more, or leave out share=.",
        ),
        (
            {"refine": 2, "stride": 2},
            "stride=2 and refine=2 came together, and windows that are halved lie side by side; "
            "leave out one of them.",
        ),
        (
            {"refine": 1, "share": 0},
            "share=0 is not a positive number; type for example share=0.8.",
        ),
        ({"refine": 1, "share": 2}, "share=2 is more than all; type a share of at most 1."),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(xrxai.XrxaiError) as error:
        xrxai.occlusion_spatial(plain(), never(), window=4, **options)
    assert str(error.value) == message
