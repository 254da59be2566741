"""From few labels to a segmentation model: plan, label, split, train, diagnose, label again.

Import it by name, ``from xrxai import training``; nothing here is on the accessor. Nets and
augmentation need the extra: ``pip install "xrxai[training]"``.
"""

from __future__ import annotations

from xrxai.training.augment import Augmentation
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.graphs import plot_confusion, plot_history
from xrxai.training.history import Fitted
from xrxai.training.leakage import check_leakage
from xrxai.training.loop import fit
from xrxai.training.losses import Loss, loss_of
from xrxai.training.metrics import evaluate
from xrxai.training.nets import SegmentationNet, unet
from xrxai.training.parts import part_labels, windows_of
from xrxai.training.pictures import Pictures, plot_predictions, plot_tiles
from xrxai.training.split import random_split, split_blocks
from xrxai.training.stored import load_net, save_weights
from xrxai.training.tiles import Tiles, band_statistics
from xrxai.training.transfer import transfer
from xrxai.training.windows import grid

__all__ = [
    "UNLABELLED",
    "Augmentation",
    "Classes",
    "Fitted",
    "Loss",
    "Pictures",
    "SegmentationNet",
    "Tiles",
    "band_statistics",
    "check_leakage",
    "classes_of",
    "evaluate",
    "fit",
    "grid",
    "labels_of",
    "load_net",
    "loss_of",
    "part_labels",
    "plot_confusion",
    "plot_history",
    "plot_predictions",
    "plot_tiles",
    "random_split",
    "save_weights",
    "split_blocks",
    "transfer",
    "unet",
    "windows_of",
]
