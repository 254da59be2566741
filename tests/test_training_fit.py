"""Training: what it learns, that it can be killed, and what it refuses."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

import xrxai
from tests.conftest import Watched, raises_exactly
from xrxai import training
from xrxai.errors import DataError, LabelError, ModelError, OptionError
from xrxai.training import Classes, fit, loss_of, ready
from xrxai.training import steps as steps_module

CLASSES = Classes(["soil", "wheat", "rye"])
SIDE, BANDS = 8, 4


class Fields(torch.utils.data.Dataset[Any]):
    """Tiles whose bands are noise about the class; a fifth of the pixels nobody has looked at."""

    classes = CLASSES
    augmentation: Any = None
    wavelength = None

    def __init__(self, n: int = 12, seed: int = 0, noisy: bool = False) -> None:
        g = np.random.default_rng(seed)
        self.label = np.kron(g.integers(0, 3, (n, 2, 2)), np.ones((1, 4, 4), int))
        self.image = np.eye(3, BANDS, dtype=np.float32)[self.label].transpose(0, 3, 1, 2)
        self.image += g.normal(0, 0.3, self.image.shape).astype(np.float32)
        self.label[g.random(self.label.shape) < 0.2] = -1
        self.noisy, self.epoch, self.reads = noisy, 0, 0

    def __len__(self) -> int:
        return len(self.label)

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        image, label = torch.from_numpy(self.image[index]), torch.from_numpy(self.label[index])
        if self.noisy:
            g = torch.Generator().manual_seed(1000 * self.epoch + index)
            image = image + 0.1 * torch.randn(image.shape, generator=g)
        return image, label, torch.ones_like(label, dtype=torch.bool)


def small(seed: int = 0, classes: int = 3) -> nn.Module:
    """A net with what keeps a state (batch norm) and what draws (dropout)."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(BANDS, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Dropout2d(0.2),
            nn.Conv2d(8, classes, 1),
        )


def run(
    net: nn.Module | None = None, train: Any = None, validation: Any = 1, **options: Any
) -> Any:
    """`fit` with small numbers."""
    validation = Fields(6, seed=1) if validation == 1 else validation
    options = {"epochs": 3, "batch_size": 4, "lr": 0.02, "progress": False, **options}
    return fit(net or small(), train or Fields(noisy=True), validation, **options)


def same(a: nn.Module, b: nn.Module) -> bool:
    """Whether the weights and statistics are the same to the last bit."""
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


def same_history(a: xr.Dataset, b: xr.Dataset) -> bool:
    return bool(a.drop_vars("seconds").identical(b.drop_vars("seconds")))


# ---------------------------------------------------------------------------- what it learns


def test_a_net_learns_and_the_best_weights_come_back() -> None:
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    seen: list[Any] = []

    def look(now: Any) -> None:
        seen.append({k: v.clone() for k, v in now.net.state_dict().items()})

    fitted = run(net, epochs=12, class_weights="balanced", callback=look)
    history = fitted.history
    assert dict(history.sizes) == {"epoch": 12, "class": 3}
    assert float(history.train_loss[-1]) < 0.3 * float(history.train_loss[0])
    assert float(history.mean_iou.max()) > 0.8
    assert fitted.best_epoch == int(history.mean_iou.values.argmax()) + 1
    best = seen[fitted.best_epoch - 1]
    assert all(torch.equal(v, best[k]) for k, v in fitted.net.state_dict().items())
    assert not fitted.net.training
    # What was given stays as it is.
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.training
    for name, array in history.data_vars.items():
        assert array.attrs["units"], name
    best_score = float(history.mean_iou.max())
    assert repr(fitted) == (
        f"<xrxai.training.Fitted: 12 epochs, best {fitted.best_epoch} with mean_iou "
        f"{best_score:.3f}>"
    )


def test_scores_of_the_history_are_those_of_evaluate() -> None:
    tiles = Fields(1, seed=5)
    fitted = run(validation=tiles)
    cube = xr.DataArray(tiles.image[0], dims=("band", "y", "x"))
    labels = training.labels_of(tiles.label[0], cube, CLASSES)
    made = training.evaluate(cube, labels, fitted.model, n_boot=10)
    best = fitted.history.sel(epoch=fitted.best_epoch)
    np.testing.assert_allclose(made.iou, best.iou)
    np.testing.assert_allclose(made.mean_iou, best.mean_iou)
    assert fitted.model.targets == CLASSES.names
    assert fitted.model.n_bands == BANDS


