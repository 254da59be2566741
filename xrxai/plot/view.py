"""One target of an explanation, checked and still lazy: what every figure starts from."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai.errors import ResultError, TargetError, note
from xrxai.io import overview
from xrxai.plot.style import method_name, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["cube", "bands", "groups", "segments", "map"]

PIXELS_FOR_STATISTICS = overview.PIXELS_FOR_STATISTICS
PIXELS_PER_SIDE = overview.PIXELS_PER_SIDE
LARGE = overview.LARGE


@dataclass(frozen=True)
class View:
    """An explanation of one target; `kind` says at which resolution its attribution is true."""

    dataset: xr.Dataset
    target: str
    kind: Kind
    band: str
    y: str
    x: str
    lead: tuple[str, ...]

    @property
    def attribution(self) -> xr.DataArray:
        """The attribution of the target."""
        return self.dataset["attribution"]

    @property
    def per_pixel(self) -> bool:
        """Whether every pixel has a value of its own."""
        return {self.y, self.x} <= set(self.attribution.dims)

    @property
    def feature(self) -> str:
        """The dim that the attribution is spread over: band, group or segment ('' for a map)."""
        return {"groups": "group", "segments": "segment", "map": ""}.get(self.kind, self.band)


def view(explanation: xr.Dataset, target: str | None = None) -> View:
    """Check that a Dataset is an explanation and take one target of it, without computing.

    Raises
    ------
    ResultError
        If it is not an explanation, or has several targets and none was asked for.
    TargetError
        If it has no such target.
    """
    if not isinstance(explanation, xr.Dataset) or "attribution" not in explanation:
        found = (
            f"a Dataset with {', '.join(map(str, explanation.data_vars)) or 'no variables'}"
            if isinstance(explanation, xr.Dataset)
            else f"a {type(explanation).__name__}"
        )
        raise ResultError(
            f"Expected an explanation, a Dataset with the variable 'attribution'; found {found}. "
            "Plot what a method such as xrxai.lime_spectral(cube, model) returned."
        )
    dataset, name = take_target(explanation, target)
    names = {
        key: str(dataset.attrs.get(f"{key}_dim", key if key in dataset.dims else ""))
        for key in ("band", "y", "x")
    }
    dims = [str(d) for d in dataset["attribution"].dims]
    alone = [
        d for d in dims if d not in (*names.values(), "group", "segment") and dataset.sizes[d] == 1
    ]
    dataset = dataset.squeeze(alone)
    lead = tuple(
        d for d in dims if d not in (*names.values(), "group", "segment") and d not in alone
    )
    kind: Kind
    if "group" in dims:
        kind = "groups"
    elif "segment" in dims:
        kind = "segments"
    elif names["band"] in dims:
        kind = "cube" if {names["y"], names["x"]} <= set(dims) else "bands"
    else:
        kind = "map"
    return View(dataset, name, kind, names["band"], names["y"], names["x"], lead)


def take_target(explanation: xr.Dataset, target: str | None) -> tuple[xr.Dataset, str]:
    """Select the one target that there is, or the one that was asked for."""
    if "target" not in explanation.coords and "target" not in explanation.dims:
        return explanation, "" if target is None else str(target)
    if "target" not in explanation.coords:
        labels = [str(i) for i in range(explanation.sizes["target"])]
    else:
        labels = [str(label) for label in np.atleast_1d(explanation["target"].to_numpy())]
    listed = ", ".join(repr(label) for label in labels)
    if target is None:
        if len(labels) != 1:
            raise ResultError(
                f"This explanation has {len(labels)} targets: {listed}. A figure shows one; "
                f"type target={labels[0]!r}."
                if labels
                else "This explanation has no target; nothing can be drawn."
            )
        position = 0
    elif str(target) in labels:
        position = labels.index(str(target))
    else:
        raise TargetError(f"target={target!r} is not in this explanation; choose one of {listed}.")
    if "target" in explanation.dims:
        explanation = explanation.isel(target=position)
    return explanation, labels[position]


def every_target(explanation: xr.Dataset) -> dict[str, View]:
    """Return a view of each target by its name, in their order."""
    if not isinstance(explanation, xr.Dataset) or "target" not in explanation.dims:
        seen = view(explanation)
        return {seen.target or "attribution": seen}
    names = [str(i) for i in range(explanation.sizes["target"])]
    if "target" in explanation.coords:
        names = [str(label) for label in explanation["target"].to_numpy()]
    if not names:
        view(explanation)  # says that there is nothing to draw
    return {name: view(explanation, name) for name in names}


def is_absent(seen: View) -> bool:
    """Say whether the class is not in the prediction at all."""
    absent = seen.dataset.get("target_absent")
    return absent is not None and bool(absent.any())


def one_sample(seen: View, what: str) -> None:
    """Refuse leading dims where a figure can show one sample only."""
    if seen.lead:
        sizes = ", ".join(f"{d}: {seen.dataset.sizes[d]}" for d in seen.lead)
        first = ", ".join(f"{d}=0" for d in seen.lead)
        raise ResultError(
            f"{what} shows one sample, and this explanation has several ({sizes}). "
            f"Type .isel({first}) to take the first."
        )


def one_lead(seen: View) -> None:
    """Refuse more than one leading dim: a mean over samples is over one of them."""
    if len(seen.lead) > 1:
        sizes = ", ".join(f"{d}: {seen.dataset.sizes[d]}" for d in seen.lead)
        raise ResultError(
            f"A mean over samples needs one leading dim, and this explanation has "
            f"{len(seen.lead)} ({sizes}). Type .isel({seen.lead[0]}=0), or stack them: "
            f".stack(sample={list(seen.lead)!r})."
        )


def head(seen: View) -> list[str]:
    """Return what the bold line says: method, target, and how far to trust the numbers."""
    parts = [method_name(seen.dataset)]
    if seen.target:
        gone = " (absent from the prediction)" if is_absent(seen) else ""
        parts.append(f"target “{seen.target}”{gone}")
    said = quality(seen)
    return [*parts, said] if said else parts


def quality(seen: View) -> str:
    """Return the surrogate R² or the completeness gap in words, '' when there is neither."""
    dataset = seen.dataset
    if "fidelity" in dataset:
        fit = _scores(seen, "fidelity")
        words = f"{_average_word(fit)}surrogate R² {_typical(fit):.2f}"
        if "fidelity_heldout" in dataset:
            words += f", held-out {_typical(_scores(seen, 'fidelity_heldout')):.2f}"
        return words
    if "completeness_gap" not in dataset:
        return ""
    gap = _scores(seen, "completeness_gap")
    value = _typical(gap if gap.ndim == 0 else abs(gap))
    words = f"{_average_word(gap)}completeness gap {value:.2g} [{unit(seen.attribution)}]"
    if "prediction" in dataset and "baseline_prediction" in dataset:
        before, after = (_scores(seen, n) for n in ("baseline_prediction", "prediction"))
        change = _typical(abs(after - before))
        if change > 0:
            words += f" ({100 * abs(value) / change:.2g} %)"
    return words


def _scores(seen: View, name: str) -> xr.DataArray:
    """Return a number per sample; of pixels, as many as a map shows."""
    array = seen.dataset[name]
    return thin(array, seen.y, seen.x)[0] if {seen.y, seen.x} <= set(array.dims) else array


def _average_word(array: xr.DataArray) -> str:
    return "median " if array.ndim else ""


def _typical(array: xr.DataArray) -> float:
    values = np.asarray(array.to_numpy(), dtype=float)
    values = values[np.isfinite(values)]
    return float(np.median(values)) if values.size else math.nan


def thin(array: xr.DataArray, y: str, x: str) -> tuple[xr.DataArray, int]:
    """Take every k-th pixel of an array too large for a panel; k is 1 below 2000 per side.

    What lies in a store comes from its coarse copies, if it has them.
    """
    found = overview.find(array, y, x, "map")
    if found is not None:
        return found
    step = overview.map_step((array.sizes[y], array.sizes[x]), PIXELS_PER_SIDE)
    _tell(array, y, x, step)
    every = slice(None, None, step)
    return array.isel({y: every, x: every}), step


def summed(seen: View) -> tuple[xr.DataArray, int]:
    """Return every k-th pixel's attribution, summed over bands or groups, and k."""
    array, y, x, over = seen.attribution, seen.y, seen.x, seen.feature
    found = overview.find(array, y, x, "map", over) if over else None
    if found is not None:
        return found
    some, step = thin(array, y, x)
    # One missing band (bad, or not explained) does not make the pixel missing.
    return (some.sum(over, skipna=True, min_count=1) if over else some), step


