"""Models travel by reference: small in the graph, written once, the same bits elsewhere."""

from __future__ import annotations

import functools
import io
import os
import pickle
import subprocess
import sys
import threading
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import dask
import distributed
import numpy as np
import pytest
import torch
import xarray as xr
from dask.base import tokenize
from sklearn.ensemble import RandomForestRegressor
from torch import nn

import xrxai
from tests.conftest import raises_exactly
from xrxai import fingerprint, pieces, travel
from xrxai.errors import ModelError, OptionError
from xrxai.fingerprint import Digests

BANDS = 5
TARGETS = ["K", "pH"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of models for each test, and a process that has loaded none."""
    monkeypatch.setenv(pieces.VARIABLE, str(tmp_path / "models"))
    travel._LOADED.clear()
    yield tmp_path / "models"
    travel._LOADED.clear()


class Tied(nn.Module):
    """All that a module can hold: ties, buffers of both kinds, a plain tensor, frozen weights."""

    def __init__(self, wide: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one = nn.Linear(BANDS, wide, bias=False)
        self.two = nn.Linear(BANDS, wide, bias=False)
        self.two.weight = self.one.weight
        self.last = nn.Parameter(torch.rand(2, wide), requires_grad=False)
        self.register_buffer("mean", torch.rand(BANDS))
        self.register_buffer("count", torch.tensor(3), persistent=False)
        self.norm = nn.BatchNorm1d(wide)
        self.shift = torch.rand(2)
        self.view = self.shift[1:]
        self.last.note = "kept"

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.norm(self.one(x - self.mean) + self.two(x))
        return z @ self.last.T * self.count + self.shift


def spectra(net: Any, **options: Any) -> xrxai.Model:
    return xrxai.Model(net, takes="spectrum", targets=TARGETS, **options)


def cube(**chunks: int) -> xr.DataArray:
    values = np.random.default_rng(0).random((BANDS, 4, 6), dtype=np.float32)
    nm = ("band", np.linspace(450, 900, BANDS), {"units": "nm"})
    da = xr.DataArray(values, dims=("band", "y", "x"), coords={"wavelength": nm})
    return da.chunk(chunks) if chunks else da


def files(folder: Path) -> list[str]:
    return sorted(path.suffix for path in folder.iterdir()) if folder.exists() else []


def elsewhere(reference: Any) -> xrxai.Model:
    """The model as a process without it would make it."""
    parcel = pickle.loads(pickle.dumps(reference)).parcel()
    return travel._built(parcel)


def exported(net: nn.Module, bands: int = BANDS) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says about itself
        example = (torch.rand(3, bands),)
        shapes = ({0: torch.export.Dim("n", min=1)},)
        return torch.export.export(net.eval(), example, dynamic_shapes=shapes)


def scripted(net: nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.jit.script(net.eval())


# ------------------------------------------------------------------------------ references


def test_nothing_is_written_or_copied_in_one_process(folder: Path) -> None:
    model = spectra(Tied())
    one = travel.reference(model)
    assert one.model is model
    assert one.weights_hash == model.weights_hash()
    assert tokenize(one) == tokenize(travel.reference(spectra(model.forward)))
    assert files(folder) == []
    assert pickle.loads(pickle.dumps(one)).model is model
    assert files(folder) == [".skeleton", ".tensors"]


@pytest.mark.parametrize("wide", [8, 100_000])
def test_a_pickle_is_small_and_its_files_are_written_once(folder: Path, wide: int) -> None:
    model = spectra(Tied(wide))
    first = pickle.dumps(travel.reference(model))
    assert len(first) < 3000
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    second = pickle.dumps(travel.reference(spectra(model.forward)))
    assert {path: path.stat().st_ino for path in folder.iterdir()} == before
    assert pickle.loads(second).parcel().key == pickle.loads(first).parcel().key


def test_a_network_arrives_as_it_left() -> None:
    net = Tied()
    net.norm.eval()
    there = elsewhere(travel.reference(spectra(net))).forward
    assert there is not net
    assert there.one.weight is there.two.weight
    assert there.view.data_ptr() == there.shift[1:].data_ptr()
    assert {k: p.requires_grad for k, p in there.named_parameters()} == {
        k: p.requires_grad for k, p in net.named_parameters()
    }
    assert [m.training for m in there.modules()] == [m.training for m in net.modules()]
    assert there.last.note == "kept"
    assert there.count == 3
    assert "count" not in there.state_dict()
    x = torch.rand(7, BANDS)
    assert torch.equal(there.eval()(x), net.eval()(x))


def test_writing_to_what_arrived_leaves_the_file_alone() -> None:
    reference = travel.reference(spectra(Tied()))
    first = elsewhere(reference).forward
    with torch.no_grad():
        first.one.weight.zero_()
    assert not torch.equal(elsewhere(reference).forward.one.weight, first.one.weight)


def test_a_process_loads_a_model_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = pickle.dumps(travel.reference(spectra(Tied())))  # the model itself is gone now
    made = []
    monkeypatch.setattr(travel, "_built", lambda p, own=travel._built: made.append(p) or own(p))
    found: list[Any] = []
    work = [
        threading.Thread(target=lambda: found.append(pickle.loads(sent).model)) for _ in range(8)
    ]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert len(made) == 1
    assert len({id(model) for model in found}) == 1


def test_a_reference_may_be_sent_on(folder: Path) -> None:
    sent = pickle.dumps(travel.reference(spectra(Tied())))
    for path in folder.iterdir():
        path.unlink()
    assert pickle.dumps(pickle.loads(sent)) == sent


def test_files_are_written_again_where_they_are_not(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = travel.reference(spectra(Tied()))
    first = pickle.dumps(reference)
    monkeypatch.setenv(pieces.VARIABLE, str(folder / "other"))
    assert pickle.dumps(reference) == first
    assert files(folder / "other") == [".skeleton", ".tensors"]


def test_tensors_that_are_made_when_asked_for_are_told_apart() -> None:
    digests = Digests()
    found = {digests(torch.full((1000,), float(i))) for i in range(20)}
    assert len(found) == 20


def test_changed_weights_are_another_model(folder: Path) -> None:
    net = Tied()
    old = travel.reference(spectra(net))
    names = [old.token, old.parcel().key]
    with torch.no_grad():
        net.one.weight += 1
    new = travel.reference(spectra(net))
    assert new.token != names[0]
    assert new.parcel().key != names[1]
    assert files(folder).count(".tensors") == 2
    net.count = torch.tensor(4)  # not in state_dict, and decides the answer
    assert travel.reference(spectra(net)).weights_hash != new.weights_hash


def test_weights_that_stay_are_hashed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Tied()
    model = spectra(net)
    first = travel.reference(model)._prints
    hashed = []
    whole = fingerprint.hashlib.blake2b

    def counted(data: bytes = b"", **options: Any) -> Any:
        hashed.append(data)
        return whole(data, **options)

    monkeypatch.setattr(fingerprint.hashlib, "blake2b", counted)
    assert travel.Reference(model)._prints == first
    assert not [data for data in hashed if data], "no tensor was digested anew"
    net.one.weight.data += 1
    assert travel.Reference(model)._prints != first
    assert len([data for data in hashed if data]) == 1


def test_weights_that_change_between_asking_and_sending_are_told() -> None:
    net = Tied()
    reference = travel.reference(spectra(net))
    assert reference.token
    with torch.no_grad():
        net.mean += 1
    with raises_exactly(
        ModelError,
        "The weights of Tied have changed since the explanation was made, so what would be "
        "computed is not what was asked for; make it again.",
    ):
        pickle.dumps(reference)


def test_weights_are_read_once_per_explanation(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    own = travel.fingerprint
    monkeypatch.setattr(travel, "fingerprint", lambda *a: asked.append(1) or own(*a))
    monkeypatch.setattr(xrxai.model, "fingerprint", lambda *a: asked.append(1) or own(*a))
    cube(x=3).xai.saliency(spectra(Tied()))
    assert len(asked) == 1


# ------------------------------------------------------------------------ kinds of models


def forest() -> Any:
    generator = np.random.default_rng(0)
    return RandomForestRegressor(20, random_state=0).fit(
        generator.random((200, BANDS)), generator.random((200, 2))
    )


def closing_over(net: nn.Module) -> Any:
    return lambda x: net(x) + 1


KINDS = {
    "module": lambda: spectra(Tied()),
    "script": lambda: spectra(scripted(Tied())),
    "script in a module": lambda: spectra(nn.Sequential(scripted(Tied()), nn.ReLU())),
    "export": lambda: spectra(exported(Tied())),
    "forest": lambda: xrxai.Model(forest(), targets=TARGETS),
    "lambda": lambda: spectra(closing_over(Tied().eval())),
    "partial": lambda: spectra(functools.partial(torch.matmul, other=torch.rand(BANDS, 2))),
    "prepare": lambda: spectra(Tied(), prepare=closing_over(nn.BatchNorm1d(BANDS).eval())),
    "numpy": lambda: spectra(lambda x: x[:, :2] * 2, arrays="numpy"),
    "factory": lambda: spectra(None, factory="tests.test_travel:Tied"),
}

CHILD = """
import pickle, sys
import numpy as np
from tests.test_travel import answers
sent, out = sys.argv[1:]
references = pickle.load(open(sent, "rb"))
np.savez(out, **{kind: answers(reference.model) for kind, reference in references.items()})
"""


def answers(model: xrxai.Model) -> np.ndarray:
    return cube().xai.occlusion_spectral(model, progress=False).prediction.values


@pytest.mark.slow
def test_every_kind_gives_the_same_bits_in_another_process(tmp_path: Path) -> None:
    models = {kind: make() for kind, make in KINDS.items()}
    sent, out = tmp_path / "sent", tmp_path / "out.npz"
    sizes = {kind: len(pickle.dumps(travel.reference(m))) for kind, m in models.items()}
    assert max(sizes.values()) < 10_000
    sent.write_bytes(pickle.dumps({k: travel.reference(m) for k, m in models.items()}))
    subprocess.run([sys.executable, "-c", CHILD, sent, out], check=True)
    there = np.load(out)
    for kind, model in models.items():
        np.testing.assert_array_equal(there[kind], answers(model), err_msg=kind)


@pytest.mark.parametrize("kind", ["script", "export"])
def test_programs_travel_as_files(folder: Path, kind: str) -> None:
    model = KINDS[kind]()
    pickle.dumps(travel.reference(model))
    assert files(folder) == [{"script": ".ts", "export": ".pt2"}[kind]]


# -------------------------------------------------------------------- files that are not good


@pytest.mark.parametrize("kind", ["module", "forest", "script", "export"])
@pytest.mark.parametrize("how", ["cut", "changed", "gone"])
def test_a_file_that_is_not_what_was_written_is_refused(folder: Path, kind: str, how: str) -> None:
    sent = pickle.dumps(travel.reference(KINDS[kind]()))
    path = max(folder.iterdir(), key=lambda p: p.stat().st_size)
    data = bytearray(path.read_bytes())
    wanted = (
        f"The file {path} is not what was written: it is cut short or was changed, and is not "
        f"loaded. Delete it, and compute the explanation again from where it was made."
    )
    if how == "cut":
        path.write_bytes(data[: len(data) // 2])
    elif how == "changed":
        with zipfile.ZipFile(path) if kind == "module" else io.BytesIO() as archive:
            at = len(data) // 2
            if kind == "module":  # a byte of the weights, past the header of its entry
                values = archive.read(next(n for n in archive.namelist() if n.endswith("data/0")))
                at = data.index(values)
        data[at] ^= 255
        path.write_bytes(data)
    else:
        path.unlink()
        wanted = (
            f"The weights of the model are not at {path} on this worker; give all workers one "
            f"shared folder (XRXAI_MODEL_DIR=FOLDER, set for the client and for the workers), or "
            f"send them with xrxai.ship(model) before you compute."
        )
    with raises_exactly(ModelError, wanted):
        _ = pickle.loads(sent).model


class Bomb:
    """Pickles into a call that must never happen."""

    def __reduce__(self) -> Any:
        return pytest.fail, ("unpickled",)


def test_a_planted_pickle_is_never_loaded(folder: Path) -> None:
    sent = pickle.dumps(travel.reference(spectra(Tied())))
    for path in folder.iterdir():
        path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ModelError, match="is not what was written"):
        _ = pickle.loads(sent).model


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(pieces.VARIABLE, str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written below .*file, .*XRXAI_MODEL_DIR="):
        pickle.dumps(travel.reference(spectra(Tied())))


def test_the_folder_of_the_user_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pieces.VARIABLE)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    place = pieces.folder()
    assert place.parent == tmp_path
    assert place.stat().st_mode & 0o777 == 0o700
    place.rmdir()
    (tmp_path / "theirs").mkdir()
    place.symlink_to(tmp_path / "theirs")
    with pytest.raises(ModelError, match="belongs to somebody else"):
        pieces.folder()


def test_what_nobody_wants_for_a_week_leaves_the_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(pieces.VARIABLE)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    old, wanted = pieces.folder() / "old", pieces.folder() / "wanted"
    for path in (old, wanted):
        path.write_text("")
        os.utime(path, (0, 0))
    pieces.find("wanted")
    pieces.put("new", lambda path: path.write_text(""))
    assert sorted(path.name for path in pieces.folder().iterdir()) == ["new", "wanted"]


# ------------------------------------------------------------- models that cannot be pickled


class Logging(nn.Module):
    def __init__(self, log: Any) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(BANDS, 2))
        self.body[0].log = log

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def test_what_cannot_be_pickled_is_named_with_the_ways_out(tmp_path: Path, folder: Path) -> None:
    with (tmp_path / "log.txt").open("w") as log:
        model = spectra(Logging(log))
        with raises_exactly(
            ModelError,
            "The model Logging cannot be sent to other processes: body.0.log (a "
            "_io.TextIOWrapper) cannot be pickled (PicklingError: Cannot pickle files that are "
            "not opened for reading: w). Leave it out, compute with threads "
            "(scheduler='threads'), or make the model in one of three ways: "
            "xrxai.Model(torch.export.export(net, (x,)), ...), "
            "xrxai.Model(torch.jit.script(net), ...), or "
            "xrxai.Model(factory='package.module:function', ...) with a function that builds it.",
        ):
            pickle.dumps(travel.reference(model))
    assert files(folder) == []
    cube(x=3).xai.saliency(model).compute(scheduler="threads")


@pytest.mark.parametrize("how", ["closure", "partial", "object", "list"])
def test_what_cannot_be_pickled_is_found_wherever_it_is(how: str) -> None:
    lock = threading.Lock()

    class Holder:
        def __init__(self) -> None:
            self.parts = {"a": 1, "key": lock}

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, :2]

    held = [1, lock]
    model, name = {
        "closure": (lambda x: x[:, :2] if lock else x, "lock"),
        "partial": (functools.partial(torch.mul, other=lock), "other"),
        "object": (Holder(), "parts.key"),
        "list": (lambda x: x[:, :2] if held else x, "held.1"),
    }[how]
    with pytest.raises(ModelError, match=rf"processes: {name} \(a _thread.lock\) cannot"):
        pickle.dumps(travel.reference(spectra(model)))


# --------------------------------------------------------------------------------- factory


def locked() -> nn.Module:
    net = Tied()
    net.lock = threading.Lock()
    return net


def random_net() -> nn.Module:
    return nn.Linear(BANDS, 2)


def no_model() -> None:
    return None


def broken() -> None:
    raise FileNotFoundError("net.pt")


NUMBER = 3


def test_of_a_factory_only_its_name_travels(folder: Path) -> None:
    model = spectra(None, factory="tests.test_travel:locked")
    assert "lock" in vars(model.forward)
    same = spectra(Tied(), name="locked")
    same.forward.lock = threading.Lock()
    assert model.weights_hash() == same.weights_hash()
    assert tokenize(spectra(same.forward)) == tokenize(model)
    reference = travel.reference(model)
    there = elsewhere(reference)
    assert files(folder) == []
    assert there.forward is not model.forward
    assert there.weights_hash() == model.weights_hash()
    assert model.options()["factory"] == "tests.test_travel:locked"


def test_a_factory_must_give_the_same_weights_everywhere() -> None:
    model = spectra(None, factory="tests.test_travel:random_net")
    with pytest.raises(
        ModelError, match=r"Linear has other weights .* \(tests\.test_travel:random_net\) must give"
    ):
        elsewhere(travel.reference(model))


@pytest.mark.parametrize(
    ("factory", "error", "message"),
    [
        ("nets.build", OptionError, "does not name a function; type factory='package"),
        (":build", OptionError, "does not name a function"),
        (locked, OptionError, "does not name a function"),
        ("__main__:f", OptionError, "function of this script, .* type factory='nets:f'"),
        ("no_such_module:f", OptionError, "the module no_such_module cannot be imported"),
        ("tests.test_travel:g", OptionError, "the module tests.test_travel has no g; check"),
        ("tests.test_travel:NUMBER", OptionError, "is an int, not a function"),
        ("tests.test_travel:no_model", ModelError, "returned a NoneType, not a model; let it"),
        ("tests.test_travel:spectra", ModelError, "failed: TypeError: .* without arguments"),
        ("tests.test_travel:broken", ModelError, "failed: FileNotFoundError: net.pt"),
    ],
)
def test_bad_factories_are_told(factory: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        spectra(None, factory=factory)


def test_a_model_needs_a_network_or_a_factory() -> None:
    with raises_exactly(
        ModelError,
        "The model is missing; type Model(net, ...), or "
        "Model(factory='package.module:function', ...).",
    ):
        xrxai.Model(takes="spectrum", targets=TARGETS)


# ------------------------------------------------------------------------- programs in files


def test_a_file_name_is_no_model() -> None:
    with raises_exactly(
        ModelError,
        "'net.pt2' is a file name, and a model is needed; type "
        "Model(xrxai.load_program('net.pt2'), ...).",
    ):
        spectra("net.pt2")


def test_programs_are_loaded_whatever_their_file_is_called(tmp_path: Path) -> None:
    net, x = Tied().eval(), torch.rand(3, BANDS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(scripted(net), tmp_path / "net.bin")
    torch.export.save(exported(net), tmp_path / "net.pt2")
    for name in ("net.bin", "net.pt2"):
        loaded = xrxai.load_program(tmp_path / name)
        run = loaded.module() if name == "net.pt2" else loaded
        torch.testing.assert_close(run(x), net(x))
        why = cube().xai.saliency(spectra(loaded), progress=False)
        assert np.isfinite(why.attribution).all()


def renamed(path: Path, **changes: bytes) -> None:
    """Rewrite an archive with entries added."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()}
    top = next(iter(entries)).partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**entries, **{f"{top}/{k}": v for k, v in changes.items()}}.items():
            archive.writestr(name, data)


