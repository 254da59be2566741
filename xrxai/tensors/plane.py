"""The linear stem on an image: a convolution that sees the pixels where they are."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from xrxai.tensors import patches
from xrxai.tensors.masked import Cut, Switched, Window, as_slice
from xrxai.tensors.stem import reaching
from xrxai.tensors.sums import LITTLE, NotLinearError, Place, Table, fit, mixed

# A window of more is convolved by itself; and in one product of several.
_ALONE, _TOGETHER = 2**21, 2**23
_AHEAD = 16  # windows


class Effect(NamedTuple):
    """What a window does to the answer of a layer: rows, columns, values (channel, y, x)."""

    rows: slice
    columns: slice
    values: Tensor


def _written(place: Place, made: Switched | Cut, j: int) -> Tensor:
    """What of one sample under pattern j reaches the layer; good until the next one is written."""
    z = place.room[:1]
    made.write(z.unsqueeze(0), place.samples, slice(j, j + 1))
    return reaching(place.runner, place.layer, z)


def _apart(u: Tensor, place: Place) -> Tensor:
    """A tensor of its own, where it is a view of the buffer."""
    return u.clone() if _memory(u) == _memory(place.room) else u


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class _Plane(Table):
    """A convolution that sees the pixels of one sample where they are, each by itself."""

    def __init__(
        self,
        place: Place,
        ends: Switched | Cut,
        none: int,
        every: int,
        window: Window | None = None,
    ) -> None:
        """`none` and `every` are patterns; `window` is what the first pattern of all removes."""
        self.place, self.x = place, ends.x
        self.layer = place.layer.module
        u = _apart(_written(place, ends, none), place)
        grid, size = self.x.shape[2:], u.shape[2:]
        padded = place.runner.model.pad is not None
        if u.ndim != 4 or u.shape[1] != self.x.shape[1] or (size != grid and not padded):
            raise NotLinearError("it does not see the pixels where they are")
        first = place.first if window is not None else None
        self.base = place.layer(u) if first is None else first
        shown = _written(place, ends, every)
        if _memory(shown) == _memory(place.room):  # nothing of its size is made on the way
            self.batch = place.runner.rows_of(self.base)
        self.apart = torch.sub(shown, u)
        if first is not None and window is not None:
            (effect,) = self.effects([window])
            self.base[0, :, effect.rows, effect.columns] -= effect.values

    def effects(self, windows: list[Window], masks: list[Tensor] | None = None) -> list[Effect]:
        """What the layer says to the difference inside each window.

        Patches of several windows make one product of matrices: the weights of a layer on many
        bands are larger than what a window holds of the image.
        """
        layer = self.layer
        assert isinstance(layer, nn.Conv2d)
        found: list[Effect] = []
        waiting: list[tuple[int, Tensor]] = []
        bands: slice | Tensor = slice(None)

        def flush() -> None:
            if waiting:
                weight = layer.weight[:, bands].flatten(1)
                got = weight @ torch.cat([each for _, each in waiting], dim=1)
                sizes = [each.shape[1] for _, each in waiting]
                for (k, _), values in zip(waiting, got.split(sizes, 1), strict=True):
                    rows, columns, _ = found[k]
                    shape = (-1, rows.stop - rows.start, columns.stop - columns.start)
                    found[k] = Effect(rows, columns, values.reshape(shape))
                waiting.clear()

        held = 0
        for k, window in enumerate(windows):
            if window[0] is not bands or held > _TOGETHER:
                flush()
                bands, held = window[0], 0
            rows, columns, crop = self._crop(window, None if masks is None else masks[k])
            found.append(Effect(rows, columns, self.base[0, :, :0, :0]))
            if crop is None:
                continue
            size = (rows.stop - rows.start) * (columns.stop - columns.start)
            values = crop.shape[1] * math.prod(layer.kernel_size) * size
            if len(window) == 1 or values > _ALONE:
                weight = layer.weight[:, bands]
                said = patches.convolved(layer, crop, weight, None)
                if said is None:
                    said = F.conv2d(crop, weight, None, layer.stride, 0, layer.dilation)
                found[k] = Effect(rows, columns, said[0])
            else:
                how = (layer.kernel_size, layer.dilation, 0, layer.stride)
                waiting.append((k, F.unfold(crop, *how)[0]))
                held += values
        flush()
        return found

    def _crop(self, window: Window, mask: Tensor | None) -> tuple[slice, slice, Tensor | None]:
        """Positions that see a window, and the difference that they see, zero outside of it."""
        layer = self.layer
        assert isinstance(layer, nn.Conv2d)
        cut = window[1:] or (slice(0, self.x.shape[2]), slice(0, self.x.shape[3]))
        outs, ins, parts = [], [], []
        pads: list[int] = []
        for axis, part in enumerate(cut):
            k, step = layer.kernel_size[axis], layer.stride[axis]
            pad, gap = int(layer.padding[axis]), layer.dilation[axis]
            low = max(0, -(-(part.start + pad - (k - 1) * gap) // step))
            high = min(self.base.shape[2 + axis], (part.stop - 1 + pad) // step + 1)
            if low >= high:  # between the steps of the layer
                return slice(0, 0), slice(0, 0), None
            first, last = low * step - pad, (high - 1) * step - pad + (k - 1) * gap + 1
            start, stop = max(part.start, first), min(part.stop, last)
            outs.append(slice(low, high))
            ins.append(slice(start, stop))
            parts.append(slice(start - part.start, stop - part.start))
            pads = [start - first, last - stop, *pads]  # of the last axis first
        crop = self.apart[:, window[0], ins[0], ins[1]]
        if mask is not None:
            crop = crop * mask[parts[0], parts[1]]
        return outs[0], outs[1], F.pad(crop, pads) if any(pads) else crop


def _ends(made: Switched) -> tuple[Switched, int]:
    """None, all, and the pattern that tells most."""
    on, check = made.on, mixed(made.on)
    rows = np.vstack([on[:1] & False, on[:1] | True, on[check : check + 1]])
    return Switched(made.x, made.fill, rows, made.part), check


class Bands(_Plane):
    """Groups of bands: channels of the layer's weights."""

    def __init__(self, place: Place, made: Switched) -> None:
        ends, check = _ends(made)
        super().__init__(place, ends, 0, 1)
        part = made.part.view(-1).cpu().numpy()
        self.parts = torch.zeros(
            (made.on.shape[1], self.base.numel()), dtype=self.base.dtype, device=self.base.device
        )
        for g, row in enumerate(self.parts, start=1):
            if (part == g).any():
                (effect,) = self.effects([(as_slice(part == g, made.x),)])
                row.copy_(effect.values.flatten())
        self.on = torch.as_tensor(made.on, device=made.x.device).to(self.base.dtype)
        true = place.layer(_written(place, ends, 2))
        fit(true, self.answer(slice(0, 1), slice(check, check + 1)), self.parts.sum(0)[None])

    def answer(self, i: slice, j: slice) -> Tensor:
        """See `Table`."""
        flat = torch.addmm(self.base.view(1, -1), self.on[j], self.parts)
        return flat.view(-1, *self.base.shape[1:])