def test_losses_of_the_history_are_those_of_the_net() -> None:
    validation = Fields(5, seed=1)
    fitted = run(validation=validation, batch_size=2, epochs=1)
    logits = fitted.net(torch.from_numpy(validation.image))
    label = torch.from_numpy(validation.label)
    want = float(loss_of("focal")(logits, label).detach())
    # A mean over pixels, whatever the batches.
    assert float(fitted.history.validation_loss[0]) == pytest.approx(want, rel=1e-5)


def test_without_validation_the_last_epoch_is_the_best() -> None:
    fitted = run(validation=None, epochs=2, patience=1)
    assert fitted.best_epoch == 2
    assert "mean_iou" not in fitted.history


def test_training_stops_when_nothing_gets_better() -> None:
    fitted = run(epochs=50, lr=1e-12, patience=3)
    assert fitted.history.sizes["epoch"] == fitted.best_epoch + 3


def test_monitor_says_what_is_better() -> None:
    fitted = run(epochs=8, lr=0.3, monitor="loss")
    assert fitted.best_epoch == int(fitted.history.validation_loss.values.argmin()) + 1


@pytest.mark.parametrize(
    "option",
    [
        {"loss": "dice"},
        {"class_weights": {"rye": 5.0}},
        {"lr": 0.01},
        {"weight_decay": 0.5},
        {"batch_size": 6},
        {"seed": 1},
        {"amp": "bfloat16"},
    ],
)
def test_options_have_an_effect(option: dict[str, Any]) -> None:
    assert not same(run(epochs=1).net, run(epochs=1, **option).net)


def test_gamma_and_losses_of_ones_own(tmp_path: Path) -> None:
    plain, own = run(epochs=1), run(epochs=1, loss=loss_of("focal"))
    assert same(plain.net, own.net)
    assert not same(plain.net, run(epochs=1, loss=loss_of("focal", gamma=1.0)).net)

    def mine(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, label, ignore_index=-1)

    assert np.isfinite(run(epochs=1, loss=mine).history.train_loss).all()
    # In another process its address is another, and it can go on.
    bound = functools.partial(mine)
    run(epochs=1, loss=bound, checkpoint=tmp_path)
    assert run(loss=functools.partial(mine), checkpoint=tmp_path).history.sizes["epoch"] == 3


def test_half_precision_keeps_weights_in_float32() -> None:
    for amp in ("bfloat16", "float16"):
        fitted = run(epochs=2, amp=amp)
        assert {p.dtype for p in fitted.net.parameters()} == {torch.float32}
        assert np.isfinite(fitted.history.train_loss).all()


# ------------------------------------------------------------------------- the same, again


def test_the_rate_follows_its_schedule(tmp_path: Path) -> None:
    options: dict[str, Any] = {"epochs": 4, "lr": 0.02, "checkpoint": tmp_path}
    whole = run(schedule="cosine", **options)
    half = 0.5 * (1 + np.cos(np.pi * np.arange(4) / 4))
    np.testing.assert_allclose(whole.history["lr"], 0.02 * half, rtol=1e-12)
    constant = run(epochs=4, lr=0.02)
    assert (constant.history["lr"] == 0.02).all()
    assert not same(whole.net, constant.net)
    # The first epoch is at the full rate, and the last moves the weights least.
    np.testing.assert_array_equal(whole.history["train_loss"][0], constant.history["train_loss"][0])
    with pytest.raises(OptionError, match="schedule was cosine over 4 epochs and is cosine over 5"):
        run(schedule="cosine", **{**options, "epochs": 5})


def test_the_seed_decides_and_nothing_else() -> None:
    torch.manual_seed(1)
    one = run()
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    torch.rand(3)
    two = run(callback=lambda now: torch.rand(5))
    assert same(one.net, two.net)
    assert same_history(one.history, two.history)


def test_global_generators_stay_as_they_are() -> None:
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    want = torch.rand(1), np.random.rand()  # noqa: NPY002
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    run(epochs=1)
    assert (torch.rand(1), np.random.rand()) == want  # noqa: NPY002


