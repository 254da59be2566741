"""Classes on top of matplotlib's; the one module here that imports it when loaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator


class Page(Figure):
    """A figure that leaves showing itself to pyplot, as long as pyplot is about to.

    At the end of a cell the inline backend shows every open figure, and IPython shows the value
    of the last line: a function that returns a figure would be seen twice.
    """

    def _ipython_display_(self) -> None:
        # No public call tells whether pyplot still holds this very figure: numbers are reused.
        if any(manager.canvas.figure is self for manager in Gcf.get_all_fig_managers()):
            return
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
