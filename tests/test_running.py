"""Where models run: replicas for threads, memory, precision, devices and cores."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xrxai
from tests import worlds
from tests.conftest import raises_exactly
from xrxai.errors import ModelError, OptionError
from xrxai.tensors import device as devices
from xrxai.tensors import memory, replica, run

TOGETHER = ["saliency", "guided_backprop", "deep_lift", "grad_cam"]
CPU = torch.device("cpu")


class Tied(nn.Module):
    """Two names for one weight, a buffer, dropout: in training mode."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)
        self.dropout = nn.Dropout(0.5)
        self.first.weight.requires_grad_(False)

    def forward(self, x):
        return self.dropout(self.norm(self.second(torch.relu(self.first(x)))))


def state(net):
    """Everything that a run could change."""
    return [
        (
            part.training,
            {k: (dict(v) if isinstance(v, dict) else v) for k, v in vars(part).items()},
            [(id(p), p.requires_grad, p.grad, p.data_ptr()) for p in part.parameters()],
        )
        for part in net.modules()
    ]


@pytest.fixture
def replicas(monkeypatch):
    """Blocks of lazy explanations run under a key."""
    seen = []
    own = run.execute

    def keyed(*args, **options):
        seen.append(threading.get_ident())
        return own(*args, **{**options, "replica": "a run"})

    monkeypatch.setattr(run, "execute", keyed)
    return seen


# ---------------------------------------------------------------------------------- replicas


def test_a_replica_shares_memory_and_keeps_ties():
    net = Tied()
    before = state(net)
    made = replica.replica(net)
    assert state(net) == before
    theirs, own = list(net.named_parameters()), list(made.named_parameters())
    assert [name for name, _ in own] == [name for name, _ in theirs]
    for (_, one), (_, two) in zip(own, theirs, strict=True):
        assert one is not two
        assert one.data_ptr() == two.data_ptr()
        assert not one.requires_grad
    for one, two in zip(made.buffers(), net.buffers(), strict=True):
        assert one.data_ptr() == two.data_ptr()
    assert made.second.weight is made.first.weight
    assert not any(part.training for part in made.modules())


def test_gradients_of_the_user_are_not_copied():
    net = nn.Linear(4, 2)
    net(torch.ones(1, 4)).sum().backward()
    made = replica.replica(net)
    assert made.weight.grad is None
    assert net.weight.grad is not None
    assert net.weight.requires_grad


class One(nn.Linear):
    """There is only one of it."""

    def __deepcopy__(self, memo):
        return self


def reaching_out(kind):
    """A network of which a copy would leave something behind, or share it."""
    net = Tied()
    own, kept = net.first.forward, []
    if kind == "closure":
        net.extra = lambda x: net.first(x)
    elif kind == "hook":
        net.first.register_forward_hook(lambda m, i, o: kept.append(o))
    elif kind == "patch":
        net.first.forward = functools.partial(lambda f, x: f(x), lambda x: own(x))
    elif kind == "lock":
        net.lock = threading.Lock()
    elif kind == "graph":
        net.cache = net.norm.weight * 2
    elif kind == "script":
        net.norm = torch.jit.script(net.norm)
    elif kind == "single":
        net.norm = One(4, 4)
    return net


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@pytest.mark.parametrize("kind", ["closure", "hook", "patch", "lock", "graph", "script", "single"])
def test_no_replica_of_what_a_copy_would_leave_behind(kind):
    net = reaching_out(kind).train()
    assert replica.replica(net) is None
    model = xrxai.Model(net, takes="spectrum", targets=list("abcd"))
    before = state(net)
    with run.session(model, None, None, "key") as runner:
        assert runner.module is net
        assert not any(part.training for part in net.modules())
    assert state(net) == before


def test_a_replica_is_bound_to_itself():
    """Functions of libraries, partials and methods of the network come along."""

    class Bound(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)
            self.kept = []
            self.activation = torch.nn.functional.relu
            self.part = functools.partial(torch.clamp, max=3.0)
            self.layer.register_forward_hook(self.keep)

        def keep(self, module, given, out):
            self.kept.append(out)

        def forward(self, x):
            return self.part(self.activation(self.layer(x)))

    net = Bound()
    made = replica.replica(net)
    made(torch.ones(2, 4))
    assert len(made.kept) == 1
    assert net.kept == []


