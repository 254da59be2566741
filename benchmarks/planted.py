"""How often a method finds what was planted: ``python -m benchmarks.planted``.

Every method that `xrxai.methods()` lists is asked two questions whose answers are known: which
group of bands determines a target (soil with planted absorptions), and which region of a chip (an
object on ground that says nothing). The table goes to docs/planted.md.
"""

from __future__ import annotations

import argparse
import inspect
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xrxai
from tests import planted
from xrxai.datasets import synthetic

CELL = 8
# What a method is given where its defaults do not fit scenes of this size. Those that are not named
# here get their defaults, and from `asked` what their signature asks for.
Options = Mapping[str, Any] | Callable[[xr.DataArray, Mapping[str, Any]], Mapping[str, Any]]


def _spectra(cube: xr.DataArray, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Sixteen spectra of the scene as a background."""
    table = cube.where(cube.valid).transpose(..., "band").values.reshape(-1, cube.sizes["band"])
    kept = table[np.isfinite(table).all(axis=1)]
    return {"background": kept[:: max(1, len(kept) // 16)][:16], "n_samples": 64}


def _flat(chip: xr.DataArray, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Four chips without any texture as a background."""
    levels = np.linspace(0.0, float(chip.mean()), 4).reshape(-1, *[1] * chip.ndim)
    return {"background": np.broadcast_to(levels, (4, *chip.shape)).copy(), "n_samples": 32}


def _theirs(cube: xr.DataArray, groups: Mapping[str, Any]) -> dict[str, Any]:
    """Integrated gradients, through the door for captum."""
    from captum.attr import IntegratedGradients

    options = {"n_steps": 32}
    known = {"bands": None, "segments": None}  # it works on values, not on groups
    return {"method": IntegratedGradients, "baseline": "mean", "options": options, **known}


SOIL: Mapping[str, Options] = {
    "integrated_gradients": {"baseline": "mean", "n_steps": 32},
    "gradient_shap": _spectra,
    # Its default, input x gradient, cannot find these groups: see the text below.
    "hyper_noise_tunnel": {
        "of": "integrated_gradients",
        "baseline": "mean",
        "n_steps": 16,
        "n_samples": 20,
    },
    "occlusion_spectral": {"window": 60.0, "stride": 20.0},
    "occlusion_spatial": {"window": 4},
    "occlusion": {"window": (60.0, 8, 8), "stride": (20.0, 8, 8)},
    "owen_spectral": lambda cube, groups: {"hierarchy": list(groups.values())},
    "captum": _theirs,
}
CHIP: Mapping[str, Options] = {
    "integrated_gradients": {"n_steps": 16},
    "gradient_shap": _flat,
    "occlusion_spatial": {"window": 4},
    "occlusion": lambda chip, groups: {"window": (chip.sizes["band"], 4, 4), "unit": "band"},
    "rise": {"cells": CELL, "n_samples": 500, "centre": True},
    "xrai": {"segments": "felzenszwalb"},  # finds its own, is not told the object
    "captum": _theirs,
}
HEAD = """\
# Planted truth

How often each method ranks first what was planted, over {seeds} seeds. Made by

```sh
python -m benchmarks.planted --seeds {seeds} --out docs/planted.md
```

*Band group*: soil spectra of 150 bands, a network whose targets are the depths of one absorption
each, disturbed by all other bands. Groups are ranked by the absolute sum of the attributions of
their bands, mean over the pixels; a seed counts when the right group is first for every target.

*Region*: a chip with one object, a network that sees how bright the object is, and its surroundings
a little. The object and the squares of {cell} pixels around it are ranked by their mean absolute
attribution. Methods that ask segments are given these; XRAI cuts its own.

A method that does not answer per band or per pixel has a dash. Cube times gradient cannot find
these groups: a depth is a ratio, scaling its bands together leaves it as it is, so by Euler's
theorem the products over its bands add up to zero. For the same reason the noise tunnel is asked
here for integrated gradients instead of its default.

"""


def asked(
    name: str,
    table: Mapping[str, Options],
    cube: xr.DataArray,
    groups: Mapping[str, Any],
    **known: Any,
) -> dict[str, Any]:
    """Options for a method: its own, and those of `known` that its signature has."""
    own = table.get(name, {})
    given = own(cube, groups) if callable(own) else own
    accepts = inspect.signature(getattr(xrxai, name)).parameters
    return {**{k: v for k, v in known.items() if k in accepts}, **given, "progress": False}


def bands_found(name: str, seed: int) -> bool | None:
    """Tell whether the group of each target's absorption is first; None where none is told."""
    scene = synthetic.soil(seed, size=(8, 8), border=1)
    cube, truth = scene.cube, scene.truth
    groups = dict(truth.groups)
    options = asked(name, SOIL, cube, groups, bands=groups)
    built = (cube.wavelength.values, truth.bands, seed)
    try:
        model = xrxai.Model(planted.DepthNet(*built), takes="spectrum", targets=truth.targets)
        found = getattr(cube.xai, name)(model, **options)
    except xrxai.XrxaiError:
        model = xrxai.Model(planted.MeanDepthNet(*built), takes="patch", targets=truth.targets)
        found = getattr(cube.xai, name)(model, **options)
    values = found.attribution
    if "band" in values.dims:
        values = found.xai.to_groups(groups)
    elif "group" not in values.dims:
        return None
    if not set(values["group"].values) <= set(groups):
        # Named by their range: a group is the one that it lies in.
        inside = [
            next(name for name, (low, high) in groups.items() if low <= nm <= high)
            for nm in values["group_wavelength_min"].values
        ]
        values = values.assign_coords(group=inside)
    strength = abs(values).mean([d for d in values.dims if d not in ("target", "group")])
    first = strength.idxmax("group")
    return all(first.sel(target=t).item() == truth.group[t] for t in truth.targets)


def region_found(name: str, seed: int) -> bool | None:
    """Tell whether the planted object is first; None where pixels are not told apart."""
    scene = synthetic.textures(seed, n_per_class=1)
    chip, here = scene.cube.isel(sample=0), scene.truth.region.isel(sample=0)
    rows, columns = (np.arange(n) // CELL for n in here.shape)
    squares = rows[:, None] * (columns.max() + 1) + columns + 2
    regions = xr.DataArray(np.where(here, 1, squares), dims=here.dims, name="region")
    model = xrxai.Model(planted.RegionNet(here, chip.sizes["band"]), takes="patch", targets=["it"])
    options = asked(name, CHIP, chip, {}, segments=regions, layer="relu")
    values = getattr(chip.xai, name)(model, **options).xai.on_cube().attribution
    if not {"y", "x"} <= set(values.dims):
        return None
    over = [d for d in values.dims if d not in ("target", "y", "x")]
    size = abs(values.sum(over, min_count=1) if over else values).isel(target=0)
    return bool(size.groupby(regions).mean().idxmax() == 1)


def share(
    question: Callable[[str, int], bool | None], name: str, seeds: int, notes: dict[str, str]
) -> str:
    """Give the cell of the table, and note why where a method refuses."""
    found = 0
    for seed in range(seeds):
        try:
            answer = question(name, seed)
        except (xrxai.XrxaiError, TypeError) as error:
            # TypeError: an argument that is required, and that nothing here knows.
            text = str(error).replace("\n", " ")
            mark = notes.setdefault(text, f"[^{len(notes) + 1}]")
            return f"refused {mark}"
        if answer is None:
            return "-"
        found += answer
    return f"{found} / {seeds}"


def table(seeds: int) -> str:
    """Markdown of all methods and both questions."""
    notes: dict[str, str] = {}
    lines = ["| method | band group first | region first |", "|---|---|---|"]
    for name in xrxai.methods():
        cells = [share(question, name, seeds, notes) for question in (bands_found, region_found)]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    lines += [""] * bool(notes) + [f"{mark}: {text}" for text, mark in notes.items()]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the table, and save it with how it was made."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planted", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--out", type=Path, default=Path("docs/planted.md"))
    given = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    made = table(given.seeds)
    print(made, end="")
    given.out.write_text(HEAD.format(seeds=given.seeds, cell=CELL) + made)
    return 0


if __name__ == "__main__":
    sys.exit(main())
