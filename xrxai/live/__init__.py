"""Interactive figures with hvPlot: what `plot` draws, lazily and linked."""

from __future__ import annotations

from xrxai.live.comparing import targets
from xrxai.live.maps import rgb, spatial
from xrxai.live.ranking import bars
from xrxai.live.series import bands
from xrxai.live.spectra import spectral

__all__ = ["bands", "bars", "rgb", "spatial", "spectral", "targets"]
