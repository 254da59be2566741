"""How far a model sees, measured; and the halo that follows from it."""

from __future__ import annotations

import contextlib
import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from xrxai.context import Halo, ReceptiveField
from xrxai.errors import ModelError
from xrxai.tensors import seam
from xrxai.tensors.probe import Budget, Strips, bearable, plain_convolutions
from xrxai.tensors.run import Runner, session

if TYPE_CHECKING:
    from xrxai.model import Model

# Windows are multiples of one of these: whatever the pooling, it divides one of them.
_UNITS = (32, 64, 96, 80, 112, 72, 128)
_CORE = 128
# A halo that costs little whatever the tile: small tiles grow to it.
_CHEAP = 64
_RUNGS = (16, 32, 64, 96, 128, 192, 256, 384, 512)
_MOVES = "its answers depend on the size of the window, or on the position in it"
_TOLERANCE = 1e-3
_SEAM_SIDE = 1024
_KEPT: OrderedDict[Hashable, Any] = OrderedDict()


def measure(
    model: Model,
    *,
    n_bands: int | None = None,
    largest: int = 1024,
    sample: np.ndarray | None = None,
) -> ReceptiveField:
    """Measure it in windows up to `largest` pixels; `sample` (band, y, x) tells usual values."""
    _refuse(model)
    n_bands = _bands(model, n_bands, sample)
    moments = _moments(sample)
    key = ("field", *_identity(model), n_bands, largest, _digest(moments))
    if key not in _KEPT:
        if model.resize is not None:
            reason = "resize= ties what the network sees to the size of the window"
            result = ReceptiveField(None, 1, False, 0, False, reason)
        else:
            free = replace(model, pad=None) if model.pad == "square" else model
            with session(free, None, None) as runner, plain_convolutions():
                result = _measured(runner, n_bands, largest, moments)
        if model.pad == "square":
            reason = "pad='square' ties what the network sees to the shape of the window"
            result = replace(result, radius=None, exact=False, ragged=False, reason=reason)
        _keep(key, model, result)
    found: ReceptiveField = _KEPT[key][1]
    return found


def _measured(
    runner: Runner, n_bands: int, largest: int, moments: tuple[np.ndarray, np.ndarray] | None
) -> ReceptiveField:
    pad = runner.model.pad if isinstance(runner.model.pad, int) else 1
    found, failed = None, None
    for unit in _units(pad, largest):
        try:
            spread = bearable(runner, n_bands, unit, moments)
            now = []
            for turned in (False, True):
                now.append(_along(Strips(runner, unit, spread, turned=turned), largest))
                if now[-1].reason == _MOVES:
                    break
        except ModelError as error:
            failed = failed or error
            continue
        found = found or now
        if any(one.reason not in ("", _MOVES) for one in now):
            break  # global: another unit would say the same
        if all(one.exact for one in now):
            found = now
            break
    if found is None:
        raise ModelError(
            f"The receptive field cannot be measured on windows of 32 to 128 pixels of noise. "
            f"{failed} If the network needs values like those of the cube, type cube=; if its "
            f"first layer is not the one that reads the bands, n_bands=."
        ) from None
    stride = math.lcm(pad, *(one.stride for one in found))
    reason = next((one.reason for one in found if one.reason), "")
    radius = None if reason else max(one.radius or 0 for one in found)
    return ReceptiveField(
        radius,
        stride,
        not reason,
        max(one.window for one in found),
        all(one.ragged for one in found),
        reason,
    )


