"""What each command does."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

import xrxai
from xrxai.cli import inputs, values
from xrxai.errors import OptionError, ResultError, choice

KINDS = (
    "overview", "spatial", "spectral", "bars", "bands", "overlay", "top", "targets", "rgb",
    "classes", "beeswarm",
)  # fmt: skip
_OURS = ("attribution", "prediction")  # one of them is in every result
_RESULTS = (".zarr", ".nc", ".tif", ".tiff", ".cog")


def explain(args: Namespace) -> None:
    """Explain a cube and write the explanation."""
    suffix = _suffix(args.output)
    function, options = inputs.method(args)
    with inputs.scheduler(args):
        model = inputs.model(args)
        cube = inputs.cube(args, model)
        lazy = cube.chunks is not None
        out = os.path.abspath(os.path.expanduser(args.output))
        _refuse(args, out, suffix, lazy, model.positions(options.get("target")))
        args.goes_on = suffix == ".zarr" and lazy
        if not args.quiet:
            cost = xrxai.plan(cube, model, args.method, options=options, measure=False)
            print(cost, file=sys.stderr)
        why = function(cube, model, **options, progress=not args.quiet)
        how: dict[str, Any] = {"overwrite": args.overwrite}
        if suffix == ".nc":
            why.xai.to_netcdf(out, **how)
        elif suffix == ".zarr":
            why.xai.to_zarr(out, **how, progress=not args.quiet)
        else:
            how |= {"variables": _variables(args, why), "progress": not args.quiet}
            why.xai.to_geotiff(out, **how)
    print(args.output)


def predict(args: Namespace) -> None:
    """Let a model answer, and write what it says."""
    explain(args)


def _variables(args: Namespace, made: xr.Dataset) -> list[str]:
    """Which ones become GeoTIFF."""
    asked = values.names(args.variables)
    if asked is None:
        usual = ("attribution", "class_map", "prediction")
        asked = [next(name for name in usual if name in made)]
    return asked


def _suffix(output: str) -> str:
    suffix = Path(output).suffix.lower()
    if suffix not in _RESULTS:
        raise OptionError(
            f"-o {output} does not say what to write; let it end in .zarr, .nc, .tif (one map) or "
            f".cog (a folder of GeoTIFFs)."
        )
    return suffix


def _refuse(args: Namespace, out: str, suffix: str, lazy: bool, targets: list[int]) -> None:
    """Refuse before the model has run for hours what could not be written afterwards."""
    asked = values.names(args.variables) or ["attribution"]
    several = len(asked) > 1 or (len(targets) > 1 and asked != ["class_map"])
    if suffix in (".tif", ".tiff") and several:
        folder = Path(args.output).with_suffix(".cog")
        one = "--variables class_map" if args.command == "predict" else "--target NAME"
        raise OptionError(
            f"-o {args.output} holds one map of one target, and there are more; type -o {folder} "
            f"for a folder of GeoTIFFs, or {one} for one."
        )
    goes_on = suffix == ".zarr" and lazy
    if not goes_on and suffix != ".cog" and os.path.exists(out) and not args.overwrite:
        why = "" if suffix != ".zarr" else " (only a run in pieces, --chunks, goes on)"
        raise ResultError(f"{args.output} exists{why}; type --overwrite, or another path.")


def kept(args: Namespace) -> str:
    """What is there after an interrupt, and what to do."""
    if getattr(args, "goes_on", False):
        return f"Tiles of {args.output} that are done stay; the same command goes on from there."
    return "Nothing was written; the same command starts again."


def plan(args: Namespace) -> None:
    """Tell what an explanation would cost."""
    _, options = inputs.method(args)
    with inputs.scheduler(args):
        model = inputs.model(args)
        cube = inputs.cube(args, model)
        print(xrxai.plan(cube, model, args.method, options=options, measure=not args.no_measure))


def methods(args: Namespace) -> None:
    """List the methods, or the options of one."""
    known = xrxai.methods()
    if args.name is None:
        width = max(map(len, known))
        for name in known:
            print(f"{name:{width}}  {values.summary(getattr(xrxai, name))}")
        print("\nxrxai methods NAME lists the options of one.")
        return
    if args.name not in known:
        raise OptionError(f"{args.name} is no method; choose one of {', '.join(known)}.")
    function = getattr(xrxai, args.name)
    said = values.documented(function)
    print(f"{args.name}: {values.summary(function)}\n\noptions, typed as --set NAME=VALUE:")
    for name, parameter in values.options_of(function).items():
        if name in inputs.METHOD_ELSEWHERE:
            continue
        needed = parameter.default is parameter.empty
        print(f"\n  {name} {'(needed)' if needed else f'= {_typed(parameter.default)}'}")
        print(_wrapped(said.get(name, "")))


def _typed(default: Any) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def _wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 92, initial_indent=" " * 6, subsequent_indent=" " * 6)


def info(args: Namespace) -> None:
    """Tell what a cube or an explanation is."""
    path = Path(os.path.expanduser(args.path))
    lines = _of_explanation(path) if _is_explanation(path) else _of_cube(args)
    width = max(len(name) for name, _ in lines)
    print(f"{args.path}:")
    for name, said in lines:
        print(f"  {name:{width}}  {said}")


def _is_explanation(path: Path) -> bool:
    if path.is_dir():
        return path.suffix.lower() == ".zarr" and any((path / name).is_dir() for name in _OURS)
    if path.suffix.lower() not in (".nc", ".nc4", ".cdf") or not path.exists():
        return False
    try:
        with xr.open_dataset(path) as ds:
            return any(name in ds.data_vars for name in _OURS)
    except (OSError, ValueError):
        return False  # the reader of cubes says what is wrong with it


def _of_explanation(path: Path) -> Iterable[tuple[str, str]]:
    why = xrxai.open_explanation(path, partial=True)
    attrs = why.attrs
    options = json.loads(attrs.get("options", "{}"))
    lines = [
        ("explanation", f"{attrs['tiles']} tiles are done" if "tiles" in attrs else "complete"),
        ("method", str(attrs.get("method", "unknown"))),
        ("options", ", ".join(f"{k}={json.dumps(v)}" for k, v in options.items() if k != "target")),
        ("targets", ", ".join(map(str, np.atleast_1d(why["target"].values)))),
        ("model", str(attrs.get("model", "unknown"))),
    ]
    lines += [
        ("" if i else "variables", f"{name} ({_sizes(array)}) {array.dtype}")
        for i, (name, array) in enumerate(why.data_vars.items())
    ]
    if attrs.get("halo"):
        lines.append(("halo", f"{attrs['halo']} pixels"))
    versions = json.loads(attrs.get("versions", "{}"))
    lines.append(("made with", ", ".join(f"{k} {v}" for k, v in versions.items())))
    why.close()
    return lines


def _of_cube(args: Namespace) -> Iterable[tuple[str, str]]:
    opened = inputs.cube_options(args)
    cube = xrxai.open_cube(args.path, chunks={}, **opened)
    good = cube.coords["good_band"].values if "good_band" in cube.coords else np.array(True)
    bad = np.flatnonzero(~good)
    lines = [("cube", f"{_sizes(cube)} {cube.dtype}, {cube.nbytes / 1e6:.3g} MB")]
    if "wavelength" in cube.coords:
        nm = cube["wavelength"].values
        lines.append(("wavelengths", f"{np.nanmin(nm):g} to {np.nanmax(nm):g} nm"))
    if "fwhm" in cube.coords:
        lines.append(("widths", f"{np.nanmedian(cube['fwhm'].values):g} nm (median)"))
    lines.append(("bad bands", f"{len(bad)}: positions {_positions(bad)}" if len(bad) else "none"))
    wkt = (
        str(cube.coords["spatial_ref"].attrs.get("crs_wkt", ""))
        if "spatial_ref" in cube.coords
        else ""
    )
    lines.append(("CRS", wkt.split('"')[1] if '"' in wkt else "none"))
    said = ", ".join(f"{d} {n}" for d, n in _stored(args.path, cube).items())
    lines.append(("chunks", said or "one"))
    if args.scan:
        chunks = inputs.as_in_file(args.path, {"y": 512, "x": 512})
        lines.append(("valid pixels", _valid(xrxai.open_cube(args.path, chunks=chunks, **opened))))
    return lines


def _stored(path: str, cube: xr.DataArray) -> dict[Hashable, int]:
    """Sizes of the chunks that the file is stored in."""
    if not path.lower().endswith((".tif", ".tiff")):
        return {d: sizes[0] for d, sizes in cube.chunksizes.items() if len(sizes) > 1}
    import rasterio

    from xrxai.io.read import quiet_about_georeference

    with quiet_about_georeference(), rasterio.open(path) as file:
        return dict(zip(("y", "x"), file.block_shapes[0], strict=True))


def _valid(cube: xr.DataArray) -> str:
    from xrxai.labelled.cube import locate

    valid = locate(cube).valid()
    count = int(valid.sum())
    return f"{100 * count / valid.size:.4g} % ({count:,} of {valid.size:,})"


def _sizes(array: xr.DataArray) -> str:
    return ", ".join(f"{d} {n}" for d, n in array.sizes.items())


def _positions(positions: Any) -> str:
    """Rising numbers with runs as 3-7."""
    runs: list[list[int]] = []
    for p in map(int, positions):
        if runs and p == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], p]
        else:
            runs.append([p])
    return ", ".join("-".join(map(str, run)) for run in runs)


def plot(args: Namespace) -> None:
    """Draw an explanation into a file."""
    import matplotlib
    from matplotlib import pyplot as plt

    matplotlib.use("Agg")
    draw = getattr(xrxai.plot, choice(args.kind, KINDS, "--kind"))
    elsewhere = {"target": "--target NAME", "cube": "--cube CUBE", "ax": "", "axes": ""}
    if args.target is not None and "target" not in values.options_of(draw):
        raise OptionError(f"--kind {args.kind} draws no single target; drop --target.")
    options = values.given(
        args.set, draw, flag="--set", elsewhere=elsewhere, see=f"the documentation of {args.kind}"
    )
    _writable(args.output)
    if args.target is not None:
        options["target"] = args.target
    if args.cube is not None:
        options["cube"] = xrxai.open_cube(args.cube, **inputs.cube_options(args))
    made = draw(xrxai.open_explanation(args.path, partial=args.partial), **options)
    figure = getattr(made, "figure", made)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(args.output, dpi=args.dpi)
    plt.close(figure)
    print(args.output)


def _writable(output: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    known = FigureCanvasAgg.get_supported_filetypes()
    if Path(output).suffix.lower()[1:] not in known:
        raise OptionError(f"-o {output} is no picture; let it end in .pdf, .png or .svg.")


def explore(args: Namespace) -> None:
    """Serve the explorer of an explanation, or write a page of it."""
    cube = None
    if args.cube is not None:
        opened = inputs.cube_options(args)
        cube = xrxai.explorer.cube_to_read(args.cube, **opened)
    if args.save is not None:
        if Path(args.save).suffix.lower() not in (".html", ".htm"):
            raise OptionError(f"--save {args.save} is no page; let it end in .html.")
        why = xrxai.open_explanation(args.path, partial=True)
        why.xai.explore(cube, target=args.target).save(args.save)
        print(args.save)
        return
    app = xrxai.explore_app(
        args.path, cube=cube, target=args.target, port=args.port, show=not args.no_browser,
        block=False,
    )  # fmt: skip
    print(app.url, flush=True)
    app.wait()
