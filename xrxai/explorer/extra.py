"""What the explorer needs beside xrxai itself."""

from __future__ import annotations

from typing import Any

from xrxai.errors import OptionError


def panel() -> Any:
    """Return Panel, or say what to type where it is not installed."""
    try:
        import panel
    except ImportError as error:
        raise OptionError(
            f"The explorer needs Panel and Bokeh, which cannot be imported ({error}); type pip "
            'install "xrxai[explore]", or draw static figures with .plot().'
        ) from None
    return panel
