"""A U-Net for any number of bands, which knows its wavelengths, classes and statistics."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike
from torch import nn
from torch.nn import functional

from xrxai.errors import BandError, ModelError, OptionError, at_least
from xrxai.labelled.cube import locate
from xrxai.training.classes import Classes
from xrxai.training.freezing import frozen_layers
from xrxai.training.weights import Adapt, load_encoder, smp

_WIDTHS = (256, 128, 64, 32, 16)


class Standardise(nn.Module):
    """
    Subtract the mean of each band and divide by its standard deviation.

    Parameters
    ----------
    mean, std : tensor (band,)
        Of the pixels that are trained on, in units of the cube.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: torch.Tensor, std: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, band, y, x) -> the same, in standard deviations."""
        return (x - self.mean[:, None, None]) / self.std[:, None, None]


class SegmentationNet(nn.Module):
    """
    A net that answers logits (n, class, y, x) on the grid of its input, of any size.

    `unet`, `transfer` and `load_net` make it. The input is in units of the cube; what it has to
    know to be used, and to be built again, travels with it.

    Parameters
    ----------
    body : Module
        (n, band, y, x) -> (n, class, y, x), for sizes that `multiple` divides, with an ``encoder``.
    standardise : Standardise
        What comes first.
    recipe : dict
        What `unet` builds the same net from.

    Attributes
    ----------
    class_names : tuple of str
        In the order of the logits.
    wavelength : array (band,) or None
        Nanometres.
    n_bands : int
        How many bands the input has.
    multiple : int
        Rows and columns are padded to a multiple of this inside, at the bottom and the right with
        the mean spectrum, and cut again.
    """

    body: Any  # of segmentation_models_pytorch, which has no types

    def __init__(self, body: Any, standardise: Standardise, recipe: dict[str, Any]) -> None:
        super().__init__()
        self.standardise, self.body, self.recipe = standardise, body, recipe
        frozen = frozen_layers(body.encoder, recipe["frozen"], self.n_bands, recipe["depth"])
        self._frozen = tuple(f"encoder.{name}" for name in frozen)
        for name in self._frozen:
            body.get_submodule(name).requires_grad_(False)

    def train(self, mode: bool = True) -> SegmentationNet:
        """As of every module; what is frozen stays in evaluation mode."""
        super().train(mode)
        for name in self._frozen:
            self.body.get_submodule(name).train(False)
        return self

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes in the order of the logits."""
        return tuple(self.recipe["classes"])

    @property
    def wavelength(self) -> np.ndarray | None:
        """Nanometres (band,), or None."""
        known = self.recipe["wavelength"]
        return None if known is None else np.array(known, dtype=np.float64)

    @property
    def n_bands(self) -> int:
        """How many bands the input has."""
        return int(self.recipe["bands"])

    @property
    def multiple(self) -> int:
        """What rows and columns are padded to a multiple of."""
        return 1 << int(self.recipe["depth"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, band, y, x) -> logits (n, class, y, x)."""
        if x.ndim != 4 or x.shape[1] != self.n_bands:
            raise ModelError(
                f"The input has shape {tuple(x.shape)}, and this net takes (n, {self.n_bands}, y, "
                f"x); select its {self.n_bands} bands, or make a net for those of the cube with "
                f"training.transfer(net, cube)."
            )
        rows, columns = x.shape[2:]
        low, right = -rows % self.multiple, -columns % self.multiple
        answer: torch.Tensor = self.body(functional.pad(self.standardise(x), (0, right, 0, low)))
        return answer[:, :, :rows, :columns]


def unet(
    bands: int | xr.DataArray,
    classes: Classes | Sequence[str],
    *,
    encoder: str = "mobilenet_v2",
    depth: int = 5,
    weights: str | os.PathLike[str] | None = None,
    wavelength: ArrayLike | None = None,
    mean: ArrayLike | None = None,
    std: ArrayLike | None = None,
    adapt: Adapt = "cyclic",
    frozen: int | Literal["encoder"] = 0,
    decoder: Sequence[int] | None = None,
    seed: int = 0,
) -> SegmentationNet:
    """
    Build a U-Net for the bands of a cube.

    Parameters
    ----------
    bands : int or DataArray
        How many, or a cube, which also gives the wavelengths.
    classes : Classes or sequence of str
        What the net tells apart.
    encoder : str, default: "mobilenet_v2"
        One of segmentation_models_pytorch, such as "resnet18", "mit_b0" or "tu-convnext_tiny".
    depth : int, default: 5
        How often the encoder halves the image, from 3. Fewer need less data, and see less far.
    weights : {"imagenet"} or path, optional
        Weights of the encoder: of photographs, from the network; or a file, ``.safetensors``,
        ``.pt`` or ``.pth``, of an encoder for 3 bands or for as many as the net has. Nothing in a
        file is run. Default: random.
    wavelength : sequence of float, (band,), optional
        Nanometres. Default: of the cube.
    mean, std : array, (band,), optional
        Of `band_statistics`. Bands are standardised by them before all else. Default: 0 and 1.
    adapt : {"cyclic", "wavelength"}, default: "cyclic"
        How kernels for red, green and blue become kernels for the bands: in turns and times
        3 / bands, or shared out over the bands near 620, 550 and 460 nm, where bands beyond take
        those of the nearest. Either way the answer to a flat spectrum stays ("cyclic": where the
        number of bands is a multiple of three).
    frozen : int or "encoder", default: 0
        Stages of the encoder whose weights stay, and whose normalisation keeps its statistics. A
        stage ends where the image is halved. More leave less to learn from few labels.
    decoder : sequence of int, optional
        Channels of the decoder, one per stage. Default: the last `depth` of 256, 128, 64, 32, 16.
    seed : int, default: 0
        Of what is random. The generators of torch are left as they are.

    Returns
    -------
    SegmentationNet
        Answers logits, (n, class, y, x). ``xrxai.Model(net, takes="patch", gives="map",
        targets=net.class_names, n_bands=net.n_bands)`` makes it explainable.

    Raises
    ------
    ModelError, OptionError, BandError
        The weights do not fit, or an option is outside what is possible.
    ImportError
        Without the extra ``xrxai[training]``.

    Notes
    -----
    U-Net: Ronneberger, Fischer & Brox 2015; MobileNetV2: Sandler et al. 2018.
    """
    n_bands, nm = settled_bands(bands, wavelength)
    names = names_of(classes)
    if at_least(depth, 3, "depth") > 5:
        raise OptionError(f"depth={depth} is too large; type depth=5 or less.")
    widths = tuple(_WIDTHS[-depth:] if decoder is None else decoder)
    if len(widths) != depth:
        raise OptionError(
            f"decoder={widths} has {len(widths)} stages, and depth={depth}; type as many channels, "
            f"decoder={_WIDTHS[-depth:]}."
        )
    recipe = {
        "bands": n_bands,
        "classes": list(names),
        "encoder": encoder,
        "depth": depth,
        "wavelength": None if nm is None else nm.tolist(),
        "frozen": frozen,
        "decoder": list(widths),
    }
    standardise = Standardise(_statistic(mean, "mean", n_bands), _statistic(std, "std", n_bands))
    body = _body(recipe, seed)
    if weights is not None:
        load_encoder(body.encoder, encoder, weights, depth, n_bands, nm, adapt)
    return SegmentationNet(body, standardise, recipe)


def _body(recipe: dict[str, Any], seed: int) -> Any:
    """A U-Net with random weights."""
    library = smp()
    known = library.encoders.encoders
    encoder = recipe["encoder"]
    if not encoder.startswith("tu-") and encoder not in known:
        near = difflib.get_close_matches(encoder, known, 1, 0.3) or ["mobilenet_v2"]
        raise OptionError(f"encoder={encoder!r} is not known; type encoder={near[0]!r}.")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return library.Unet(
            encoder,
            encoder_depth=recipe["depth"],
            encoder_weights=None,
            decoder_channels=tuple(recipe["decoder"]),
            in_channels=recipe["bands"],
            classes=len(recipe["classes"]),
        )


def names_of(classes: Classes | Sequence[str]) -> tuple[str, ...]:
    """Names of classes, in order."""
    made = classes if isinstance(classes, Classes) else Classes(classes)
    return tuple(made.names)


def settled_bands(bands: int | xr.DataArray, wavelength: Any) -> tuple[int, np.ndarray | None]:
    """How many bands, and their wavelengths in nm where they are known."""
    nm = None
    if isinstance(bands, xr.DataArray):
        place = locate(bands)
        n_bands, nm = place.data.sizes[place.band], place.wavelength
    else:
        n_bands = at_least(bands, 1, "bands")
    if wavelength is not None:
        nm = np.asarray(wavelength, dtype=np.float64)
    if nm is not None and nm.shape != (n_bands,):
        raise BandError(
            f"wavelength= has shape {nm.shape}, and there are {n_bands} bands; type one number in "
            f"nanometres per band."
        )
    if nm is not None and not (np.isfinite(nm) & (nm > 0)).all():
        raise BandError(
            "wavelength= holds values that are not above 0; type one number in nanometres per "
            "band, or wavelength=None."
        )
    return n_bands, nm


def _statistic(value: Any, name: str, bands: int) -> torch.Tensor:
    """Mean or standard deviation (band,) as the net holds it; bad bands (NaN) stay as they are."""
    neutral = {"mean": 0.0, "std": 1.0}[name]
    if value is None:
        return torch.full((bands,), neutral)
    values = np.asarray(value).astype(np.float64)
    if values.shape != (bands,):
        raise OptionError(
            f"{name}= has shape {values.shape}, and the net has {bands} bands; type "
            f"{name}=training.band_statistics(cube, windows)['{name}']."
        )
    # A band that is the same everywhere tells nothing, and dividing by 0 would make it all.
    values[~np.isfinite(values) | ((name == "std") & (values == 0))] = neutral
    if name == "std" and (values < 0).any():
        raise OptionError(
            f"std= holds {values.min():g}, and a standard deviation is above 0; type "
            f"std=training.band_statistics(cube, windows)['std']."
        )
    return torch.from_numpy(values.astype(np.float32))