def _along(strips: Strips, largest: int) -> ReceptiveField:
    """What holds along one axis."""
    width, found = strips.unit, None
    budget = Budget()
    farthest = largest - largest % strips.unit
    while True:
        try:
            with budget.spend(width * strips.unit), torch.no_grad():
                strips.ask(strips.noise(width))
            found = _within(strips, width)
        except ModelError:
            if width == strips.unit:
                raise
            break  # out of memory, for one
        if found is not None and found.exact:
            return found
        if 2 * width > largest or not budget.allows(2 * width * strips.unit):
            break
        # A layer with holes may see more in a larger window; else that would say the same.
        if (
            found is not None
            and budget.allows(farthest * strips.unit)
            and _no_farther(strips, width, farthest)
        ):
            break
        width *= 2
    if found is not None:
        return found
    shifts = [s for s in range(1, strips.unit + 1) if strips.unit % s == 0]
    errors = {shift: strips.misfit(3 * strips.unit, shift) for shift in shifts}
    # Near a multiple of the stride, shifted windows differ by their surroundings alone.
    stride = next(s for s in shifts if errors[s] <= 3 * min(errors.values()))
    reason = f"a pixel reaches the edges of {width} px: global context, or more than that"
    return ReceptiveField(None, stride, False, width, False, reason)


