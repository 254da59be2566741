"""Classes on top of matplotlib's; the one module here that imports it when loaded."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INLINE = ("inline", "module://matplotlib_inline.backend_inline")


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
    """A few round ticks, none at the very ends: upright numbers there run into the other axis."""

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Return the ticks of an interval, either way round."""
        low, high = sorted((vmin, vmax))
        ticks = np.asarray(super().tick_values(low, high))
        margin = 0.06 * (high - low)
        inner = ticks[(ticks >= low + margin) & (ticks <= high - margin)]
        return [float(tick) for tick in inner]
