"""What happened in each epoch, and the net that came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from xrxai.model import Model
from xrxai.training.classes import Classes, table_of

if TYPE_CHECKING:
    from torch import nn

Monitor = Literal["mean_iou", "loss"]
Row = dict[str, Any]

ABOUT = {
    "train_loss": "loss over the training tiles, while they were learned from",
    "validation_loss": "loss over the validation tiles",
    "iou": "intersection over union on the validation tiles",
    "f1": "F1 on the validation tiles",
    "mean_iou": "mean intersection over union of the classes present in validation",
    "accuracy": "share of validation pixels that are right",
    "lr": "learning rate",
    "skipped": "batches without a labelled pixel",
    "seconds": "time that the epoch took",
}


@dataclass(frozen=True, eq=False)
class Fitted:
    """
    A net that was trained, and how it went.

    Parameters
    ----------
    net : torch.nn.Module
        With the weights of the best epoch, in evaluation mode. In a callback: as it is now.
    history : Dataset, (epoch, class)
        Losses, scores, learning rate and seconds of each epoch.
    best_epoch : int
        The epoch with the best score, from 1; without validation tiles the last.
    classes : Classes
        Which classes the net tells apart.
    n_bands : int
        Bands that the net takes.
    fill : float
        What it has learned to see where there is no data.
    """

    net: nn.Module
    history: xr.Dataset
    best_epoch: int
    classes: Classes
    n_bands: int
    fill: float = 0.0

    @property
    def model(self) -> Model:
        """The net as every method of xrxai takes it."""
        return Model(
            self.net,
            takes="patch",
            gives="map",
            targets=self.classes.names,
            n_bands=self.n_bands,
            fill=self.fill,
        )

    def __repr__(self) -> str:
        """One line: epochs, and how good the best was."""
        best = self.history.sel(epoch=self.best_epoch)
        name = "mean_iou" if "mean_iou" in best else "train_loss"
        return (
            f"<xrxai.training.Fitted: {self.history.sizes['epoch']} epochs, best "
            f"{self.best_epoch} with {name} {float(best[name]):.3f}>"
        )


def history_of(rows: list[Row], classes: Classes) -> xr.Dataset:
    """One dict per epoch -> Dataset along `epoch`, from 1."""
    made = xr.Dataset(
        coords={"epoch": np.arange(1, len(rows) + 1), "class": list(classes.names)},
        attrs={"classes": table_of(classes)},
    )
    for name, about in ABOUT.items():
        if rows and name in rows[0]:
            values = np.array([row[name] for row in rows])
            made[name] = ("epoch", "class")[: values.ndim], values
            made[name].attrs = {"long_name": about, "units": "s" if name == "seconds" else "1"}
    return made


def best_of(rows: list[Row], monitor: Monitor) -> int:
    """The best epoch from 1, the first of equals; without validation the last."""
    if "validation_loss" not in rows[0]:
        return len(rows)
    values = [row["mean_iou"] if monitor == "mean_iou" else -row["validation_loss"] for row in rows]
    return int(np.argmax(values)) + 1
