"""A trained net for the bands of another sensor, and for other classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike

from xrxai.errors import BandError, ModelError, OptionError, note
from xrxai.training.classes import Classes
from xrxai.training.kernels import BEYOND_NM, first_convolution, interpolation, resampled
from xrxai.training.nets import SegmentationNet, names_of, settled_bands, unet
from xrxai.training.stored import load_net


def transfer(
    source: str | os.PathLike[str] | SegmentationNet,
    bands: int | xr.DataArray,
    *,
    classes: Classes | Sequence[str] | None = None,
    wavelength: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    frozen: int | Literal["encoder"] = 0,
    seed: int = 0,
) -> SegmentationNet:
    """
    Take a trained net over to the bands of another sensor, and to other classes.

    The first layer is resampled by wavelength: each band of the source is read off the new bands by
    linear interpolation in nm, which the weights take in. Where a spectrum, standardised, is linear
    between the new bands, the first layer answers as it did, to rounding; else as far as it is so.
    From few bands to many little changes; from many to few what the weights see between the new
    bands is lost. A band of the source that lies more than 50 nm beyond all new ones is left out,
    with a warning, as if it were at its mean. All else is copied.

    Parameters
    ----------
    source : path or SegmentationNet
        A file of `save_weights`, or a net, which stays as it is.
    bands : int or DataArray
        The cube of the other sensor, or how many bands.
    classes : Classes or sequence of str, optional
        What the new net tells apart: classes with the name of one of the source keep the weights of
        their answer, others begin at random. Default: those of the source.
    wavelength : sequence of float, (band,), optional
        Nanometres. Default: of the cube.
    mean, std : array, (band,), optional
        Of `band_statistics` of the new sensor, best given: from few bands to many, answers then
        change a thirtieth as much. Default: those of the source, resampled; the units of the cubes
        must be the same then.
    frozen : int or "encoder", default: 0
        As in `unet`.
    seed : int, default: 0
        Of the weights of new classes.

    Returns
    -------
    SegmentationNet
        For the new bands and classes.

    Raises
    ------
    BandError, ModelError, OptionError
        Wavelengths are missing, or no band of the source is near the new ones.
    """
    net = source if isinstance(source, SegmentationNet) else load_net(source)
    n_bands, nm = settled_bands(bands, wavelength)
    if (mean is None) != (std is None):
        missing = "std" if std is None else "mean"
        raise OptionError(
            f"{missing}= is missing, and mean and std belong together; type both of "
            f"training.band_statistics(cube, windows), or neither."
        )
    old_mean, old_std = (
        value.double().cpu().numpy() for value in (net.standardise.mean, net.standardise.std)
    )
    first = f"encoder.{first_convolution(net.body.encoder)[0]}.weight"
    state = {name: value.detach().cpu().clone() for name, value in net.body.state_dict().items()}
    if not _same_bands(net, n_bands, nm):
        known, wanted = _both(net, n_bands, nm)
        kernel, seen = resampled(state[first], known, wanted)
        _say_unseen(known[~seen], known, wanted)
        if mean is None:
            part = interpolation(wanted, known)
            mean, std = part @ old_mean, part @ old_std
        state[first] = kernel
    else:
        nm = net.wavelength if nm is None else nm
        if mean is None:
            mean, std = old_mean, old_std
    names = net.class_names if classes is None else names_of(classes)
    built = {name: net.recipe[name] for name in ("encoder", "depth", "decoder")}
    made = unet(
        n_bands, names, **built, wavelength=nm, mean=mean, std=std, frozen=frozen, seed=seed
    )
    _copy(state, made, net.class_names)
    return made


def _same_bands(net: SegmentationNet, n_bands: int, nm: np.ndarray | None) -> bool:
    """Whether the bands are those of the net, as far as both say."""
    if net.n_bands != n_bands:
        return False
    if nm is None:
        return True  # as many, and nothing said of them
    return net.wavelength is not None and np.allclose(net.wavelength, nm, rtol=0, atol=0.01)


def _both(
    net: SegmentationNet, n_bands: int, nm: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Wavelengths of the net and of the new bands, or which are missing."""
    if nm is None:
        raise BandError(
            f"The net takes {net.n_bands} bands and there are {n_bands} now, and without "
            f"wavelengths nobody knows which is which; type wavelength=[...] in nanometres, one "
            f"per band."
        )
    if net.wavelength is None:
        raise BandError(
            f"The net does not know the wavelengths of its {net.n_bands} bands, so they cannot be "
            f"found among the new ones; type bands={net.n_bands} if these are the same, or train a "
            f"net with training.unet(..., wavelength=[...])."
        )
    return net.wavelength, nm


def _say_unseen(unseen: np.ndarray, known: np.ndarray, wanted: np.ndarray) -> None:
    """Warn of bands of the source that the new sensor does not see, refuse if it sees none."""
    span = f"{wanted.min():.0f} to {wanted.max():.0f} nm"
    if len(unseen) == len(known):
        raise ModelError(
            f"The net sees {known.min():.0f} to {known.max():.0f} nm and the new bands {span}, "
            f"which have nothing in common; type training.unet(cube, classes) for a new net."
        )
    if len(unseen):
        listed = ", ".join(f"{v:.0f}" for v in unseen[:6]) + ", ..." * (len(unseen) > 6)
        note(
            f"{len(unseen)} of the {len(known)} bands of the net ({listed} nm) lie more than "
            f"{BEYOND_NM:.0f} nm beyond the new ones ({span}) and are left out: train the net "
            f"before its answers are used."
        )


def _copy(state: dict[str, torch.Tensor], made: SegmentationNet, old: tuple[str, ...]) -> None:
    """Put weights into a net, those of the last layer by the names of classes."""
    own = made.body.state_dict()
    head = {name for name in own if name.startswith("segmentation_head.")}
    for name in head:
        for row, label in enumerate(made.class_names):
            if label in old:
                own[name][row] = state[name][old.index(label)]
    made.body.load_state_dict({n: own[n] if n in head else state[n] for n in own})