def _tell(array: xr.DataArray, y: str, x: str, step: int) -> None:
    """Say so when a figure reads much of a store, or computes it: chunks are read whole."""
    if array.variable._in_memory:
        return
    chunks = array.encoding.get("preferred_chunks") or {
        d: max(sizes) for d, sizes in array.chunksizes.items()
    }
    read = float(array.nbytes)
    for d in (y, x):
        read *= min(1.0, max(chunks.get(d, array.sizes[d]), 1) / step)
    if read > LARGE:
        what = repr(str(array.name)) if array.name else "the cube"
        part = f" to show one pixel in {step * step}: chunks are read whole" if step > 1 else ""
        note(
            f"This figure reads {read / 1e9:.1f} GB of {what}{part}. An explanation that "
            ".xai.to_zarr() wrote has coarse copies beside it; plot xrxai.open_explanation(path), "
            "without chunks= and before it is cropped."
        )


def plane(seen: View) -> tuple[NDArray[np.float64], int]:
    """Return every k-th pixel's attributions (row, column, feature), and k."""
    y, x = seen.y, seen.x
    found = overview.find(seen.attribution, y, x, "pixels", seen.feature)
    if found is None:
        sizes = seen.attribution.sizes
        step = overview.sample_step((sizes[y], sizes[x]), PIXELS_FOR_STATISTICS)
        _tell(seen.attribution, y, x, step)
        every = slice(None, None, step)
        found = seen.attribution.isel({y: every, x: every}), step
    some, step = found
    return np.asarray(some.transpose(y, x, seen.feature).to_numpy(), np.float64), step


def steps(seen: View) -> list[dict[str, Any]]:
    """Return what an aggregate says was averaged, step by step; nothing of other explanations."""
    try:
        found = json.loads(str(seen.dataset.attrs.get("aggregated", "[]")))
    except ValueError:
        found = []
    return [step for step in found if isinstance(step, dict)] if isinstance(found, list) else []


def class_dim(seen: View) -> str:
    """Return the leading dim that holds the classes of an aggregate, '' when there is none."""
    names = [step.get("by") for step in steps(seen)]
    return next((d for d in seen.lead if d in names), "")


def is_signed(seen: View, drawn: NDArray[Any]) -> bool:
    """Say whether a map needs two colours: what the attrs say, else whether any value is < 0."""
    said = seen.attribution.attrs.get("signed")
    if said is not None:
        return bool(said)
    try:
        options = json.loads(str(seen.dataset.attrs.get("options", "{}")))
    except ValueError:
        options = {}
    if isinstance(options, dict) and options.get("absolute") is True:
        return False
    finite = drawn[np.isfinite(drawn)]
    return not (finite.size and float(finite.min()) >= 0.0)
