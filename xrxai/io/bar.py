"""A progress bar for what takes longer than a second."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def counting(
    name: str, total: int, done: int = 0, *, progress: bool = True
) -> Iterator[Callable[[], object]]:
    """Count tiles, of which some were done before; gives what is called for each."""
    if not progress:
        yield lambda: None
        return
    with warnings.catch_warnings():
        # Without ipywidgets a notebook gets the bar as text: nothing its reader must be told.
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm

    with tqdm(total=total, initial=done, delay=1, desc=name, unit="tile") as bar:
        yield bar.update
