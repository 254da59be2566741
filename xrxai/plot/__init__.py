"""Figures of an explanation with matplotlib, which is imported when the first one is drawn."""

from __future__ import annotations

from xrxai.plot.maps import rgb, spatial
from xrxai.plot.matrices import agreement
from xrxai.plot.ranking import bars
from xrxai.plot.sheet import overview
from xrxai.plot.spectra import spectral
from xrxai.plot.swarm import beeswarm

__all__ = ["agreement", "bars", "beeswarm", "overview", "rgb", "spatial", "spectral"]
