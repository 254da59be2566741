"""The command line: ``xrxai explain``, ``predict``, ``plan``, ``info``, ``plot``, ``explore``..."""

from __future__ import annotations

import re
import sys
import traceback
import warnings
from argparse import Namespace
from collections.abc import Sequence

from xrxai.cli import commands
from xrxai.cli.parser import build
from xrxai.errors import XrxaiError

# What messages say of Python, in words of the command line.
_SPOKEN = (
    (r"\bfactory=", "--model "),
    (r"\b(overwrite|partial)=True", r"--\1"),
    (r"\btarget=(?='|\")", "--target "),
    (r"\bport=(?=-?\d)", "--port "),
    (
        r"\bxrxai\.Model\(model, takes='patch', targets=\['K', \.\.\.\]\)",
        "--takes patch --targets K,...",
    ),
    (r"\bModel\(\.\.\., (\w+)=('[^']*'|[\w.]+)\)", r"--\1 \2"),
    (
        r"\b(cube = )?xrxai\.to_cube\(cube, (wavelength|good_band)=\[\.\.\.\]\)",
        r"--open '\2=[...]'",
    ),
    (r"\bsegments=xrxai\.segments\(cube\.compute\(\)\)", "--chunks none"),
    (r"\bcube\.compute\(\)", "--chunks none"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what was asked, 2 when it cannot, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    plain = warnings.formatwarning
    warnings.formatwarning = _note
    args = Namespace()
    try:
        build().parse_args(given, args)
        run = getattr(commands, args.command)
        run(args)
        return 0
    except XrxaiError as error:
        if "--debug" in given:
            traceback.print_exc()
        else:
            print(f"xrxai: {spoken(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\nxrxai: stopped. {commands.kept(args)}", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = plain


def spoken(message: str) -> str:
    """Say on one line, in options of the command line, what a message says in Python."""
    for found, instead in _SPOKEN:
        message = re.sub(found, instead, message)
    return " ".join(message.split())


def _note(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """One line: of what file and line the command line is made says nothing to its user."""
    said = spoken(str(message))
    return f"xrxai: note: {said}\n" if category is UserWarning else f"{category.__name__}: {said}\n"
