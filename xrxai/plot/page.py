"""A figure that a notebook shows once; the one module here that imports matplotlib when loaded."""

from __future__ import annotations

from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure


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
