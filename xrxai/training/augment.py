"""What training tiles are changed by: places of image and labels together, values alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch

from xrxai.errors import OptionError, at_least, positive
from xrxai.training.classes import UNLABELLED
from xrxai.training.snr import Noise, inverse_snr
from xrxai.training.warping import blurred, warped

_UNLAWFUL = {
    "channel_shuffle": (
        "gives the values of one band to another, and a spectrum is told by which band holds what: "
        "red would hold the near infrared. Drop it, and type band_dropout=0.1 for a net that does "
        "not hang on single bands."
    ),
    "hue": (
        "turns colours round a wheel that red, green and blue have and a spectrum has not. Drop "
        "it, and type brightness=0.2 for other light, or noise=100 for a noisier sensor."
    ),
    "saturation": (
        "mixes each band with the grey of red, green and blue, which flattens the spectrum that "
        "classes are told apart by. Drop it, and type brightness=0.2 for other light."
    ),
}


@dataclass(frozen=True)
class Drawn:
    """What is done to one tile; the neutral values do nothing."""

    flip_y: bool
    flip_x: bool
    quarters: int
    angle: float
    scale: float
    crop: tuple[float, float]  # where a smaller tile is cut, as shares of the free rows and columns
    sigma: float
    gain: float
    dropped: np.ndarray  # bool (band,)
    noise: bool
    rng: np.random.Generator  # what comes next: the values of the noise


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """
    Changes that leave true what a tile shows, drawn anew for each tile and epoch.

    Image, label and validity go through the same geometry; labels and validity by nearest
    neighbour, so that classes never mix. What comes in at the corners is not labelled and not
    valid, and no value of an invalid pixel reaches a valid one. Values are changed in the image
    alone. Everything is drawn from the seed, the epoch and the number of the tile: no generator of
    torch or numpy is touched, and neither batches nor workers matter.

    Parameters
    ----------
    rotate : float, default: 180.0
        Degrees, each tile by up to as many to either side. Interpolates.
    flip : bool, default: True
        Mirror rows and, drawn by itself, columns. Exact.
    turn : bool, default: True
        A quarter, half or three quarters of a turn, for square tiles. Exact.
    scale : (float, float), default: (0.8, 1.25)
        Each tile is enlarged by a factor between these, log-uniform. Interpolates.
    crop : int, optional
        Rows and columns that are cut from each tile at a random place, after all other geometry.
        With windows larger than that, fewer corners are empty.
    blur : float, default: 0.0
        Largest standard deviation of a Gaussian blur, in pixels.
    brightness : float, default: 0.0
        Each tile is multiplied by a factor between 1 - brightness and 1 + brightness, the same for
        all bands, as other light does.
    noise : float, sequence, array, DataArray or callable, optional
        Ratio of signal to noise: each value gets normal noise of a standard deviation of
        ``abs(value) / noise``. One for all bands, one per band, a DataArray with the coordinate
        ``wavelength`` (nm, interpolated), or a function of an array of wavelengths in nm.
    band_dropout : float, default: 0.0
        Probability of each band to hold the fill, as a dead band does; one band always stays.
    p : float, default: 0.5
        Probability of each of these (but `crop`) to be done to a tile.
    seed : int, default: 0
        What all is drawn from, with the epoch and the number of the tile.
    channel_shuffle, hue, saturation : optional
        Refused: they are for photographs, and untrue of spectra.

    Raises
    ------
    OptionError
        An option is outside what is possible, or untrue of spectra.

    Examples
    --------
    >>> import torch
    >>> from xrxai.training import Augmentation
    >>> augment = Augmentation(brightness=0.1, noise=200, p=1.0)
    >>> image, label = torch.rand(2, 5, 32, 32), torch.zeros(2, 32, 32, dtype=torch.int64)
    >>> image, label, valid = augment(image, label, torch.ones(2, 32, 32, dtype=torch.bool))
    >>> bool((label[~valid] == -1).all())
    True
    """

    rotate: float = 180.0
    flip: bool = True
    turn: bool = True
    scale: tuple[float, float] = (0.8, 1.25)
    crop: int | None = None
    blur: float = 0.0
    brightness: float = 0.0
    noise: Noise | None = None
    band_dropout: float = 0.0
    p: float = 0.5
    seed: int = 0
    channel_shuffle: object = None
    hue: object = None
    saturation: object = None

    def __post_init__(self) -> None:
        """Refuse what cannot be, and what is untrue of spectra."""
        for name, why in _UNLAWFUL.items():
            value = getattr(self, name)
            if value is not None and value is not False and value != 0:
                raise OptionError(f"{name}={value!r} {why}")
        if positive(self.rotate, "rotate", 180, zero=True) > 180:
            raise OptionError(f"rotate={self.rotate!r} is more than half a turn; type rotate=180.")
        for name, example in (("blur", 0.7), ("brightness", 0.1), ("band_dropout", 0.1)):
            positive(getattr(self, name), name, example, zero=True)
        for name, example in (("brightness", 0.1), ("band_dropout", 0.1)):
            if getattr(self, name) >= 1:
                raise OptionError(
                    f"{name}={getattr(self, name)!r} is not below 1; type for example "
                    f"{name}={example:g}."
                )
        if positive(self.p, "p", 0.5, zero=True) > 1:
            raise OptionError(f"p={self.p!r} is a probability; type for example p=0.5.")
        at_least(self.seed, 0, "seed")
        if self.crop is not None:
            at_least(self.crop, 1, "crop")
        both = tuple(self.scale) if isinstance(self.scale, Sequence) else ()
        fine = len(both) == 2 and all(isinstance(v, Real) for v in both)
        if not fine or not 0 < both[0] <= both[1] < math.inf:
            raise OptionError(
                f"scale={self.scale!r} is not a smallest and a largest factor; type for example "
                f"scale=(0.8, 1.25), or scale=(1, 1) for none."
            )

    def check(self, bands: int, wavelength: np.ndarray | None, size: int) -> None:
        """
        Refuse tiles that this cannot be done to.

        Parameters
        ----------
        bands : int
            Of the image.
        wavelength : array (band,) or None
            Nanometres.
        size : int
            Rows or columns, whichever is less.

        Raises
        ------
        OptionError
            The noise has another number of bands or needs wavelengths, or the crop is larger.
        """
        inverse_snr(self.noise, bands, wavelength)
        if self.crop is not None and self.crop > size:
            raise OptionError(
                f"crop={self.crop} is larger than the tiles of {size} pixels; type a crop of at "
                f"most {size}, or larger windows, training.grid(cube, {2 * self.crop})."
            )

    def draw(self, epoch: int, index: int, bands: int) -> Drawn:
        """
        Draw what is done to a tile.

        Parameters
        ----------
        epoch, index : int
            Of which epoch, and which tile.
        bands : int
            Of the image.

        Returns
        -------
        Drawn
            Each option draws from a stream that does not depend on the others.
        """
        # Every number is drawn, used or not: one option more leaves the others as they were.
        place, values = (
            np.random.default_rng([self.seed, epoch, index, stream]) for stream in (0, 1)
        )
        done, level = place.random(8) < self.p, place.random(6)
        low, high = np.log(self.scale)
        dropped = values.random(bands) < self.band_dropout
        if dropped.all():
            dropped[int(level[5] * bands)] = False
        return Drawn(
            flip_y=bool(self.flip and done[0]),
            flip_x=bool(self.flip and done[1]),
            quarters=1 + int(level[0] * 3) if self.turn and done[2] else 0,
            angle=float(self.rotate * (2 * level[1] - 1)) if done[3] else 0.0,
            scale=float(np.exp(low + (high - low) * level[2])) if done[4] else 1.0,
            crop=(float(values.random()), float(values.random())),
            sigma=float(self.blur * level[3]) if done[5] else 0.0,
            gain=float(1 + self.brightness * (2 * level[4] - 1)) if done[6] else 1.0,
            dropped=dropped & (values.random() < self.p),
            noise=bool(done[7]) and self.noise is not None,
            rng=values,
        )

    def __call__(
        self,
        image: torch.Tensor,
        label: torch.Tensor,
        valid: torch.Tensor,
        *,
        epoch: int = 0,
        index: Sequence[int] | None = None,
        fill: float = 0.0,
        wavelength: np.ndarray | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Augment a batch.

        Parameters
        ----------
        image : float tensor (n, band, y, x)
            In units of the cube.
        label : int64 tensor (n, y, x)
            Classes, -1 = not labelled.
        valid : bool tensor (n, y, x)
            Where there is data.
        epoch : int, default: 0
            What is drawn differs from epoch to epoch.
        index : sequence of int, (n,), optional
            The number of each tile. Default: 0, 1, 2, ...
        fill : float, default: 0.0
            What invalid pixels and dropped bands hold.
        wavelength : array (band,), optional
            Nanometres, for noise by wavelength.

        Returns
        -------
        tuple of image, label, valid
            New tensors; those given are left as they are.
        """
        n, bands, rows, columns = image.shape
        self.check(bands, wavelength, min(rows, columns))
        if self.turn and rows != columns:
            raise OptionError(
                f"turn=True needs square tiles, and these have {rows} x {columns} pixels; type "
                f"turn=False."
            )
        inverse = inverse_snr(self.noise, bands, wavelength)
        made = []
        for i, number in enumerate(range(n) if index is None else index):
            drawn = self.draw(epoch, number, bands)
            parts = self._placed(image[i], label[i], valid[i], drawn)
            made.append(_valued(*parts, drawn, inverse, fill))
        images, labels, valids = zip(*made, strict=True)
        return torch.stack(images), torch.stack(labels), torch.stack(valids)

    def _placed(
        self, image: torch.Tensor, label: torch.Tensor, valid: torch.Tensor, drawn: Drawn
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The geometry: one change of place for all three."""
        parts = [image, label, valid]
        axes = [axis for axis, on in ((-2, drawn.flip_y), (-1, drawn.flip_x)) if on]
        if axes:
            parts = [part.flip(axes) for part in parts]
        if drawn.quarters:
            parts = [part.rot90(drawn.quarters, (-2, -1)) for part in parts]
        if drawn.angle or drawn.scale != 1.0:
            parts = list(warped(parts[0], parts[1], parts[2], drawn.angle, drawn.scale))
        if self.crop is not None:
            rows, columns = parts[1].shape
            top = int(drawn.crop[0] * (rows - self.crop + 1))
            left = int(drawn.crop[1] * (columns - self.crop + 1))
            spot = (..., slice(top, top + self.crop), slice(left, left + self.crop))
            parts = [part[spot] for part in parts]
        return parts[0], parts[1], parts[2]


def _valued(
    image: torch.Tensor,
    label: torch.Tensor,
    valid: torch.Tensor,
    drawn: Drawn,
    inverse: np.ndarray | None,
    fill: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The values: of valid pixels of the image; the rest holds the fill."""
    if drawn.sigma:
        image = blurred(image, valid, drawn.sigma)
    image = image * drawn.gain
    if drawn.noise and inverse is not None:
        normal = drawn.rng.standard_normal(tuple(image.shape), dtype=np.float32)
        share = torch.from_numpy(inverse).to(image)[:, None, None]
        image = image + image.abs() * share * torch.from_numpy(normal).to(image)
    image[torch.from_numpy(drawn.dropped)] = fill
    image = torch.where(valid, image, fill)
    return image, torch.where(valid, label, UNLABELLED), valid.clone()
