"""Scenes made from a seed, each with the truth that was planted in it."""

from __future__ import annotations

from xrxai.datasets.synthetic.chips import textures
from xrxai.datasets.synthetic.crops import crops
from xrxai.datasets.synthetic.mosaic import Mosaic
from xrxai.datasets.synthetic.scene import Scene, Truth, band_depth
from xrxai.datasets.synthetic.sky import clouds
from xrxai.datasets.synthetic.spectra import soil

__all__ = ["Mosaic", "Scene", "Truth", "band_depth", "clouds", "crops", "soil", "textures"]
