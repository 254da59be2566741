"""Methods under noise that draw until their own error is small."""

from __future__ import annotations

import numpy as np
import pytest

import xrxai
from tests import worlds
from tests.conftest import raises_exactly
from xrxai.errors import OptionError

ASKED = {
    "smoothgrad": {},
    "hyper_noise_tunnel": {"probability": 0.2},
    "kept": {"probability": 0.2, "normalise": "kept"},
    "pairs": {"antithetic": True, "bands": 150.0},
}


@pytest.fixture(scope="module")
def seen():
    cube = worlds.cube(bands=6, y=3, x=4, lead={"time": 3})
    cube[1] *= 3  # further from zero: another number of draws
    return cube, worlds.model("patch", bands=6)


def run(cube, model, name, **options):
    method = name if name == "smoothgrad" else "hyper_noise_tunnel"
    given = {"n_samples": "auto", "max_samples": 3000, "progress": False, **ASKED[name], **options}
    return getattr(cube.xai, method)(model, **given)


def unsure(found):
    over = [d for d in found.attribution.dims if d not in ("target", "time")]
    rms = [np.sqrt((found[v] ** 2).mean(over)) for v in ("standard_error", "attribution")]
    return rms[0] / rms[1]


@pytest.mark.parametrize("name", ASKED)
def test_it_stops_when_the_error_is_small_and_is_what_so_many_draws_give(seen, name):
    cube, model = seen
    tolerance = {"smoothgrad": 0.01, "hyper_noise_tunnel": 0.1}.get(name, 0.03)
    found = run(cube, model, name, tolerance=tolerance)
    used = found.n_samples_used.values
    assert found.converged.all()
    assert (unsure(found) <= tolerance).all()
    assert used.max() > 16
    assert (found.model_evaluations == used + 1).all()
    assert "draws_kept" not in found
    for k, n in enumerate(used):
        fixed = run(cube, model, name, n_samples=int(n), max_samples=None)
        for key in ("attribution", "standard_error"):
            alike = (found[key][:, k], fixed[key][:, k])
            np.testing.assert_allclose(*alike, rtol=1e-12, atol=1e-14)
    # One round before, it was not enough.
    sizes = xrxai.rounds.settle("auto", tolerance, 3000, least=2, first=16).sizes
    k = int(np.argmax(used))
    before = run(cube, model, name, n_samples=sizes[sizes.index(used[k]) - 1], max_samples=None)
    assert float(unsure(before).isel(time=k).max()) > tolerance


def test_samples_stop_for_themselves(seen):
    cube, model = seen
    used = run(cube, model, "smoothgrad", tolerance=0.01).n_samples_used
    assert len(np.unique(used)) > 1
    alone = run(cube.isel(time=[2]), model, "smoothgrad", tolerance=0.01).n_samples_used
    assert int(alone[0]) == int(used[2])


def test_batches_and_chunks_change_nothing(seen):
    cube, model = seen
    found = run(cube, model, "smoothgrad", tolerance=0.05)
    for other in (
        run(cube, model, "smoothgrad", tolerance=0.05, batch_size=2),
        run(cube.chunk(time=1), model, "smoothgrad", tolerance=0.05),
    ):
        assert other.n_samples_used.equals(found.n_samples_used)
        np.testing.assert_allclose(other.attribution, found.attribution, rtol=1e-9, atol=1e-12)


def test_what_is_never_sure_is_told(seen):
    cube, model = seen
    with pytest.warns(UserWarning, match="3 of 3 .* miss tolerance=0.0001 after 40 draws"):
        found = run(cube, model, "smoothgrad", tolerance=1e-4, max_samples=40)
    assert not found.converged.any()
    assert (found.n_samples_used == 40).all()
    plan = xrxai.plan(cube, model, "smoothgrad", options={"n_samples": "auto"})
    assert plan.evaluations is None


def test_nothing_to_be_unsure_of(seen):
    model = xrxai.Model(lambda x: x.flatten(1).sum(1)[:, None], takes="patch", targets=["K"])
    found = run(seen[0], model, "smoothgrad")
    assert (found.n_samples_used == 16).all()
    assert found.converged.all()


def test_variances_have_no_error_to_stop_at(seen):
    message = (
        "n_samples='auto' stops when standard errors are small, and statistic='variance' has "
        "none; type a number, such as n_samples=50."
    )
    with raises_exactly(OptionError, message):
        run(*seen, "smoothgrad", statistic="variance")


def test_pairs_need_an_even_number(seen):
    message = "antithetic=True draws in pairs, and max_samples=51 is odd; type max_samples=52."
    with raises_exactly(OptionError, message):
        run(*seen, "pairs", max_samples=51)
