"""Centre wavelengths of named bands, from the tables of spyndex."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xrxai.errors import BandError

PLATFORM_ATTRS = ("platform", "constellation", "sensor", "mission")
_PLATFORMS = (
    ("sentinel2b", r"sentinel-?_?2b|s2b"),
    ("sentinel2a", r"sentinel-?_?2|s2a|\bs2"),
    ("landsat9", r"landsat-?_?9|lc09"),
    ("landsat8", r"landsat-?_?8|lc08"),
    ("landsat7", r"landsat-?_?7|le07"),
    ("landsat5", r"landsat-?_?5|lt05"),
    ("landsat4", r"landsat-?_?4|lt04"),
    ("planetscope", r"planetscope"),
    ("worldview2", r"worldview-?_?2"),
    ("worldview3", r"worldview-?_?3"),
    ("modis", r"modis"),
)
_COMMON = {
    "coastal": "A", "blue": "B", "green": "G", "red": "R", "nir": "N", "nir08": "N2",
    "rededge1": "RE1", "rededge2": "RE2", "rededge3": "RE3", "rededge071": "RE1",
    "rededge075": "RE2", "rededge078": "RE3", "nir09": "WV", "swir16": "S1", "swir22": "S2",
    "yellow": "Y", "lwir": "T", "lwir11": "T1", "lwir12": "T2",
}  # fmt: skip
_CIRRUS_NM = 1373.5  # Sentinel-2 B10, which spyndex leaves out


def wavelengths_by_name(
    names: Sequence[str], attrs: Mapping[str, Any], *, n_bands: int
) -> tuple[np.ndarray, str]:
    """Centre wavelengths (band,) in nm and where they come from, or BandError."""
    how = "type xrxai.to_cube(cube, wavelength=[...]) with one number in nanometres per band"
    if not names:
        raise BandError(f"The cube has {n_bands} bands without wavelengths or names; {how}.")
    shown = list(names) if len(names) <= 13 else [*names[:12], "..."]
    platform = _platform(names, attrs)
    if platform is None:
        raise BandError(
            f"The bands {shown} have no wavelengths, and their names do not tell the sensor; "
            f"{how}, or set the attribute platform, for example 'Sentinel-2A' or 'Landsat-8'."
        )
    table = _table(platform)
    keys = [_key(n) for n in names]
    unknown = [n for n, k in zip(names, keys, strict=True) if k not in table]
    if unknown:
        raise BandError(
            f"The bands {unknown} have no wavelengths and are not known for {platform}; drop them, "
            f"or {how}."
        )
    return np.array([table[k] for k in keys]), f"band names, as {platform}"


def _platform(names: Sequence[str], attrs: Mapping[str, Any]) -> str | None:
    told = " ".join(str(attrs[a]) for a in PLATFORM_ATTRS if a in attrs).lower()
    if told:
        return next((p for p, pattern in _PLATFORMS if re.search(pattern, told)), None)
    # B5 is red edge for Sentinel-2 and near infrared for Landsat 8: only names that Sentinel-2
    # alone uses (B04, B8A) or that mean a colour speak for themselves.
    bare = {n.lower() for n in names}
    if any(re.fullmatch(r"b0\d|b8a", n) for n in bare) or bare <= set(_COMMON):
        return "sentinel2a"
    return None


def _key(name: str) -> str:
    name = name.strip().lower()
    match = re.fullmatch(r"(?:sr_)?b0*(\d+a?)", name)
    return f"b{match.group(1)}" if match else name


def _table(platform: str) -> dict[str, float]:
    try:
        import spyndex
    except ImportError:
        raise BandError(
            "Wavelengths by band name need spyndex, which is not installed; type "
            "pip install spyndex, or xrxai.to_cube(cube, wavelength=[...])."
        ) from None
    table: dict[str, float] = {}
    for key in spyndex.bands:
        band = getattr(spyndex.bands[key], platform, None)
        if band is not None:
            table[str(band.band).lower()] = float(band.wavelength)
            table |= {c: float(band.wavelength) for c, k in _COMMON.items() if k == key}
    if "nir" not in table and "nir08" in table:
        table["nir"] = table["nir08"]  # Landsat 8 and 9 have one band of this colour
    if platform.startswith("sentinel2"):
        table |= {"b10": _CIRRUS_NM, "cirrus": _CIRRUS_NM}
    return table
