"""Ablation and permutation of band groups, ablation of segments."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import worlds
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch as patches
from tests.test_bad_input import spectra as plain_spectra
from tests.test_bad_input import spectrum
from xrxai import patterns
from xrxai.errors import BandError, CubeError, OptionError, SegmentError


def ablated(f, x, b, part, n):
    """f(x) - f(x without the group), one group at a time: (target, group)."""
    out = []
    for g in range(1, n + 1):
        z = x.copy()
        z[part == g] = b[part == g]
        out.append(np.array(f(x)) - np.array(f(z)))
    return np.transpose(out)


def test_ablation_twin_and_captum():
    attr = pytest.importorskip("captum.attr")
    cube, model = worlds.cube(y=4, x=5), worlds.model("patch")
    f, x = worlds.function(model, cube.values)
    b = np.where(np.isfinite(cube.values), 0.2, 0.0)
    bands = cube.xai.ablation_spectral(model, bands=100.0, baseline=0.2)
    pixels = cube.xai.ablation_spatial(model, segments="patch", patch=2, baseline=0.2)
    for found, dim, part in (
        (bands, "group", bands.group_of_band.values[:, None, None]),
        (pixels, "segment", pixels.segment_of_pixel.values[None]),
    ):
        n = found.sizes[dim]
        part = np.broadcast_to(part, x.shape)
        np.testing.assert_allclose(found.attribution, ablated(f, x, b, part, n), atol=1e-12)
        assert found.model_evaluations == n + 1
        for k in range(3):
            theirs = (
                attr.FeatureAblation(model.forward)
                .attribute(
                    torch.as_tensor(x)[None],
                    baselines=torch.as_tensor(b)[None],
                    feature_mask=torch.tensor(part)[None],
                    target=k,
                )[0]
                .numpy()
            )
            first = [np.argwhere(part == g)[0] for g in range(1, n + 1)]
            np.testing.assert_allclose(
                found.attribution[k], [theirs[tuple(at)] for at in first], atol=1e-7
            )


def test_ablation_of_one_band_groups_is_occlusion_by_single_bands():
    cube, model = worlds.cube(), worlds.model("spectrum")
    one = cube.xai.ablation_spectral(model, bands=list(cube.wavelength.values))
    two = cube.xai.occlusion_spectral(model, window=1, stride=1, unit="band")
    np.testing.assert_allclose(one.attribution, two.attribution.transpose(..., "band"), rtol=1e-12)


@pytest.mark.parametrize("b", [0.0, 0.4, "mean"])
def test_linear_world(b):
    cube = worlds.cube(invalid=False)
    w = np.random.default_rng(2).normal(size=(3, 10, 6, 7))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, weight) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    base = cube.xai.baseline(b)
    true = w * (cube - base.broadcast_like(cube)).transpose("band", "y", "x").values
    found = cube.xai.ablation_spectral(model, baseline=b)
    np.testing.assert_allclose(found.attribution, true.sum((2, 3)), atol=1e-10)
    found = cube.xai.ablation_spatial(model, segments="patch", patch=3, baseline=b)
    ids = found.segment_of_pixel.values
    sums = [true[:, :, ids == s].sum((1, 2)) for s in found.segment.values]
    np.testing.assert_allclose(found.attribution, np.transpose(sums), atol=1e-10)


def test_a_segment_without_a_valid_pixel_is_nan():
    cube = worlds.cube(invalid=False)
    cube[:, :3] = np.nan
    ids = np.arange(42).reshape(6, 7) // 7 + 1
    lazy = cube.chunk().xai.ablation_spatial(worlds.model(), segments=ids).compute()
    assert np.isnan(lazy.attribution[:, :3]).all()
    assert np.isfinite(lazy.attribution[:, 3:]).all()


# --------------------------------------------------------------------------------- permutation


def swapped(f, x, donors, part, n):
    """Loss with each group of the donor, over repeats: mean, error, rms, each (sample, k, g)."""
    loss = []
    for row in donors:
        loss.append([ablated(f, x[i], x[d], part, n) for i, d in enumerate(row)])
    loss = np.array(loss)
    error = loss.std(0, ddof=1) / np.sqrt(len(loss))
    return loss.mean(0), error, np.sqrt((loss**2).mean(0))


def test_permutation_of_pixels_twin():
    cube, model = worlds.cube(y=3, x=4), worlds.model("spectrum")
    found = cube.xai.permutation_spectral(model, bands=150.0, n_repeats=4, seed=2)
    n = found.sizes["group"]
    valid = np.isfinite(cube.values[0])
    x = cube.values[:, valid].T
    f, _ = worlds.function(model, x)
    donors = [np.random.default_rng([2, r]).permutation(len(x)) for r in range(4)]
    slow = swapped(f, x, donors, found.group_of_band.values, n)
    for name, expected in zip(("attribution", "standard_error", "rms_change"), slow, strict=True):
        got = found[name].transpose("y", "x", "target", "group").values
        np.testing.assert_allclose(got[valid], expected, atol=1e-12)
        assert np.isnan(got[~valid]).all()
    assert (found.model_evaluations.values[valid] == 4 * n + 1).all()


def test_permutation_of_patches_twin_and_captum():
    attr = pytest.importorskip("captum.attr")
    cube, model = worlds.cube(lead={"time": 2, "site": 3}, invalid=False), worlds.model("patch")
    found = cube.xai.permutation_spectral(model, bands=150.0, n_repeats=5, seed=1)
    n = found.sizes["group"]
    # Leading dims are numbered by name: site varies slowest.
    x = cube.transpose("site", "time", ...).values.reshape(6, 10, 6, 7)
    f, _ = worlds.function(model, x)
    donors = patterns.exchanges(np.zeros(6, dtype=int), 5, 1)
    part = np.broadcast_to(found.group_of_band.values[:, None, None], x.shape[1:])
    slow = swapped(f, x, donors, part, n)
    for name, expected in zip(("attribution", "standard_error", "rms_change"), slow, strict=True):
        got = found[name].transpose("site", "time", "target", "group").values
        np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-12)

    one = cube.xai.permutation_spectral(model, bands=150.0, n_repeats=1, seed=1)
    assert np.isnan(one.standard_error).all()

    # captum: one permutation of the batch, ours given to it.
    def ours(values, mask):
        other = values[donors[0]]
        return torch.where(mask.expand_as(values), other, values)

    for k in range(3):
        theirs = attr.FeaturePermutation(model.forward, perm_func=ours).attribute(
            torch.as_tensor(x), feature_mask=torch.tensor(part)[None], target=k
        )
        first = [np.flatnonzero(found.group_of_band.values == g)[0] for g in range(1, n + 1)]
        got = one.attribution[k].transpose("site", "time", "group").values.reshape(6, n)
        np.testing.assert_allclose(got, theirs[:, first, 0, 0].numpy(), atol=1e-7)


def test_permutation_in_the_linear_world():
    """The mean over donors is the distance from the mean spectrum, and sums to zero at once."""
    cube = worlds.cube(y=4, x=4, invalid=False)
    w = np.random.default_rng(3).normal(size=(3, 10))
    model = xrxai.Model(
        lambda x: x @ torch.as_tensor(w).T,
        takes="spectrum",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    found = cube.xai.permutation_spectral(model, n_repeats=600)
    np.testing.assert_allclose(found.attribution.mean(["y", "x"]), 0, atol=1e-12)
    far = (cube - cube.mean(["y", "x"])).values
    true = np.einsum("kb,byx->kyxb", w, far)
    error = abs(found.attribution.transpose("target", "y", "x", "group").values - true)
    assert (error < 4.5 * found.standard_error.values + 1e-12).all()
    np.testing.assert_allclose(
        (found.rms_change**2).mean(["y", "x"]), 2 * (w**2) * far.var((1, 2)), rtol=0.1
    )


def test_pixels_without_data_give_and_take_nothing():
    rng = np.random.default_rng(0)
    cube = worlds.cube(lead={"time": 4}, invalid=False)
    mask = xr.DataArray(rng.random((4, 6, 7)) > 0.4, dims=("time", "y", "x"))
    seen = []

    def watched(x):
        seen.append(x.clone())
        return x.mean((2, 3))[:, :3]

    model = xrxai.Model(watched, takes="patch", targets=worlds.TARGETS, dtype="float64", fill=9.0)
    cube.where(mask).xai.permutation_spectral(model, n_repeats=2, batch_size=4)
    hidden = ~mask.values[:, None]
    # Afterwards a row is a variant of some sample: its hidden pixels are filled, no others.
    for row in torch.cat(seen[1:]):
        filled = (row == 9.0).numpy()
        assert any((filled == h).all() for h in hidden)
    np.testing.assert_array_equal((seen[0] == 9.0).numpy(), np.broadcast_to(hidden, (4, 10, 6, 7)))


def test_permutations_are_drawn_from_the_seed_alone():
    one = patterns.exchanges(np.array([0, 0, 0, 0, 1, 1, 1, 1, 7]), 6, 3)
    np.testing.assert_array_equal(one[:, :4] + 4, one[:, 4:8])
    assert (one[:, 8] == 8).all()
    assert (np.sort(one[:, :4]) == np.arange(4)).all()
    assert len({tuple(row) for row in one}) > 1


REFUSED = [
    (
        lambda: xrxai.permutation_spectral(plain().chunk(), spectrum()),
        CubeError,
        "The method permutation_spectral exchanges values between samples, and a block of a lazy "
        "(dask) cube knows only its own; type cube.compute(), or use ablation_spectral.",
    ),
    (
        lambda: xrxai.permutation_spectral(plain(), patches()),
        CubeError,
        "The method permutation_spectral exchanges values between samples, and there is a single "
        "patch with data; type xarray.concat([cube, ...], 'sample'), or use ablation_spectral.",
    ),
    (
        lambda: xrxai.permutation_spectral(
            plain(), spectrum(), mask=np.arange(30).reshape(6, 5) == 7
        ),
        CubeError,
        "The method permutation_spectral exchanges values between samples, and there is a single "
        "pixel with data; give several, or use ablation_spectral.",
    ),
    (
        lambda: xrxai.permutation_spectral(plain_spectra()[3], spectrum()),
        CubeError,
        "The method permutation_spectral exchanges values between samples, and there is a single "
        "pixel with data; give several, or use ablation_spectral.",
    ),
    (
        lambda: xrxai.permutation_spectral(plain(), spectrum(), n_repeats=0),
        OptionError,
        "n_repeats=0 is too small; type n_repeats=1 or more.",
    ),
    (
        lambda: xrxai.permutation_spectral(plain(), spectrum(), n_repeats=2.0),
        OptionError,
        "n_repeats=2.0 is not a whole number; type n_repeats=2.",
    ),
    (
        lambda: xrxai.permutation_spectral(plain(), spectrum(), seed=-3),
        OptionError,
        "seed=-3 is too small; type seed=0 or more.",
    ),
    (
        lambda: xrxai.permutation_spectral(plain(), spectrum(), ungrouped="drop"),
        OptionError,
        "ungrouped='drop' is not known; choose one of 'fixed', 'group'.",
    ),
    (
        lambda: xrxai.ablation_spectral(plain(), patches(), bands=-50),
        BandError,
        "bands=-50 is no width; type a positive width in nm such as 50.",
    ),
    (
        lambda: xrxai.ablation_spectral(plain(), patches(), overlap="last"),
        OptionError,
        "overlap='last' is not known; choose one of 'first', 'error', 'split'.",
    ),
    (
        lambda: xrxai.ablation_spatial(plain(), patches(), patch=0),
        OptionError,
        "patch=0 is too small; type patch=1 or more.",
    ),
    (
        lambda: xrxai.ablation_spatial(plain(), patches(), segments="grid"),
        SegmentError,
        "segments='grid' is not known; type 'slic', 'patch', a map of ids or polygons.",
    ),
    (
        lambda: xrxai.ablation_spatial(plain(), patches(), n_segments=0),
        OptionError,
        "n_segments=0 is too small; type n_segments=1 or more.",
    ),
    (
        lambda: xrxai.ablation_spatial(plain(), patches(), compactness=0),
        OptionError,
        "compactness=0 is not a positive number; type for example compactness=1.",
    ),
    (
        lambda: xrxai.ablation_spatial(plain(), patches(), batch_size=0, segments="patch"),
        OptionError,
        "batch_size=0 is too small; type batch_size=1 or more.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_refused(call, error, message):
    with pytest.raises(xrxai.XrxaiError) as caught:
        call()
    assert str(caught.value) == message
    assert type(caught.value) is error
