"""Images with bands last in memory, over bands first: ``python -m benchmarks.layout``.

Processor time of networks on one core, forward and back to the input for two targets, in turns. The
table goes into docs/performance.md. Needs segmentation_models_pytorch and timm.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks import machine
from benchmarks.models import network
from benchmarks.page import table, write
from tests import operators  # noqa: F401  so that torchvision can be imported
from xrxai.tensors.device import ROOM_BACK, ROWS_BACK, keep_pages, room
from xrxai.tensors.layout import gains

BANDS, SECONDS = 13, 0.15
TITLE = """\
## Bands last in memory

Processor time of whole networks on {bands} bands with images laid out bands last, over bands first,
in the batches that xrxai takes on one core: medians of {repeats} turns; back is with the gradients
of two targets. "Chosen" is what `Model(channels_last="auto")` does. Made by
`python -m benchmarks.layout`.

"""
HEAD = ["network", "chosen", "64 x 64", "back", "256 x 256", "back"]


def unet(encoder: str) -> nn.Module:
    """U-Net of segmentation_models_pytorch."""
    import segmentation_models_pytorch as smp

    return smp.Unet(encoder, encoder_weights=None, in_channels=BANDS, classes=4)


def other(kind: str) -> nn.Module:
    """Another decoder."""
    import segmentation_models_pytorch as smp

    encoder = "resnet18" if kind == "DeepLabV3Plus" else "mobilenet_v2"
    made: nn.Module = getattr(smp, kind)(
        encoder, encoder_weights=None, in_channels=BANDS, classes=4
    )
    return made


def classifier(name: str) -> nn.Module:
    """A network of timm."""
    import timm

    return timm.create_model(name, pretrained=False, in_chans=BANDS, num_classes=4)


def plain(kernel: int) -> nn.Module:
    """Three convolutions."""
    sizes = (BANDS, 32, 32, 4)
    layers: list[nn.Module] = []
    for inside, outside in itertools.pairwise(sizes):
        layers += [nn.Conv2d(inside, outside, kernel, padding=kernel // 2), nn.ReLU()]
    return nn.Sequential(*layers)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "U-Net on MobileNetV2, as above": lambda: network("B"),
    "U-Net on MobileNetV2": lambda: unet("mobilenet_v2"),
    "U-Net on EfficientNet-B0": lambda: unet("efficientnet-b0"),
    "U-Net on Xception": lambda: unet("xception"),
    "SegFormer on MobileNetV2": lambda: other("Segformer"),
    "EfficientNet-B0": lambda: classifier("efficientnet_b0"),
    "MobileNetV3": lambda: classifier("mobilenetv3_small_100"),
    "MobileViT-XS": lambda: classifier("mobilevit_xs"),
    "ConvNeXt-Atto": lambda: classifier("convnext_atto"),
    "EdgeNeXt-XXS": lambda: classifier("edgenext_xx_small"),
    "U-Net on ResNet-18": lambda: unet("resnet18"),
    "DeepLabV3+ on ResNet-18": lambda: other("DeepLabV3Plus"),
    "ResNet-18": lambda: classifier("resnet18"),
    "three layers of 3 x 3": lambda: plain(3),
    "three layers of 1 x 1": lambda: plain(1),
}
TINY: dict[str, Callable[[], nn.Module]] = {"three layers of 3 x 3": lambda: plain(3)}


def ratio(call: Callable[[bool], Any], repeats: int) -> float:
    """Median of bands last over bands first, before and after it."""
    for last in (False, True):
        call(last)
    times = max(1, int(SECONDS / max(machine.taken(lambda: call(False)).cpu, 1e-4)))

    def spent(last: bool) -> float:
        return sum(machine.taken(lambda: call(last)).cpu for _ in range(times))

    turns = [(spent(False), spent(True), spent(False)) for _ in range(repeats)]
    return statistics.median(2 * last / max(a + b, 1e-9) for a, last, b in turns)


def ratios(net: nn.Module, side: int, repeats: int) -> list[float]:
    """Forward, and forward and back."""
    x = torch.rand(1, BANDS, side, side)
    rows = max(1, room(x.device) // x.nbytes)
    more = max(rows, min(ROWS_BACK, ROOM_BACK // x.nbytes))
    there, back = x.repeat(rows, 1, 1, 1), x.repeat(more, 1, 1, 1).requires_grad_(True)

    def laid(z: torch.Tensor, last: bool) -> torch.Tensor:
        return z.contiguous(memory_format=torch.channels_last) if last else z

    def forward(last: bool) -> None:
        with torch.no_grad():
            net(laid(there, last))

    def gradient(last: bool) -> None:
        scores = net(laid(back, last))
        for k in range(2):
            torch.autograd.grad(scores[:, k].sum(), back, retain_graph=k == 0)

    return [ratio(forward, repeats), ratio(gradient, repeats)]


def row(
    name: str, make: Callable[[], nn.Module], sides: tuple[int, ...], repeats: int
) -> list[str]:
    """Measure one network."""
    torch.manual_seed(0)
    net = make().eval().requires_grad_(False)
    found = [f"{r:.2f}" for side in sides for r in ratios(net, side, repeats)]
    return [name, "yes" if gains(net) else "", *found]


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.layout", description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="once, small: does it run at all?")
    parser.add_argument("--out", type=Path, default=Path("docs/performance.md"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    keep_pages()
    repeats, sides = (1, (8, 8)) if given.tiny else (3, (64, 256))
    rows = [row(*each, sides, repeats) for each in (TINY if given.tiny else NETWORKS).items()]
    block = TITLE.format(repeats=repeats, bands=BANDS) + table(HEAD, rows)
    print(block)
    write("layout", block, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
