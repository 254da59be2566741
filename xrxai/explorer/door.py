"""`explore`: the explorer in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray as xr

from xrxai.errors import note
from xrxai.explorer.extra import panel
from xrxai.explorer.scene import Scene, warning

if TYPE_CHECKING:
    from xrxai.explorer.app import Explorer


def explore(
    explanation: xr.Dataset, cube: xr.DataArray | None = None, *, target: str | None = None
) -> Explorer:
    """
    Open an explorer: a map with sliders, and the spectra of the pixel that is tapped.

    A notebook shows it where it is the last line of a cell. ``.save("why.html")`` writes one file
    that works without Python and without a network. Needs ``pip install "xrxai[explore]"``.

    Parameters
    ----------
    explanation : xarray.Dataset
        As every method of xrxai returns it, or `open_explanation`, whose values are read when they
        are shown: at most 700 x 700 pixels of one band at once.
    cube : xarray.DataArray, optional
        The cube (band, y, x) that was explained. Without it there are no spectra of pixels, and
        the picture is the explanation's quick look.
    target : str, optional
        The target that is shown first; by default the first.

    Returns
    -------
    Explorer
        A Viewer of Panel, whose parameters (``target``, ``feature``, ``summed``, ``row``,
        ``column`` ...) are its state.

    Raises
    ------
    OptionError
        When Panel is not installed, or there is no such target.
    ResultError
        When the Dataset is not an explanation, or not of this cube.
    """
    pn = panel()
    from xrxai.explorer.app import Explorer

    scene = Scene(explanation, cube)
    said = warning(scene)
    if said is not None:
        note(said)
    if _in_a_notebook() and not pn.extension._loaded:
        # Inline: a cell would stay blank where there is no network.
        pn.extension(inline=True)
    return Explorer(scene, target=target)


def _in_a_notebook() -> bool:
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    shell = get_ipython()
    return shell is not None and hasattr(shell, "kernel")
