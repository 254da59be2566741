"""Sample cubes, and synthetic scenes whose truth is known."""

from __future__ import annotations

from xrxai.datasets import synthetic
from xrxai.datasets.sample import hyperview
from xrxai.labelled.npz import wavelength_list

__all__ = ["hyperview", "synthetic", "wavelength_list"]
