"""The networks that are explained, written from their papers in plain torch, with random weights.

A is a vision transformer (ViT-S/16, Dosovitskiy et al. 2021) on 150 bands, B a U-Net on the
encoder of MobileNetV2 (Sandler et al. 2018) on 13, C a one-dimensional network on spectra. Timings
do not depend on the weights; explanations of such a network mean nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(n, token, width) -> the same."""
        n, tokens, width = x.shape
        q, k, v = self.qkv(x).view(n, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).reshape(n, tokens, width))


class Block(nn.Module):
    """Attention, then a perceptron, each around a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, token, width) -> the same."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformer(nn.Module):
    """ViT with a class token; the defaults are those of ViT-S/16."""

    def __init__(
        self, bands: int, side: int, targets: int, width: int = 384, depth: int = 12, heads: int = 6
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(bands, width, 16, stride=16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(0.02 * torch.randn(1, 1 + (side // 16) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, targets)

    def forward(self, x: Tensor) -> Tensor:
        """(n, band, y, x) -> (n, target)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), tokens], 1) + self.place
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def conv(inside: int, outside: int, size: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, normalisation, ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, size, stride, size // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        nn.ReLU6(),
    )


class Inverted(nn.Module):
    """Inverted residual: widen, filter each channel, narrow."""

    def __init__(self, inside: int, outside: int, stride: int, widen: int) -> None:
        super().__init__()
        hidden = inside * widen
        self.shortcut = stride == 1 and inside == outside
        self.body = nn.Sequential(
            *([conv(inside, hidden, 1)] if widen > 1 else []),
            conv(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, outside, 1, bias=False),
            nn.BatchNorm2d(outside),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(n, inside, y, x) -> (n, outside, y / stride, x / stride)."""
        return x + self.body(x) if self.shortcut else self.body(x)


class Up(nn.Module):
    """Twice the rows and columns, joined with what the encoder had there."""

    def __init__(self, inside: int, skipped: int, outside: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(inside + skipped, outside, 3), conv(outside, outside, 3))

    def forward(self, x: Tensor, skipped: Tensor | None) -> Tensor:
        """(n, inside, y, x) -> (n, outside, 2 y, 2 x)."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return self.body(x if skipped is None else torch.cat([x, skipped], 1))


class UNet(nn.Module):
    """U-Net on the encoder of MobileNetV2; gives a map of scores per class."""

    # widening, channels, repeats, stride: table 2 of the paper; a new stage where the stride is 2
    ROWS = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
        (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip

    def __init__(self, bands: int, classes: int, thin: int = 1) -> None:
        super().__init__()
        here = 32 // thin
        stage: list[nn.Module] = [conv(bands, here, 3, 2)]
        stages, kept = [], []
        for widen, channels, repeats, first in self.ROWS:
            if first == 2:
                stages.append(nn.Sequential(*stage))
                kept.append(here)
                stage = []
            for i in range(repeats):
                stage.append(Inverted(here, channels // thin, first if i == 0 else 1, widen))
                here = channels // thin
        stages.append(nn.Sequential(*stage, conv(here, 1280 // thin, 1)))
        self.stages = nn.ModuleList(stages)
        self.ups = nn.ModuleList()
        inside = 1280 // thin
        for skipped, channels in zip([*kept[::-1], 0], (256, 128, 64, 32, 16), strict=True):
            self.ups.append(Up(inside, skipped, channels // thin))
            inside = channels // thin
        self.head = nn.Conv2d(inside, classes, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, band, y, x) -> (n, class, y, x)."""
        kept: list[Tensor | None] = [None]
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        kept.pop()
        for up in self.ups:
            x = up(x, kept.pop())
        return self.head(x)


class Spectral(nn.Module):
    """Three convolutions along the spectrum, then two dense layers: 45 thousand parameters."""

    def __init__(self, bands: int, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(1, 16, 7, padding=3), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(32, 32, 5, padding=2), nn.ReLU(), nn.MaxPool1d(2), nn.Flatten(),
            nn.Linear(32 * (bands // 8), 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """(n, band) -> (n, class)."""
        return self.head(self.body(x.unsqueeze(1)))


class Area(nn.Module):
    """The sum of each class's map: what one asks of a segmentation network."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """(n, band, y, x) -> (n, class)."""
        return self.net(x).sum((2, 3))


def network(name: str, tiny: bool = False) -> nn.Module:
    """Give A, B or C; tiny ones do the same with few bands, pixels and channels."""
    torch.manual_seed(0)
    net: nn.Module
    if name == "A":
        net = VisionTransformer(12, 32, 4, 12, 1, 2) if tiny else VisionTransformer(150, 224, 4)
    elif name == "B":
        net = UNet(13, 4, thin=8 if tiny else 1)
    else:
        net = Spectral(16 if tiny else 150, 5)
    return net.eval()