def test_replicas_are_per_thread_and_kept():
    net = Tied()
    start = threading.Barrier(2)

    def two(_):
        start.wait()
        return [
            id(replica.own(net, key, CPU, CPU)) for key in ("a", "a", "b")
        ], threading.get_ident()

    with ThreadPoolExecutor(2) as pool:
        (one, first), (other, second) = pool.map(two, range(2))
    assert first != second
    assert one[0] == one[1]
    assert len({*one, *other}) == 4


def test_replicas_go_when_others_come_or_the_network_goes():
    net = Tied()
    first = weakref.ref(replica.own(net, 0, CPU, CPU))
    assert first() is not None
    for key in range(1, 5):
        last = weakref.ref(replica.own(net, key, CPU, CPU))
    gc.collect()
    assert first() is None
    assert last() is not None
    del net
    gc.collect()
    assert last() is None


def test_a_replica_follows_its_network():
    """New weights in place, and new tensors in the place of the old."""
    net = nn.Linear(4, 2)
    x = torch.ones(1, 4)
    assert replica.own(net, "k", CPU, CPU)(x).equal(net(x))
    net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()})
    assert replica.own(net, "k", CPU, CPU)(x).equal(net(x))
    net.double()
    assert replica.own(net, "k", CPU, CPU)(x.double()).equal(net(x.double()))
    assert replica.own(nn.Linear(3, 2), "k", CPU, CPU).in_features == 3


def test_another_device_is_reached_once_per_key():
    net = Tied()
    there = torch.device("meta")
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda _: replica.own(net, "k", CPU, there), range(12)))
    assert len({id(one) for one in made}) == 1
    assert {p.device.type for p in made[0].parameters()} == {"meta"}
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    assert replica.own(net, "other", CPU, there) is not made[0]


def test_what_has_no_replica_is_moved_and_unpacked_once_per_key():
    net, there = reaching_out("closure"), torch.device("meta")
    assert replica.own(net, "k", CPU, there) is None
    made = replica.moved(net, net, "k", there)
    assert made is replica.moved(net, net, "k", there)
    assert made is not replica.moved(net, net, None, there)
    assert {p.device.type for p in made.parameters()} == {"meta"}
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    program = torch.export.export(nn.Linear(4, 2), (torch.ones(2, 4),))
    assert replica.program(program, "k") is replica.program(program, "k")
    assert replica.program(program, "k") is not replica.program(program, None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["patch", "map"])
