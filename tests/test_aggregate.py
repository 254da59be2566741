"""Explanations combined, averaged with intervals that hold, and compared."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import dask
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import xrxai
from tests import worlds
from tests.conftest import no_compute, raises_exactly, skip_or_fail
from tests.test_bad_input import explained
from xrxai.aggregation import blocks
from xrxai.errors import OptionError, ResultError, SegmentError


def why(values, dims=("target", "band", "y", "x"), **coords):
    """An explanation with those attributions."""
    values = np.asarray(values, dtype=float)
    attrs = {"units": "1", "signed": 1}
    made = xr.Dataset({"attribution": (dims, values, attrs)}, coords=coords)
    if "target" not in coords:
        made = made.assign_coords(target=[f"t{i}" for i in range(values.shape[0])])
    return made.assign_attrs(
        band_dim="band", y_dim="y", x_dim="x", method="saliency", options='{"seed": 3}', seed=3
    )


@functools.cache
def spectrum_of(kind, n, reach):
    """Square roots of the eigenvalues of a correlation on the torus, twice the field's size."""
    k = np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n))
    h = np.hypot(k[:, None], k)
    c = {"gauss": np.exp(-((h / reach) ** 2)), "practical": np.exp(-3 * h / reach)}
    c |= {"exp": np.exp(-h / reach), "white": (h == 0).astype(float)}
    return np.sqrt(np.fft.fft2(c[kind]).real.clip(0)) / (2 * n)


def field(rng, kind, n=64, reach=4.0):
    """A Gaussian field of mean 0, variance 1 and known correlation."""
    root = spectrum_of(kind, n, reach)
    z = rng.normal(size=root.shape) + 1j * rng.normal(size=root.shape)
    return np.fft.fft2(root * z).real[:n, :n]


def of_pixels(a, *, block=None, draws=300, seed=0):
    sums = blocks.cells(a, np.ones(()), np.zeros(()), classes=1, side=1)
    return blocks.of_cells(sums, block=block, draws=draws, confidence=0.95, seed=seed)[0]


# ------------------------------------------------------------------------------------ intervals


