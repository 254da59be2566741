"""Explanations in a browser: an app over stored results, and pages that stand alone.

Panel and Bokeh are imported when the first explorer is opened.
"""

from __future__ import annotations

from xrxai.explorer.door import explore
from xrxai.explorer.serve import App, cube_to_read, explore_app

__all__ = ["App", "cube_to_read", "explore", "explore_app"]
