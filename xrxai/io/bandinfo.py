"""What a raster says of its bands, from the first of its five places that says it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

_NUMBER_AND_UNIT = re.compile(
    r"(?<![\w.])(\d+(?:\.\d+)?)\s*"
    r"(nanomet(?:er|re)s?|nm|micromet(?:er|re)s?|microns?|um|\u00b5m|\u03bcm)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class BandInfo:
    """Per band, as stored: wavelengths and widths with their units, good bands, names."""

    wavelength: np.ndarray | None
    units: str | None
    fwhm: np.ndarray | None
    fwhm_units: str | None
    good_band: np.ndarray | None
    names: list[str] | None


def band_info(src: Any) -> BandInfo:
    """Read the band metadata of an open rasterio dataset; reads no pixel."""
    tags = [_lower(src.tags(i)) for i in src.indexes]
    envi = _lower(src.tags(ns="ENVI"))
    imagery = [_lower(src.tags(i, ns="IMAGERY")) for i in src.indexes]
    names = [d or "" for d in src.descriptions]
    wavelength, units = _per_band(tags, "wavelength"), tags[0].get("wavelength_units")
    if wavelength is None:
        wavelength, units = _envi_list(envi, "wavelength", src.count), envi.get("wavelength_units")
    if wavelength is None:
        wavelength, units = _per_band(imagery, "central_wavelength_um"), "um"
    if wavelength is None:
        wavelength, units = _from_descriptions(names)
    if wavelength is None:
        units = None
    return BandInfo(
        wavelength,
        units,
        *_widths(tags, envi, imagery, src.count),
        _good(tags, envi, src.count),
        names if any(names) else None,
    )


def _widths(
    tags: list[dict[str, str]], envi: dict[str, str], imagery: list[dict[str, str]], count: int
) -> tuple[np.ndarray | None, str | None]:
    # Their units are their own: a header can hold wavelengths in nm and widths in um.
    fwhm = _per_band(tags, "fwhm")
    if fwhm is not None:
        return fwhm, tags[0].get("fwhm_units")
    fwhm = _envi_list(envi, "fwhm", count)
    if fwhm is not None:
        return fwhm, None
    fwhm = _per_band(imagery, "fwhm_um")
    return fwhm, None if fwhm is None else "um"


def _good(tags: list[dict[str, str]], envi: dict[str, str], count: int) -> np.ndarray | None:
    for name in ("good_band", "bbl"):
        flags = _per_band(tags, name)
        if flags is not None:
            return np.asarray(flags == 1)
    flags = _envi_list(envi, "bbl", count)
    return None if flags is None else np.asarray(flags == 1)


def _lower(tags: dict[str, str]) -> dict[str, str]:
    return {k.lower().replace(" ", "_"): v for k, v in tags.items()}


def _per_band(tags: list[dict[str, str]], name: str) -> np.ndarray | None:
    return _floats([t.get(name, "") for t in tags])


def _envi_list(tags: dict[str, str], name: str, count: int) -> np.ndarray | None:
    values = _floats(tags.get(name, "").strip("{} \n").split(","))
    return values if values is not None and values.size == count else None


def _floats(items: list[str]) -> np.ndarray | None:
    try:
        return np.array([float(v) for v in items])
    except ValueError:
        return None


def _from_descriptions(names: list[str]) -> tuple[np.ndarray | None, str | None]:
    matches = [_NUMBER_AND_UNIT.search(n) for n in names]
    found = [m for m in matches if m is not None]
    units = {m.group(2).lower() for m in found}
    if len(found) != len(names) or len(units) != 1:
        return None, None
    return np.array([float(m.group(1)) for m in found]), units.pop()
