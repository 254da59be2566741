"""What can be typed."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

import xrxai
from xrxai.cli import values
from xrxai.cli.commands import KINDS
from xrxai.cli.inputs import MODEL_OPTIONS
from xrxai.errors import OptionError

_EXAMPLE = """\
example:
  xrxai explain scene.hdr --model nets:make --takes patch --gives map --targets soil,crop \\
      --method integrated_gradients --target crop --chunks 512 -o why.zarr

The same command again goes on where it stopped."""


class _Parser(argparse.ArgumentParser):
    """Faults become errors of ours, which `main` tells on one line."""

    def error(self, message: str) -> NoReturn:
        raise OptionError(f"{message}; see {self.prog} --help")


def build() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = _Parser(
        prog="xrxai",
        description="Explain models of hyper- and multispectral cubes.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xrxai {xrxai.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, help: str, **more: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name, help=help, description=help, formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **more,
        )  # fmt: skip
        made.add_argument("--debug", action="store_true", help="show where an error comes from")
        return made

    explain = command("explain", "Explain a cube and write the explanation.", epilog=_EXAMPLE)
    _run(explain)
    _output(explain, "attribution")

    predict = command("predict", "Let the model answer for a cube, and write what it says.")
    _run(predict, method=False)
    predict.set_defaults(method="predict", target=None)
    _output(predict, "class_map where there is one, else prediction")

    plan = command("plan", "Tell what an explanation would cost; measure one piece of it.")
    _run(plan)
    plan.add_argument("--no-measure", action="store_true", help="run no model, read no pixel")
    plan.set_defaults(quiet=False)

    methods = command("methods", "List the methods, or the options of one.")
    methods.add_argument("name", nargs="?", metavar="NAME")

    info = command("info", "Tell what a cube or an explanation is.")
    info.add_argument("path", metavar="PATH")
    _reading(info)
    info.add_argument(
        "--scan", action="store_true", help="read all pixels and count the valid ones"
    )

    plot = command("plot", "Draw an explanation into a file.")
    plot.add_argument("path", metavar="RESULT", help="what explain wrote: .zarr or .nc")
    plot.add_argument("-o", "--output", required=True, metavar="FIGURE", help=".pdf, .png or .svg")
    plot.add_argument(
        "--kind", default="overview", metavar="KIND",
        help=f"{', '.join(KINDS)}; default: overview",
    )  # fmt: skip
    plot.add_argument("--target", metavar="NAME", help="needed when there are several")
    plot.add_argument("--cube", metavar="CUBE", help="the cube that was explained")
    _reading(plot)
    _set(plot, "an option of the figure, such as robust=false")
    plot.add_argument("--partial", action="store_true", help="draw what is not finished")
    plot.add_argument("--dpi", type=float, default=200, help="of maps and pictures; default: 200")

    explore = command("explore", "Look around in an explanation with a browser.")
    explore.add_argument("path", metavar="RESULT", help="what explain wrote: .zarr or .nc")
    explore.add_argument("--cube", metavar="CUBE", help="the cube that was explained: its spectra")
    _reading(explore)
    explore.add_argument("--target", metavar="NAME", help="what is shown first")
    explore.add_argument(
        "--port",
        type=int,
        default=5006,
        metavar="N",
        help="0 takes any that is free; default: 5006",
    )
    explore.add_argument("--no-browser", action="store_true", help="print the address only")
    explore.add_argument("--save", metavar="PAGE", help="write one .html file instead, and end")
    return parser


def _output(parser: argparse.ArgumentParser, variables: str) -> None:
    """Add where the result goes."""
    parser.add_argument(
        "-o", "--output", required=True, metavar="PATH",
        help=".zarr (a run in pieces goes on where it stopped), .nc, .tif (one map), or .cog (a "
        "folder of GeoTIFFs)",
    )  # fmt: skip
    parser.add_argument("--variables", metavar="A,B", help=f"for GeoTIFF; default: {variables}")
    parser.add_argument("--overwrite", action="store_true", help="replace what is at PATH")
    parser.add_argument("--quiet", action="store_true", help="no plan and no progress bar")


def _run(parser: argparse.ArgumentParser, method: bool = True) -> None:
    """Add what a run is asked with: cube, model, method, what computes."""
    parser.add_argument(
        "cube", metavar="CUBE", help="ENVI, GeoTIFF, netCDF, Zarr or HYPERVIEW .npz"
    )
    parser.add_argument(
        "--chunks", metavar="SIZE",
        help="pieces that are explained one by one: 512, or y=512,x=512; none reads the whole cube "
        "at once, which is the default below 256 MB",
    )  # fmt: skip
    _reading(parser)
    if method:
        parser.add_argument("--method", required=True, metavar="NAME", help="see xrxai methods")
        parser.add_argument("--target", metavar="K,P", help="default: all targets")
        _set(parser, "an option of the method, such as n_steps=20; see xrxai methods NAME")
    else:
        _set(parser, "an option of xrxai.predict, such as classes=false")
    parser.add_argument(
        "--scheduler", metavar="WHERE",
        help="threads (the default), processes, synchronous, or the address of a cluster: tcp://...",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N", help="threads or processes")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model", required=True, metavar="MODEL",
        help="package.module:function, which returns an xrxai.Model or a network; or a file of "
        "torch.export (.pt2) or TorchScript",
    )  # fmt: skip
    said = values.documented(xrxai.Model)
    about = parser.add_argument_group(
        "options of the model", "unless the function returns an xrxai.Model"
    )
    for name in MODEL_OPTIONS:
        first = said[name].split(". ")[0].rstrip(".").replace("``", "").replace("%", "%%")
        hint = "A,B" if name == "targets" else name.upper()
        about.add_argument(f"--{name.replace('_', '-')}", metavar=hint, help=first)


def _reading(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--open", action="append", metavar="NAME=VALUE",
        help="how the cube is read: an option of xrxai.open_cube, such as nodata=-9999",
    )  # fmt: skip


def _set(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument(
        "--set", action="append", metavar="NAME=VALUE",
        help=f"{what}; VALUE is JSON, a word, or @file for an array",
    )  # fmt: skip
