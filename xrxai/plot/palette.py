"""Colours of classes that all eyes tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from xrxai.errors import OptionError

# Okabe & Ito 2008, told apart with any colour vision.
OKABE_ITO = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "black": "#000000",
}
PALETTE = tuple(OKABE_ITO.values())
# Tol 2021 (technical note SRON/EPS/TN/09-002), "muted": nine that still can be told apart.
MUTED = (
    "#CC6677",
    "#332288",
    "#DDCC77",
    "#117733",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
)


def colours_of(names: list[str], given: Any) -> list[str]:
    """Return a colour per class: those that were given, and else those of the palette."""
    import matplotlib
    from matplotlib.colors import is_color_like, to_hex

    if len(names) <= len(PALETTE):
        own = list(PALETTE[: len(names)])
    elif len(names) <= len(MUTED):
        own = list(MUTED[: len(names)])
    else:
        shades = matplotlib.colormaps["cividis"](np.linspace(0.0, 1.0, len(names)))
        own = [to_hex(shade) for shade in shades]
    listed = ", ".join(map(repr, names[:20])) + ", ..." * (len(names) > 20)
    if given is None:
        return own
    if isinstance(given, Mapping):
        wrong = [name for name in given if name not in names]
        if wrong:
            raise OptionError(f"colors names {wrong[0]!r}, and the classes are {listed}.")
        chosen = [given.get(name, colour) for name, colour in zip(names, own, strict=True)]
    else:
        chosen = [given] if isinstance(given, str) else list(given)
        if len(chosen) != len(names):
            raise OptionError(
                f"colors has {len(chosen)} of them, and there are {len(names)} classes "
                f"({listed}); type one for each, or a mapping of some."
            )
    for colour in chosen:
        if not is_color_like(colour):
            raise OptionError(
                f"colors has {colour!r}, which is no colour; type a name or a number such as "
                f"'#0072B2'."
            )
    return [to_hex(colour) for colour in chosen]
