"""Where the pixels of a map lie: in a projection, on the globe, or by column and row."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from numpy.typing import NDArray

    from xrxai.plot.style import Scale

METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True)
class Grid:
    """The outer edges of a raster in axis units, and what the axes are called.

    `left` belongs to the first column and `top` to the first row, whichever way they run.
    """

    rows: int
    columns: int
    left: float
    right: float
    bottom: float
    top: float
    xlabel: str
    ylabel: str
    aspect: float
    metres: float | None  # per unit of x; None: the size on the ground is not known

    @property
    def north_up(self) -> bool:
        """Whether the axes are those of a CRS; pixel rows count downwards."""
        return self.metres is not None

    def column_edges(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """Return the axis position of column edges, 0 ... columns."""
        at = self.left + np.asarray(index) * (self.right - self.left) / self.columns
        return np.asarray(at, dtype=np.float64)

    def row_edges(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """Return the axis position of row edges, 0 ... rows."""
        at = self.top + np.asarray(index) * (self.bottom - self.top) / self.rows
        return np.asarray(at, dtype=np.float64)

    def ratio(self) -> float:
        """Return height over width as drawn."""
        return abs(self.bottom - self.top) / abs(self.right - self.left) * self.aspect


@dataclass(frozen=True)
class _Reference:
    geographic: bool
    epsg: int | None
    unit: str
    metres: float


def grid(source: xr.Dataset | xr.DataArray, y: str, x: str) -> Grid:
    """Find the grid of a Dataset or DataArray from its coords and CRS, without computing."""
    rows, columns = source.sizes[y], source.sizes[x]
    reference = _reference(source)
    across, down = _centres(source, x), _centres(source, y)
    if reference is None or across is None or down is None:
        return Grid(
            rows, columns, -0.5, columns - 0.5, rows - 0.5, -0.5, "column", "row", 1.0, None
        )
    dx, dy = _spacing(across), _spacing(down)
    # A single row or column has no spacing of its own: its pixels are taken to be square.
    dx, dy = dx or abs(dy) or 1.0, dy or -abs(dx) or -1.0
    edges = (across[0] - dx / 2, across[-1] + dx / 2, down[-1] + dy / 2, down[0] - dy / 2)
    epsg = f"  (EPSG:{reference.epsg})" if reference.epsg else ""
    if reference.geographic:
        narrowing = max(math.cos(math.radians(float(down.mean()))), 0.01)
        return Grid(
            rows,
            columns,
            *edges,
            f"longitude [°E]{epsg}",
            "latitude [°N]",
            1.0 / narrowing,
            METRES_PER_DEGREE * narrowing,
        )
    return Grid(
        rows,
        columns,
        *edges,
        f"easting [{reference.unit}]{epsg}",
        f"northing [{reference.unit}]",
        1.0,
        reference.metres,
    )


def draw_image(ax: Axes, placed: Grid, image: NDArray[Any], step: int, scaled: Scale | None) -> Any:
    """Draw a raster (y, x) or (y, x, rgba) taken at every `step`-th pixel, and label the axes."""
    # The last of every k-th pixels may stand for fewer than k: it is drawn k wide and cut off.
    right, bottom = (
        placed.column_edges(np.array(image.shape[1] * step)),
        placed.row_edges(np.array(image.shape[0] * step)),
    )
    extent = (placed.left, float(right), float(bottom), placed.top)
    drawn: AxesImage
    if scaled is None:
        drawn = ax.imshow(image, extent=extent, interpolation="nearest")
    else:
        drawn = ax.imshow(
            image,
            extent=extent,
            interpolation="nearest",
            cmap=scaled.cmap,
            vmin=scaled.low,
            vmax=scaled.high,
        )
    dress(ax, placed)
    return drawn


def dress(ax: Axes, placed: Grid) -> None:
    """Set limits, aspect, labels and ticks of a map."""
    from matplotlib.ticker import MaxNLocator

    from xrxai.plot.page import InnerTicks
    from xrxai.plot.style import NAN_COLOUR

    ax.set_facecolor(NAN_COLOUR)
    across, down = sorted((placed.left, placed.right)), sorted((placed.bottom, placed.top))
    ax.set_xlim(across[0], across[1])
    ax.set_ylim(*(down if placed.north_up else down[::-1]))
    ax.set_aspect(placed.aspect)
    ax.xaxis.set_major_locator(MaxNLocator(nbins=3))
    # Upright numbers need the height of seven letters.
    ax.yaxis.set_major_locator(InnerTicks(nbins=4 if placed.ratio() > 0.5 else 2))
    ax.ticklabel_format(useOffset=False, style="plain")
    ax.tick_params(labelsize=7.5, length=2.5)
    ax.tick_params(axis="y", labelrotation=90)
    for label in ax.get_yticklabels():
        label.set_verticalalignment("center")
    ax.set_xlabel(placed.xlabel, fontsize=8)
    ax.set_ylabel(placed.ylabel, fontsize=8)
    for spine in ax.spines.values():
        spine.set_visible(True)
        spine.set_linewidth(0.8)


def hatch_ground(ax: Axes) -> None:
    """Hatch what is missing, on maps where a flat grey means something else."""
    ax.patch.set(hatch="////", edgecolor="#9a9a9a", linewidth=0)


def scale_bar(ax: Axes, placed: Grid) -> None:
    """Draw a bar of round length, about a quarter of the width; nothing without a CRS."""
    from matplotlib import patheffects

    if placed.metres is None:
        return
    width = abs(placed.right - placed.left)
    metres = round_length(0.25 * width * placed.metres)
    text = f"{metres / 1000:g} km" if metres >= 1000 else f"{metres:g} m"
    start, length = 0.05, metres / placed.metres / width
    ax.plot(
        [start, start + length],
        [0.055, 0.055],
        transform=ax.transAxes,
        color="white",
        linewidth=2.2,
        solid_capstyle="butt",
        gid="scale_bar",
        path_effects=[patheffects.Stroke(linewidth=4, foreground="black"), patheffects.Normal()],
    )
    ax.text(
        start + length / 2,
        0.08,
        text,
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize=7.5,
        path_effects=[patheffects.withStroke(linewidth=2, foreground="white")],
    )


def round_length(wanted: float) -> float:
    """Return the 1, 2 or 5 times a power of ten that is nearest to `wanted`, by ratio."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return min((m * power for m in (1, 2, 5, 10)), key=lambda v: abs(math.log(v / wanted)))