def test_each_epoch_has_an_order_of_its_own_with_each_tile_once() -> None:
    orders: list[list[int]] = []

    class Told(Fields):
        def set_epoch(self, epoch: int) -> None:
            orders.append([])

        def __getitem__(self, index: int) -> Any:
            if orders:
                orders[-1].append(index)
            return super().__getitem__(index)

    run(train=Told(), validation=None)
    assert [sorted(order) for order in orders] == [list(range(12))] * 3
    assert orders[0] != orders[1] != orders[2]


class Stopped(RuntimeError):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("moment", [17, 24, 25, 30])
def test_what_was_stopped_goes_on_to_the_same_bits(tmp_path: Path, moment: int) -> None:
    class Stopping(Fields):
        def __getitem__(self, index: int) -> Any:
            if self.reads == moment:
                raise Stopped
            return super().__getitem__(index)

    whole = run(epochs=4)
    with pytest.raises(Stopped):
        # Tiles are read once each before the first step, to count the labels.
        run(train=Stopping(noisy=True), epochs=4, checkpoint=tmp_path)
    again = run(epochs=4, checkpoint=tmp_path)
    assert same(whole.net, again.net)
    assert same_history(whole.history, again.history)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]
    # All done: nothing is learned, and the net is there at once.
    train = Fields(noisy=True)
    done = run(train=train, epochs=4, checkpoint=tmp_path)
    assert same(whole.net, done.net)
    assert train.reads <= len(train) + 1
    longer = run(epochs=6, checkpoint=tmp_path)
    assert same(longer.net, run(epochs=6).net)
    assert longer.history.sizes["epoch"] == 6
    anew = run(epochs=1, checkpoint=tmp_path, resume=False)
    assert anew.history.sizes["epoch"] == 1


def test_half_precision_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    run(epochs=2, amp="float16", checkpoint=tmp_path)
    again = run(epochs=4, amp="float16", checkpoint=tmp_path)
    assert same(again.net, run(epochs=4, amp="float16").net)


