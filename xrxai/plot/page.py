"""Classes on top of matplotlib's; the one module here that imports it when loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INLINE = ("inline", "module://matplotlib_inline.backend_inline")
_UPRIGHT = 42.0  # points that an upright number of seven digits takes, with air


class Page(Figure):
    """A figure that is shown once: at the end of a cell, or as the value of its last line.

    IPython shows the value of the last line, and then the inline backend every open figure: a
    function that returns a figure would be seen twice.
    """

    def _ipython_display_(self) -> None:
        # Both come here. The first one shows it; closed, it is not there for the second.
        if matplotlib.get_backend() in INLINE:
            Gcf.destroy_fig(self)
        raise NotImplementedError  # IPython then shows it as it shows any figure


class InnerTicks(MaxNLocator):
    """A few round ticks, none at the very ends: upright numbers there run into the other axis.

    No more of them than a small panel has room for.
    """

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the ticks of an interval, either way round."""
        low, high = sorted((vmin, vmax))
        ticks = np.asarray(super().tick_values(low, high))
        panel = getattr(self.axis, "axes", None)
        letters = _UPRIGHT / (72.0 * panel.bbox.height / panel.figure.dpi) if panel else 0.0
        margin = max(0.06, min(0.4 * letters, 0.45)) * (high - low)
        inner = ticks[(ticks >= low + margin) & (ticks <= high - margin)]
        apart = inner[1] - inner[0] if inner.size > 1 else high - low
        step = max(1, math.ceil(letters * (high - low) / apart)) if apart else 1
        return [float(tick) for tick in inner[(inner.size - 1) % step // 2 :: step]]