def _centres(source: xr.Dataset | xr.DataArray, dim: str) -> NDArray[np.float64] | None:
    """Return evenly spaced pixel centres along a dim, or None."""
    if dim not in source.coords or source[dim].dims != (dim,):
        return None
    values = source[dim].to_numpy()
    if values.dtype.kind not in "fiu" or not values.size:
        return None
    values = values.astype(np.float64)
    steps = np.diff(values)
    # float32 coords of a UTM northing are good to half a metre only: compare with the pixel.
    if steps.size and not (
        np.isfinite(steps).all() and np.allclose(steps, steps.mean(), rtol=0.02) and steps[0]
    ):
        return None
    return np.asarray(values, dtype=np.float64)


def _spacing(values: NDArray[np.float64]) -> float:
    return float((values[-1] - values[0]) / (values.size - 1)) if values.size > 1 else 0.0


def _reference(source: xr.Dataset | xr.DataArray) -> _Reference | None:
    """Read the CRS, by rioxarray where it is installed and from the WKT text where it is not."""
    mapping = next(
        (c for c in source.coords.values() if {"crs_wkt", "spatial_ref"} & set(c.attrs)), None
    )
    if mapping is None:
        return None
    terms = str(mapping.attrs.get("GeoTransform", "")).split()
    if len(terms) == 6 and (float(terms[2]) or float(terms[4])):
        return None  # rotated: x and y alone do not place a pixel
    wkt = str(mapping.attrs.get("crs_wkt") or mapping.attrs["spatial_ref"])
    try:
        import rioxarray  # noqa: F401

        crs = source.rio.write_crs(wkt).rio.crs
    except Exception:  # not installed, or a text that GDAL does not read
        return _from_wkt(wkt)
    if not (crs.is_geographic or crs.is_projected):
        return None
    name, metres = crs.linear_units_factor if crs.is_projected else ("degree", 1.0)
    return _Reference(crs.is_geographic, crs.to_epsg(), _short(name), float(metres))


def _from_wkt(wkt: str) -> _Reference | None:
    kind = re.match(r"\s*(?:COMPD_?\w*\[\s*\"[^\"]*\"\s*,\s*)?(PROJ|GEOG|GEODC|BOUND)", wkt)
    if kind is None:
        return None
    # The last authority and the last unit belong to the whole, the others to its parts.
    codes = re.findall(r"(?:AUTHORITY|ID)\[\"EPSG\",\s*\"?(\d+)\"?\]\s*\]\s*$", wkt)
    units = re.findall(r"(?:LENGTHUNIT|UNIT)\[\"([^\"]+)\",\s*([\d.eE+-]+)", wkt)
    name, metres = units[-1] if units else ("metre", "1")
    epsg = int(codes[-1]) if codes else None
    if kind.group(1) in ("GEOG", "GEODC"):
        return _Reference(True, epsg, "degree", 1.0)
    return _Reference(False, epsg, _short(name), float(metres))


def _short(unit: str) -> str:
    if unit.lower() in ("metre", "meter", "metres", "meters", "m"):
        return "m"
    return "ft" if "f" in unit.lower() and "t" in unit.lower() else unit
