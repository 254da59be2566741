"""Models of the synthetic scenes whose answer is known: what a method must find, and how to ask."""

from __future__ import annotations

import numpy as np
import torch


class DepthNet(torch.nn.Module):
    """Each target is the depth of its absorption, disturbed a little by every other band."""

    def __init__(self, wavelength, bands, seed):
        super().__init__()
        rng = np.random.default_rng(seed)
        self.centre, self.top, self.other = [], [], []
        for ((low, high),) in bands.values():
            inside = (wavelength >= low) & (wavelength <= high)
            shoulder = (wavelength <= low + (high - low) / 10) | (
                wavelength >= high - (high - low) / 10
            )
            centre = abs(wavelength - (low + high) / 2) <= (high - low) / 10
            self.top.append(torch.as_tensor(inside & shoulder))
            self.centre.append(torch.as_tensor(inside & centre))
            noise = rng.normal(size=wavelength.size) * ~inside / wavelength.size
            self.other.append(torch.as_tensor(noise, dtype=torch.float32))

    def forward(self, x):
        out = []
        for centre, top, other in zip(self.centre, self.top, self.other, strict=True):
            depth = 1 - (x[:, centre].mean(1) + 1e-3) / (x[:, top].mean(1) + 1e-3)
            out.append(depth + 0.3 * torch.tanh(x @ other))
        return torch.stack(out, 1)


class MeanDepthNet(DepthNet):
    """The same on patches (n, band, y, x): the mean over the pixels."""

    def forward(self, x):
        pixels = x.movedim(1, -1).flatten(0, -2)
        return super().forward(pixels).view(len(x), -1, len(self.centre)).mean(1)


class RegionNet(torch.nn.Module):
    """One target: how bright an object is, disturbed a little by all that surrounds it.

    The mean of the bands is a convolution with a non-linearity after it, so that methods which ask
    a layer have one to ask.
    """

    def __init__(self, region, bands):
        super().__init__()
        self.mean = torch.nn.Conv2d(bands, 1, 1, bias=False)
        self.mean.weight.data.fill_(1 / bands)
        self.relu = torch.nn.ReLU()
        self.tanh = torch.nn.Tanh()
        inside = torch.as_tensor(np.asarray(region), dtype=torch.float32)
        self.register_buffer("inside", inside / inside.sum())
        self.register_buffer("outside", (1 - inside) / inside.numel())

    def forward(self, x):
        bright = self.relu(self.mean(x))[:, 0]
        inner = (bright * self.inside).sum((1, 2))
        outer = (bright * self.outside).sum((1, 2))
        return (self.tanh(4 * inner) + 0.05 * outer)[:, None]
