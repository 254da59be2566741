"""Where the linear stem saves work, by what is asked and by the shapes of the layer."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from xrxai.tensors.masked import Cut, Switched
from xrxai.tensors.plane import Bands, Segments, Windows
from xrxai.tensors.sums import LITTLE, NotLinearError, Place, Rows, Table

# Below so many products per value a network gains nothing that could be measured.
_TAPS, _TAPS_OF_ROWS = 256, 64
# A sum over groups costs about an eighth of the layer per group and product.
_PER_GROUP = 8
_FEWEST = 12  # patterns


def refusal(x: Tensor, made: Switched | Cut) -> str | None:
    """Why sums could save nothing, by what is asked."""
    if isinstance(made, Switched) and made.fill.rule is not None:
        return "what stands in for a band hangs on others"
    short = made.n_patterns < _FEWEST or (isinstance(made, Cut) and x.ndim != 4)
    return LITTLE if short else None


def table(place: Place, made: Switched | Cut, in_place: bool) -> Table:
    """Prepare the answers for some samples; `in_place`: the layer may see the input as it is."""
    x, layer = made.x, place.layer.module
    plane = in_place and x.ndim == 4 and isinstance(layer, nn.Conv2d) and _plain(layer)
    plane = plane and isinstance(layer, nn.Conv2d) and layer.in_channels == x.shape[1]
    taps = place.layer.taps
    if isinstance(made, Cut):
        if not plane or taps < _TAPS:
            raise NotLinearError(LITTLE)
        return Windows(place, made)
    groups = made.on.shape[1]
    if plane and made.part.shape[1] == 1:
        if taps < _TAPS:
            raise NotLinearError(LITTLE)
        return Segments(place, made)
    if taps < max(_TAPS if x.ndim == 4 else _TAPS_OF_ROWS, _PER_GROUP * groups):
        raise NotLinearError(LITTLE)
    if plane and made.part.shape[1] == made.part.numel():
        return Bands(place, made)
    if made.n_patterns < 2 * (groups + 2):
        raise NotLinearError(LITTLE)
    return Rows(place, made)


def samples_at_once(made: Switched | Cut, batch: int) -> int:
    """Samples whose parts are answered in one call of the layer."""
    if isinstance(made, Cut) or made.x.ndim == 4:
        return 1
    return max(1, batch // (int(made.on.shape[1]) + 2))


def _plain(layer: nn.Conv2d) -> bool:
    known = layer.padding_mode == "zeros" and not isinstance(layer.padding, str)
    return known and layer.groups == 1


def chunks(n: int, size: int) -> Iterator[slice]:
    """Positions 0..n-1 as slices of at most `size`."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