def bomb(stream: Any = None) -> bytes:
    stream = io.BytesIO()
    torch.save(Bomb(), stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: torch.save(Tied(), p), "is a pickle (torch.save), which runs code"),
        (lambda p: torch.save(Tied().state_dict(), p), "load_state_dict(torch.load('"),
        (
            lambda p: torch.save(Tied(), p, _use_new_zipfile_serialization=False),
            "is a pickle (torch.save)",
        ),
        (lambda p: p.write_bytes(b"\x10" + bytes(7) + b'{"a": 1}'), "safetensors.torch.load_file"),
        (lambda p: p.write_bytes(b"\x08\x07onnx"), "is no program of torch"),
        (lambda p: None, "There is no file"),
    ],
    ids=["module", "state", "old", "safetensors", "onnx", "none"],
)
def test_what_is_no_program_is_refused(tmp_path: Path, make: Any, message: str) -> None:
    make(tmp_path / "net.pt")
    with pytest.raises(ModelError) as caught:
        xrxai.load_program(tmp_path / "net.pt")
    assert message in str(caught.value)
    assert str(tmp_path / "net.pt") in str(caught.value)


@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ("data/sample_inputs/model.pt", "a pickled object"),
        ("data/weights/model.pt", "a pickled object"),
        ("data/constants/opaque_obj_0", "a pickled object"),
        ("data/constants/Custom_obj_0/x", "a pickled object"),
        ("x/data/aotinductor/model/x.so", "a compiled library"),
    ],
)
def test_pickles_inside_a_program_are_refused(tmp_path: Path, entry: str, what: str) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(exported(nn.Linear(BANDS, 2)), path)
    renamed(path, **{entry: bomb()})
    with pytest.raises(ModelError, match=f"holds {what} .*{entry}.*, which would run unseen"):
        xrxai.load_program(path)


