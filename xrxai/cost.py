"""What a run will cost, before it runs."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from xrxai import bridge
from xrxai.errors import OptionError, at_least
from xrxai.model import Model
from xrxai.road import Planned, trial
from xrxai.tiles import Tile


@dataclass(frozen=True)
class Plan:
    """
    What a run costs.

    Attributes
    ----------
    method : str
    pieces : int
        Tasks that call the model: tiles, blocks of chips, pixels or samples.
    shape : tuple of int
        Rows and columns of the largest tile, without its halo; (0, 0) where there are none.
    halo : int
        Pixels of context around each tile.
    overhead : float
        Pixels that the model sees over pixels of the scene, at least 1.
    evaluations : int or None
        Of the model, in all; None where the method stops by itself. At most that many for a
        lazy scene: pieces without data are skipped.
    bytes_in, bytes_out : int
        Read from the cube, and made, uncompressed.
    piece_in, piece_out : int
        The same for the largest piece; about three times their sum is held by each thread, and
        what the model needs for one batch.
    workers : int
        Threads that run pieces at the same time.
    seconds : float or None
        Of one piece while others run beside it, measured; None where nothing was.
    eta : float or None
        Seconds for all pieces on that many workers, without writing what they make.
    """

    method: str
    pieces: int
    shape: tuple[int, int]
    halo: int
    overhead: float
    evaluations: int | None
    bytes_in: int
    bytes_out: int
    piece_in: int
    piece_out: int
    workers: int
    seconds: float | None
    eta: float | None

    @property
    def memory(self) -> int:
        """Bytes that the arrays of all workers take together, without the model's own."""
        return 3 * (self.piece_in + self.piece_out) * self.workers

    def __repr__(self) -> str:
        """A few lines."""
        tiles = f" of {self.shape[0]} x {self.shape[1]} pixels" if self.shape[0] else ""
        halo = f", halo {self.halo} (the model sees {self.overhead:.2f} x the pixels)"
        several = "not known before it runs"
        count = several if self.evaluations is None else f"{self.evaluations:,}"
        lines = [
            f"{self.method}: {self.pieces:,} pieces{tiles}{halo if self.halo else ''}",
            f"  evaluations of the model   {count}",
            f"  read, made                 {_size(self.bytes_in)}, {_size(self.bytes_out)}",
            f"  memory for arrays          {_size(self.memory)} in {self.workers} threads",
        ]
        if self.seconds is not None and self.eta is not None:
            lines.append(
                f"  time                       {_time(self.eta)} ({_time(self.seconds)} measured "
                f"for one piece)"
            )
        return "\n".join(lines)


def plan(
    cube: xr.DataArray,
    model: Model,
    method: str = "integrated_gradients",
    *,
    options: Mapping[str, Any] | None = None,
    workers: int | None = None,
    measure: bool = True,
) -> Plan:
    """
    Tell what a method would cost on a cube, and measure one piece of it.

    Parameters
    ----------
    cube : DataArray, (band, y, x)
        As for the method; chunked as it will be.
    model : Model
        The model.
    method : str, default: "integrated_gradients"
        Name of an attribution method, see `xrxai.methods`, or "predict".
    options : mapping, optional
        What the method is called with, such as ``{"target": "K", "n_steps": 20}``.
    workers : int, optional
        Threads that run at the same time. Default: those of the distributed client or of the
        scheduler that is set.
    measure : bool, default: True
        Run some pieces in the middle, as many as there are workers, twice, under the scheduler or
        the client that is set, and tell how long all of them take. Only for a lazy cube; False
        runs no model and reads no pixel.

    Returns
    -------
    Plan
        Pieces, evaluations, bytes, memory and time.

    Raises
    ------
    OptionError
        There is no such method, or it has no such option.
    CubeError, ModelError, TargetError, and what else the method raises
        As the method itself does: a plan is a trial run.

    Examples
    --------
    >>> import numpy as np, xarray as xr, xrxai
    >>> nm = ("band", [490.0, 560.0, 665.0], {"units": "nm"})
    >>> scene = xr.DataArray(
    ...     np.ones((3, 90, 90)), dims=("band", "y", "x"), coords={"wavelength": nm}
    ... )
    >>> model = xrxai.Model(lambda x: x[:, :2] ** 2, takes="spectrum", targets=["K", "pH"])
    >>> cost = xrxai.plan(scene.chunk(y=30, x=30), model, "saliency", measure=False)
    >>> cost.pieces, cost.evaluations
    (9, 8100)
    """
    call: Any = getattr(cube.xai, method, None)
    known = getattr(call, "__module__", "").startswith("xrxai.attribution")
    if not known and method != "predict":
        raise OptionError(
            f"method={method!r} is no attribution method; see xrxai.methods() for their names."
        )
    given = dict(options or {})
    try:
        seen = trial(lambda: call(model, **given))
    except TypeError as error:
        raise OptionError(
            f"options={given!r} do not fit {method}: {error}; see help(xrxai.{method})."
        ) from None
    n = bridge.workers() if workers is None else at_least(workers, 1, "workers")
    pieces, samples = _pieces(seen)
    evaluations = _evaluations(seen)
    seconds = eta = None
    if measure and seen.case.scene.lazy:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all has been said above
            lazy = call(model, **given)
        seconds, blocks, share = bridge.measured(lazy["model_evaluations"].data)
        rounds = evaluations / share if evaluations and share else pieces / blocks
        eta = seconds * rounds * blocks / min(n, pieces)
    grid = seen.job.grid
    shape = (0, 0) if grid is None else (max(grid.chunks[0]), max(grid.chunks[1]))
    alone, windows = (1, 1) if grid is None else grid.pixels
    data = seen.case.place.data
    count = int(np.prod([n for d, n in data.sizes.items() if d not in _features(seen)]))
    return Plan(
        method=method,
        pieces=pieces,
        shape=shape,
        halo=0 if grid is None else grid.halo,
        overhead=windows / alone,
        evaluations=evaluations,
        bytes_in=data.nbytes * windows // alone,
        bytes_out=_made(seen, None) * count,
        piece_in=_window(seen) * samples,
        piece_out=_made(seen, shape if grid else None) * samples,
        workers=n,
        seconds=seconds,
        eta=eta,
    )


