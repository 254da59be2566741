"""A spectrum that was taken out of a cube is explained like its pixel there."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests import worlds
from xrxai import plot

CALLS = {
    "input_x_gradient": {},
    "integrated_gradients": {"n_steps": 5},
    "lime_spectral": {"bands": 150.0, "n_samples": 32},
    "occlusion_spectral": {"window": 3, "stride": 1, "unit": "band"},
    "kernel_shap_spectral": {"bands": 150.0},
}


@pytest.mark.parametrize("chunks", [None, {}])
@pytest.mark.parametrize("name", CALLS)
def test_one_spectrum(name, chunks):
    cube, model = worlds.cube(), worlds.model("spectrum")
    at = {"y": 1, "x": 3}
    alone = cube.isel(at) if chunks is None else cube.isel(at).chunk(chunks)
    found = getattr(alone.xai, name)(model, progress=False, **CALLS[name])
    whole = getattr(cube.xai, name)(model, progress=False, **CALLS[name])
    wanted = whole.attribution.isel(at)
    np.testing.assert_allclose(found.attribution, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.spectrum, np.broadcast_to(alone, found.spectrum.shape), 1e-6)
    figure = plot.overview(found, target="K")
    assert [ax.get_label() for ax in figure.axes][:2] == ["reflectance", "spectrum"]
    plt.close(figure)
