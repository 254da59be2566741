"""Nets: any size and number of bands, weights of others, frozen stages, files, other sensors."""

from __future__ import annotations

import copy
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import save_file
from torch import nn

import xrxai
from tests.conftest import raises_exactly
from xrxai.errors import BandError, ModelError, OptionError
from xrxai.training import SegmentationNet, load_net, nets, save_weights, transfer, unet
from xrxai.training.kernels import (
    RGB_NM,
    cyclic,
    first_convolution,
    interpolation,
    resampled,
    shared,
)
from xrxai.training.weights import smp

NAMES = ("background", "wheat", "rye")
_BUILD, _BODIES = nets._body, {}
TINY: dict[str, Any] = {"encoder": "mobilenet_v2", "depth": 3, "decoder": (8, 8, 8)}
S2 = np.array([443.0, 490, 560, 665, 705, 740, 783, 842, 865, 945])
FINE = np.arange(420.0, 1000.0, 10.0)


def net_of(bands: Any = 5, classes: Any = NAMES, **options: Any) -> SegmentationNet:
    return unet(bands, classes, **{**TINY, **options}).eval()


@pytest.fixture(autouse=True)
def _built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy bodies that were built before: drawing two million weights is most of the time."""

    def copied(recipe: dict[str, Any], seed: int) -> Any:
        seen = [recipe[name] for name in ("bands", "encoder", "depth", "decoder")]
        key = json.dumps([*seen, len(recipe["classes"]), seed])
        if key not in _BODIES:
            _BODIES[key] = _BUILD(recipe, seed)
        return copy.deepcopy(_BODIES[key])

    monkeypatch.setattr(nets, "_body", copied)


def image(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def first(net: SegmentationNet) -> torch.Tensor:
    return first_convolution(net.body.encoder)[1].weight.detach()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights for red, green and blue."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    state = net_of(3, seed=11).body.encoder.state_dict()
    save_file(state | {"classifier.1.bias": torch.zeros(7)}, path)
    return path


def test_logits_on_the_grid_of_the_input():
    net = net_of()
    with torch.no_grad():
        whole = net(image(2, 5, 16, 24))
        assert whole.shape == (2, 3, 16, 24)
        for rows, columns in ((1, 1), (13, 24), (9, 17)):
            assert net(image(1, 5, rows, columns)).shape == (1, 3, rows, columns)
        # What is padded holds the mean spectrum, which is zero after the first step.
        padded = torch.zeros(1, 5, 16, 24)
        padded[..., :13, :19] = image(1, 5, 13, 19)
        torch.testing.assert_close(net(image(1, 5, 13, 19)), net(padded)[..., :13, :19])
    assert whole.logsumexp(1).std() > 0  # no softmax on top


def test_bands_are_standardised_before_all_else():
    mean, std = np.arange(1.0, 6.0), np.array([2.0, 1.0, 0.0, np.nan, 4.0])
    plain, net = net_of(), net_of(mean=mean, std=std)
    x = image(1, 5, 16, 16)
    scale = torch.tensor([2.0, 1.0, 1.0, 1.0, 4.0])[:, None, None]
    with torch.no_grad():
        torch.testing.assert_close(
            net(x * scale + torch.arange(1.0, 6.0)[:, None, None]), plain(x), rtol=1e-4, atol=1e-5
        )


def test_a_cube_gives_wavelengths_and_classes_their_names():
    cube = xr.DataArray(
        np.zeros((10, 4, 4)), dims=("band", "y", "x"), coords={"wavelength": ("band", S2 / 1000)}
    )
    net = net_of(cube)
    assert net.n_bands == 10
    np.testing.assert_allclose(net.wavelength, S2)
    assert net.class_names == NAMES
    assert net_of(4).wavelength is None


def test_the_seed_decides_and_torch_is_left_alone(monkeypatch):
    monkeypatch.setattr(nets, "_body", _BUILD)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, same, other = net_of(), net_of(), net_of(seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(first(one), first(other))


def test_a_model_of_it_maps_a_cube():
    cube = xr.DataArray(image(5, 20, 27).numpy(), dims=("band", "y", "x"))
    cube = cube.assign_coords(wavelength=("band", np.linspace(450, 900, 5)))
    net = net_of(cube)
    model = xrxai.Model(net, takes="patch", gives="map", targets=net.class_names, n_bands=5)
    found = xrxai.predict(cube, model)
    with torch.no_grad():
        want = net(torch.from_numpy(cube.values)[None])[0]
    np.testing.assert_allclose(found["prediction"].values, want.numpy(), rtol=1e-4, atol=1e-5)


# -- the first layer for other bands ------------------------------------------------------------


@pytest.mark.parametrize("bands", [1, 2, 4, 6, 7])
def test_cyclic_kernels_are_those_of_smp(bands):
    from segmentation_models_pytorch.encoders._utils import patch_first_conv

    layer = nn.Conv2d(3, 4, 3)
    kernel = layer.weight.detach().clone()
    patch_first_conv(layer, bands, pretrained=True)
    torch.testing.assert_close(cyclic(kernel, bands), layer.weight.detach())


@pytest.mark.parametrize("nm", [S2, FINE, np.array([850.0]), np.array([2200.0, 460.0])])
def test_shared_kernels_answer_flat_spectra_alike(nm):
    kernel = image(4, 3, 3, 3)
    made = shared(kernel, RGB_NM, nm)
    assert made.shape == (4, len(nm), 3, 3)
    torch.testing.assert_close(made.sum(1), kernel.sum(1), rtol=1e-5, atol=1e-5)


def test_shared_kernels_go_to_the_bands_nearby():
    kernel = image(4, 3, 3, 3)
    torch.testing.assert_close(shared(kernel, RGB_NM, RGB_NM[::-1].copy()), kernel.flip(1))
    made = shared(kernel, RGB_NM, np.array([460.0, 505.0, 550.0, 620.0]))
    blue, green = kernel[:, 2], kernel[:, 1]
    torch.testing.assert_close(made[:, 0], blue / 1.5)
    torch.testing.assert_close(made[:, 1], blue * 0.5 / 1.5 + green * 0.5 / 1.5)


def vegetation(nm: np.ndarray, n: int = 300) -> torch.Tensor:
    """Smooth spectra (n, band): a green peak, a red edge 25 nm wide, a slope, a soft dip."""
    rng = np.random.default_rng(5)
    peak, edge, slope, dip = rng.random((4, n, 1)) * [[[0.1]], [[0.5]], [[0.2]], [[0.1]]]
    at = 710 + 20 * rng.random((n, 1))
    made = (
        peak * np.exp(-(((nm - 555) / 40) ** 2))
        + edge / (1 + np.exp(-(nm - at) / 25))
        + slope * (nm - 400) / 600
        - dip * np.exp(-(((nm - 900) / 60) ** 2))
    )
    return torch.from_numpy(made.astype(np.float32))


def answers(net: SegmentationNet, nm: np.ndarray) -> np.ndarray:
    """What the first layer says of each spectrum: (spectrum, channel)."""
    flat = vegetation(nm)[:, :, None, None].expand(-1, -1, 3, 3)
    kernel = first(net)
    with torch.no_grad():
        found = nn.functional.conv2d(net.standardise(flat), kernel)[:, :, 0, 0]
    return found.numpy()


def change(net: SegmentationNet, source: np.ndarray, made: SegmentationNet, nm: np.ndarray) -> Any:
    """Of the answers to the same spectra, in standard deviations of the answers."""
    want, got = answers(net, source), answers(made, nm)
    return np.abs(got - want) / want.std(axis=0).mean()


def statistics(nm: np.ndarray) -> dict[str, Any]:
    return {"mean": vegetation(nm).mean(0), "std": vegetation(nm).std(0)}


SENSORS = {
    "multi-to-hyper": (S2, FINE, 0.01, 0.3),
    "other-order": (S2, S2[::-1].copy(), 1e-4, 1e-4),
    "half-a-band-beside": (FINE, FINE[:-1] + 5, 0.02, 0.06),
    "hyper-to-multi": (FINE, S2, 1.0, 1.0),  # weights at random, which see what is lost
}


@pytest.mark.parametrize(("source", "target", "bound", "loose"), SENSORS.values(), ids=SENSORS)
def test_transfer_keeps_the_answer_to_smooth_spectra(source, target, bound, loose):
    net = net_of(len(source), wavelength=source, **statistics(source))
    moved = transfer(net, len(target), wavelength=target, **statistics(target))
    np.testing.assert_array_equal(moved.wavelength, target)
    assert change(net, source, moved, target).max() < bound
    assert np.median(change(net, source, moved, target)) < bound / 8
    resampled_too = transfer(net, len(target), wavelength=target)
    assert change(net, source, resampled_too, target).max() < loose


def test_transfer_by_position_would_not():
    """What the bounds above are worth: the same kernels in turns, as for photographs."""
    net = net_of(len(S2), wavelength=S2, **statistics(S2))
    by_place = net_of(len(FINE), wavelength=FINE, **statistics(FINE))
    layer = first_convolution(by_place.body.encoder)[1]
    layer.weight.data = cyclic(first(net), len(FINE))
    assert change(net, S2, by_place, FINE).max() > 2


def test_transfer_there_and_back():
    net = net_of(len(S2), wavelength=S2, **statistics(S2))
    there = transfer(net, len(FINE), wavelength=FINE, **statistics(FINE))
    back = transfer(there, len(S2), wavelength=S2, **statistics(S2))
    assert change(net, S2, back, S2).max() < 0.2


def test_transfer_is_exact_for_spectra_that_are_linear_between_the_new_bands():
    nodes = image(50, len(S2), seed=3).double()
    dense = nodes @ torch.from_numpy(interpolation(FINE, S2)).T
    kernel = image(6, len(FINE), 3, 3).double()
    moved, seen = resampled(kernel, FINE, S2)
    assert seen.all()
    want = torch.einsum("nj,ojyx->noyx", dense, kernel)
    torch.testing.assert_close(torch.einsum("nj,ojyx->noyx", nodes, moved), want)


def test_bands_at_the_same_place_share_it():
    found = interpolation(np.array([500.0, 550.0]), np.array([600.0, 500.0, 500.0]))
    np.testing.assert_allclose(found, [[0, 0.5, 0.5], [0.5, 0.25, 0.25]])


def test_transfer_leaves_out_what_the_new_sensor_does_not_see():
    net = net_of(4, wavelength=[490.0, 665.0, 842.0, 1610.0])
    want = (
        "1 of the 4 bands of the net (1610 nm) lie more than 50 nm beyond the new ones (450 to "
        "900 nm) and are left out: train the net before its answers are used."
    )
    with pytest.warns(UserWarning, match=r"^1 of the 4 bands") as caught:
        moved = transfer(net, 10, wavelength=np.linspace(450, 900, 10))
    assert str(caught[0].message) == want
    assert caught[0].filename == __file__
    torch.testing.assert_close(first(moved).sum(1), first(net)[:, :3].sum(1))


def test_transfer_keeps_the_weights_of_classes_by_name():
    net = net_of(len(S2), wavelength=S2, seed=4)
    moved = transfer(net, len(S2), classes=["rye", "maize", "background"]).eval()
    assert moved.class_names == ("rye", "maize", "background")
    np.testing.assert_array_equal(moved.wavelength, S2)
    x = image(1, len(S2), 16, 16)
    with torch.no_grad():
        old, new = net(x)[0], moved(x)[0]
    torch.testing.assert_close(new[[0, 2]], old[[2, 0]])
    assert not torch.allclose(new[1], old[1])


def test_transfer_from_a_file_and_with_frozen_stages(tmp_path):
    net = net_of(len(S2), wavelength=S2)
    path = save_weights(net, tmp_path / "net.safetensors")
    moved = transfer(path, len(FINE), wavelength=FINE, frozen=1)
    again = transfer(net, len(FINE), wavelength=FINE)
    torch.testing.assert_close(first(moved), first(again))
    assert not next(moved.body.encoder.parameters()).requires_grad


# -- weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file(photos, tmp_path, suffix):
    path = photos
    if suffix == ".pth":
        from safetensors.torch import load_file

        path = tmp_path / "model.pth"
        torch.save({"state_dict": load_file(photos)}, path)
    plain = net_of(3, seed=11)
    nm = np.array([460.0, 550.0, 620.0, 700.0, 800.0, 900.0])
    for options, want in (
        ({"bands": 3}, first(plain)),
        ({"bands": 6}, cyclic(first(plain), 6)),
        (
            {"bands": 6, "wavelength": nm, "adapt": "wavelength"},
            shared(first(plain), RGB_NM, nm),
        ),
    ):
        net = net_of(**options, weights=path)
        torch.testing.assert_close(first(net), want)
        deep = "encoder.features.3.conv.0.0.weight"
        assert torch.equal(net.body.state_dict()[deep], plain.body.state_dict()[deep])


def test_weights_of_photographs(monkeypatch):
    """smp's own way, with its network replaced by what it would bring."""
    library = smp()
    made = library.encoders.get_encoder
    asked = []

    def fetch(name: str, **options: Any) -> Any:
        asked.append((name, options["in_channels"], options["weights"]))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(11)
            return made(name, **{**options, "weights": None})

    monkeypatch.setattr(library.encoders, "get_encoder", fetch)
    net = net_of(6, weights="imagenet")
    assert asked == [("mobilenet_v2", 3, "imagenet")]
    torch.manual_seed(11)
    want = made("mobilenet_v2", in_channels=3, depth=3, weights=None)
    torch.testing.assert_close(first(net), cyclic(first_convolution(want)[1].weight.detach(), 6))

    def offline(*_: Any, **__: Any) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(library.encoders, "get_encoder", offline)
    with raises_exactly(
        ModelError,
        "The weights 'imagenet' of 'mobilenet_v2' are neither here nor can be fetched (OSError); "
        "take model.safetensors from https://huggingface.co/smp-hub/mobilenet_v2.imagenet to this "
        "machine and type weights='path/to/model.safetensors', or weights=None.",
    ):
        net_of(6, weights="imagenet")