def _features(seen: Planned) -> set[str | None]:
    place = seen.case.place
    return {place.band} if seen.case.model.takes == "spectrum" else {place.band, place.y, place.x}


def _pieces(seen: Planned) -> tuple[int, int]:
    """How many tasks call the model, and how many samples the largest of them has."""
    data, grid = seen.case.place.data, seen.job.grid
    lead = [d for d in data.dims if d not in _features(seen)]
    if not seen.case.scene.lazy:
        return 1, int(np.prod([data.sizes[d] for d in lead]))
    chunks = [data.chunksizes[d] for d in lead]
    pieces = int(np.prod([len(c) for c in chunks]))
    if grid is not None:
        pieces *= grid.shape[0] * grid.shape[1]
    return pieces, int(np.prod([max(c) for c in chunks]))


def _evaluations(seen: Planned) -> int | None:
    """Evaluations of the model for all samples with data, or for all of a lazy cube."""
    case, grid = seen.case, seen.job.grid
    if seen.evaluations is None:
        return None
    alive = case.valid
    if case.model.takes == "patch":
        alive = alive.any([case.place.y, case.place.x])
    samples = alive.size if case.scene.lazy else int(alive.sum())
    if callable(seen.evaluations):
        size = (case.place.data.sizes[case.place.y], case.place.data.sizes[case.place.x])
        tiles = [Tile.whole(size)] if grid is None else grid
        return samples * sum(seen.evaluations(tile) for tile in tiles)
    return samples * seen.evaluations * (1 if grid is None else grid.shape[0] * grid.shape[1])


def _window(seen: Planned) -> int:
    """Bytes of the cube that a sample of the largest piece is made of."""
    data, grid = seen.case.place.data, seen.job.grid
    values = [data.sizes[d] for d in data.dims if d in _features(seen)]
    if grid is not None:
        high, wide = (max(c) + 2 * grid.halo for c in grid.chunks)
        values = [data.sizes[seen.case.place.band], high, wide]
    return int(np.prod(values)) * data.dtype.itemsize


def _made(seen: Planned, core: tuple[int, int] | None) -> int:
    """Bytes of all outputs of one sample, of a whole scene or of one core."""
    job = seen.job
    sizes = dict(job.sizes)
    if core is not None:
        sizes["y"], sizes["x"] = core
    tiles = 1 if core is not None or job.grid is None else int(np.prod(job.grid.shape))
    total = 0
    for name in job.outputs:
        dims = job.dims(name)
        values = int(np.prod([sizes[d] for d in dims]))
        total += values * job.dtype(name).itemsize * (1 if "y" in dims else tiles)
    return total


def _size(n: int) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n = n / 1000  # type: ignore[assignment]
    return f"{n:.3g} TB"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
