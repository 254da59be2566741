"""Augmentation: pixels keep their labels, nothing missing is mixed in, nothing is left to luck."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tests.conftest import raises_exactly
from xrxai.errors import OptionError
from xrxai.training import Augmentation

SIZE, BANDS = 24, 4
STILL = {"rotate": 0.0, "flip": False, "turn": False, "scale": (1, 1), "p": 1.0}
Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def world(n: int = 1, *, missing: bool = False, size: int = SIZE) -> Batch:
    """Bands: row, column, 10, 20 (n, 4, y, x); classes in blobs, a third not labelled; validity."""
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    level = torch.full((size, size), 10.0)
    image = torch.stack([row.float(), column.float(), level, 2 * level]).repeat(n, 1, 1, 1)
    rng = np.random.default_rng(7)
    coarse = torch.from_numpy(rng.integers(-1, 3, (n, size // 3, size // 3)))
    label = coarse.repeat_interleave(3, 1).repeat_interleave(3, 2)
    valid = torch.ones(n, size, size, dtype=torch.bool)
    if missing:
        valid = torch.from_numpy(rng.random((n, size, size)) > 0.2)
        label[~valid] = -1
    return image, label, valid


def places(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column that each pixel came from, whatever its brightness."""
    return 10 * image[0] / image[2], 10 * image[1] / image[2]


options = st.fixed_dictionaries(
    {
        "rotate": st.sampled_from([0.0, 5.0, 90.0, 180.0]),
        "flip": st.booleans(),
        "turn": st.booleans(),
        "scale": st.sampled_from([(1, 1), (0.5, 0.5), (0.8, 1.25), (3.0, 3.0)]),
        "crop": st.sampled_from([None, 1, 9, SIZE]),
        "brightness": st.sampled_from([0.0, 0.5]),
        "noise": st.sampled_from([None, 1e5]),
        "p": st.sampled_from([0.5, 1.0]),
        "seed": st.integers(0, 10_000),
    }
)


@settings(max_examples=70, deadline=None, derandomize=True)
@given(options=options, epoch=st.integers(0, 50), index=st.integers(0, 1000))
def test_every_pixel_keeps_its_label(options, epoch, index):
    image, label, valid = world()
    out, named, good = Augmentation(**options)(image, label, valid, epoch=epoch, index=[index])
    size = options["crop"] or SIZE
    assert out.shape == (1, BANDS, size, size)
    assert named.shape == good.shape == (1, size, size)
    assert (named[~good] == -1).all()
    assert (out[0][:, ~good[0]] == 0).all()
    row, column = (part[good[0]] for part in places(out[0]))
    clear = ((row % 1 - 0.5).abs() > 0.01) & ((column % 1 - 0.5).abs() > 0.01)
    came_from = label[0][row.round().long(), column.round().long()]
    assert torch.equal(named[0][good[0]][clear], came_from[clear])
    # What is not good came from outside: a pixel that has a source is not thrown away.
    if options["scale"] == (3.0, 3.0) and options["p"] == 1.0:
        assert good.all()


@pytest.mark.parametrize("flips", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("quarters", range(4))
def test_mirrors_and_turns_are_exact(flips, quarters, monkeypatch):
    image, label, valid = world(missing=True)
    image = image + torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    augment = Augmentation(**STILL)
    drawn = augment.draw(0, 0, BANDS)
    fixed = type(drawn)(
        **{**vars(drawn), "flip_y": flips[0], "flip_x": flips[1], "quarters": quarters}
    )
    monkeypatch.setattr(Augmentation, "draw", lambda *_: fixed)
    out, named, good = augment(image, label, valid, fill=-9.0)
    for made, given_ in ((out[0], image[0]), (named[0], label[0]), (good[0], valid[0])):
        want = given_.numpy()
        want = np.flip(want, -2) if flips[0] else want
        want = np.flip(want, -1) if flips[1] else want
        want = np.rot90(want, quarters, (-2, -1))
        if made.ndim == 3:
            want = np.where(good[0].numpy(), want, np.float32(-9.0))
        np.testing.assert_array_equal(made.numpy(), want)


def test_all_mirrors_and_turns_occur():
    drawn = [Augmentation(rotate=0, scale=(1, 1)).draw(0, i, 1) for i in range(400)]
    counts = {}
    for one in drawn:
        key = (one.flip_y, one.flip_x, one.quarters)
        counts[key] = counts.get(key, 0) + 1
    assert len(counts) == 16
    still = counts[False, False, 0] / 400
    assert still == pytest.approx(1 / 8, abs=0.06)


@pytest.mark.parametrize(("angle", "scale"), [(33.0, 1.0), (0.0, 0.7), (-120.0, 1.3)])
def test_rotation_and_scale_are_those_of_scipy(angle, scale):
    """An independent twin: scipy, which reads row, column instead of x, y."""
    from xrxai.training.warping import warped

    image, label, valid = world()
    image = image + torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    out, named, good = warped(image[0], label[0], valid[0], angle, scale)
    turn = np.deg2rad(angle)
    back = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / scale
    centre = np.full(2, (SIZE - 1) / 2)
    at = {"matrix": back, "offset": centre - back @ centre, "mode": "constant"}
    inside = ndimage.affine_transform(np.ones((SIZE, SIZE)), **at, order=1, cval=0) > 0.999
    assert inside.sum() > 100
    for band in range(BANDS):
        want = ndimage.affine_transform(image[0, band].numpy(), **at, order=1)
        np.testing.assert_allclose(out[band].numpy()[inside], want[inside], rtol=0, atol=2e-4)
    want = ndimage.affine_transform(label[0].numpy(), **at, order=0, cval=-1)
    assert (named.numpy() == want)[inside].mean() > 0.995  # scipy rounds ties another way
    assert good.numpy()[inside].all()


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), blur=st.sampled_from([0.0, 0.4, 3.0]))
def test_nothing_missing_is_mixed_in(seed, blur):
    image, label, valid = world(missing=True)
    label = torch.full_like(label, 2)  # drawn on missing pixels, too
    image[:, 2] = torch.where(valid, 10.0, torch.nan)
    image[:, 3] = torch.where(valid, 20.0, 1e30)
    out, named, good = Augmentation(blur=blur, seed=seed, p=1.0)(image, label, valid, fill=-5.0)
    assert 0 < good.sum() < good.numel()
    torch.testing.assert_close(out[0, 2][good[0]], torch.full((int(good.sum()),), 10.0))
    torch.testing.assert_close(out[0, 3][good[0]], torch.full((int(good.sum()),), 20.0))
    assert (out[0][:, ~good[0]] == -5.0).all()
    assert (named[~good] == -1).all()