@pytest.mark.slow
def test_weights_of_another_band_count_or_encoder_are_refused(photos, tmp_path):
    five = tmp_path / "five.safetensors"
    save_file(net_of(5).body.encoder.state_dict(), five)
    assert torch.equal(first(net_of(5, weights=five, seed=9)), first(net_of(5)))
    with raises_exactly(
        ModelError,
        f"The first layer in weights='{five}' takes 5 bands, and the net is for 7; weights of 3 "
        f"bands (red, green, blue) or of 7 can be taken. A net that save_weights wrote knows its "
        f"wavelengths: type training.transfer(path, cube).",
    ):
        net_of(7, weights=five)
    with raises_exactly(
        ModelError,
        f"weights='{photos}' has no 'conv1.weight', so it is not of the encoder 'resnet18'; type "
        f"the encoder that it is of, or weights=None.",
    ):
        net_of(3, weights=photos, encoder="resnet18")
    part = tmp_path / "part.safetensors"
    save_file({"features.0.0.weight": torch.zeros(32, 3, 3, 3)}, part)
    with pytest.raises(ModelError, match=r"does not fit the encoder 'mobilenet_v2': \d+ of its"):
        net_of(3, weights=part)
    with raises_exactly(
        ModelError,
        "weights='nowhere.pth' is no file; type the path of a .safetensors or .pth file, "
        "weights='imagenet' or weights=None.",
    ):
        net_of(3, weights="nowhere.pth")