def test_methods_beside_each_other_in_threads(replicas, kind):
    """Four methods, four threads, one network: the bits of one after the other."""
    model = worlds.model(kind, method="grad_cam")
    net = model.forward.train()
    net.first.weight.requires_grad_(False)
    before = state(net)
    cube = worlds.cube(lead={"time": 16}).chunk(time=1)
    lazy = {name: worlds.explain(name, cube, model) for name in TOGETHER}
    with dask.config.set(scheduler="synchronous"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(replica, "own", lambda *args: None)
        apart = {name: lazy[name].compute() for name in TOGETHER}
    replicas.clear()
    with (
        dask.config.set(scheduler="threads", num_workers=4),
        ThreadPoolExecutor(4) as callers,
    ):
        beside = dict(
            zip(TOGETHER, callers.map(lambda n: lazy[n].compute(), TOGETHER), strict=True)
        )
    assert len(set(replicas)) >= 4
    for name in TOGETHER:
        xr.testing.assert_identical(beside[name], apart[name])
    assert state(net) == before


def test_a_network_is_as_found_after_errors_in_threads(replicas):
    class Fails(worlds.PatchNet):
        def forward(self, x):
            if bool((x > 5).any()):
                raise RuntimeError("no")
            return super().forward(x)

    net = Fails().double().train()
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    before = state(net)
    cube = worlds.cube(lead={"time": 8}, invalid=False)
    cube[3] = 9.0
    with (
        dask.config.set(scheduler="threads", num_workers=4),
        pytest.raises(ModelError, match="RuntimeError: no"),
    ):
        cube.chunk(time=1).xai.grad_cam(model, layer="second").compute()
    assert state(net) == before


def test_threads_run_at_the_same_time(replicas):
    """A lock would keep the second call out while the first waits for it."""
    meet = threading.Barrier(2)

    class Meets(worlds.PatchNet):
        def forward(self, x):
            meet.wait(20)
            return super().forward(x)

    model = xrxai.Model(Meets().double(), takes="patch", targets=worlds.TARGETS)
    cube = worlds.cube(lead={"time": 2}).chunk(time=1)
    with dask.config.set(scheduler="threads", num_workers=2):
        cube.xai.saliency(model).compute()


class Reaching:
    """Looks at a layer of the user's own network, as a method of others may."""

    def __init__(self, scored, net):
        self.scored, self.net = scored, net

    def attribute(self, inputs, target):
        seen = []
        handle = self.net.second.register_forward_hook(lambda m, i, o: seen.append(o))
        self.scored(inputs)
        handle.remove()
        return torch.full_like(inputs, len(seen))


def test_methods_of_others_and_callables_get_the_users_network(replicas):
    net = worlds.LayeredNet("patch").double().train()
    cube = worlds.cube(lead={"time": 3}, invalid=False).chunk(time=1)
    options = {"takes": "patch", "targets": worlds.TARGETS}
    with dask.config.set(scheduler="threads", num_workers=3):
        found = cube.xai.captum(xrxai.Model(net, **options), lambda scored: Reaching(scored, net))
        assert (found.attribution.compute() == 1).all()
        model = xrxai.Model(lambda x: net(x), dtype="float64", **options)
        part = cube.xai.deep_lift(model).attribution.compute()
    whole = cube.compute().xai.deep_lift(model).attribution
    xr.testing.assert_allclose(part, whole, rtol=1e-9)
    assert net.training


def test_transformers_take_no_fused_way_and_no_switch_of_all_threads_is_turned(monkeypatch):
    """A second thread would find the switch of torch as the first had left it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.TransformerEncoderLayer(4, 2, 8, batch_first=True) for _ in range(2)]
        net = nn.Sequential(*layers, nn.Flatten(), nn.Linear(16, 2))
    seen, fused = [], []
    own = torch._transformer_encoder_layer_fwd
    monkeypatch.setattr(
        torch, "_transformer_encoder_layer_fwd", lambda *a, **k: fused.append(1) or own(*a, **k)
    )

    def answer(x):
        seen.append(torch.backends.mha.get_fastpath_enabled())
        return net(x.flatten(2).transpose(1, 2))

    model = xrxai.Model(answer, takes="patch", targets=["a", "b"])
    cube = xr.DataArray(np.random.default_rng(0).uniform(size=(4, 2, 2)), dims=("band", "y", "x"))
    found = cube.xai.grad_cam(model, layer="1.norm1", positive=False)
    assert float(abs(found.attribution).max()) > 0
    assert set(seen) == {True}
    assert not fused
    with torch.no_grad():
        net.eval()(torch.ones(1, 4, 4))
    assert fused  # so there is a way to be avoided


# ------------------------------------------------------------------------------ out of memory


class Small(worlds.PatchNet):
    """Memory for a few rows only."""

    def __init__(self, rows, short):
        super().__init__()
        self.rows, self.short = rows, short
        self.calls, self.failed = [], 0

    def forward(self, x):
        if len(x) > self.rows:
            self.failed += 1
            self.short()
        self.calls.append(len(x))
        return super().forward(x)


def no_gpu_memory():
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def no_cpu_memory():
    torch.empty(2**50)


SHORT = {"cuda": no_gpu_memory, "cpu": no_cpu_memory}
OPTIONS = {"integrated_gradients": {"n_steps": 16}, "occlusion_spectral": {"window": 100.0}}


@pytest.mark.parametrize("lazy", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("short", ["cuda", pytest.param("cpu", marks=pytest.mark.slow)])
def test_out_of_memory_halves_the_batch(short, name, lazy, replicas):
    net = Small(3, SHORT[short]).double()
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    cube = worlds.cube(lead={"time": 2})
    if lazy:
        cube = cube.chunk(time=1)
    plenty = xrxai.Model(Small(10**6, None).double(), takes="patch", targets=worlds.TARGETS)
    with dask.config.set(scheduler="synchronous"):
        wanted = worlds.explain(name, cube, plenty, **OPTIONS[name]).compute()
        found = worlds.explain(name, cube, model, **OPTIONS[name]).compute()
        assert memory.limit(model, CPU) // cube[0].size in (1, 2, 3)
        xr.testing.assert_allclose(found.attribution, wanted.attribution, rtol=1e-9)
        xr.testing.assert_equal(found.model_evaluations, wanted.model_evaluations)
        # A batch that was typed is where it starts, and what was learned stays.
        again = worlds.explain(name, cube, model, batch_size=50, **OPTIONS[name]).compute()
    xr.testing.assert_allclose(again.attribution, wanted.attribution, rtol=1e-9)
    if not lazy:
        failed = net.failed or replica.own(net, "a run", CPU, CPU).failed
        assert 1 <= failed <= 5  # 17 or so rows, halved


def test_what_is_remembered_is_values_so_smaller_samples_get_larger_batches():
    model = xrxai.Model(nn.Identity(), takes="spectrum", targets=["a"])
    memory.shrink(model, CPU, (8, 100), None, "", [])
    with run.session(model, None, 50) as runner:
        assert runner.batch(torch.ones(1, 100)) == 4
        assert runner.batch(torch.ones(1, 10)) == 40
        assert runner.batch(torch.ones(1, 1000)) == 1
    with run.session(model, None, 2) as runner:
        assert runner.batch(torch.ones(1, 10)) == 2


@pytest.mark.slow
def test_threads_that_fail_together_halve_once():
    model = xrxai.Model(nn.Linear(3, 1), takes="spectrum", targets=["a"])
    for _ in range(4):
        memory.shrink(model, CPU, (2, 100), None, "", [])
    assert memory.limit(model, CPU) == 100
    with raises_exactly(
        ModelError,
        "The model Linear ran out of memory on cpu: batches of 2, 1 were tried, and the last "
        "cannot be halved. No. Give it less at once: smaller chunks or a smaller patch. Or type "
        "device='cuda' or Model(..., autocast='bfloat16').",
    ):
        memory.shrink(model, CPU, (1, 100), 100, "No.", [2])
    with pytest.raises(ModelError, match="on cuda:0 before it was called"):
        memory.shrink(model, torch.device("cuda:0"), (0, 1), None, "No.", [])


def test_progress_counts_a_failed_pass_once(monkeypatch):
    net = Small(3, no_cpu_memory).double()
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    ticks = []
    own = run.execute
    monkeypatch.setattr(run, "execute", lambda *a, **k: own(*a, **{**k, "tick": ticks.append}))
    found = worlds.cube().xai.integrated_gradients(model, n_steps=16)
    assert min(ticks) < 0
    assert sum(ticks) == found.model_evaluations == 18


def test_out_of_memory_with_one_sample():
    net = Small(0, no_gpu_memory).double()
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS)
    cube = worlds.cube(lead={"time": 4})
    with raises_exactly(
        ModelError,
        "The model Small ran out of memory on cpu: batches of 4, 2, 1 were tried, and the last "
        "cannot be halved. OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. Give "
        "it less at once: smaller chunks or a smaller patch. Or type device='cuda' where there is "
        "more memory.",
    ):
        cube.xai.saliency(model)


def test_out_of_memory_inside_prepare_and_others_methods():
    from captum.attr import Saliency

    rows = []

    def prepare(x):
        rows.append(len(x))
        return x if len(x) < 3 or not x.requires_grad else no_cpu_memory()

    net = worlds.PatchNet().double()
    options = {"takes": "patch", "targets": worlds.TARGETS}
    cube = worlds.cube(lead={"time": 5})
    wanted = cube.xai.captum(xrxai.Model(net, **options), Saliency)
    found = cube.xai.captum(xrxai.Model(net, prepare=prepare, **options), Saliency)
    assert max(rows) > 2
    xr.testing.assert_allclose(found.attribution, wanted.attribution, rtol=1e-9)


def test_numpy_models_run_out_of_memory_too():
    def answer(x):
        if len(x) > 2:
            raise MemoryError("Unable to allocate 8.00 GiB")
        return x.mean((2, 3))[:, :3]

    options = {"takes": "patch", "targets": worlds.TARGETS, "arrays": "numpy"}
    cube = worlds.cube()
    found = cube.xai.occlusion_spectral(xrxai.Model(answer, **options), window=100.0)
    assert (found.model_evaluations > 2).all()


def test_other_errors_are_no_shortage():
    assert not memory.ran_out(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not memory.ran_out(ModelError("out of memory"))
    assert memory.ran_out(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))


# ---------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("name", ["saliency", "occlusion_spectral", *TOGETHER[1:], "lrp"])
def test_autocast_is_close_and_said(name):
    net = worlds.LayeredNet("patch")
    options = {"takes": "patch", "targets": worlds.TARGETS}
    cube = worlds.cube(dtype="float32")
    whole = worlds.explain(name, cube, xrxai.Model(net, **options))
    model = xrxai.Model(net, autocast="bfloat16", **options)
    found = worlds.explain(name, cube, model)
    assert found.attribution.dtype == np.float32
    away = float(abs(found.attribution - whole.attribution).max() / abs(whole.attribution).max())
    assert 1e-5 < away < 0.1
    assert '"autocast": "bfloat16"' in found.attrs["model_options"]
    error = abs(found.prediction - whole.prediction)
    np.testing.assert_allclose(found.autocast_error, error, rtol=1e-4, atol=1e-7)
    assert found.autocast_error.max() > 1e-5
    assert "autocast_error" not in whole
    assert found.model_evaluations == whole.model_evaluations + 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "(guided_|deconvnet).*compare with")
        plan = xrxai.plan(cube, model, name, options=worlds.QUICK.get(name, {}))
    assert plan.evaluations == found.model_evaluations
    assert net.first.weight.dtype == torch.float32


def test_autocast_reaches_the_network_only():
    seen = []

    class Asks(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            seen.append((x.dtype, out.dtype))
            return out

    def prepare(x):
        assert not torch.is_autocast_enabled("cpu")
        return x

    options = {"takes": "spectrum", "targets": ["a", "b"]}
    model = xrxai.Model(Asks(10, 2), autocast="float16", prepare=prepare, **options)
    found = worlds.cube().xai.saliency(model)
    *low, exact = seen
    assert set(low) == {(torch.float32, torch.float16)}
    assert exact == (torch.float32, torch.float32), "once, to tell what it did"
    assert found.prediction.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"arrays": "numpy"},
            "autocast='bfloat16' runs torch below float32, which does nothing for "
            "arrays='numpy'; drop autocast=.",
        ),
        (
            {"dtype": "float64"},
            "autocast='bfloat16' runs torch below float32, which does nothing for "
            "dtype='float64'; drop autocast=.",
        ),
    ],
)
def test_autocast_is_refused_where_it_does_nothing(options, message):
    with raises_exactly(ModelError, message):
        xrxai.Model(lambda x: x, takes="spectrum", targets=["a"], autocast="bfloat16", **options)


@pytest.mark.parametrize("name", ["integrated_gradients", "occlusion_spatial", "lime_spectral"])
def test_channels_last_reaches_the_network_and_changes_nothing(name):
    seen = []

    class Net(worlds.LayeredNet):
        def forward(self, x):
            seen.append(x.is_contiguous(memory_format=torch.channels_last))
            return super().forward(x)

    net, cube = Net("patch").double(), worlds.cube()
    asked = {"takes": "patch", "targets": worlds.TARGETS}
    whole = worlds.explain(name, cube, xrxai.Model(net, **asked))
    assert not any(seen)
    seen.clear()
    found = worlds.explain(name, cube, xrxai.Model(net, channels_last=True, **asked))
    assert seen
    assert all(seen)
    np.testing.assert_allclose(found.attribution, whole.attribution, rtol=1e-9, atol=1e-12)
    assert '"channels_last": true' in found.attrs["model_options"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"takes": "spectrum"},
            "channels_last=True lays out images for torch, which does nothing for "
            "takes='spectrum'; drop channels_last=.",
        ),
        (
            {"takes": "patch", "arrays": "numpy"},
            "channels_last=True lays out images for torch, which does nothing for "
            "arrays='numpy'; drop channels_last=.",
        ),
    ],
)
def test_channels_last_is_refused_where_it_does_nothing(options, message):
    with raises_exactly(ModelError, message):
        xrxai.Model(lambda x: x, targets=["a"], channels_last=True, **options)


def test_channels_last_is_a_switch():
    message = "channels_last='yes' is not known; type channels_last=True, False or 'auto'."
    with raises_exactly(OptionError, message):
        xrxai.Model(lambda x: x, takes="patch", targets=["a"], channels_last="yes")


def convolutions(*layers):
    """Convolutions (inside, outside, kernel, groups), and the mean of what the last one says."""
    parts = [torch.nn.Conv2d(a, b, k, padding=k // 2, groups=g) for a, b, k, g in layers]
    return torch.nn.Sequential(*parts, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())


DEPTHWISE = ((10, 8, 3, 1), (8, 8, 3, 8), (8, 3, 1, 1))
KINDS = {
    "mobile": (DEPTHWISE, True),
    "large kernels": (((10, 8, 4, 1), (8, 8, 7, 8), (8, 3, 1, 1)), False),
    "mostly dense": ((*DEPTHWISE, (3, 3, 3, 1)), False),
    "grouped": (((10, 8, 3, 1), (8, 8, 3, 4), (8, 3, 1, 1)), False),
    "dense": (((10, 8, 3, 1), (8, 3, 3, 1)), False),
    "along the spectrum": (((10, 8, 1, 1), (8, 3, 1, 1)), False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_channels_last_is_chosen_by_what_a_network_is_made_of(kind):
    layers, wanted = KINDS[kind]
    model = xrxai.Model(convolutions(*layers), takes="patch", targets=worlds.TARGETS)
    with run.session(model, None, None) as runner:
        assert runner.bands_last is wanted
    assert "channels_last" not in model.options(), "it follows from the network, which is named"


def layouts(net, **options):
    """Whether the network was given bands last, call by call."""
    seen = []
    handle = net.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].is_contiguous(memory_format=torch.channels_last))
    )
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS, **options)
    found = worlds.cube(dtype="float32").xai.occlusion_spatial(model, window=3, progress=False)
    handle.remove()
    return set(seen), found


def test_channels_last_can_be_had_and_forbidden():
    net = convolutions(*DEPTHWISE)
    (auto, one), (off, two), (on, three) = (
        layouts(net),
        layouts(net, channels_last=False),
        layouts(convolutions((10, 3, 1, 1)), channels_last=True),
    )
    assert (auto, off, on) == ({True}, {False}, {True})
    np.testing.assert_allclose(one.attribution, two.attribution, rtol=1e-3, atol=1e-6)
    assert '"channels_last": false' in two.attrs["model_options"]
    assert '"channels_last": true' in three.attrs["model_options"]
    assert one.attrs["model_hash"] == two.attrs["model_hash"]
    _, again = layouts(net)
    xr.testing.assert_equal(one, again)


@pytest.mark.parametrize(
    "kind",
    ["double", "callable", "traced", "autocast", pytest.param("exported", marks=pytest.mark.slow)],
)
def test_channels_last_is_not_chosen_for(kind):
    net, more, x = convolutions(*DEPTHWISE).eval(), {}, torch.rand(2, 10, 6, 7)
    if kind == "double":
        net = net.double()
    if kind == "callable":
        net = lambda x, own=net: own(x)  # noqa: E731
    if kind == "traced":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            net = torch.jit.trace(net, x)
    if kind == "exported":
        net = torch.export.export(net, (x,))
    if kind == "autocast":
        more = {"autocast": "bfloat16"}
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS, **more)
    with run.session(model, None, None) as runner:
        assert not runner.bands_last


def test_a_compiled_network_is_a_model():
    net, cube = worlds.LayeredNet("patch"), worlds.cube(dtype="float32")
    compiled = torch.compile(net, backend="eager")
    asked = {"takes": "patch", "targets": worlds.TARGETS}
    for name in ("integrated_gradients", "lime_spectral"):
        whole = worlds.explain(name, cube, xrxai.Model(net, **asked))
        found = worlds.explain(name, cube, xrxai.Model(compiled, **asked))
        np.testing.assert_allclose(found.attribution, whole.attribution, rtol=1e-4, atol=1e-6)


def test_autocast_is_refused_for_double_networks_before_they_run():
    net = worlds.PatchNet().double()
    model = xrxai.Model(net, takes="patch", targets=worlds.TARGETS, autocast="float16")
    for cube in (worlds.cube(), worlds.cube(lead={"time": 2}).chunk(time=1)):
        with raises_exactly(
            ModelError,
            "autocast='float16' runs torch below float32, and PatchNet has parameters in float64, "
            "which it does not touch; drop autocast=, or give the network in float32: "
            "net.float().",
        ):
            cube.xai.saliency(model)
    with pytest.raises(OptionError, match="autocast='half' is not known; choose one of 'bfloat16'"):
        xrxai.Model(net, takes="patch", targets=worlds.TARGETS, autocast="half")


def test_autocast_is_part_of_the_token():
    net = worlds.PatchNet()
    options = {"takes": "patch", "targets": worlds.TARGETS}
    tokens = {
        dask.base.tokenize(xrxai.Model(net, autocast=a, **options))
        for a in (None, "float16", "bfloat16")
    }
    assert len(tokens) == 3


# ------------------------------------------------------------------------------------ devices


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_auto_is_where_the_parameters_are_or_else_a_gpu(monkeypatch):
    net = nn.Linear(3, 2)
    options = {"takes": "spectrum", "targets": ["a", "b"]}
    plain = xrxai.Model(net, **options)
    callable_ = xrxai.Model(lambda x: net(x), **options)
    script = xrxai.Model(torch.jit.script(net), **options)
    elsewhere = xrxai.Model(nn.Linear(3, 2, device="meta"), **options)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert {devices.chosen(m, None).type for m in (plain, callable_, script)} == {"cpu"}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert devices.chosen(plain, None) == torch.device("cuda:1")
    assert devices.chosen(plain, "cpu") == CPU
    assert devices.chosen(callable_, "auto") == CPU
    assert devices.chosen(script, "auto") == CPU
    assert devices.chosen(elsewhere, "auto") == torch.device("meta")


def test_a_gpu_is_filled_as_far_as_it_is_free(monkeypatch):
    there = torch.device("cuda:0")
    for name, value in (("memory_reserved", 6 * 2**30), ("memory_allocated", 2 * 2**30)):
        monkeypatch.setattr(torch.cuda, name, lambda _, value=value: value)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**32, 2**37))
    assert devices.room(there) == 2**33 // 64
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**36, 2**37))
    assert devices.room(there) == 256 * 2**20
    assert devices.room(CPU) == 4 * 2**20


def test_one_call_at_a_time_on_an_accelerator():
    there = torch.device("cuda:0")
    entered = threading.Event()

    def other():
        with devices.turn(there):
            entered.set()

    thread = threading.Thread(target=other)
    with devices.turn(there), devices.turn(there):  # the same thread may nest
        thread.start()
        assert not entered.wait(0.05)
        with devices.turn(torch.device("cuda:1")):
            pass
    thread.join()
    assert entered.is_set()


# -------------------------------------------------------------------------------------- cores


def in_thread(call, *args):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(call, *args).result()


@pytest.fixture
def four_threads(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    monkeypatch.setattr(devices, "_cores", lambda: 8)
    yield
    torch.set_num_threads(before)


def shared(*workers):
    counts = []
    for n in workers:
        run.share_cores(n)
        counts.append(torch.get_num_threads())
    return counts


def test_cores_are_shared_among_threads_that_run_blocks(four_threads):
    assert in_thread(shared, 4) == [2]
    assert in_thread(shared, 100) == [1]
    assert in_thread(shared, 1) == [4]  # 8 cores, but torch would take 4
    assert in_thread(shared, 8, 2, 8) == [1, 4, 1]
    # Neither threads to come nor the user's own are touched.
    assert in_thread(torch.get_num_threads) == 4
    assert shared(8) == [4]
    assert torch.get_num_threads() == 4


def test_the_main_thread_of_a_worker_process_is_not_the_users(four_threads, monkeypatch):
    monkeypatch.setattr(multiprocessing, "parent_process", object)
    assert shared(8) == [1]


def test_cores_are_those_this_process_may_use():
    import os

    wanted = getattr(os, "sched_getaffinity", lambda _: range(os.cpu_count()))(0)
    assert devices._cores() == len(wanted)


# --------------------------------------------------------------------------------- with a GPU


@pytest.fixture
def gpu():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield torch.device("cuda", torch.cuda.current_device())
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.gpu
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("name", ["saliency", "occlusion_spectral", *TOGETHER[1:]])
def test_on_a_gpu(name, lazy, gpu, replicas):
    model = worlds.model(method="grad_cam")
    net = model.forward.train()
    before = state(net)
    cube = worlds.cube(lead={"time": 6})
    wanted = worlds.explain(name, cube, model, device="cpu")
    cube = cube.chunk(time=1) if lazy else cube
    with dask.config.set(scheduler="threads", num_workers=4):
        found = worlds.explain(name, cube, model).compute()
    xr.testing.assert_allclose(found.attribution, wanted.attribution, rtol=1e-6, atol=1e-9)
    assert state(net) == before


@pytest.mark.gpu
def test_a_network_is_moved_to_a_gpu_once(gpu, replicas, monkeypatch):
    moved = []
    own = nn.Module.to
    monkeypatch.setattr(nn.Module, "to", lambda net, *a, **k: moved.append(a) or own(net, *a, **k))
    cube = worlds.cube(lead={"time": 12}).chunk(time=1)
    model = worlds.model()
    with dask.config.set(scheduler="threads", num_workers=4):
        cube.xai.saliency(model).compute()
    assert moved == [(gpu,)]
    assert {p.device.type for p in model.forward.parameters()} == {"cpu"}


@pytest.mark.gpu
def test_a_gpu_that_is_full_halves_the_batch(gpu):
    class Hungry(worlds.PatchNet):
        def forward(self, x):
            torch.empty(len(x), 2**36, device=x.device)  # 256 GiB a row
            return super().forward(x)

    class Hungrier(worlds.PatchNet):
        def forward(self, x):
            if len(x) > 2:
                torch.empty(2**45, device=x.device)
            return super().forward(x)

    cube = worlds.cube(lead={"time": 9})
    options = {"takes": "patch", "targets": worlds.TARGETS}
    wanted = cube.xai.saliency(xrxai.Model(worlds.PatchNet().double(), **options), device="cpu")
    model = xrxai.Model(Hungrier().double(), **options)
    found = cube.xai.saliency(model)
    xr.testing.assert_allclose(found.attribution, wanted.attribution, rtol=1e-6, atol=1e-9)
    assert memory.limit(model, gpu) == 2 * cube[0].size
    with pytest.raises(ModelError, match=f"ran out of memory on {gpu}: batches of 9, 4, 2, 1"):
        cube.xai.saliency(xrxai.Model(Hungry().double(), **options))


@pytest.mark.gpu
def test_autocast_on_a_gpu(gpu):
    net = worlds.PatchNet()
    options = {"takes": "patch", "targets": worlds.TARGETS}
    cube = worlds.cube(dtype="float32")
    wanted = cube.xai.saliency(xrxai.Model(net, **options))
    for dtype in ("bfloat16", "float16"):
        found = cube.xai.saliency(xrxai.Model(net, autocast=dtype, **options))
        away = abs(found.attribution - wanted.attribution).max() / abs(wanted.attribution).max()
        assert 1e-6 < float(away) < 0.1


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
def test_arrays_reach_a_gpu_whole(dtype, gpu):
    array = np.random.default_rng(0).uniform(0, 9, (300, 70, 40)).astype(dtype).transpose(2, 0, 1)
    found = devices.placed(array, torch.float64, gpu)
    assert found.device == gpu
    np.testing.assert_array_equal(found.cpu().numpy(), array)


@pytest.mark.gpu
def test_replicas_beside_a_network_on_a_gpu_share_it(gpu):
    net = Tied().to(gpu)
    made = replica.own(net, "k", gpu, gpu)
    assert made.first.weight.data_ptr() == net.first.weight.data_ptr()
    assert made.second.weight is made.first.weight
    brought = replica.own(net, "k", gpu, CPU)
    assert {p.device.type for p in brought.parameters()} == {"cpu"}
    assert {p.device for p in net.parameters()} == {gpu}
