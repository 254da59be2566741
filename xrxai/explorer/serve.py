"""`explore_app`: the explorer of a stored explanation, served on this machine."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xarray as xr

from xrxai.errors import OptionError, at_least, choice, note
from xrxai.explorer.extra import panel
from xrxai.explorer.scene import Scene, warning
from xrxai.io import open_cube, open_explanation

# A cube of this many bytes in a file is read at once.
_WHOLE = 256 * 10**6


class App:
    """
    An explorer that is being served, in a thread of its own.

    Parameters
    ----------
    make : callable
        Returns what a visitor sees.
    port : int
        Of the server, on this machine.
    title : str
        Of the page.
    """

    def __init__(self, make: Callable[[], Any], port: int, title: str) -> None:
        self.url = f"http://localhost:{port}/"
        self._make, self._port, self._title = make, port, title
        self._ready: queue.Queue[tuple[Any, Any] | BaseException] = queue.Queue()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        found = self._ready.get()
        if isinstance(found, BaseException):
            raise found
        self._server, self._loop = found

    def _serve(self) -> None:
        from panel.io.server import get_server
        from tornado.ioloop import IOLoop

        loop = IOLoop(make_current=False)
        origins = [f"localhost:{self._port}", f"127.0.0.1:{self._port}"]
        try:
            server = get_server(
                {"/": self._make}, port=self._port, address="127.0.0.1", loop=loop,
                websocket_origin=origins, title=self._title, start=False, show=False, verbose=False,
            )  # fmt: skip
            server.start()
        except BaseException as error:
            self._ready.put(error)
            return
        self._ready.put((server, loop))
        loop.start()
        loop.close()

    def wait(self) -> None:
        """Return when the server was stopped, or with Ctrl-C."""
        try:
            # A join without a limit hears no Ctrl-C on Windows.
            while self._thread.is_alive():
                self._thread.join(0.5)
        except KeyboardInterrupt:
            self.stop()

    def stop(self) -> None:
        """End the server."""
        if not self._thread.is_alive():
            return

        def end() -> None:
            self._server.stop()
            self._loop.stop()

        self._loop.add_callback(end)
        self._thread.join(10)


def explore_app(
    path: str | os.PathLike[str],
    *,
    cube: str | os.PathLike[str] | xr.DataArray | None = None,
    target: str | None = None,
    port: int = 5006,
    show: bool = True,
    block: bool = True,
) -> App:
    """
    Serve the explorer of a stored explanation on this machine, for a browser.

    Only this machine can reach it; from another one, ``ssh -L 5006:localhost:5006`` brings it
    there. Needs ``pip install "xrxai[explore]"``.

    Parameters
    ----------
    path : str or path
        What `to_zarr` or `to_netcdf` wrote. It stays on disk: what is shown is read.
    cube : str, path or xarray.DataArray, optional
        The cube that was explained; see `explore`. A file above 256 MB is read in pieces.
    target : str, optional
        The target that is shown first; by default the first.
    port : int
        Of the server; 0 takes any that is free.
    show : bool
        Open a browser.
    block : bool
        Return when the server has been stopped with Ctrl-C; False returns at once.

    Returns
    -------
    App
        Its ``url``, ``wait()`` and ``stop()``.

    Raises
    ------
    OptionError
        When Panel is not installed, or the port is taken.
    ResultError
        When what is at `path` is not an explanation, or not of this cube.
    """
    panel()
    from xrxai.explorer.app import Explorer

    at_least(port, 0, "port")
    explanation = open_explanation(path, partial=True)
    given = cube if cube is None or isinstance(cube, xr.DataArray) else cube_to_read(cube)
    scene = Scene(explanation, given)
    if target is not None:
        choice(target, scene.targets, "target")
    said = warning(scene)
    if said is not None:
        note(said)
    # Every visitor has a state of his own; what is known of limits is shared.
    app = App(lambda: Explorer(scene, target=target), _port(port), f"xrxai: {Path(path).name}")
    if show:
        import webbrowser

        webbrowser.open(app.url)
    if block:
        print(f"{app.url} (Ctrl-C ends it)", flush=True)
        app.wait()
    return app


def _port(wanted: int) -> int:
    """Return the port when it can be listened at; for 0, one that can."""
    with socket.socket() as probe:
        if os.name == "posix":  # as the server will: also where one has just ended
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except (OSError, OverflowError) as error:
            raise OptionError(
                f"port={wanted} cannot be used ({getattr(error, 'strerror', '') or error}); type "
                "port=0 for one that is free."
            ) from error
        found: int = probe.getsockname()[1]
    return found


def cube_to_read(path: str | os.PathLike[str], **options: Any) -> xr.DataArray:
    """Open a cube so that a pixel and a band can be read without the rest."""
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".zarr":
        return open_cube(path, chunks={}, **options)
    if path.exists() and path.stat().st_size > _WHOLE and suffix != ".npz":
        netcdf = suffix in (".nc", ".nc4", ".cdf")
        pieces: Any = "auto" if netcdf else {"band": 8, "y": 256, "x": 256}
        return open_cube(path, chunks=pieces, **options)
    return open_cube(path, **options)