def test_pickles_that_a_program_points_to_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(exported(nn.Linear(BANDS, 2)), path)
    config = b'{"config": {"w": {"use_pickle": true, "path_name": "weight_0"}}}'
    renamed(path, **{"data/weights/more_weights_config.json": config})
    with pytest.raises(ModelError, match=r"holds a pickled object .*which would run unseen"):
        xrxai.load_program(path)


def test_an_entry_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(exported(nn.Linear(BANDS, 2)), path)
    renamed(path, **{"Archive_Format": b"pt2"})
    with pytest.raises(ModelError, match="holds two entries of one name"):
        xrxai.load_program(path)


def test_a_truncated_program_is_told(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(exported(nn.Linear(BANDS, 2)), path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ModelError, match="is no program of torch, or is cut short"):
        xrxai.load_program(path)


# ---------------------------------------------------------------------- schedulers and workers


def test_a_graph_holds_no_weights(folder: Path) -> None:
    model = spectra(Tied(100_000))  # 2.8 MB
    why = cube(x=1, y=1).xai.saliency(model)
    assert files(folder) == []
    assert len(cloudpickle.dumps(why.attribution.data.dask)) < 200_000


@pytest.mark.slow
def test_processes_give_the_bits_of_threads() -> None:
    why = cube(x=3).xai.integrated_gradients(spectra(Tied()), n_steps=3)
    threads = why.compute(scheduler="threads")
    with dask.config.set({"multiprocessing.context": "spawn", "num_workers": 1}):
        processes = why.compute(scheduler="processes")
    xr.testing.assert_identical(threads, processes)


@pytest.mark.slow
def test_workers_without_the_folder_get_the_model_shipped(tmp_path: Path) -> None:
    there = tmp_path / "worker"
    model = spectra(Tied(20_000))
    why = cube(x=3).xai.saliency(model)
    wanted = why.compute(scheduler="threads")
    elsewhere = {pieces.VARIABLE: str(there)}
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=":0", env=elsewhere
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        with pytest.raises(ModelError, match=r"not at .*worker.*xrxai\.ship\(model\)"):
            why.compute()
        xrxai.ship(model)
        assert files(there) == [".skeleton", ".tensors"]
        assert sum(client.run(held).values()) == 0
        xr.testing.assert_identical(wanted, why.compute())
        assert list(client.run(loaded).values()) == [1]
        for path in there.iterdir():
            path.unlink()
        cluster.scale(2)  # one that joins later
        client.wait_for_workers(2)
        assert files(there) == [".skeleton", ".tensors"]


def loaded() -> int:
    return len(travel._LOADED)


def held(dask_worker: Any) -> int:
    """Bytes that the plugins of a worker keep."""
    plugins = [p for name, p in dask_worker.plugins.items() if name.startswith("xrxai-")]
    assert len(plugins) == 1
    return sum(map(len, plugins[0].contents.values()))