def test_t_interval_is_that_of_scipy(rng):
    a = rng.normal(size=(1, 9, 2))
    found = why(a, ("target", "sample", "band")).xai.aggregate("sample")
    ends = stats.t.interval(0.95, 8, a[0].mean(0), stats.sem(a[0], axis=0))
    np.testing.assert_allclose(found.attribution[0], a[0].mean(0))
    np.testing.assert_allclose(found.standard_error[0], stats.sem(a[0], axis=0))
    np.testing.assert_allclose([found.ci_low[0], found.ci_high[0]], ends)
    np.testing.assert_allclose(found.sign_share[0], (a[0] > 0).mean(0))
    assert (found["count"] == 9).all()
    np.testing.assert_allclose(
        found.attribution_quantile[0].T, np.quantile(a[0], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    )
    narrow = why(a, ("target", "sample", "band")).xai.aggregate("sample", confidence=0.5)
    half = stats.t.ppf(0.75, 8) * stats.sem(a[0], axis=0)
    np.testing.assert_allclose(narrow.ci_high[0] - a[0].mean(0), half)


def test_blocks_of_one_pixel_are_the_t_interval(rng):
    a = rng.normal(size=(12, 15))
    error, freedom = blocks.error_of_mean(a - a.mean(), np.ones_like(a), 1)
    assert error == pytest.approx(stats.sem(a.ravel()))
    assert freedom == pytest.approx(a.size - 1)


def test_variance_of_blocks_is_that_of_its_pairs(rng):
    """The slow twin: all pairs of cells, weighted by the overlap of their blocks."""
    w = rng.random((5, 6)) * (rng.random((5, 6)) > 0.2)
    a = rng.normal(size=w.shape)
    r = w * (a - (w * a).sum() / w.sum())
    at = np.argwhere(np.ones_like(w))
    gap = abs(at[:, None] - at)

    def variances(m):
        k = (1 - gap / m).clip(0).prod(-1)
        return (r.ravel() @ k @ r.ravel(), w.ravel() @ k @ w.ravel(), k)

    (v1, c1, k1), (v2, c2, k2) = variances(2), variances(4)
    total = w.sum() ** 2
    expected = max(v1 / (total - c1), (2 * v2 - v1) / (total - 2 * c2 + c1))
    error, freedom = blocks.error_of_mean(r, w, 2)
    assert error == pytest.approx(np.sqrt(expected))
    v = w.ravel() ** 2
    assert freedom + 1 == pytest.approx(v.sum() ** 2 / (v @ (2 * k2 - k1) ** 2 @ v))


def test_intervals_widen_with_blocks_where_neighbours_are_alike(rng):
    fields = [field(rng, "gauss") for _ in range(12)]
    width = [np.mean([np.diff(of_pixels(a, block=m)[2:4]) for a in fields]) for m in (1, 3, 8)]
    assert width[1] > 1.5 * width[0]
    assert width[2] > 1.2 * width[1]


def test_white_noise_gives_the_t_interval(rng):
    fields = [field(rng, "white") for _ in range(20)]
    found = np.array([of_pixels(a, draws=1000) for a in fields])
    t = [2 * stats.t.ppf(0.975, a.size - 1) * stats.sem(a.ravel()) for a in fields]
    assert np.mean(found[:, 3] - found[:, 2]) == pytest.approx(np.mean(t), rel=0.06)
    assert (found[:, 6] <= 3).all(), "nothing asks for long blocks"


@pytest.mark.slow
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("kind", ["gauss", "practical", "white"])
def test_95_percent_are_95_percent(kind, holes):
    rng = np.random.default_rng(7)
    hit = 0
    for i in range(1000):
        a = field(rng, kind)
        if holes:
            a[20:40, 5:30] = np.nan
            a[rng.random(a.shape) < 0.1] = np.nan
        _, _, low, high, *_ = of_pixels(a, draws=400, seed=i)
        hit += low <= 0 <= high
    assert 930 <= hit <= 970


@pytest.mark.parametrize("reach", [2.0, 4.0])
def test_blocks_follow_the_range(rng, reach):
    fields = [field(rng, "gauss", 96, reach) for _ in range(6)]
    found = np.mean([blocks.reach(a - a.mean(), np.ones_like(a)) for a in fields])
    # exp(-(h / reach)^2) is below 0.1 from 1.52 of the range on, and whole pixels are counted.
    assert 1.3 * reach <= found <= 1.52 * reach + 1


def test_draws_lean_where_the_values_do(rng):
    a = np.exp(1.2 * field(rng, "gauss", 40))
    mean, _, low, high, *_ = of_pixels(a, draws=3000)
    assert high - mean > 1.05 * (mean - low)


# ---------------------------------------------------------------------------------- aggregation


def scene(rng, bands=2, y=20, x=17):
    a = rng.normal(size=(1, bands, y, x)) + 0.3
    a[..., :4, :5] = np.nan
    return why(a, y=10.0 * np.arange(y)[::-1], x=10.0 * np.arange(x))


def test_pixels_by_class(rng):
    one = scene(rng)
    classes = xr.DataArray(
        np.where(np.arange(17) < 8, "maize", "wheat").astype(object), dims="x", name="crop"
    )
    classes = classes.broadcast_like(one.attribution[0, 0]).copy()
    classes[0, 16] = None
    found = one.xai.aggregate(("y", "x"), by=classes)
    assert found.attribution.dims == ("target", "crop", "band")
    for k, name in enumerate(["maize", "wheat"]):
        mine = one.attribution.where(classes == name)
        got = found.sel(crop=name)
        np.testing.assert_allclose(got.attribution, mine.mean(["y", "x"]))
        np.testing.assert_allclose(got.sign_share, (mine > 0).sum(["y", "x"]) / got["count"])
        np.testing.assert_allclose(
            got.attribution_quantile.sel(quantile=0.5), mine.median(["y", "x"])
        )
        assert (got["count"] == mine.count(["y", "x"])).all(), k
        assert (got.ci_low < got.attribution).all()
        assert (got.attribution < got.ci_high).all()
    told = json.loads(found.attrs["aggregated"])[0]
    assert (told["over"], told["by"]) == (["y", "x"], "crop")
    assert told["interval"] == "moving-block bootstrap"


def test_lazy_equals_eager_and_seed_matters(rng):
    one = scene(rng, bands=3)
    weights = xr.DataArray(rng.random((20, 17)), dims=("y", "x"))
    classes = xr.DataArray(rng.integers(0, 2, (20, 17)), dims=("y", "x"), name="crop")
    ask = {"by": classes, "weights": weights, "n_draws": 200}
    eager = one.xai.aggregate(["y", "x"], **ask)
    with no_compute():
        lazy = one.chunk(y=7, x=6, band=2).xai.aggregate(["y", "x"], **ask)
    assert isinstance(lazy.attribution.data, dask.array.Array)
    xr.testing.assert_allclose(lazy.compute(scheduler="synchronous"), eager, rtol=1e-10)
    xr.testing.assert_identical(one.xai.aggregate(["y", "x"], **ask), eager)
    other = one.xai.aggregate(["y", "x"], **ask, seed=1)
    assert (other.ci_low != eager.ci_low).all()
    xr.testing.assert_identical(other.standard_error, eager.standard_error)
    more = one.xai.aggregate(["y", "x"], **{**ask, "n_draws": 300})
    assert (more.ci_low != eager.ci_low).all()
    w = weights.where(one.attribution.notnull())
    for k in (0, 1):
        mean = (w * one.attribution).where(classes == k).sum(["y", "x"])
        mean = mean / w.where(classes == k).sum(["y", "x"])
        np.testing.assert_allclose(eager.attribution.sel(crop=k), mean)
    samples = why(rng.normal(size=(1, 8, 3)), ("target", "sample", "band"))
    with no_compute():
        lazy = samples.chunk(sample=3, band=2).xai.aggregate("sample")
    xr.testing.assert_allclose(lazy.compute(), samples.xai.aggregate("sample"), rtol=1e-12)


def test_large_scenes_are_held_in_cells(rng):
    a = field(rng, "gauss", 300)[None, None, :, :290]
    found = why(a).xai.aggregate(("y", "x"))
    assert json.loads(found.attrs["aggregated"])[0]["cell"] == 2
    assert float(found.attribution[0, 0]) == pytest.approx(a.mean())
    lazy = why(a).chunk(y=61, x=53).xai.aggregate(("y", "x"))
    xr.testing.assert_allclose(lazy.compute(), found)
    fine = of_pixels(a[0, 0], block=int(found.block_length[0, 0]))
    assert float(found.standard_error[0, 0]) == pytest.approx(fine[1], rel=0.05)


def test_block_in_pixels_and_metres(rng):
    one = scene(rng)
    wide = one.xai.aggregate(("y", "x"), block=40, block_unit="metres")
    same = one.xai.aggregate(("y", "x"), block=4)
    assert (wide.block_length == 4).all()
    xr.testing.assert_equal(wide, same)


def test_seasons_and_fidelity(rng):
    dates = np.array(["2020-01-05", "2020-01-25", "2020-07-01", "2020-08-01"], "datetime64[ns]")
    each = [why(rng.normal(size=(1, 3)), ("target", "band")) for _ in dates]
    each = [e.assign(fidelity=("target", [f])) for e, f in zip(each, [1, 0.5, 1, -2], strict=True)]
    many = xrxai.combine(each, dim="time", names=dates)
    found = many.xai.aggregate("time", by="time.season")
    assert found.season.values.tolist() == ["DJF", "JJA"]
    winter = many.attribution[:, :2].mean("time")
    np.testing.assert_allclose(found.attribution.sel(season="DJF"), winter)
    found = many.xai.aggregate("time", by="time.season", weights="fidelity")
    a = many.attribution
    np.testing.assert_allclose(found.attribution.sel(season="DJF"), (a[:, 0] + a[:, 1] / 2) / 1.5)
    np.testing.assert_allclose(found.attribution.sel(season="JJA"), a[:, 2])
    assert found.standard_error.sel(season="JJA").isnull().all(), "one value has no spread"


def test_fidelity_of_every_pixel():
    """Weights have fewer dims than what they weigh, and come with it in chunks."""
    found = worlds.explain("lime_spectral", worlds.cube(), worlds.model("spectrum"))
    ask = {"weights": "fidelity", "n_draws": 100}
    one = found.xai.aggregate(("y", "x"), **ask)
    w = found.fidelity.clip(0)
    expected = (w * found.attribution).sum(["y", "x"]) / w.sum(["y", "x"])
    np.testing.assert_allclose(one.attribution, expected.transpose(*one.attribution.dims))
    lazy = found.chunk(y=4, x=3, group=2).xai.aggregate(("y", "x"), **ask).compute()
    xr.testing.assert_allclose(lazy, one, rtol=1e-9)
    assert one.group_of_band.variable.identical(found.group_of_band.variable)


def test_polygons(rng):
    try:
        import geopandas
        import shapely
    except ImportError as error:
        skip_or_fail(str(error))
    import rioxarray  # noqa: F401  registers .rio

    one = scene(rng).rio.write_crs(32633)
    shapes = [shapely.box(*at) for at in ((0, 0, 45, 95), (55, -5, 95, 95), (100, 0, 140, 95))]
    fields = geopandas.GeoDataFrame({"crop": ["rye", "oat", "rye"]}, geometry=shapes, crs=32633)
    found = one.xai.aggregate(("y", "x"), by=fields, column="crop", n_draws=100)
    assert found.crop.values.tolist() == ["oat", "rye"]
    inside = one.attribution.sel(y=slice(90, 0), x=slice(60, 90))
    np.testing.assert_allclose(found.attribution.sel(crop="oat"), inside.mean(["y", "x"]))
    assert one.xai.aggregate(("y", "x"), by=fields, n_draws=100).sizes["region"] == 3
    with pytest.raises(SegmentError, match=r"type polygons.to_crs"):
        one.xai.aggregate(("y", "x"), by=fields.to_crs(4326))


def test_figures_and_steps_follow():
    cube = worlds.cube(lead={"sample": 3})
    found = worlds.explain("saliency", cube, worlds.model("patch"))
    pixels = found.xai.aggregate(("y", "x"), n_draws=100)
    assert pixels.attribution.dims == ("target", "sample", "band")
    done = pixels.xai.aggregate("sample")
    assert [s["over"] for s in json.loads(done.attrs["aggregated"])] == [["y", "x"], ["sample"]]
    assert "wavelength" in done.coords
    done.xai.plot.spectral(target="K")
    done.xai.plot.bars(target="K")
    assert done.xai.to_groups(150.0).sizes["group"] == 4


# ------------------------------------------------------------------------------ combine, compare


def test_combine_names_and_provenance():
    each = [why([[k, 1.0]], ("target", "band")).assign_attrs(seed=k) for k in (4, 5)]
    made = xrxai.combine(
        [e.chunk(band=1) for e in each], names=["a", "b"], coords={"crop": ["rye", "oat"]}
    )
    assert made.attribution.chunks is not None
    assert made.sample.values.tolist() == ["a", "b"]
    assert made.crop.dims == ("sample",)
    assert json.loads(made.attrs["combined"]) == {"seed": [4, 5]}
    assert made.attrs["method"] == "saliency"


def test_combine_tells_baselines_apart():
    cubes = [worlds.cube(), worlds.cube(seed=1)]

    def each(*baselines):
        model = worlds.model("patch")
        asked = zip(cubes, baselines, strict=True)
        return [c.xai.ablation_spectral(model, baseline=b) for c, b in asked]

    made = xrxai.combine(each(cubes[0].fillna(0), cubes[1].fillna(0).rename("mine")))
    assert "baseline" not in json.loads(made.attrs["options"]), "they do not share it"
    with pytest.raises(ResultError, match="baseline='median' in the first and 'mean' in number 2"):
        xrxai.combine(each("median", "mean"))


def test_agreement_of_known_rankings():
    base = np.array([[5.0, -4.0, 3.0, 2.0, 1.0]])
    flip = np.array([[1.0, 2.0, 3.0, -4.0, 5.0]])
    given = {"a": why(base, ("target", "band")), "b": why(flip, ("target", "band"))}
    given["c"] = why(2 * base, ("target", "band"))
    found = xrxai.agreement(given, k=2)
    assert found.rank_correlation.dims == ("target", "method", "other")
    assert found.rank_correlation[0].values.tolist() == [[1, -1, 1], [-1, 1, -1], [1, -1, 1]]
    assert found.overlap[0].values.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    # Of bands 0, 1, 3, 4 the signs of 0 and 4 are alike.
    assert float(found.sign_agreement.sel({"method": "a", "other": "b"})[0]) == 0.5
    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(2, 1, 30))
    two[0, 3] = np.nan
    both = [why(v, ("target", "band")) for v in (one, two)]
    found = xrxai.agreement(both)
    assert found.method.values.tolist() == ["saliency", "saliency 2"]
    known = np.isfinite(two[0])
    expected = stats.spearmanr(abs(one[0][known]), abs(two[0][known])).statistic
    assert float(found.rank_correlation[0, 0, 1]) == pytest.approx(expected)
    lazy = xrxai.agreement([b.chunk(band=7) for b in both])
    xr.testing.assert_allclose(lazy.compute(), found)