def test_a_pickle_that_runs_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    path = tmp_path / "evil.pth"
    torch.save({"features.0.0.weight": Evil()}, path)
    with raises_exactly(
        ModelError,
        f"weights='{path}' holds more than tensors, which is code that would run on loading; ask "
        f"for a .safetensors file, or for one of torch.save(net.state_dict(), path).",
    ):
        net_of(3, weights=path)
    assert not (tmp_path / "ran").exists()


# -- frozen stages ------------------------------------------------------------------------------


@pytest.mark.slow
def test_frozen_stages_keep_weights_and_statistics():
    net = net_of(frozen=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    step = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net.train()(image(2, 5, 32, 32)).square().mean().backward()
    step.step()
    after = net.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    stays = tuple(f"body.encoder.features.{i}." for i in range(4))
    assert not [name for name in moved if name.startswith(stays)]
    assert any(name.startswith("body.encoder.features.4.") for name in moved)
    assert "body.encoder.features.4.conv.0.1.running_mean" in moved
    assert net.training
    assert not net.body.encoder.features[0][1].training
    assert net.body.encoder.features[4].conv[0][1].training


@pytest.mark.slow
def test_more_stages_freeze_more():
    frozen = [
        {name for name, p in net_of(frozen=n).named_parameters() if not p.requires_grad}
        for n in (0, 1, 2, 3, "encoder")
    ]
    assert frozen[0] == set()
    assert all(a < b for a, b in itertools.pairwise(frozen))
    encoder = {name for name, _ in net_of().named_parameters() if ".encoder." in name}
    assert frozen[-1] == encoder


# -- files --------------------------------------------------------------------------------------


def test_a_file_alone_builds_the_net_again(tmp_path):
    net = net_of(
        len(S2), wavelength=S2, mean=np.arange(10.0), std=np.arange(1.0, 11.0), frozen=1, seed=4
    )
    net.train()(image(2, 10, 16, 16))  # statistics of the normalisation
    path = save_weights(net.eval(), tmp_path / "net.safetensors")
    again = load_net(path)
    assert not again.training
    assert again.recipe == net.recipe
    x = image(1, 10, 11, 13)
    with torch.no_grad():
        assert torch.equal(again(x), net(x))
    assert [p.requires_grad for p in again.parameters()] == [
        p.requires_grad for p in net.parameters()
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_stop_while_writing_leaves_the_old_file(tmp_path, monkeypatch):
    import os

    path = save_weights(net_of(), tmp_path / "net.safetensors")
    before = path.read_bytes()

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        save_weights(net_of(seed=1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_that_are_no_nets(photos, tmp_path):
    with raises_exactly(
        OptionError,
        "'net.pt' does not end in .safetensors, which are files that can hold no code and say "
        "which net it is; type 'net.safetensors'.",
    ):
        load_net("net.pt")
    with raises_exactly(
        ModelError, "'none.safetensors' is no file; type the path that save_weights wrote."
    ):
        load_net("none.safetensors")
    with raises_exactly(
        ModelError,
        f"'{photos}' holds weights and does not say of which net; type training.unet(cube, "
        f"classes, encoder=..., weights=path) to take its encoder.",
    ):
        load_net(photos)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(save_weights(net_of(), tmp_path / "net.safetensors").read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"is damaged or no safetensors file"):
        load_net(cut)
    with raises_exactly(
        ModelError,
        "A Conv2d does not know how it was built; save it with torch.save(net.state_dict(), "
        "path), or make it with training.unet.",
    ):
        save_weights(nn.Conv2d(1, 1, 1), tmp_path / "x.safetensors")  # type: ignore[arg-type]


# -- wrong calls --------------------------------------------------------------------------------

WRONG = {
    "bands": (
        ModelError,
        lambda: net_of()(image(1, 4, 8, 8)),
        "The input has shape (1, 4, 8, 8), and this net takes (n, 5, y, x); select its 5 bands, or "
        "make a net for those of the cube with training.transfer(net, cube).",
    ),
    "encoder": (
        OptionError,
        lambda: net_of(encoder="mobilenetv2"),
        "encoder='mobilenetv2' is not known; type encoder='mobilenet_v2'.",
    ),
    "depth": (
        OptionError,
        lambda: net_of(depth=6),
        "depth=6 is too large; type depth=5 or less.",
    ),
    "decoder": (
        OptionError,
        lambda: net_of(decoder=(8, 8)),
        "decoder=(8, 8) has 2 stages, and depth=3; type as many channels, decoder=(64, 32, 16).",
    ),
    "wavelength": (
        BandError,
        lambda: net_of(wavelength=[450.0, 550.0]),
        "wavelength= has shape (2,), and there are 5 bands; type one number in nanometres per "
        "band.",
    ),
    "negative": (
        BandError,
        lambda: net_of(2, wavelength=[450.0, -550.0]),
        "wavelength= holds values that are not above 0; type one number in nanometres per band, or "
        "wavelength=None.",
    ),
    "mean": (
        OptionError,
        lambda: net_of(mean=[1.0]),
        "mean= has shape (1,), and the net has 5 bands; type "
        "mean=training.band_statistics(cube, windows)['mean'].",
    ),
    "std": (
        OptionError,
        lambda: net_of(std=[1.0, 2.0, -1.0, 1.0, 1.0]),
        "std= holds -1, and a standard deviation is above 0; type "
        "std=training.band_statistics(cube, windows)['std'].",
    ),
    "frozen": (
        OptionError,
        lambda: net_of(frozen=4),
        "frozen=4 is more than the 3 stages of the encoder; type frozen='encoder' for all.",
    ),
    "frozen-word": (
        OptionError,
        lambda: net_of(frozen="decoder"),
        "frozen='decoder' is not known; type frozen='encoder', or how many of its 3 stages, "
        "frozen=2.",
    ),
    "transfer-mean": (
        OptionError,
        lambda: transfer(net_of(), 5, mean=np.zeros(5)),
        "std= is missing, and mean and std belong together; type both of "
        "training.band_statistics(cube, windows), or neither.",
    ),
    "transfer-unknown": (
        BandError,
        lambda: transfer(net_of(), 7),
        "The net takes 5 bands and there are 7 now, and without wavelengths nobody knows which is "
        "which; type wavelength=[...] in nanometres, one per band.",
    ),
    "transfer-source": (
        BandError,
        lambda: transfer(net_of(), 3, wavelength=[450.0, 550.0, 650.0]),
        "The net does not know the wavelengths of its 5 bands, so they cannot be found among the "
        "new ones; type bands=5 if these are the same, or train a net with training.unet(..., "
        "wavelength=[...]).",
    ),
    "transfer-apart": (
        ModelError,
        lambda: transfer(net_of(2, wavelength=[450.0, 550.0]), 2, wavelength=[1600.0, 2200.0]),
        "The net sees 450 to 550 nm and the new bands 1600 to 2200 nm, which have nothing in "
        "common; type training.unet(cube, classes) for a new net.",
    ),
}


@pytest.mark.parametrize(("error", "call", "message"), WRONG.values(), ids=WRONG)
def test_wrong_calls_say_what_to_type(error, call, message):
    with raises_exactly(error, message):
        call()


def test_kernels_by_wavelength_need_wavelengths(photos):
    with raises_exactly(
        OptionError,
        "adapt='wavelength' needs the wavelengths of the bands; type wavelength=[...] in "
        "nanometres, or adapt='cyclic'.",
    ):
        net_of(6, weights=photos, adapt="wavelength")
    with raises_exactly(
        OptionError, "adapt='mean' is not known; choose one of 'cyclic', 'wavelength'."
    ):
        net_of(6, weights=photos, adapt="mean")


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(nets, "_body", _BUILD)
    import sys

    monkeypatch.setitem(sys.modules, "segmentation_models_pytorch", None)
    with pytest.raises(ImportError, match=r"pip install \"xrxai\[training\]\", or give fit"):
        net_of()
    monkeypatch.setitem(sys.modules, "kornia", None)
    from xrxai.training.warping import kornia

    with pytest.raises(ImportError, match=r"pip install \"xrxai\[training\]\", or Augmentation"):
        kornia()
