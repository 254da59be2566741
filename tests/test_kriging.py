"""Kriging between patterns: the line of all of them, told from a few."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import xarray as xr

from tests import worlds
from xrxai import Model, designs, patterns
from xrxai.tensors import kriging, surrogate

WIDTHS = [0.25, 0.1, None]


def line_of(on, weight):
    """Scores of patterns to the slopes of their weighted line, (g, m)."""
    design = np.column_stack([np.ones(len(on)), on])
    return np.linalg.solve(design.T * weight @ design, design.T * weight)[1:]


def sets(on, least=2):
    """What each set of groups says to each pattern, +-1 (m, set), and the size of each set."""
    sign, count = 2.0 * on - 1, on.shape[1]
    chosen = [c for k in range(least, count + 1) for c in itertools.combinations(range(count), k)]
    said = np.stack([sign[:, list(c)].prod(1) for c in chosen], axis=1)
    return said, np.array([len(c) for c in chosen])


def field(count, rng, n=1):
    """Random answers of all patterns (n, 2**count, 1): a line, and sets as kriging expects."""
    every = patterns.every(count)
    said, size = sets(every)
    drawn = rng.normal(size=(n, len(size)))
    drawn += np.sqrt(kriging.COMMON) * rng.normal(size=(n, count + 1))[:, size]
    drawn *= kriging._decay(count) ** (size / 2)
    return (drawn @ said.T + rng.normal(size=(n, count)) @ every.T + 3)[..., None]


def code(on):
    return on @ (1 << np.arange(on.shape[1]))


def fitted(y, on, width=0.25):
    return [t.numpy() for t in kriging.fit(torch.as_tensor(y), on, width)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("count", [2, 5, 8])
def test_it_is_the_posterior_of_a_random_field(count, width):
    """Sums over sizes of patterns are those over all patterns, and the weights the textbook's."""
    every = patterns.every(count)
    rng = np.random.default_rng(count)
    on = every[rng.permutation(len(every))[: max(3 + count, len(every) // 2)]]
    said, size = sets(every)
    scale = kriging._decay(count) ** size
    alike = np.eye(len(size)) + kriging.COMMON * (size[:, None] == size)
    covariance = said * np.sqrt(scale) @ alike @ (said * np.sqrt(scale)).T / scale.sum()
    to_slopes = line_of(every, patterns.proximity(every, width))
    towards = covariance @ to_slopes.T
    at, p = code(on), count + 1
    inside = covariance[np.ix_(at, at)] + kriging._NUGGET * np.eye(len(at))
    drift = np.column_stack([np.ones(len(on)), on])
    system = np.linalg.pinv(np.block([[inside, drift], [drift.T, np.zeros((p, p))]]))
    weights = (system @ np.vstack([towards[at], np.eye(p)[:, 1:]]))[: len(on)].T
    y = rng.normal(size=(2, len(on), 3))
    slope, error, low, high = fitted(y, on, width)
    np.testing.assert_allclose(slope, np.einsum("gm,nmk->nkg", weights, y), atol=1e-7)
    rest = system[: len(on), : len(on)]
    square = np.einsum("nmk,mo,nok->nk", y, rest, y) / max(len(on) - p, 1)
    left = weights @ inside @ weights.T - 2 * weights @ towards[at] + to_slopes @ towards
    expected = np.sqrt((square[..., None] * np.diag(left)).clip(min=0))
    np.testing.assert_allclose(error, expected, rtol=1e-5, atol=1e-3 if count == 2 else 1e-9)
    np.testing.assert_allclose(slope - low, high - slope)


def test_all_patterns_are_exact():
    every = patterns.every(6)
    y = field(6, np.random.default_rng(0), 4)
    slope, error, _, _ = fitted(y, every)
    expected = np.einsum("gm,nmk->nkg", line_of(every, patterns.proximity(every, 0.25)), y)
    np.testing.assert_allclose(slope, expected, atol=1e-6)
    assert error.max() < 1e-3 * abs(expected).mean()


def test_a_line_is_found_and_known_to_be_one():
    (drawn,) = designs.draw("balanced", [40], 12, 0)
    b = np.random.default_rng(1).normal(size=(3, 12))
    slope, error, _, _ = fitted(1e5 + (b @ drawn.on.T)[..., None], drawn.on)
    np.testing.assert_allclose(slope[:, 0], b, atol=1e-9)
    assert error.max() < 1e-9


def test_what_patterns_do_not_tell_has_no_error():
    """Two groups that are always on together."""
    (drawn,) = designs.draw("balanced", [40], 8, 0)
    on = np.column_stack([drawn.on, drawn.on[:, 0]])
    _, error, _, _ = fitted(np.random.default_rng(0).normal(size=(1, 40, 1)), on)
    assert np.isnan(error).all()
    _, error, _, _ = fitted(np.random.default_rng(0).normal(size=(1, 9, 1)), drawn.on[:9])
    assert np.isnan(error).all()


@pytest.mark.parametrize("design", ["balanced", "paired", "random"])
def test_intervals_cover_the_fields_that_it_expects(design):
    """Fields as it expects them, 1000 a design; binomial limits of four standard deviations."""
    rng = np.random.default_rng(5)
    exact = line_of(patterns.every(8), patterns.proximity(patterns.every(8), 0.25))
    covered = []
    for seed in range(20):
        y = field(8, rng, 50)
        (drawn,) = designs.draw(design, [48], 8, seed)
        _, _, low, high = fitted(y[:, code(drawn.on)], drawn.on)
        truth = np.einsum("gm,nmk->nkg", exact, y)
        covered.append((low <= truth) & (truth <= high))
    # Coefficients of a field are not independent: a field counts once.
    share = np.mean(covered)
    assert abs(share - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 1000)


TOGETHER = {
    "pairs": lambda p, sign, rng: (np.triu(rng.normal(size=(10, 10)), 1) @ sign.T * sign.T).sum(0),
    "bend of a sum": lambda p, sign, rng: np.sin(3 * p @ rng.dirichlet(np.ones(10))) * 10,
    "exponent": lambda p, sign, rng: np.exp(2 * p @ rng.dirichlet(np.ones(10))),
    "share": lambda p, sign, rng: 10 / (1 + np.exp(p @ rng.normal(size=10))),
}


@pytest.mark.parametrize("kind", TOGETHER)
def test_from_as_many_patterns_it_is_nearer_than_ridge(kind):
    """Errors of either, root of the mean square over 40 seeds and ten functions of each kind."""
    every = patterns.every(10)
    weight = patterns.proximity(every, 0.25)
    rng = np.random.default_rng(2)
    y = np.stack([TOGETHER[kind](every, 2.0 * every - 1, rng) for _ in range(10)])[..., None]
    truth = np.einsum("gm,nmk->nkg", line_of(every, weight), y)
    wrong = {"ridge": [], "kriging": []}
    for seed in range(40):
        (drawn,) = designs.draw("balanced", [48], 10, seed)
        some = torch.as_tensor(y[:, code(drawn.on)])
        for how, said in wrong.items():
            found = surrogate.fit(some, drawn, 0.25, how, 1e-6, None).coefficient
            said.append(np.square(found.numpy() - truth).mean((1, 2)))
    ratio = np.sqrt(np.mean(wrong["kriging"], axis=0) / np.mean(wrong["ridge"], axis=0))
    assert np.median(ratio) < 0.95, ratio
    assert ratio.max() < 1.05, ratio


def test_many_groups():
    inside, outside, alone = kriging._towards(285, 0.25)
    assert np.isfinite(inside).all()
    assert np.isfinite(outside).all()
    assert 0 < alone < 1
    (drawn,) = designs.draw("balanced", [600], 285, 0)
    rng = np.random.default_rng(0)
    b = rng.normal(size=285)
    slope, error, _, _ = fitted((drawn.on @ b + rng.normal(size=600))[None, :, None], drawn.on)
    assert np.corrcoef(slope[0, 0], b)[0, 1] > 0.9
    assert 0.2 < np.abs(slope[0, 0] - b).std() / error.mean() < 5


def steep():
    """Bends of a sum, so that groups matter together."""

    def forward(x):
        return torch.stack([(x.mean(1) * 4).sin(), x[:, :5].mean(1).exp()], dim=1)

    return Model(forward, takes="spectrum", targets=["a", "b"])


def test_on_a_cube():
    cube = worlds.cube(bands=30, y=2, x=3, invalid=False)
    options = {"bands": 1 + np.arange(30) * 8 // 30, "surrogate": "kriging"}
    exact = cube.xai.lime_spectral(steep(), n_samples=256, **options)
    assert (exact.standard_error == 0).all()
    np.testing.assert_allclose(
        exact.attribution,
        cube.xai.lime_spectral(steep(), n_samples=256, bands=options["bands"]).attribution,
        atol=1e-5,
    )
    found = cube.xai.lime_spectral(steep(), n_samples=40, **options)
    plain = cube.xai.lime_spectral(steep(), n_samples=40, bands=options["bands"])
    away, plainly = (abs(f.attribution - exact.attribution).mean() for f in (found, plain))
    assert away < plainly
    inside = (found.ci_low <= exact.attribution) & (exact.attribution <= found.ci_high)
    assert inside.mean() > 0.9
    assert '"surrogate": "kriging"' in found.attrs["options"]
    assert "Cressie 1993" in found.attrs["references"]
    for name in ("fidelity", "fidelity_heldout"):
        xr.testing.assert_allclose(found[name], plain[name], rtol=1e-4)


def test_it_stops_by_itself():
    cube = worlds.cube(bands=30, y=2, x=2, invalid=False)
    bands = 40.0
    found, plain = (
        cube.xai.lime_spectral(steep(), bands=bands, n_samples="auto", tolerance=0.01, surrogate=s)
        for s in ("kriging", "ridge")
    )
    assert found.converged.all()
    assert (found.n_samples_used <= plain.n_samples_used).all()


def test_segments():
    cube = worlds.cube(bands=4, y=12, x=12, invalid=False)
    model = worlds.model("patch", bands=4)
    options = {"segments": "patch", "patch": 4, "surrogate": "kriging"}
    exact = cube.xai.lime_spatial(model, n_samples=512, **options)
    found = cube.xai.lime_spatial(model, n_samples=60, **options)
    scale = abs(exact.attribution).max()
    assert abs(found.attribution - exact.attribution).max() < 0.05 * scale
