"""The first convolution of a net, made for other bands than it was trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from xrxai.errors import ModelError

RGB_NM = np.array([620.0, 550.0, 460.0])
"""Where the kernels of photographs are taken to lie: red, green, blue, in their order."""

BEYOND_NM = 50.0  # further from the bands of a sensor, light is another matter than at its edge


def first_convolution(encoder: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the layer that sees the bands."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            return name, module
    raise ModelError(
        f"The encoder {type(encoder).__name__} has no convolution that its weights for other bands "
        f"could be made of; type weights=None."
    )


def cyclic(kernel: torch.Tensor, bands: int) -> torch.Tensor:
    """Kernels (out, 3, y, x) repeated over the bands, times 3 / bands; their sum for one band."""
    n = kernel.shape[1]
    if bands == 1:
        return kernel.sum(dim=1, keepdim=True)
    return kernel[:, torch.arange(bands) % n] * (n / bands)


def shared(kernel: torch.Tensor, source: np.ndarray, target: np.ndarray) -> torch.Tensor:
    """Kernels (out, band, y, x) at `source` nm, each shared out over the `target` bands near it.

    A target band takes from the two source bands beside it in proportion to how near they are,
    from the outermost one alone beyond them. What one source band gives away sums to its kernel,
    so that the answer to a flat spectrum stays.
    """
    part = interpolation(target, source)
    given = part.sum(axis=0)
    for lonely in np.flatnonzero(given == 0):
        part[np.abs(target - source[lonely]).argmin(), lonely] = 1.0
    part /= part.sum(axis=0)
    return torch.einsum("oiyx,ji->ojyx", kernel, torch.from_numpy(part).to(kernel.dtype))


def resampled(
    kernel: torch.Tensor, source: np.ndarray, target: np.ndarray
) -> tuple[torch.Tensor, np.ndarray]:
    """Kernels for `target` bands that answer smooth spectra alike, and the source bands they keep.

    Each source band is read off the target bands by linear interpolation in nm, which is a linear
    map that the kernels take in: exact for spectra that are linear between target bands. A source
    band that lies beyond all target bands is left out, as if it were at its mean.
    """
    seen = (source >= target.min() - BEYOND_NM) & (source <= target.max() + BEYOND_NM)
    map_ = interpolation(source, target) * seen[:, None]
    return torch.einsum("oiyx,ij->ojyx", kernel, torch.from_numpy(map_).to(kernel.dtype)), seen


def interpolation(at: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Matrix (at, known): values at nm from values at others, linear between, constant beyond."""
    nodes, which, shares = np.unique(known, return_inverse=True, return_counts=True)
    columns = np.stack([np.interp(at, nodes, row) for row in np.eye(len(nodes))], axis=1)
    return columns[:, which] / shares[which]  # bands at the same place share it