def _no_farther(strips: Strips, width: int, farthest: int) -> bool:
    """Whether a pixel reaches about as far in both windows."""
    near, far = (strips.reach(wide, [wide // 2]) for wide in (width, farthest))
    return near is not None and far is not None and far - near < strips.unit // 4


def _within(strips: Strips, width: int) -> ReceptiveField | None:
    """What a window of this width shows, or None when a pixel reaches its edges."""
    crude = strips.reach(width, [width // 2])
    if crude is None:
        return None
    unit = strips.unit
    slack = crude + unit
    wide = strips.across(slack)
    stride = next(
        (
            s
            for s in range(1, unit + 1)
            if unit % s == 0 and strips.footprints(wide, s) and not strips.misfit(slack, s)
        ),
        None,
    )
    if stride is None:
        return ReceptiveField(None, 1, False, width, False, _MOVES)
    # A pixel reaches a stride more or less, depending on where in the pooling grid it lies.
    full = 2 * (crude + 2 * stride) + 2
    full = max(width, full + -full % unit)
    radius: int | None = crude
    if stride > 1:
        radius = strips.reach(full, range(full // 2, full // 2 + stride))
    # The edges are where a layer with holes shows that it sees beyond the window.
    if radius is None or strips.misfit(radius, stride) or not strips.alike(radius, unit):
        return ReceptiveField(None, stride, False, full, False, _MOVES)
    ragged = False
    with contextlib.suppress(ModelError):  # many networks refuse such a size
        ragged = strips.alike(radius, -1)
    return ReceptiveField(radius, stride, True, full, ragged)


def choose(
    model: Model,
    *,
    tile: int,
    reach: int,
    extent: int = 0,
    cube_bands: int | None = None,
    sample: np.ndarray | None = None,
) -> Halo:
    """Halo of tiles of side `tile`: `reach` radii (1: scores, 2: gradients) and `extent` pixels.

    Where it would be more than the tile and 64 pixels, or there is no radius, it is the smallest
    of a ladder with an error of 1e-3 or less, else the one from which more would bring little.
    """
    field = measure(model, n_bands=cube_bands, sample=sample)
    step = field.stride

    def rounded(pixels: int) -> int:
        return pixels + -pixels % step

    needed = None if field.radius is None else rounded(reach * field.radius + extent)
    if model.halo is None and needed is not None and needed <= max(tile, _CHEAP):
        return Halo(needed, True, 0.0, step)
    if model.halo is not None:
        pixels = rounded(model.halo)
        if needed is not None and pixels >= needed:
            return Halo(pixels, True, 0.0, step)
        errors = seam_errors(
            model,
            [max(0, model.halo - extent)],
            tile=tile,
            reach=reach,
            n_bands=cube_bands,
            sample=sample,
        )
        return Halo(pixels, False, next(iter(errors.values()), math.nan), step)
    room = max(step, tile - tile % step)
    ladder = sorted({min(room, rounded(rung)) for rung in _RUNGS})
    errors = seam_errors(model, ladder, tile=tile, reach=reach, n_bands=cube_bands, sample=sample)
    if not errors:
        return Halo(room, False, math.nan, step)
    least = min(errors.values())
    good = (h for h, error in errors.items() if error <= max(_TOLERANCE, 1.25 * least))
    pixels = next(good, room)
    return Halo(min(room, rounded(pixels + extent)), False, errors.get(pixels, math.nan), step)


def seam_errors(
    model: Model,
    halos: list[int],
    *,
    tile: int,
    reach: int = 2,
    n_bands: int | None = None,
    sample: np.ndarray | None = None,
) -> dict[int, float]:
    """Relative L1 error in a core of side `tile` (at most 128) by halo, on one window.

    Of the gradient of the summed score (reach 2), or of the map (reach 1), against the same core
    in the largest window that can be afforded. Halos that are not smaller than that are left out.
    """
    field = measure(model, n_bands=n_bands, sample=sample)
    n_bands = _bands(model, n_bands, sample)
    step = field.stride
    core = min(tile, _CORE)
    core += -core % step
    room = _SEAM_SIDE if sample is None else min(_SEAM_SIDE, *sample.shape[-2:])
    top = max(0, (room - core) // 2) // step * step
    if field.radius is not None:
        top = min(top, reach * field.radius + -(reach * field.radius) % step)
    asked = sorted({h + -h % step for h in halos})
    rungs = sorted({h for h in asked if h < top} | {top})
    key = ("seam", *_identity(model), tuple(rungs), core, reach, n_bands, _digest(sample))
    if key not in _KEPT:
        with session(model, None, None) as runner:
            whole = seam.window(runner, core + 2 * top, core, n_bands, sample)
            _keep(key, model, seam.errors(runner, whole, rungs, core, reach))
    found: dict[int, float] = _KEPT[key][1]
    return {h: found[h] for h in asked if h in found}


def _refuse(model: Model) -> None:
    if model.takes == "patch" and model.gives == "map":
        return
    what = "sees one pixel" if model.takes == "spectrum" else "gives one value per target"
    how = (
        "a spectrum has no surroundings, and no halo is needed"
        if model.takes == "spectrum"
        else "type gives='map' if it answers per pixel; otherwise it takes chips, and no halo"
    )
    raise ModelError(f"The model {what}, so there is no radius to measure; {how}.")


def _bands(model: Model, n_bands: int | None, sample: np.ndarray | None) -> int:
    found = n_bands or model.n_bands
    if found is None and sample is not None:
        found = sample.shape[0]
    if found is None and model.prepare is None and model.arrays == "torch":
        networks = [] if model.is_program else model.networks()
        parts = (part for network in networks for part in network.modules())
        found = next((p.in_channels for p in parts if hasattr(p, "in_channels")), None)
    if found is None:
        raise ModelError(
            f"How many bands {model.label} takes cannot be seen; type "
            f"Model(..., n_bands=...) or receptive_field(n_bands=...)."
        )
    return int(found)


def _units(pad: int, largest: int) -> Iterator[int]:
    for unit in (u for u in _UNITS if u <= largest):
        both = math.lcm(unit, pad)
        yield both if both <= 256 else unit + -unit % pad


def _moments(sample: np.ndarray | None) -> tuple[np.ndarray, np.ndarray] | None:
    if sample is None:
        return None
    known = np.where(np.isfinite(sample), sample, np.nan).reshape(sample.shape[0], -1)
    held = np.isfinite(known).any(axis=1)
    mean, deviation = np.zeros(len(known)), np.ones(len(known))
    mean[held] = np.nanmean(known[held], axis=1)
    deviation[held] = np.nanstd(known[held], axis=1)
    return mean, np.where(deviation > 0, deviation, 1.0)


def _digest(values: Any) -> Hashable:
    """The values of arrays as a key."""
    import hashlib

    if values is None:
        return None
    digest = hashlib.blake2b(digest_size=16)
    for array in values if isinstance(values, tuple) else (values,):
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _identity(model: Model) -> tuple[Hashable, ...]:
    """The very object, with the weights and options that it has now."""
    # Weights and code do not tell networks apart that are given functions to call.
    return id(model.forward), id(model.prepare), model.__dask_tokenize__()


def _keep(key: Hashable, model: Model, value: Any) -> None:
    """Keep the newest; a run asks for the same model again and again."""
    # Held, so that no other object can get its id.
    _KEPT[key] = (model, value)
    while len(_KEPT) > 16:
        _KEPT.popitem(last=False)
