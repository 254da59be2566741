"""Interactive figures with hvPlot: what `plot` draws, lazily and linked."""

from __future__ import annotations

from xrxai.live.maps import rgb, spatial

__all__ = ["rgb", "spatial"]
