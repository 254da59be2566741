"""The best part of an image, and wrong calls of what makes and cuts regions."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import xrxai
from tests import worlds
from tests.conftest import no_compute, raises_exactly
from tests.test_bad_input import cube, estimator, explained, patch, spectrum
from xrxai.errors import (
    BandError,
    BaselineError,
    ModelError,
    OptionError,
    ResultError,
    SegmentError,
    XrxaiError,
)


def result(values, dims=("target", "y", "x")):
    """An explanation with those attributions."""
    made = xr.Dataset({"attribution": (dims, np.asarray(values, dtype=float))})
    return made.assign_attrs(band_dim="band", y_dim="y", x_dim="x", method="saliency")


def test_highest_pixels():
    values = [[[1, 2, 3, 4, 5], [6, 7, 8, 9, -10]]]
    found = xrxai.top(result(values), 0.3)
    assert found.dtype == bool
    assert found.attrs["long_name"] == "highest 30 % of attribution"
    assert found[0].values.tolist() == [[0, 0, 0, 0, 0], [0, 1, 1, 1, 0]]
    assert xrxai.top(result(values), 0.31).sum() == 4, "at least the share"
    assert xrxai.top(result(values), 1e-9).sum() == 1
    assert xrxai.top(result(values), 1).all()
    found = result(values).xai.top(0.2, absolute=True)
    assert found[0].values.tolist() == [[0, 0, 0, 0, 0], [0, 0, 0, 1, 1]]


def test_equals_come_together_and_gaps_do_not_count():
    values = [[[3, 3, 3, 1, 0], [np.nan, np.nan, np.nan, np.nan, np.nan]]]
    assert xrxai.top(result(values), 0.2)[0].values.tolist() == [[1, 1, 1, 0, 0], [0] * 5]
    assert not xrxai.top(result(np.full((1, 2, 2), np.nan)), 0.5).any()


def test_bands_are_added_up():
    values = np.zeros((1, 2, 2, 2))
    values[0, :, 0, 0] = 5, -5
    values[0, :, 1, 1] = 1, 1
    values[0, 0, 0, 1] = np.nan
    order = ("target", "band", "y", "x")
    assert xrxai.top(result(values, order), 0.25)[0].values.tolist() == [[0, 0], [0, 1]]
    assert xrxai.top(result(-values, order), 0.25, absolute=True)[0].values.tolist() == [
        [0, 0],
        [0, 1],
    ]


def test_groups_are_added_up_whatever_their_size():
    made = result([[[[3, -2], [0, -0.5]]]], ("target", "y", "x", "group"))
    made["group_of_band"] = "band", [1, 2, 2, 2]
    # 1 and -0.5; counted once for each band, -3 and -1.5.
    assert xrxai.top(made, 0.5).values.tolist() == [[[True, False]]]


@pytest.mark.parametrize("name", xrxai.methods())
def test_every_map_of_every_method(name):
    """Each image and target for itself, in the order of dims of the cube, lazy or not."""
    one = worlds.cube(lead={"time": 2}).transpose("x", "time", "band", "y")
    kind = "patch" if name in worlds.SPATIAL else "spectrum"
    try:
        found = worlds.explain(name, one, worlds.model(kind, method=name))
    except XrxaiError:
        found = worlds.explain(name, one, worlds.model("patch", method=name))
    if not {"x", "y"} <= set(found.xai.on_cube().attribution.dims):
        return  # per band: refused below
    best = found.xai.top(0.2)
    spread = found.xai.on_cube().attribution
    assert best.dims == tuple(d for d in spread.dims if d not in ("band", "group"))
    assert not best.where(~found.valid, False).any()
    valid = found.valid.sum(["x", "y"])
    assert (best.sum(["x", "y"]) >= 0.2 * valid).all()
    alone = found.isel(time=1, target=[2]).xai.top(0.2)
    np.testing.assert_array_equal(alone.values[0], best.isel(time=1, target=2).values)
    with no_compute():
        lazy = found.chunk(time=1, x=2).xai.top(0.2)
    xr.testing.assert_identical(lazy.compute(scheduler="synchronous"), best)


REFUSED = {
    "segments_word": (
        lambda: xrxai.xrai(cube(), patch(), segments="slic"),
        SegmentError,
        "segments='slic' is not known; type 'felzenszwalb', 'patch', a map of ids, polygons, or "
        "a list of them.",
    ),
    "segments_word_in_list": (
        lambda: xrxai.xrai(cube(), patch(), segments=["patch", "grid"]),
        SegmentError,
        "segments='grid' is not known; type 'felzenszwalb', 'patch', a map of ids, polygons, or "
        "a list of them.",
    ),
    "segments_empty": (
        lambda: xrxai.xrai(cube(), patch(), segments=[]),
        SegmentError,
        "segments=[] is empty; give at least one map of ids or polygons.",
    ),
    "segments_shape": (
        lambda: xrxai.xrai(cube(), patch(), segments=[np.ones((6, 5), int), np.ones((3, 2), int)]),
        SegmentError,
        "The segment map has shape (3, 2) and the cube {'y': 6, 'x': 5}; type a map of shape "
        "(6, 5) over ('y', 'x').",
    ),
    "segments_lazy": (
        lambda: xrxai.xrai(cube().chunk(y=3), patch()),
        SegmentError,
        "Superpixels must see the pixels, and the cube is lazy (dask); type segments='patch', "
        "give maps of ids or polygons, or explain cube.compute().",
    ),
    "scales_empty": (
        lambda: xrxai.xrai(cube(), patch(), scales=[]),
        OptionError,
        "scales=[] is empty; type at least one, for example scales=[1, 4].",
    ),
    "scales_zero": (
        lambda: xrxai.xrai(cube(), patch(), scales=[1, 0]),
        OptionError,
        "scales=0 is not a positive number; type for example scales=4.",
    ),
    "scales_word": (
        lambda: xrxai.xrai(cube(), patch(), scales="fine"),
        OptionError,
        "scales='fine' is not a positive number; type for example scales=4.",
    ),
    "segment_bands_unknown": (
        lambda: xrxai.xrai(cube(), patch(), segment_bands=["L9"]),
        BandError,
        "'L9' is no spectral index, no band of spyndex and no band label; type for example "
        "'NDVI' or (620, 690).",
    ),
    "dilation_negative": (
        lambda: xrxai.xrai(cube(), patch(), dilation=-1),
        OptionError,
        "dilation=-1 is too small; type dilation=0 or more.",
    ),
    "dilation_float": (
        lambda: xrxai.xrai(cube(), patch(), dilation=1.5),
        OptionError,
        "dilation=1.5 is not a whole number; type dilation=0 or more.",
    ),
    "min_area_zero": (
        lambda: xrxai.xrai(cube(), patch(), min_area=0),
        OptionError,
        "min_area=0 is too small; type min_area=1 or more.",
    ),
    "patch_zero": (
        lambda: xrxai.xrai(cube(), patch(), segments="patch", patch=0),
        OptionError,
        "patch=0 is too small; type patch=1 or more.",
    ),
    "n_steps_zero": (
        lambda: xrxai.xrai(cube(), patch(), n_steps=0),
        OptionError,
        "n_steps=0 is too small; type n_steps=1 or more.",
    ),
    "mode_word": (
        lambda: xrxai.xrai(cube(), patch(), mode="slow"),
        OptionError,
        "mode='slow' is not known; choose one of 'full', 'fast'.",
    ),
    "over_bands_word": (
        lambda: xrxai.xrai(cube(), patch(), over_bands="mean"),
        OptionError,
        "over_bands='mean' is not known; choose one of 'max', 'sum'.",
    ),
    "baseline_empty": (
        lambda: xrxai.xrai(cube(), patch(), baseline=[]),
        BaselineError,
        "baseline=[] is empty; give at least one, or leave it out for the lowest and the highest "
        "value of each band.",
    ),
    "baseline_bool": (
        lambda: xrxai.xrai(cube(), patch(), baseline=[0.0, True]),
        BaselineError,
        "baseline=True is no value; type a number such as 0.0.",
    ),
    "spectrum": (
        lambda: xrxai.xrai(cube(), spectrum()),
        ModelError,
        "The method xrai switches regions, but the model takes='spectrum' sees one pixel at a "
        "time; its answer for a pixel cannot depend on others. Use occlusion_spectral.",
    ),
    "estimator": (
        lambda: xrxai.xrai(cube(), estimator()),
        ModelError,
        "The method xrai switches regions, but the model takes='spectrum' sees one pixel at a "
        "time; its answer for a pixel cannot depend on others. Use occlusion_spectral.",
    ),
    "numpy": (
        lambda: xrxai.xrai(cube(), patch(arrays="numpy")),
        ModelError,
        "The method xrai needs gradients, which never (arrays='numpy') cannot give; use "
        "lime_spectral or occlusion_spectral.",
    ),
    "top_of_bands": (
        lambda: xrxai.top(explained()),
        ResultError,
        "This explanation answers over ('target', 'group'), not per pixel, so no part of the "
        "image can be cut out; use integrated_gradients, xrai, occlusion_spatial or "
        "lime_spatial.",
    ),
    "top_of_a_cube": (
        lambda: xrxai.top(cube().to_dataset(name="a")),
        ResultError,
        "This Dataset with variables ['a'] is no explanation; make one with "
        "cube.xai.saliency(model) or another method.",
    ),
    "share_zero": (
        lambda: xrxai.top(result(np.ones((1, 2, 2))), 0),
        OptionError,
        "share=0 is not a positive number; type for example share=0.3.",
    ),
    "share_percent": (
        lambda: xrxai.top(result(np.ones((1, 2, 2))), 30),
        OptionError,
        "share=30 is more than everything; type for example share=0.3.",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_the_model_runs(case):
    call, error, message = REFUSED[case]
    with raises_exactly(error, message):
        call()
