"""Occlusion by blocks of bands and pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xrxai
from tests import oracles, worlds
from tests.test_bad_input import cube as plain
from tests.test_bad_input import patch, spectrum
from xrxai.errors import BandError, ModelError, OptionError, SegmentError


@pytest.mark.parametrize(
    ("window", "stride"), [((4, 3, 2), (3, 2, 2)), ((10, 4, 5), (1, 1, 1)), ((3, 2, 2), (4, 3, 3))]
)
def test_twin_and_captum(window, stride):
    attr = pytest.importorskip("captum.attr")
    cube, model = worlds.cube(y=4, x=5), worlds.model("patch")
    f, x = worlds.function(model, cube.values)
    fast = cube.xai.occlusion(model, window=window, stride=stride, unit="band", baseline=0.2)
    known = np.isfinite(cube.values)
    b = np.where(known, 0.2, 0.0)
    blocks = []
    for k in oracles.sliding(10, window[0], stride[0]):
        for r in oracles.sliding(4, window[1], stride[1]):
            for c in oracles.sliding(5, window[2], stride[2]):
                inside = np.zeros(x.shape, dtype=bool)
                inside[slice(*k), slice(*r), slice(*c)] = True
                blocks.append(inside)
    slow, each = oracles.occlusion(f, x, b, blocks)
    np.testing.assert_allclose(fast.window_effect, each, atol=1e-12)
    np.testing.assert_allclose(fast.attribution, np.where(known, slow, np.nan), atol=1e-12)
    assert fast.attribution.dims == ("target", "band", "y", "x")
    # The windows are what was evaluated, word for word.
    for i, inside in enumerate(blocks):
        row = fast.isel(window=i)
        told = np.zeros(x.shape, dtype=bool)
        told[
            row.band_in_window.values,
            int(row.window_row_start) : int(row.window_row_stop),
            int(row.window_column_start) : int(row.window_column_stop),
        ] = True
        np.testing.assert_array_equal(told, inside)
        reach = cube.wavelength[inside.any((1, 2))]
        assert (row.window_min, row.window_max) == (reach.min(), reach.max())
    if any(s > w for s, w in zip(stride, window, strict=True)):
        return  # captum divides 0 by 0 between windows
    for k, name in enumerate(worlds.TARGETS):
        theirs = (
            attr.Occlusion(model.forward)
            .attribute(
                torch.as_tensor(x)[None],
                sliding_window_shapes=window,
                strides=stride,
                baselines=torch.as_tensor(b)[None],
                target=k,
            )[0]
            .numpy()
        )
        np.testing.assert_allclose(
            fast.attribution.sel(target=name),
            np.where(known, theirs, np.nan),
            rtol=1e-5,
            atol=1e-10,
        )


def test_window_count_of_the_published_tutorial():
    """150 x 224 x 224, window 50, stride 30: 5 x 7 x 7 = 245."""
    cube = worlds.cube(bands=150, y=224, x=224, invalid=False, dtype="float32").chunk()
    found = cube.xai.occlusion(
        worlds.model(bands=150), window=(50, 50, 50), stride=(30, 30, 30), unit="band"
    )
    assert found.sizes["window"] == 245
    assert found.band_in_window.sizes == {"window": 245, "band": 150}


def test_nm_follow_the_spectrum_and_leave_bad_bands_out():
    good = np.ones(10, dtype=bool)
    good[[0, 4]] = False
    cube = worlds.cube(y=4, x=4, invalid=False).assign_coords(good_band=("band", good))
    found = cube.xai.occlusion(worlds.model(), window=(120.0, 2, 2))
    n_bands = found.sizes["window"] // 9
    wide = cube.xai.occlusion_spectral(worlds.model(), window=120.0)
    np.testing.assert_array_equal(
        found.band_in_window.values.reshape(n_bands, 9, 10),
        np.repeat(wide.band_in_window.values[:, None], 9, axis=1),
    )
    assert np.isnan(found.attribution[:, ~good]).all()
    assert np.isfinite(found.attribution[:, good]).all()


def test_a_window_over_everything_is_the_spectral_or_spatial_method():
    cube, model = worlds.cube(), worlds.model()
    bands = cube.xai.occlusion(model, window=(3, 6, 7), stride=(2, 6, 7), unit="band")
    alone = cube.xai.occlusion_spectral(model, window=3, stride=2, unit="band")
    np.testing.assert_allclose(bands.window_effect, alone.window_effect, rtol=1e-12)
    pixels = cube.xai.occlusion(model, window=(10, 3, 3), stride=(10, 2, 1), unit="band")
    alone = cube.xai.occlusion_spatial(model, window=3, stride=(2, 1))
    np.testing.assert_allclose(pixels.window_effect, alone.window_effect, rtol=1e-12)
    np.testing.assert_allclose(pixels.attribution[:, 3], alone.attribution, rtol=1e-12)


def test_linear_world():
    cube = worlds.cube(invalid=False)
    w = torch.as_tensor(np.random.default_rng(2).normal(size=(3, 10, 6, 7)))
    model = xrxai.Model(
        lambda x: torch.einsum("nbyx,kbyx->nk", x, w) + 5,
        takes="patch",
        targets=worlds.TARGETS,
        dtype="float64",
    )
    found = cube.xai.occlusion(model, window=(1, 1, 1), stride=(1, 1, 1), unit="band", baseline=0.3)
    np.testing.assert_allclose(found.attribution, w.numpy() * (cube.values - 0.3), atol=1e-10)


OCCLUSION = {"window": (2, 3, 3), "unit": "band"}
REFUSED = [
    (
        {"unit": "um"},
        OptionError,
        "unit='um' is not known; choose one of 'nm', 'band'.",
    ),
    (
        {"window": 16},
        OptionError,
        "window=16 is no block of bands, rows and columns; type for example window=(50, 16, 16).",
    ),
    (
        {"window": (16, 16)},
        OptionError,
        "window=(16, 16) is no block of bands, rows and columns; type for example "
        "window=(50, 16, 16).",
    ),
    (
        {"stride": 3},
        OptionError,
        "stride=3 is no block of bands, rows and columns; type for example stride=(50, 16, 16).",
    ),
    (
        {"window": (50.0, 16, 16), "unit": "nm"},
        SegmentError,
        "window[1:]=(16, 16) is larger than the cube of 6 x 5 pixels; type window[1:]=(6, 5) or "
        "less.",
    ),
    (
        {"window": (9, 2, 2)},
        BandError,
        "window[0]=9 bands is wider than the cube, which has 8; type window[0]=8 or less.",
    ),
    (
        {"window": (0.5, 2, 2)},
        OptionError,
        "window[0]=0.5 is not a whole number; type window[0]=1 or more.",
    ),
    (
        {"window": (-50.0, 2, 2), "unit": "nm"},
        OptionError,
        "window[0]=-50.0 is not a positive number; type for example window[0]=50.",
    ),
    (
        {"window": (2, 0, 2)},
        OptionError,
        "window[1:]=0 is too small; type window[1:]=1 or more.",
    ),
    (
        {"stride": (0, 1, 1)},
        OptionError,
        "stride[0]=0 is too small; type stride[0]=1 or more.",
    ),
    (
        {"stride": (1, 1, 0)},
        OptionError,
        "stride[1:]=0 is too small; type stride[1:]=1 or more.",
    ),
    (
        {"stride": (-1.0, 1, 1), "unit": "nm"},
        OptionError,
        "stride[0]=-1.0 is not a positive number; type for example stride[0]=25.",
    ),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_refused(options, error, message):
    with pytest.raises(xrxai.XrxaiError) as caught:
        xrxai.occlusion(plain(), patch(), **{**OCCLUSION, **options})
    assert str(caught.value) == message
    assert type(caught.value) is error


def test_spectra_are_refused():
    with pytest.raises(ModelError) as caught:
        xrxai.occlusion(plain(), spectrum())
    assert str(caught.value) == (
        "The method occlusion switches regions, but the model takes='spectrum' sees one pixel at "
        "a time; its answer for a pixel cannot depend on others. Use occlusion_spectral."
    )