def test_agreement_across_resolutions():
    cube = worlds.cube()
    model = worlds.model("patch")
    maps = worlds.explain("saliency", cube, model)
    groups = worlds.explain("lime_spectral", cube, model)
    found = xrxai.agreement([maps, groups], k=3)
    assert found.attrs["resolution"] == "band"
    assert found.attrs["averaged_over"] == "x, y"
    spread = groups.xai.on_cube().attribution
    known = spread[0].notnull().values
    mean = abs(maps.attribution.mean(["y", "x"]))[0].values[known]
    expected = stats.spearmanr(mean, abs(spread[0].values[known])).statistic
    assert float(found.rank_correlation[0, 0, 1]) == pytest.approx(expected)


# ------------------------------------------------------------------------------------ wrong calls


def plane():
    return why(np.arange(24.0).reshape(1, 2, 3, 4), y=[0.0, 1, 2], x=[0.0, 1, 2, 3])


def table():
    return why(np.ones((1, 3, 2)), ("target", "sample", "band"))


REFUSED = {
    "no_explanation": (
        lambda: xrxai.aggregate(xr.Dataset({"a": 1}), "x"),
        ResultError,
        "This Dataset with variables ['a'] is no explanation; make one with "
        "cube.xai.saliency(model) or another method.",
    ),
    "dim_unknown": (
        lambda: table().xai.aggregate("time"),
        ResultError,
        "A mean over 'time' was asked for, and the attributions have the dims ('target', "
        "'sample', 'band'); type dim= with one or more of them.",
    ),
    "dim_of_features": (
        lambda: table().xai.aggregate("band"),
        ResultError,
        "A mean over 'band' would mix what is explained; average over samples, tiles or pixels, "
        "and sum bands with .xai.to_groups().",
    ),
    "rows_alone": (
        lambda: plane().xai.aggregate("y"),
        ResultError,
        "Rows and columns are averaged together and by themselves, and the mean is over ('y',); "
        "type .xai.aggregate(('y', 'x')).",
    ),
    "interval_word": (
        lambda: plane().xai.aggregate(("y", "x"), interval="normal"),
        OptionError,
        "interval='normal' is not known; choose one of 'auto', 't', 'bootstrap'.",
    ),
    "bootstrap_of_samples": (
        lambda: table().xai.aggregate("sample", interval="bootstrap"),
        OptionError,
        "interval='bootstrap' draws blocks over two dims, and the mean is over ('sample',); type "
        "interval='t'.",
    ),
    "block_of_samples": (
        lambda: table().xai.aggregate("sample", block=3),
        OptionError,
        "block=3 belongs to interval='bootstrap', and the interval over ('sample',) is 't'; drop "
        "block=, or type interval='bootstrap' over rows and columns.",
    ),
    "block_large": (
        lambda: plane().xai.aggregate(("y", "x"), block=9),
        OptionError,
        "block=9 pixels are 9 pixels, and the scene has [3, 4]; type a block of a fifth of its "
        "side or less.",
    ),
    "block_metres": (
        lambda: plane().drop_vars("y").xai.aggregate(("y", "x"), block=9, block_unit="metres"),
        OptionError,
        "block_unit='metres' needs coordinates in metres along 'y'; type block_unit='pixels'.",
    ),
    "draws_few": (
        lambda: plane().xai.aggregate(("y", "x"), n_draws=10),
        OptionError,
        "n_draws=10 is too small; type n_draws=100 or more.",
    ),
    "confidence": (
        lambda: table().xai.aggregate("sample", confidence=95),
        OptionError,
        "confidence=95 is no share; type a number between 0 and 1.",
    ),
    "weights_word": (
        lambda: table().xai.aggregate("sample", weights="score"),
        OptionError,
        "weights='score' is not known; choose one of 'fidelity'.",
    ),
    "weights_fidelity": (
        lambda: table().xai.aggregate("sample", weights="fidelity"),
        ResultError,
        "weights='fidelity' and saliency tells no fidelity; use lime_spectral or lime_spatial, or "
        "give weights as a DataArray.",
    ),
    "weights_negative": (
        lambda: table().xai.aggregate("sample", weights=xr.DataArray([1, -1, 1], dims="sample")),
        OptionError,
        "weights= holds numbers below 0; type weights=weights.clip(0).",
    ),
    "by_unknown": (
        lambda: table().xai.aggregate("sample", by="crop"),
        OptionError,
        "by='crop' is no coordinate of this explanation; choose one of 'target', or type "
        "'time.season' where there are dates.",
    ),
    "by_elsewhere": (
        lambda: table().xai.aggregate("sample", by=xr.DataArray([1, 2], dims="sample")),
        OptionError,
        "by= does not lie on the explanation along 'sample' (2 and 3 places); type "
        "by.reindex_like(explanation, method='nearest').",
    ),
    "by_lazy": (
        lambda: table().xai.aggregate("sample", by=xr.DataArray([1, 2, 2], dims="sample").chunk()),
        OptionError,
        "by= is lazy (dask), and the names of the classes must be known; type by=by.compute().",
    ),
    "column_alone": (
        lambda: table().xai.aggregate("sample", column="crop"),
        OptionError,
        "column='crop' names a column of polygons, and by= holds none; type by=polygons, or drop "
        "column=.",
    ),
    "combine_options": (
        lambda: xrxai.combine([table(), table().assign_attrs(options='{"target": ["K"]}')], "time"),
        ResultError,
        "The explanations differ in targets, bands or groups: target=None in the first and "
        "['K'] in number 2. Explain all cubes with the same target=.",
    ),
    "combine_models": (
        lambda: xrxai.combine([table(), table().assign_attrs(model_hash="ab")], "time"),
        ResultError,
        "The explanations are of different models: model_hash is None in the first and ab in "
        "number 2. Explain all cubes with one model.",
    ),
    "combine_names": (
        lambda: xrxai.combine([table(), table()], "time", names=["a"]),
        OptionError,
        "names= has shape (1,) and there are 2 explanations; give one value for each.",
    ),
    "combine_twice": (
        lambda: xrxai.combine([table(), table()]),
        ResultError,
        "The explanations have the dim 'sample' already, 3 long; type dim= with a new name, or "
        "join them with xarray.concat(explanations, 'sample').",
    ),
    "agreement_alone": (
        lambda: xrxai.agreement([table()]),
        OptionError,
        "An agreement is between two or more explanations, and 1 came; type agreement([one, two]).",
    ),
    "agreement_targets": (
        lambda: xrxai.agreement([table(), explained()]),
        ResultError,
        "lime_spectral explains the targets ['K', 'pH'] and saliency ['t0']; type target= alike "
        "in both.",
    ),
    "agreement_k": (
        lambda: xrxai.agreement([table(), table()], k=0),
        OptionError,
        "k=0 is too small; type k=1 or more.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, message = REFUSED[name]
    with raises_exactly(error, message):
        call()


@pytest.mark.filterwarnings("default")
def test_the_page_runs():
    page = (Path(__file__).parents[1] / "docs" / "global.md").read_text()
    names = {}
    for block in re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        exec(compile(block, "global.md", "exec"), names)
        for line, dims in re.findall(r"^(.+)\.dims  # (\(.*\))$", block, re.MULTILINE):
            assert repr(eval(line, names).dims) == dims
    plt.close("all")
    assert (names["longer"].block_length == 8).all()


@pytest.mark.parametrize("weights", [[415, 153, 114, 108, 95, 92], [50, 10, 9], [7, 7, 7, 7]])
def test_intervals_of_unequal_weights_cover(weights: list[int]) -> None:
    from xrxai.aggregation.blocks import of_samples

    w = np.array(weights, float)
    values = np.random.default_rng(0).standard_normal((4000, len(w)))
    made = of_samples(values, w, np.zeros(len(w), int), classes=1, confidence=0.95)[:, 0]
    low, high = made[:, 2], made[:, 3]
    assert 0.94 < ((low < 0) & (high > 0)).mean() < 0.985
    # The matrix of the form in full, for its degrees of freedom.
    from scipy.stats import t as student

    centred = np.eye(len(w)) - w / w.sum()
    form = centred.T @ np.diag(w**2) @ centred
    freedom = np.trace(form) ** 2 / np.trace(form @ form)
    np.testing.assert_allclose((high - low) / 2, student.ppf(0.975, freedom) * made[:, 1])