def test_values_change_in_the_image_alone():
    image, label, valid = world(3, missing=True)
    before = image.clone(), label.clone(), valid.clone()
    plain = Augmentation(seed=5, p=1.0)(image, label, valid)
    loud = {"blur": 1.0, "brightness": 0.3, "noise": 20, "band_dropout": 0.4}
    made = Augmentation(seed=5, p=1.0, **loud)(image, label, valid)
    assert not torch.equal(made[0], plain[0])
    assert torch.equal(made[1], plain[1])
    assert torch.equal(made[2], plain[2])
    for now, then in zip((image, label, valid), before, strict=True):
        assert torch.equal(now, then)


def test_blur_is_that_of_scipy():
    image, label, valid = world()
    image = image + torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    augment = Augmentation(**STILL, blur=1.5)
    sigma = augment.draw(0, 0, BANDS).sigma
    assert 0 < sigma <= 1.5
    out = augment(image, label, valid)[0][0].numpy()
    reach = int(np.ceil(3 * sigma))
    want = ndimage.gaussian_filter(image[0].numpy(), sigma, radius=reach, axes=(1, 2))
    spot = (slice(None), slice(reach, -reach), slice(reach, -reach))
    np.testing.assert_allclose(out[spot], want[spot], rtol=1e-5, atol=1e-5)


def test_brightness_is_one_factor_for_all_bands():
    image, label, valid = world(40)
    out = Augmentation(**STILL, brightness=0.2)(image, label, valid)[0]
    gain = out[:, 2, 0, 0] / 10
    torch.testing.assert_close(out, image * gain[:, None, None, None])
    assert gain.min() > 0.8
    assert gain.max() < 1.2
    assert gain.max() - gain.min() > 0.3


def test_noise_has_the_ratio_asked_for():
    image, label, valid = world(size=90)
    snr = np.array([50.0, np.inf, 20.0, 100.0])
    out = Augmentation(**STILL, noise=snr)(image, label, valid)[0][0]
    assert torch.equal(out[1], image[0, 1])
    for band, ratio, level in ((2, 20, 10), (3, 100, 20)):
        spread = float((out[band] - level).std())
        assert spread == pytest.approx(level / ratio, rel=0.03)  # 8100 draws: 0.8 %
    lit = image[0, 0] > 0
    share = ((out[0] - image[0, 0])[lit] / image[0, 0][lit]).std()
    assert float(share) == pytest.approx(1 / 50, rel=0.03)


def test_noise_by_wavelength():
    image, label, valid = world()
    nm = np.array([450.0, 550.0, 650.0, 850.0])
    by_band = 20 + (nm - 450) / 10
    curve = xr.DataArray([20.0, 70.0], dims="w", coords={"wavelength": ("w", [450.0, 950.0])})
    turned = curve.isel(w=[1, 0])
    made = [
        Augmentation(noise=noise, p=1.0)(image, label, valid, wavelength=nm)[0]
        for noise in (by_band, list(by_band), lambda w: 20 + (w - 450) / 10, curve, turned)
    ]
    for other in made[1:]:
        torch.testing.assert_close(other, made[0])


def test_dropped_bands_hold_the_fill_and_one_stays():
    image, label, valid = world(300)
    out = Augmentation(**STILL, band_dropout=0.6)(image + 1, label, valid, fill=-3.0)[0]
    gone = (out == -3.0).all(dim=(2, 3))
    assert torch.equal(out[~gone], (image + 1)[~gone])
    assert gone.sum(1).max() == BANDS - 1
    expected = 0.6 - 0.6**BANDS / BANDS  # one of all four comes back
    assert float(gone.float().mean()) == pytest.approx(expected, abs=0.05)


