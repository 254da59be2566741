"""Tiles of several scenes as one set: a folder of images, or scenes of several dates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr
from torch.utils.data import Dataset

from xrxai.errors import LabelError, OptionError
from xrxai.training.tiles import Item, Tiles, band_statistics

NEAR_NM = 10.0


class TileList(Dataset[Item]):
    """
    Tiles of several scenes, one after the other, for `fit`.

    Parameters
    ----------
    parts : sequence of Tiles
        With the same classes, bands and tile size, and all with an augmentation or all without.

    Attributes
    ----------
    parts, classes, wavelength, tile_size, augmentation, fill
        As of the parts; the augmentation of the first, which stands for all.

    Raises
    ------
    OptionError, LabelError
        There are none, or they do not fit together.
    """

    def __init__(self, parts: Sequence[Tiles]) -> None:
        if not parts or not all(isinstance(part, Tiles) for part in parts):
            what = "nothing" if not parts else "something else"
            raise OptionError(
                f"TileList joins training.Tiles, and got {what}; type "
                f"TileList([training.Tiles(cube, labels, windows), ...])."
            )
        self.parts = tuple(parts)
        first = self.parts[0]
        self.classes, self.tile_size, self.fill = first.classes, first.tile_size, first.fill
        self.wavelength, self.augmentation = first.wavelength, first.augmentation
        for i, part in enumerate(self.parts[1:], start=1):
            self._check(i, part)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def _check(self, i: int, part: Tiles) -> None:
        first = self.parts[0]
        if part.classes.names != first.classes.names:
            raise LabelError(
                f"Part {i} has the classes {list(part.classes.names)} and the first "
                f"{list(first.classes.names)}; make all labels with the same Classes."
            )
        for name in ("tile_size", "fill"):
            ours, theirs = getattr(first, name), getattr(part, name)
            if ours != theirs:
                raise OptionError(
                    f"Part {i} has {name}={theirs!r} and the first {ours!r}; give all the same."
                )
        if (part.augmentation is None) != (first.augmentation is None):
            raise OptionError(
                f"Of part {i} and the first, one is augmented and the other is not; give both an "
                f"augmentation, or neither."
            )
        ours, theirs = (p[0][0].shape[0] for p in (first, part))
        same = ours == theirs
        if same and first.wavelength is not None and part.wavelength is not None:
            same = bool(np.nanmax(np.abs(first.wavelength - part.wavelength)) <= NEAR_NM)
        if not same:
            raise OptionError(
                f"Part {i} has {theirs} bands and the first {ours}, or their wavelengths differ by "
                f"more than {NEAR_NM:g} nm; train on one sensor, and take the net over to the "
                f"other with training.transfer."
            )

    def __len__(self) -> int:
        """How many tiles there are in all."""
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Item:
        """Read one tile."""
        index = range(len(self))[index]
        part = int(np.searchsorted(self._ends, index, side="right"))
        before = int(self._ends[part - 1]) if part else 0
        return self.parts[part][index - before]

    def set_epoch(self, epoch: int) -> None:
        """
        Say which epoch it is.

        Parameters
        ----------
        epoch : int
            From 0.
        """
        for part in self.parts:
            part.set_epoch(epoch)

    def statistics(self) -> xr.Dataset:
        """
        Compute mean and standard deviation of each band over the tiles of all parts.

        Returns
        -------
        Dataset
            As of `band_statistics`; a pixel that lies in two parts counts twice.
        """
        each = [band_statistics(part.cube, part.windows) for part in self.parts]
        made = each[0].copy(deep=True)
        n = np.array([int(one["pixels"]) for one in each], dtype=np.float64)[:, None]
        mean, std = (np.stack([one[k].values for one in each]) for k in ("mean", "std"))
        total = n.sum()
        middle = (n * mean).sum(0) / total
        made["mean"].values = middle
        made["std"].values = np.sqrt((n * (std**2 + (mean - middle) ** 2)).sum(0) / total)
        made["pixels"].values = np.array(int(total))
        return made
