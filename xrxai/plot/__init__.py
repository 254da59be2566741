"""Figures of an explanation with matplotlib, which is imported when the first one is drawn."""

from __future__ import annotations

from xrxai.plot.classes import classes
from xrxai.plot.comparing import targets
from xrxai.plot.maps import rgb, spatial
from xrxai.plot.matrices import agreement
from xrxai.plot.multiples import bands
from xrxai.plot.overlays import overlay, top
from xrxai.plot.ranking import bars
from xrxai.plot.sheet import overview
from xrxai.plot.spectra import spectral
from xrxai.plot.swarm import beeswarm

__all__ = [
    "agreement",
    "bands",
    "bars",
    "beeswarm",
    "classes",
    "overlay",
    "overview",
    "rgb",
    "spatial",
    "spectral",
    "targets",
    "top",
]
