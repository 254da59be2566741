"""How far a model sees, and how much of its surroundings a tile gets: plain records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReceptiveField:
    """
    How far a pixel of the input reaches in the map that a model gives.

    Attributes
    ----------
    radius : int or None
        Pixels, the largest over all directions and phases; None where no radius was found.
    stride : int
        The answer to a cube that is shifted by this many pixels is the shifted answer; a
        multiple of an integer `pad`.
    exact : bool
        Whether windows with `radius` pixels around them answer as the whole does.
    window : int
        Side, in pixels, of the largest window in which it was measured.
    ragged : bool
        Whether that is so, too, where a side is not a multiple of the stride.
    reason : str
        Why there is no radius, or empty.
    """

    radius: int | None
    stride: int
    exact: bool
    window: int
    ragged: bool = True
    reason: str = ""

    def __repr__(self) -> str:
        """One line: radius, stride, window."""
        far = "no radius" if self.radius is None else f"radius {self.radius} px"
        seen = f", measured in {self.window} px" if self.window else ""
        why = f"; {self.reason}" if self.reason else ""
        return f"<xrxai.ReceptiveField: {far}, stride {self.stride}{seen}{why}>"


@dataclass(frozen=True)
class Halo:
    """
    Pixels around a tile, and what they are worth.

    Attributes
    ----------
    pixels : int
        On each side, a multiple of the stride.
    exact : bool
        Whether the tile answers as the whole scene does.
    error : float
        Relative L1 error on a sample window; 0 where it is exact, NaN where none was measured.
    stride : int
        What sides of tiles, too, have to be a multiple of.
    """

    pixels: int
    exact: bool
    error: float
    stride: int