class Segments(_Plane):
    """Groups of pixels: each is seen by the positions around it only."""

    def __init__(self, place: Place, made: Switched) -> None:
        ends, check = _ends(made)
        super().__init__(place, ends, 0, 1)
        part = made.part[place.samples if made.part.shape[0] > 1 else slice(0, 1)][0, 0]
        boxes = ndimage.find_objects(part.cpu().numpy(), max_label=made.on.shape[1])
        self.groups = [g for g, box in enumerate(boxes) if box is not None]
        every, there = slice(None), [box for box in boxes if box is not None]
        masks = [
            (part[box] == g + 1).to(self.apart.dtype)
            for g, box in zip(self.groups, there, strict=True)
        ]
        self.each = self.effects([(every, *box) for box in there], masks)
        self.whole = self.base.clone()
        for rows, columns, values in self.each:
            self.whole[0, :, rows, columns] += values
        self.on = made.on
        true = place.layer(_written(place, ends, 2))
        fit(true, self.answer(slice(0, 1), slice(check, check + 1)), self.whole - self.base)

    def answer(self, i: slice, j: slice) -> Tensor:
        """See `Table`."""
        out = self.base.new_empty((len(self.on[j]), *self.base.shape[1:]))
        for row, on in zip(out, self.on[j], strict=True):
            most = on.mean() > 0.5
            row.copy_((self.whole if most else self.base)[0])
            for g, (rows, columns, values) in zip(self.groups, self.each, strict=True):
                if on[g] != most:
                    row[:, rows, columns].add_(values, alpha=-1 if most else 1)
        return out


class Windows(_Plane):
    """Windows, each in one pattern: nothing is kept."""

    def __init__(self, place: Place, made: Cut) -> None:
        grid = (slice(0, made.x.shape[2]), slice(0, made.x.shape[3]))
        middle = made.windows[made.n_patterns // 2]
        self.windows = made.windows
        area = math.prod(s.stop for s in grid)
        cover = sum(
            (math.prod(s.stop - s.start for s in w[1:]) / area if w[1:] else 1.0)
            * _share(w[0], made.x.shape[1])
            for w in made.windows
        )
        # Overlapping windows cost the layer as often as they cover a place.
        if made.n_patterns < 2 * (cover + 3):
            raise NotLinearError(LITTLE)
        ends = Cut(made.x, made.baseline, [(slice(None),), (slice(0, 0),), middle], True)
        # From the whole sample to the baseline.
        super().__init__(place, ends, 1, 0, self.windows[0])
        # What sees all of the image is as large as an answer, and gains nothing from others.
        self.ahead = _AHEAD if middle[1:] else 1
        self.known: tuple[slice, list[Effect]] = (slice(0, 0), [])
        made_up = self._without(self.effects([middle]))
        true = place.layer(_written(place, ends, 2))
        fit(true, made_up, true - self.base)

    def answer(self, i: slice, j: slice) -> Tensor:
        """See `Table`."""
        at = self.known[0]
        if j.start < at.start or j.stop > at.stop:
            at = slice(j.start, max(j.stop, j.start + self.ahead))
            self.known = at, self.effects(self.windows[at])
        return self._without(self.known[1][j.start - at.start : j.stop - at.start])

    def _without(self, some: list[Effect]) -> Tensor:
        out = self.base.repeat(len(some), 1, 1, 1)
        for row, (rows, columns, values) in zip(out, some, strict=True):
            row[:, rows, columns] += values
        return out


def _share(bands: slice | Tensor, n: int) -> float:
    return len(range(*bands.indices(n)) if isinstance(bands, slice) else bands) / n
