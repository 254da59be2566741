"""Occlusion as a screening: large windows first, and small ones where those matter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from xrxai import tensors
from xrxai.errors import OptionError, positive
from xrxai.labelled import baseline as baselines
from xrxai.labelled import windows
from xrxai.road import Case, explain
from xrxai.spec import Output, spec

if TYPE_CHECKING:
    from torch import Tensor

    from xrxai.tensors.score import Score

_SHARE = 0.8


def _screened(
    case: Case,
    window: Any,
    stride: Any,
    refine: int,
    share: float | None,
    baseline: baselines.Baseline,
    *,
    device: str | None,
    batch_size: int | None,
    progress: bool,
) -> xr.Dataset:
    """Occlusion by windows that are halved where they matter."""
    if not refine:
        raise OptionError(
            f"share={share!r} says which windows are halved, and refine=0 halves none; type "
            f"refine=1 or more, or leave out share=."
        )
    if stride is not None:
        raise OptionError(
            f"stride={stride!r} and refine={refine} came together, and windows that are halved "
            f"lie side by side; leave out one of them."
        )
    share = _SHARE if share is None else positive(share, "share", _SHARE)
    if share > 1:
        raise OptionError(f"share={share:g} is more than all; type a share of at most 1.")
    found = windows.over_pixels(case.place, window, window)
    boxes = found.pattern.boxes
    levels = [(boxes, np.zeros(len(boxes), dtype=int))]
    while len(levels) <= refine and len(levels[-1][0]):
        levels.append(windows.quarters(levels[-1][0]))
    each = np.concatenate([boxes for boxes, _ in levels])
    about = {"long_name": "times a window was halved", "units": "1"}
    level = np.repeat(np.arange(len(levels)), [len(boxes) for boxes, _ in levels])
    return explain(
        case,
        evaluations=None,
        inputs={"baseline": baselines.settle(case.place, baseline, case.valid)},
        static={"levels": levels, "share": share},
        coords={**windows.pixel_coords(each), "window_level": ("window", level, about)},
        options={
            "window": list(found.window),
            "refine": refine,
            "share": share,
            "baseline": baselines.describe(baseline),
        },
        device=device,
        batch_size=batch_size,
        progress=progress,
    )


@spec(
    {
        "attribution": Output(("target", "y", "x"), "loss of score, of the smallest window"),
        "window_effect": Output(("target", "window"), "loss of score without the window"),
    },
    needs="forward",
    spatial=True,
    references=("Zeiler & Fergus 2013, arXiv:1311.2901",),
    method="occlusion_spatial",
)
def _screening(
    x: Tensor,
    score: Score,
    *,
    baseline: Tensor,
    levels: list[tuple[np.ndarray, np.ndarray]],
    share: float,
) -> dict[str, Tensor]:
    """Boxes and their parts -> attribution (n, target, y, x), window_effect (n, target, window)."""
    prediction = score.clean(x)
    effect = tensors.screen.effects(score, x, baseline, prediction, levels, share)
    each = np.concatenate([boxes for boxes, _ in levels])
    return {
        "attribution": tensors.screen.finest(effect, each, tuple(x.shape[-2:])),
        "window_effect": effect,
        "prediction": prediction,
    }