def test_without_a_chance_nothing_happens():
    image, label, valid = world(2, missing=True)
    loud = {"blur": 1.0, "brightness": 0.3, "noise": 20, "band_dropout": 0.4}
    out, named, good = Augmentation(**loud, p=0.0)(image, label, valid)
    assert torch.equal(out, torch.where(valid[:, None], image, 0))
    assert torch.equal(named, label)
    assert torch.equal(good, valid)


def test_seed_epoch_and_index_decide_and_nothing_else():
    batch = world(4, missing=True)
    augment = Augmentation(noise=50, blur=1.0, brightness=0.2, band_dropout=0.2)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002  the one that must not be touched
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    made = augment(*batch, epoch=2, index=[5, 6, 7, 8])
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    alone = [augment(*(p[i : i + 1] for p in batch), epoch=2, index=[5 + i]) for i in (3, 1, 0, 2)]
    for i, one in zip((3, 1, 0, 2), alone, strict=True):
        for part, whole in zip(one, made, strict=True):
            assert torch.equal(part[0], whole[i])
    for other in (
        augment(*batch, epoch=3, index=[5, 6, 7, 8]),
        augment(*batch, epoch=2, index=[6, 7, 8, 9]),
        Augmentation(**{**vars(augment), "seed": 1})(*batch, epoch=2, index=[5, 6, 7, 8]),
    ):
        assert not torch.equal(other[0], made[0])


WRONG = [
    (
        {"channel_shuffle": True},
        "channel_shuffle=True gives the values of one band to another, and a spectrum is told by "
        "which band holds what: red would hold the near infrared. Drop it, and type "
        "band_dropout=0.1 for a net that does not hang on single bands.",
    ),
    (
        {"hue": 0.1},
        "hue=0.1 turns colours round a wheel that red, green and blue have and a spectrum has "
        "not. Drop it, and type brightness=0.2 for other light, or noise=100 for a noisier sensor.",
    ),
    (
        {"saturation": (0.5, 1.5)},
        "saturation=(0.5, 1.5) mixes each band with the grey of red, green and blue, which "
        "flattens the spectrum that classes are told apart by. Drop it, and type brightness=0.2 "
        "for other light.",
    ),
    ({"rotate": 200}, "rotate=200 is more than half a turn; type rotate=180."),
    ({"rotate": -1}, "rotate=-1 is not a number of 0 or more; type for example rotate=180."),
    (
        {"scale": 2.0},
        "scale=2.0 is not a smallest and a largest factor; type for example scale=(0.8, 1.25), or "
        "scale=(1, 1) for none.",
    ),
    (
        {"scale": (1.2, 0.8)},
        "scale=(1.2, 0.8) is not a smallest and a largest factor; type for example "
        "scale=(0.8, 1.25), or scale=(1, 1) for none.",
    ),
    ({"crop": 0}, "crop=0 is too small; type crop=1 or more."),
    ({"blur": -1}, "blur=-1 is not a number of 0 or more; type for example blur=0.7."),
    ({"brightness": 1.0}, "brightness=1.0 is not below 1; type for example brightness=0.1."),
    ({"band_dropout": 1}, "band_dropout=1 is not below 1; type for example band_dropout=0.1."),
    ({"p": 1.5}, "p=1.5 is a probability; type for example p=0.5."),
    ({"seed": -1}, "seed=-1 is too small; type seed=0 or more."),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[next(iter(w)) for w, _ in WRONG])
def test_what_cannot_be_is_refused(wrong, message):
    with raises_exactly(OptionError, message):
        Augmentation(**wrong)


UNFIT = [
    (
        {"crop": 30},
        "crop=30 is larger than the tiles of 24 pixels; type a crop of at most 24, or larger "
        "windows, training.grid(cube, 60).",
    ),
    (
        {"noise": [1.0, 2.0]},
        "noise= has shape (2,) and dtype float64; type a ratio of signal to noise such as "
        "noise=100, or one per band (4,).",
    ),
    (
        {"noise": 0},
        "noise= is a ratio of signal to noise, and is not above 0 in every band; type for example "
        "noise=100, np.inf in bands without noise.",
    ),
    (
        {"noise": lambda nm: nm},
        "noise= goes by wavelength, and the cube has none; type "
        "cube = xrxai.to_cube(cube, wavelength=[...]), or one ratio of signal to noise per band.",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), UNFIT, ids=["crop", "bands", "zero", "wavelength"])
def test_what_does_not_fit_the_tiles_is_refused(wrong, message):
    with raises_exactly(OptionError, message):
        Augmentation(**wrong)(*world())


def test_quarter_turns_need_square_tiles():
    image, label, valid = (part[..., :20] for part in world())
    with raises_exactly(
        OptionError,
        "turn=True needs square tiles, and these have 24 x 20 pixels; type turn=False.",
    ):
        Augmentation()(image, label, valid)
    assert Augmentation(turn=False)(image, label, valid)[0].shape == image.shape