def test_a_checkpoint_is_whole_or_not_there(tmp_path: Path, monkeypatch: Any) -> None:
    run(epochs=1, checkpoint=tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def half(state: Any, file: Any) -> None:
        file.write(b"half of it")
        raise Stopped

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(Stopped):
            run(epochs=2, checkpoint=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    (tmp_path / ".0123.part").write_bytes(b"of one that was killed while it wrote")
    assert same(run(epochs=2, checkpoint=tmp_path).net, run(epochs=2).net)
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_checkpoints_of_another_call_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    run(epochs=1, checkpoint=tmp_path)
    path = tmp_path / "checkpoint.pt"
    with raises_exactly(
        OptionError,
        f"{path} is of another training: lr was 0.02 and is 0.01; seed was 0 and is 3. Type the "
        f"options of then to go on, checkpoint='ANOTHER FOLDER' for this one, or resume=False to "
        f"start anew and replace it.",
    ):
        run(lr=0.01, seed=3, checkpoint=tmp_path)
    for option in (
        {"train": Fields(11)},
        {"train": Fields(seed=8)},
        {"validation": None},
        {"loss": "dice"},
        {"class_weights": "balanced"},
        {"batch_size": 3},
        {"net": nn.Conv2d(BANDS, 3, 1)},
    ):
        with pytest.raises(OptionError, match="of another training: "):
            run(checkpoint=tmp_path, **option)
    path.write_bytes(path.read_bytes()[:2000])
    with raises_exactly(
        DataError,
        f"{path} is no checkpoint of fit, or is damaged (RuntimeError); type checkpoint='ANOTHER "
        f"FOLDER', or resume=False to start anew and replace it.",
    ):
        run(checkpoint=tmp_path)


SCRIPT = """
import sys, time, torch
from tests.test_training_fit import Fields, augmented, run
from xrxai import training
kind, folder, log = sys.argv[1:]

def slow(base):
    class Slow(base):
        def __getitem__(self, index):
            with open(log, "a") as file:
                file.write(".")
            time.sleep(0.25 / len(self))
            return super().__getitem__(index)
    return Slow

if kind == "fields":
    net, train, validation = None, slow(Fields)(noisy=True), Fields(6, seed=1)
else:
    net, train, validation = augmented(slow(training.Tiles))
options = {"epochs": 8, "checkpoint": folder, "loss": "focal+dice"}
fitted = run(net, train, validation, **options)
torch.save(fitted.net.state_dict(), folder + "/net.pt")
fitted.history.drop_vars("seconds").to_netcdf(folder + "/history.nc")
"""


def start(folder: Path, kind: str) -> subprocess.Popen[bytes]:
    """The script in a process of its own."""
    folder.mkdir(exist_ok=True)
    here = str(Path(__file__).parent.parent)
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, kind, str(folder), str(folder / "log")],
        cwd=here,
        env={**os.environ, "PYTHONPATH": here, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fields", "tiles"])
def test_killed_five_times_and_the_same_bits(tmp_path: Path, kind: str) -> None:
    """SIGKILL, at moments that are drawn, most within an epoch: as if nothing had been."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole, kind).wait() == 0
    rng = np.random.default_rng()
    log = killed / "log"
    before, epoch = {"fields": (13, 12), "tiles": (1, 4)}[kind]  # reads: of checks, of an epoch
    for _ in range(5):
        process = start(killed, kind)
        had = log.stat().st_size if log.exists() else 0
        wanted = had + before + int(rng.integers(1, 1.5 * epoch))
        while process.poll() is None and (not log.exists() or log.stat().st_size < wanted):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.06))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    assert not (killed / "net.pt").exists()
    assert start(killed, kind).wait() == 0
    one, two = (torch.load(f / "net.pt", weights_only=True) for f in (whole, killed))
    assert all(torch.equal(one[name], two[name]) for name in one)
    histories = [xr.load_dataset(f / "history.nc") for f in (whole, killed)]
    assert histories[0].identical(histories[1])
    assert log.stat().st_size > (whole / "log").stat().st_size  # epochs were begun twice


# ---------------------------------------------------------------------------- what it refuses


def unfit(**changed: Any) -> Fields:
    made = Fields()
    for name, value in changed.items():
        setattr(made, name, value)
    return made


def one_class() -> Fields:
    return unfit(label=np.where(Fields().label == 2, 2, -1))


def with_class(number: int) -> Fields:
    made = Fields()
    made.label[3, 1, 2] = number
    return made


class Named(nn.Conv2d):
    """A net that knows its classes and wavelengths."""

    def __init__(self, names: Any = CLASSES.names, wavelength: Any = None) -> None:
        super().__init__(BANDS, 3, 1)
        self.class_names, self.wavelength = names, wavelength


NM = np.array([480.0, 560.0, 660.0, 860.0])

WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "bands": (
        lambda: run(nn.Conv2d(6, 3, 1)),
        ModelError,
        "The net does not take tiles of 4 bands and 8 x 8 pixels, and its first convolution takes "
        "6; type training.unet(cube, classes) for these bands, or training.transfer(net, cube) to "
        "keep what it has learnt. It says: Given groups=1, weight of size [3, 6, 1, 1], expected "
        "input[1, 4, 8, 8] to have 6 channels, but got 4 channels instead",
    ),
    "classes of the net": (
        lambda: run(nn.Conv2d(BANDS, 2, 1)),
        ModelError,
        "The net answers (1, 2, 8, 8) for one tile, and (1, 3, 8, 8) is needed: (n, class, y, x) "
        "with a value for each of the 3 classes, rows and columns; type training.unet(cube, "
        "classes).",
    ),
    "names of the net": (
        lambda: run(Named(["soil", "rye", "wheat"])),
        ModelError,
        "The net tells apart ['soil', 'rye', 'wheat'] and the tiles have the classes ['soil', "
        "'wheat', 'rye']; type training.transfer(net, cube, classes=classes).",
    ),
    "wavelengths of the net": (
        lambda: run(Named(wavelength=NM), unfit(wavelength=[480.0, 560.0, 705.0, 860.0])),
        ModelError,
        "The net was made for bands at other wavelengths (band 2: 660 nm, tiles 705 nm); type "
        "training.transfer(net, cube) to keep what it has learnt, or training.unet(cube, classes).",
    ),
    "number of wavelengths": (
        lambda: run(Named(wavelength=NM), unfit(wavelength=NM[:3])),
        ModelError,
        "The net was made for 4 bands and the tiles have 3; type training.transfer(net, cube) to "
        "keep what it has learnt, or training.unet(cube, classes).",
    ),
    "probabilities": (
        lambda: run(nn.Sequential(small(), nn.Softmax(1))),
        ModelError,
        "The net gives probabilities: its answers are not below 0 and sum to 1 over the classes. "
        "The loss takes logits and applies softmax itself, and twice flattens the gradient; remove "
        "the softmax at the end of the net (in segmentation_models_pytorch: activation=None).",
    ),
    "frozen": (
        lambda: run(small().requires_grad_(False)),
        ModelError,
        "Nothing of the net can be trained: it has no parameter, or all are frozen; type "
        "net.requires_grad_(True), or freeze fewer stages.",
    ),
    "no net": (
        lambda: run(lambda x: x),  # type: ignore[arg-type]
        ModelError,
        "net= is a function, and fit trains a torch.nn.Module; type training.unet(cube, classes).",
    ),
    "no tiles": (
        lambda: run(train=[1, 2]),
        OptionError,
        "train= is a list, which is no set of tiles with classes; type train=training.Tiles(cube, "
        "labels, windows).",
    ),
    "empty": (
        lambda: run(validation=Fields(0)),
        OptionError,
        "validation= has no tile; pass windows that lie within the cube.",
    ),
    "one class": (
        lambda: run(train=one_class()),
        LabelError,
        "The training tiles hold only 'rye', and telling apart takes two classes; add tiles of "
        "another class, or say what was looked at and not drawn (training.rasterise(..., "
        "annotated=...), Classes(..., background=...)).",
    ),
    "no labels": (
        lambda: run(train=unfit(label=np.full((12, SIDE, SIDE), -1))),
        LabelError,
        "The training tiles hold no labelled pixel at all, and telling apart takes two classes; "
        "add tiles of another class, or say what was looked at and not drawn (training.rasterise("
        "..., annotated=...), Classes(..., background=...)).",
    ),
    "unknown class": (
        lambda: run(train=with_class(7)),
        LabelError,
        "The labels hold 7, and the 3 classes have the numbers 0 to 2; make them with "
        "training.labels_of(labels, cube, classes), which says what each becomes.",
    ),
    "unknown class in validation": (
        lambda: run(validation=with_class(-3)),
        LabelError,
        "The labels hold -3, and the 3 classes have the numbers 0 to 2; make them with "
        "training.labels_of(labels, cube, classes), which says what each becomes.",
    ),
    "label shape": (
        lambda: run(train=unfit(label=Fields().label[:, :4])),
        LabelError,
        "The image of the first tile of train= has shape (4, 8, 8) and its label (4, 8); an image "
        "is (band, y, x), a label (y, x): one class number per pixel, not one-hot.",
    ),
    "validation augments": (
        lambda: run(validation=unfit(augmentation=object())),
        OptionError,
        "validation= is augmented, so its scores would be those of scenes that are not there; type "
        "training.Tiles(cube, labels, windows) without augmentation=.",
    ),
    "validation classes": (
        lambda: run(validation=unfit(classes=Classes(["soil", "oats"]))),
        LabelError,
        "The validation tiles have the classes ['soil', 'oats'] and the training tiles ['soil', "
        "'wheat', 'rye']; make both labels with the same Classes.",
    ),
    "validation without labels": (
        lambda: run(validation=unfit(label=np.full((12, SIDE, SIDE), -1))),
        LabelError,
        "The validation tiles hold no labelled pixel, so no epoch is better than another; pass "
        "windows that do, or leave validation= out.",
    ),
    "weights of one's own loss": (
        lambda: run(loss=loss_of("dice"), class_weights="balanced"),
        OptionError,
        "class_weights= weighs the losses that fit makes, and loss= is your own; give it the "
        "weights: training.loss_of(..., class_weights=..., classes=classes).",
    ),
    "loss": (
        lambda: run(loss="hinge"),
        OptionError,
        "loss='hinge' is not known; choose one of 'focal', 'dice', 'cross_entropy', 'focal+dice'.",
    ),
    "epochs": (
        lambda: run(epochs=0),
        OptionError,
        "epochs=0 is too small; type epochs=1 or more.",
    ),
    "batch_size": (
        lambda: run(batch_size=2.5),
        OptionError,
        "batch_size=2.5 is not a whole number; type batch_size=1 or more.",
    ),
    "patience": (
        lambda: run(patience=0),
        OptionError,
        "patience=0 is too small; type patience=1 or more.",
    ),
    "lr": (
        lambda: run(lr=-1),
        OptionError,
        "lr=-1 is not a positive number; type for example lr=0.001.",
    ),
    "weight_decay": (
        lambda: run(weight_decay=-1),
        OptionError,
        "weight_decay=-1 is not a number of 0 or more; type for example weight_decay=0.0001.",
    ),
    "monitor": (
        lambda: run(monitor="f1"),
        OptionError,
        "monitor='f1' is not known; choose one of 'mean_iou', 'loss'.",
    ),
    "amp": (
        lambda: run(amp="float8"),
        OptionError,
        "amp='float8' is not known; choose one of 'bfloat16', 'float16'.",
    ),
    "seed": (
        lambda: run(seed=-1),
        OptionError,
        "seed=-1 is too small; type seed=0 or more.",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_calls_that_cannot_be_are_refused_before_the_first_step(
    case: str, monkeypatch: Any
) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("a step was made")

    call, error, message = WRONG[case]
    if case != "validation without labels":
        monkeypatch.setattr(steps_module.Steps, "learn", never)
    with raises_exactly(error, message):
        call()


def test_a_device_that_is_not_there() -> None:
    with pytest.raises(OptionError, match=r"^device='cuda:99' is not to be had here; type device="):
        run(device="cuda:99")


def test_a_loss_that_is_no_number_stops_training_and_keeps_what_there_is(tmp_path: Path) -> None:
    class Breaking(Fields):
        def __getitem__(self, index: int) -> Any:
            image, *rest = super().__getitem__(index)
            if self.epoch == 3:
                image = image * np.nan
            return image, *rest

    path = tmp_path / "checkpoint.pt"
    good = run(train=Fields(noisy=True), epochs=2)
    with raises_exactly(
        ModelError,
        f"Training stopped in epoch 3: in batch 1 of 3 the loss is nan, and the image holds values "
        f"that are not finite. To go on, mask them: NaN in the cube, or xrxai.to_cube(cube, "
        f"nodata=...). The weights of epoch {good.best_epoch}, the best so far, are in {path}; the "
        f"same call with epochs=2 gives them.",
    ):
        run(train=Breaking(noisy=True), checkpoint=tmp_path)
    assert same(run(train=Breaking(noisy=True), checkpoint=tmp_path, epochs=2).net, good.net)
    with raises_exactly(
        ModelError,
        "Training stopped in epoch 3: in batch 1 of 3 the loss is nan, and the image holds values "
        "that are not finite. To go on, mask them: NaN in the cube, or xrxai.to_cube(cube, "
        "nodata=...). What was learned before is lost; type checkpoint='FOLDER' to keep it next "
        "time.",
    ):
        run(train=Breaking(noisy=True))


def test_a_learning_rate_that_is_too_large(tmp_path: Path) -> None:
    net = nn.Conv2d(BANDS, 3, 1)
    with raises_exactly(
        ModelError,
        "Training stopped in epoch 1: in batch 3 of 3 the loss is nan, and the net answers values "
        "that are not finite. To go on, type a smaller lr= than 1e+30, or check the units of the "
        "cube. Nothing was learned before.",
    ):
        run(net, lr=1e30, checkpoint=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()
    with raises_exactly(
        ModelError,
        "Training stopped in epoch 2: after batch 1 the weights are not finite. To go on, type a "
        "smaller lr= than 1e+30, or check the units of the cube. What was learned before is lost; "
        "type checkpoint='FOLDER' to keep it next time.",
    ):
        run(net, lr=1e30, batch_size=99)


def test_batches_without_a_label_are_passed_over_and_said(recwarn: Any) -> None:
    tiles = Fields()
    tiles.label[2:8] = -1
    with pytest.warns(UserWarning, match=r"\d of 12 batches of epoch 1 hold no labelled pixel"):
        fitted = run(train=tiles, batch_size=1, epochs=2)
    assert fitted.history.skipped.values.tolist() == [6, 6]

    class Losing(Fields):
        """Augmentation that turns every label out of the tile."""

        def __getitem__(self, index: int) -> Any:
            image, label, valid = super().__getitem__(index)
            return image, label if self.epoch == 0 else torch.full_like(label, -1), valid

    with raises_exactly(
        LabelError,
        "No batch of epoch 1 holds a labelled pixel; choose windows that do, or weaken the "
        "augmentation.",
    ):
        run(train=Losing())


# ------------------------------------------------------------------------- real tiles and nets


def scene() -> tuple[xr.DataArray, xr.DataArray, xr.Dataset]:
    """A cube of 32 x 64 pixels with a corner that was not measured, labels, windows of 16."""
    g = np.random.default_rng(0)
    truth = np.kron(g.integers(0, 3, (4, 8)), np.ones((8, 8), int))
    values = np.eye(3, BANDS)[truth].transpose(2, 0, 1) + g.normal(0, 0.2, (BANDS, 32, 64))
    nm = ("band", NM, {"units": "nm"})
    cube = xr.DataArray(values.astype("f4"), dims=("band", "y", "x"), coords={"wavelength": nm})
    cube[:, :4, :4] = np.nan
    labels = training.labels_of(truth, cube, CLASSES)
    rows, columns = np.meshgrid([0, 16], [0, 16, 32, 48], indexing="ij")
    windows = xr.Dataset({"row": ("tile", rows.ravel()), "column": ("tile", columns.ravel())})
    return cube, labels, windows.assign_attrs(tile_size=16)


def test_labels_are_counted_without_reading_a_band() -> None:
    cube, labels, windows = scene()
    store = Watched(cube.values)
    lazy = cube.copy(data=da.from_array(store, chunks=(4, 16, 16)))
    tiles = training.Tiles(lazy, labels.transpose("x", "y"), windows)
    counts = ready.counts_of(tiles, CLASSES)
    assert counts.tolist() == [int((labels == k).sum()) for k in range(3)]
    assert store.count() == 0


def augmented(tiles: Any = training.Tiles) -> tuple[nn.Module, Any, Any]:
    """A U-Net, tiles of the left half with all augmentation, tiles of the right half."""
    cube, labels, windows = scene()
    left, right = (windows.isel(tile=windows.column.values // 32 == half) for half in (0, 1))
    augmentation = training.Augmentation(blur=0.5, brightness=0.1, noise=50.0, band_dropout=0.1)
    train = tiles(cube, labels, left, augmentation=augmentation)
    stats = training.band_statistics(cube, left)
    options: dict[str, Any] = {"encoder": "resnet18", "depth": 3, "decoder": (32, 16, 8)}
    net = training.unet(cube, CLASSES, mean=stats["mean"], std=stats["std"], **options)
    return net, train, training.Tiles(cube, labels, right)


@pytest.mark.slow
def test_tiles_and_a_unet_are_trained(tmp_path: Path) -> None:
    net, train, validation = augmented()
    options: dict[str, Any] = {"batch_size": 2, "class_weights": "balanced"}
    fitted = run(net, train, validation, epochs=3, **options)
    run(net, train, validation, epochs=1, checkpoint=tmp_path, **options)
    again = run(net, train, validation, epochs=3, checkpoint=tmp_path, **options)
    assert same(again.net, fitted.net)
    assert float(fitted.history.train_loss[-1]) < float(fitted.history.train_loss[0])
    cube, labels, _ = scene()
    where = np.broadcast_to(np.arange(64) >= 32, (32, 64))
    made = training.evaluate(cube, labels, fitted.model, where=where, n_boot=20)
    assert int(made.confusion.sum()) == 32 * 32
    assert (xrxai.predict(cube, fitted.model).class_map[:4, :4] == -1).all()
    with raises_exactly(
        OptionError,
        "validation= is augmented, so its scores would be those of scenes that are not there; type "
        "training.Tiles(cube, labels, windows) without augmentation=.",
    ):
        run(net, train, train)
    other = training.Tiles(train.cube, train.labels, train.windows)
    with pytest.raises(OptionError, match=r"another training: train was 4 tiles \(\w+\) and is 4"):
        run(net, other, validation, epochs=3, checkpoint=tmp_path, **options)
    wrong = training.unet(6, CLASSES, encoder="resnet18", depth=3)
    with pytest.raises(
        ModelError, match=r"^The input has shape \(1, 4, 16, 16\), and this net takes"
    ):
        run(wrong, train, validation)
