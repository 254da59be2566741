"""What stands in for removed bands: baselines by word, interpolation, conditional means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr

import xrxai
from tests import oracles, oracles_noise, worlds
from tests.conftest import no_compute, raises_exactly
from xrxai import designs, imputation, patterns
from xrxai.errors import BandError, BaselineError, CubeError, OptionError

ON_OFF = {
    "occlusion_spectral": {"window": 120.0},
    "lime_spectral": {"bands": 150.0, "n_samples": 12},
}


def gaussian_world(bands=6, y=7, x=8, seed=0, lead=None):
    """Spectra of a normal distribution that is known, and the Dataset that says so."""
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(bands, bands)) + 2 * np.ones((bands, 1))
    covariance = root @ root.T / bands
    mean = rng.uniform(1, 2, bands)
    cube = worlds.cube(bands, y, x, seed=seed, invalid=False, lead=lead)
    drawn = rng.multivariate_normal(mean, covariance, size=cube.isel(band=0).shape)
    cube = cube.copy(data=np.moveaxis(drawn, -1, -3))
    fit = xr.Dataset({"mean": ("band", mean), "covariance": (("band", "band_other"), covariance)})
    return cube, fit, mean, covariance


def linear(bands, seed=3):
    """The score w.x + c of spectra, two targets."""
    w = np.random.default_rng(seed).normal(size=(2, bands))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: x @ weight.T + 5, takes="spectrum", targets=["K", "Mg"], dtype="float64"
    )
    return model, w


# the maps


def random_patterns(m, n, seed=0):
    kept = np.random.default_rng(seed).random((m, n)) < 0.5
    return np.vstack([kept, np.ones((1, n), bool), np.zeros((1, n), bool)])


def test_interpolation_is_that_of_numpy():
    """Wavelengths in any order, twice, and beyond the ends; bad bands take no part."""
    rng = np.random.default_rng(1)
    wavelength = np.array([700.0, 450, 460, 460, 455, 900, 500, 640, np.nan])
    good = np.arange(9) < 8
    x = rng.uniform(size=9)
    kept = random_patterns(40, 9)
    offset, matrix, alone = imputation.Interpolated(wavelength, good).maps(kept)
    assert (offset == 0).all()
    np.testing.assert_array_equal(alone, ~kept[:, :8].any(1))
    for row, on in enumerate(kept):
        if alone[row]:
            continue
        slow = oracles_noise.interpolated(x[:8], on[:8], wavelength[:8], None)
        fast = np.where(on[:8], x[:8], (matrix[row] @ x)[:8])
        # Of two bands at one wavelength either may be the nearest.
        either = np.isin(wavelength[:8], 460)
        np.testing.assert_allclose(fast[~either], slow[~either], rtol=1e-12)
        np.testing.assert_allclose(matrix[row][~on & good].sum(1), 1)
        assert (matrix[row][:, ~on | ~good] == 0).all(), "only kept good bands are read"


def test_conditional_means_are_those_of_the_precision_matrix():
    _, _, mean, covariance = gaussian_world()
    x = np.random.default_rng(2).normal(size=6)
    kept = random_patterns(30, 6)
    gaussian = imputation.Gaussian(mean, covariance, np.ones(6, bool))
    offset, matrix, alone = gaussian.maps(kept)
    assert not alone.any()
    for row, on in enumerate(kept):
        slow = oracles_noise.conditional_mean(x, on, mean, covariance)
        fast = np.where(on, x, offset[row] + matrix[row] @ x)
        np.testing.assert_allclose(fast, slow, rtol=1e-9, atol=1e-12)


# a linear model and a normal distribution: the answers are known


def test_linear_gaussian_occlusion():
    """The loss without the bands R is w_R (x_R - E[x_R | the others])."""
    cube, fit, mean, covariance = gaussian_world()
    model, w = linear(6)
    found = cube.xai.occlusion_spectral(
        model, window=2, stride=1, unit="band", removal="conditional", covariance=fit
    )
    for y, x in np.ndindex(3, 3):
        one = cube.values[:, y, x]
        for k, inside in enumerate(found.band_in_window.values):
            filled = oracles_noise.conditional_mean(one, ~inside, mean, covariance)
            np.testing.assert_allclose(
                found.window_effect[:, y, x, k], w @ (one - filled), rtol=1e-8, atol=1e-10
            )


def test_linear_gaussian_shapley():
    """Aas et al. 2021: v(S) = E[f(x) | x_S], here by `evaluate`; its Shapley values in full."""
    from xrxai.tensors import perturb
    from xrxai.tensors.run import session
    from xrxai.tensors.score import Score

    cube, _, mean, covariance = gaussian_world(bands=5, y=1, x=3)
    model, w = linear(5)
    x = torch.as_tensor(cube.values[:, 0].T.copy())
    on = patterns.every(5)
    gaussian = imputation.Gaussian(mean, covariance, np.ones(5, bool))
    with session(model, "cpu", None) as runner:
        score = Score(runner, [0, 1], 3)
        fill = perturb.Fill(torch.zeros(1, 5, dtype=torch.float64), gaussian)
        scores = perturb.evaluate(score, x, fill, on, perturb.each_band(x)).numpy()
    codes = {frozenset(np.flatnonzero(row)): i for i, row in enumerate(on)}
    for n in range(3):
        for k in range(2):

            def known(some, n=n, k=k):
                kept = np.isin(np.arange(5), list(some))
                one = x[n].numpy()
                return w[k] @ oracles_noise.conditional_mean(one, kept, mean, covariance) + 5

            fast = oracles_noise.shapley(lambda s, n=n, k=k: scores[n, codes[s], k], 5)
            np.testing.assert_allclose(fast, oracles_noise.shapley(known, 5), rtol=1e-8)
            total = w[k] @ (x[n].numpy() - mean)
            np.testing.assert_allclose(fast.sum(), total, rtol=1e-9)


@pytest.mark.parametrize("how", ["conditional", "interpolate"])
@pytest.mark.parametrize("kind", ["spectrum", "patch", "map"])
def test_lime_equals_the_normal_equations(kind, how):
    """Any model, invalid pixels, a bad band: the filled cubes go through the model as they are."""
    cube, fit, mean, covariance = gaussian_world(bands=6, y=4, x=3, seed=7)
    good = np.arange(6) != 4
    cube = cube.assign_coords(good_band=("band", good))
    cube[4] = np.nan
    cube[:, 0, 1] = np.nan
    model = worlds.model("patch" if kind == "map" else kind, bands=6)
    options = {"removal": "conditional", "covariance": fit} if how == "conditional" else {}
    if how == "interpolate":
        options["baseline"] = "interpolate"
    found = cube.xai.lime_spectral(
        model, bands={"a": [450, 720], "b": [540, 900]}, n_samples=20, **options
    )
    part, on = found.group_of_band.values, patterns.every(2)
    g = np.flatnonzero(good)
    own = np.nan_to_num(cube).sum((1, 2)) / 11
    wavelength = cube.wavelength.values
    clean = np.nan_to_num(cube.values)
    ok = np.isfinite(cube.values[0])

    def filled(one, kept):
        out = one.copy()
        if how == "conditional":
            block = covariance[np.ix_(g, g)]
            out[g] = oracles_noise.conditional_mean(one[g], kept[g], mean[g], block)
        else:
            out[g] = oracles_noise.interpolated(one[g], kept[g], wavelength[g], own[g])
        return out

    weights = np.array([oracles.lime_weight(row, 0.25) for row in on])
    every = [np.concatenate([[True], row])[part] for row in on]
    if kind == "spectrum":
        places = np.argwhere(ok)[::3]
        cases = [(clean[:, y, x], found.isel(y=y, x=x), filled) for y, x in places]
    else:

        def image(z, kept):
            out = z.copy()
            for y, x in np.ndindex(4, 3):
                if ok[y, x]:
                    out[:, y, x] = filled(z[:, y, x], kept)
            return out

        cases = [(clean, found, image)]
    for one, answer, fill in cases:
        f, _ = worlds.function(model, one)
        scores = np.array([f(fill(one, kept)) for kept in every])
        for k in range(3):
            _, slope = oracles.weighted_ridge(on.astype(float), weights, scores[:, k], 1e-6)
            np.testing.assert_allclose(answer.attribution[k], slope, rtol=1e-6, atol=1e-10)
        nothing = np.concatenate([[True], [False, False]])[part]
        np.testing.assert_allclose(answer.baseline_prediction, f(fill(one, nothing)), rtol=1e-9)


def test_correlation_decides():
    """Two bands that are copies: removed marginally one counts, given the other it does not."""
    rng = np.random.default_rng(0)
    both = rng.normal(size=(6, 6)) + 3
    cube = worlds.cube(3, 6, 6, invalid=False)
    cube = cube.copy(data=np.stack([both, both, rng.normal(size=(6, 6))]))
    w = torch.tensor([[1.0], [1.0], [1.0]], dtype=torch.float64)
    model = xrxai.Model(lambda x: x @ w, takes="spectrum", targets=["K"], dtype="float64")
    alone = {"window": 1, "stride": 1, "unit": "band"}
    marginal = cube.xai.occlusion_spectral(model, **alone)
    np.testing.assert_allclose(marginal.attribution[0], cube)
    fit = cube.xai.spectral_covariance(shrinkage=1e-8)
    found = cube.xai.occlusion_spectral(model, removal="conditional", covariance=fit, **alone)
    np.testing.assert_allclose(found.attribution[0, :2], 0, atol=1e-4)
    assert abs(found.attribution[0, 2]).mean() > 0.1


@pytest.mark.parametrize("kind", ["spectrum", "patch"])
@pytest.mark.parametrize("name", ON_OFF)
def test_off_manifold_twin(name, kind):
    cube, fit, mean, covariance = gaussian_world(bands=10, y=4, x=3)
    cube[:, 1, 1] = np.nan
    options = {**ON_OFF[name], "covariance": fit, "baseline": 0.3}
    model = worlds.model(kind)
    found = getattr(cube.xai, name)(model, removal="conditional", **options)
    assert list(found["removal"].values) == ["marginal", "conditional"]
    if name == "occlusion_spectral":
        every = ~found.band_in_window.values
    else:
        on = designs.draw("balanced", [12], found.sizes["group"], 0)[0].on
        every = np.array([np.concatenate([[True], row])[found.group_of_band] for row in on])
    far = np.full((4, 3, 3), np.nan)
    for y, x in np.ndindex(4, 3):
        one = cube.values[:, y, x]
        if np.isnan(one).any():
            continue
        filled = [
            [np.where(k, one, 0.3) for k in every],
            [oracles_noise.conditional_mean(one, k, mean, covariance) for k in every],
            [one],
        ]
        for i, some in enumerate(filled):
            far[y, x, i] = np.mean([oracles_noise.distance(z, mean, covariance) for z in some])
    if kind == "patch":
        far = np.nanmean(far, axis=(0, 1))
    wanted = far[..., :2] / far[..., 2:]
    np.testing.assert_allclose(found.off_manifold, wanted, rtol=1e-7)
    assert (found.off_manifold.sel(removal="conditional").fillna(0) <= 1 + 1e-9).all()
    # The same is told for marginal removal, when the covariance is there.
    other = getattr(cube.xai, name)(model, **options)
    np.testing.assert_allclose(other.off_manifold, wanted, rtol=1e-7)
    plain = {k: v for k, v in options.items() if k != "covariance"}
    without = getattr(cube.xai, name)(model, **plain)
    assert "off_manifold" not in without
    xr.testing.assert_allclose(other.attribution, without.attribution)
    assert not np.allclose(other.attribution, found.attribution, equal_nan=True)


# the fit


def test_fit_reads_valid_pixels_and_good_bands_only():
    rng = np.random.default_rng(1)
    cube = worlds.cube(lead={"time": 2})
    good = np.arange(10) != 3
    ok = np.isfinite(cube.values).all(1)
    table = np.moveaxis(cube.values, 1, -1)[ok]
    mask = rng.random((6, 7)) < 0.8
    table = np.moveaxis(cube.values, 1, -1)[ok & mask]
    cube = cube.assign_coords(good_band=("band", good))
    for garbage in (np.nan, np.inf, 1e30):
        dirty = cube.where(cube.good_band, garbage).where(xr.DataArray(mask, dims=("y", "x")))
        dirty = dirty.transpose("y", "time", "band", "x")
        fit = dirty.xai.spectral_covariance(mask=mask, shrinkage=0.1)
        true = np.cov(table, rowvar=False)
        true = 0.9 * true + 0.1 * np.diag(np.diag(true))
        true[~good], true[:, ~good] = np.nan, np.nan
        np.testing.assert_allclose(fit.covariance, true, rtol=1e-10)
        np.testing.assert_allclose(fit["mean"], np.where(good, table.mean(0), np.nan), rtol=1e-10)
        assert fit.n_pixels == len(table)
        assert fit.covariance.dims == ("band", "band_other")
        assert fit.wavelength.equals(cube.wavelength)


def test_fit_of_fewer_pixels_than_bands_and_of_still_bands():
    cube = worlds.cube(bands=30, y=2, x=3, invalid=False)
    cube[5] = 0.25
    found = cube.xai.occlusion_spectral(worlds.model(bands=30), removal="conditional", window=90.0)
    assert np.isfinite(found.attribution).all()
    assert np.isfinite(found.off_manifold).all()


def test_large_cubes_are_thinned_the_same_way_now_and_later():
    cube = worlds.cube(bands=3, y=300, x=200, invalid=False)
    fit = cube.xai.spectral_covariance()
    assert 10_000 < fit.n_pixels <= 20_000
    with no_compute():
        lazy = cube.chunk(y=64, x=50, band=2).xai.spectral_covariance()
        assert all(v.chunks is not None for v in lazy.data_vars.values() if v.dims)
    xr.testing.assert_allclose(lazy.compute(), fit)
    thin = cube[:, ::2, ::2].values.reshape(3, -1)
    np.testing.assert_allclose(cube.xai.baseline("p30"), np.quantile(thin, 0.3, axis=1))


# the road: lazy, chunks, batches, garbage


@pytest.mark.parametrize("how", ["conditional", "interpolate"])
@pytest.mark.parametrize("kind", ["spectrum", "patch"])
@pytest.mark.parametrize("name", ON_OFF)
def test_chunks_and_batches_do_not_matter(name, kind, how):
    cube = worlds.cube(lead={"time": 2})
    options, model = dict(ON_OFF[name]), worlds.model(kind)
    if how == "conditional":
        options |= {"removal": "conditional", "covariance": cube.xai.spectral_covariance()}
    else:
        options["baseline"] = "interpolate"
    explain = getattr(xrxai, name)
    whole = explain(cube, model, **options)
    part = explain(cube, model, batch_size=3, **options)
    xr.testing.assert_allclose(part, whole, rtol=1e-9, atol=1e-12)
    assert part.model_evaluations.equals(whole.model_evaluations)
    with no_compute():
        lazy = explain(cube.chunk(time=1, x=4, band=3), model, **options)
    done = lazy.compute(scheduler="synchronous")
    xr.testing.assert_allclose(done.drop_vars("spectrum"), whole.drop_vars("spectrum"))
    if how == "conditional":
        # The fit of the cube itself is the default.
        options.pop("covariance")
        xr.testing.assert_allclose(explain(cube, model, **options), whole)


@pytest.mark.parametrize("how", ["conditional", "interpolate"])
@pytest.mark.parametrize("kind", ["spectrum", "patch", "map"])
@pytest.mark.parametrize("name", ON_OFF)
def test_garbage_changes_nothing_bit_for_bit(name, kind, how):
    clean = worlds.cube(invalid=False, lead={"time": 2})
    good = np.isin(np.arange(10), [2, 7], invert=True)
    mask = xr.DataArray(np.random.default_rng(1).random((6, 7)) > 0.3, dims=("y", "x"))
    clean = clean.assign_coords(good_band=("band", good))
    options = dict(ON_OFF[name])
    options |= {"removal": "conditional"} if how == "conditional" else {"baseline": "interpolate"}
    first = None
    for garbage in (1e30, -np.inf, np.nan):
        dirty = clean.where(mask, garbage).where(clean.good_band, garbage)
        dirty = dirty.transpose(*clean.dims)
        found = getattr(dirty.xai, name)(worlds.model(kind, fill=0.5), mask=mask, **options)
        first = found if first is None else first
        xr.testing.assert_identical(found, first)
    assert np.isfinite(first.attribution).any()


def test_results_with_off_manifold_round_trip(tmp_path):
    cube = worlds.cube()
    found = cube.xai.lime_spectral(worlds.model(), removal="conditional", **ON_OFF["lime_spectral"])
    found.xai.to_netcdf(tmp_path / "why.nc")
    xr.testing.assert_identical(xrxai.open_explanation(tmp_path / "why.nc").load(), found)


# baselines


def test_words():
    cube = worlds.cube(lead={"time": 2})
    over = ["y", "x"]
    np.testing.assert_allclose(cube.xai.baseline("median"), cube.median(over))
    for word, q in (("p05", 0.05), ("p5", 0.05), ("p97.5", 0.975), ("p100", 1.0), ("p00", 0.0)):
        np.testing.assert_allclose(cube.xai.baseline(word), cube.quantile(q, over))
    lazy = cube.chunk(time=1, y=3, x=4, band=3)
    with no_compute():
        later = lazy.xai.baseline("p05")
    np.testing.assert_allclose(later, cube.xai.baseline("p05"))


def test_another_date_and_an_endmember():
    cube = worlds.cube(lead={"time": 2}, invalid=False)
    w = np.random.default_rng(2).normal(size=(10, 6, 7))
    weight = torch.as_tensor(w)
    model = xrxai.Model(
        lambda x: (x * weight).flatten(1).sum(1, keepdim=True),
        takes="patch",
        targets=["K"],
        dtype="float64",
    )
    now, before = cube.isel(time=1), cube.isel(time=0)
    soil = xr.DataArray(
        np.linspace(0.1, 0.4, 10), dims="band", coords={"wavelength": cube.wavelength}
    )
    alone = {"window": 1, "stride": 1, "unit": "band"}
    for b in (before, soil):
        found = now.xai.occlusion_spectral(model, baseline=b, **alone)
        true = (w * (now - b).transpose("band", "y", "x")).sum(["y", "x"])
        np.testing.assert_allclose(found.attribution[0], true, rtol=1e-9, atol=1e-10)


def never(x):
    raise AssertionError("the model ran")


BLIND = xrxai.Model(never, takes="patch", targets=["K"])
CUBE = worlds.cube()
FIT = CUBE.xai.spectral_covariance()
SOIL = xr.DataArray(np.ones(10), dims="band", coords={"wavelength": CUBE.wavelength + 7})
ASKED = (
    "covariance= needs a Dataset of mean ('band',) and covariance ('band', 'band_other') over the "
    "10 bands of the cube; type covariance=xrxai.spectral_covariance(cube)."
)
IMPROPER = (
    "The covariance is not finite, symmetric and positive definite over the good bands; type "
    "covariance=xrxai.spectral_covariance(cube, shrinkage=0.01)."
)
ONLY_BANDS = (
    "baseline='interpolate' fills removed bands from the kept ones, so it needs a method that "
    "removes some bands and keeps others: occlusion_spectral or lime_spectral. Type "
    "baseline='mean' here."
)


def plain(name, **options):
    return lambda: getattr(CUBE.xai, name)(BLIND, baseline="interpolate", **options)


def occlude(cube=CUBE, **options):
    return cube.xai.occlusion_spectral(BLIND, **options)


WRONG = [
    (
        lambda: occlude(removal="mean"),
        OptionError,
        "removal='mean' is not known; choose one of 'marginal', 'conditional'.",
    ),
    (
        lambda: CUBE.xai.lime_spectral(BLIND, removal=True),
        OptionError,
        "removal=True is not known; choose one of 'marginal', 'conditional'.",
    ),
    (lambda: occlude(covariance=np.eye(10)), OptionError, ASKED),
    (lambda: occlude(covariance=FIT.isel(band=slice(5))), OptionError, ASKED),
    (lambda: occlude(covariance=FIT[["mean"]]), OptionError, ASKED),
    (lambda: occlude(covariance=FIT * np.nan), OptionError, IMPROPER),
    (lambda: occlude(covariance=FIT.assign(covariance=-FIT.covariance)), OptionError, IMPROPER),
    (
        lambda: occlude(covariance=FIT.assign(covariance=FIT.covariance + np.eye(10, k=1))),
        OptionError,
        IMPROPER,
    ),
    (
        lambda: occlude(covariance=FIT.chunk()),
        OptionError,
        "The covariance is lazy, and it is needed before the model runs; type "
        "covariance=covariance.compute().",
    ),
    (
        lambda: occlude(covariance=FIT.assign_coords(wavelength=FIT.wavelength + 7)),
        OptionError,
        "The covariance and the cube differ in wavelength by up to 7 nm; interpolate it to the "
        "cube's bands, or type covariance.drop_vars('wavelength') if they mean the same.",
    ),
    (
        lambda: occlude(CUBE.chunk(), removal="conditional"),
        OptionError,
        "removal='conditional' needs the covariance of the bands, and the cube is lazy; type "
        "covariance=xrxai.spectral_covariance(cube).compute().",
    ),
    (
        lambda: occlude(removal="conditional", mask=np.arange(42).reshape(6, 7) == 20),
        CubeError,
        "The cube has 1 valid pixel(s), and a covariance needs several; type "
        "covariance=xrxai.spectral_covariance(cubes) of a larger cube.",
    ),
    (
        lambda: occlude(CUBE * 0 + 1, removal="conditional"),
        CubeError,
        "All valid pixels of the cube are the same, so there is no covariance; type "
        "covariance=xrxai.spectral_covariance(cubes) of a larger cube.",
    ),
    (
        lambda: CUBE.xai.spectral_covariance(shrinkage=-1),
        OptionError,
        "shrinkage=-1 is not a number of 0 or more; type for example shrinkage=0.001.",
    ),
    (
        lambda: CUBE.xai.spectral_covariance(shrinkage=2),
        OptionError,
        "shrinkage=2 is above 1; type for example shrinkage=0.001.",
    ),
    (
        lambda: occlude(
            CUBE.drop_vars("wavelength"), baseline="interpolate", unit="band", window=2
        ),
        BandError,
        "The cube has no wavelengths along 'band' (10 bands), and they are needed here; type cube "
        "= xrxai.to_cube(cube, wavelength=[...]) with nanometres in band order.",
    ),
    (plain("integrated_gradients"), BaselineError, ONLY_BANDS),
    (plain("occlusion_spatial", window=3), BaselineError, ONLY_BANDS),
    (plain("lime_spatial", segments="patch", patch=3), BaselineError, ONLY_BANDS),
    (plain("hyper_noise_tunnel"), BaselineError, ONLY_BANDS),
    (lambda: CUBE.xai.baseline("interpolate"), BaselineError, ONLY_BANDS),
    (
        lambda: CUBE.xai.baseline("p101"),
        BaselineError,
        "baseline='p101' is not known; type 'mean', 'median', a percentile such as 'p05', 'blur', "
        "a number or an array.",
    ),
    (
        lambda: CUBE.xai.baseline("p05", mask=np.arange(42).reshape(6, 7) == 20),
        BaselineError,
        "baseline='p05' of a single valid pixel is that pixel: nothing would be removed. Give the "
        "mean spectrum of other pixels: baseline=cubes.mean(['sample', 'y', 'x']).",
    ),
    (
        lambda: occlude(baseline=SOIL),
        BaselineError,
        "The baseline and the cube differ in wavelength by up to 7 nm; interpolate it to the "
        "cube's bands, or type baseline.drop_vars('wavelength') if they mean the same.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG)
def test_wrong_calls(call, error, message):
    with raises_exactly(error, message):
        call()
