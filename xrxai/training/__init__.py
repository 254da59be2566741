"""From few labels to a segmentation model: plan, label, split, train, diagnose, label again.

Import it by name, ``from xrxai import training``; nothing here is on the accessor. Nets and
augmentation need the extra: ``pip install "xrxai[training]"``.
"""

from __future__ import annotations

from xrxai.training.augment import Augmentation
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.nets import SegmentationNet, unet
from xrxai.training.tiles import Tiles, band_statistics

__all__ = [
    "UNLABELLED",
    "Augmentation",
    "Classes",
    "SegmentationNet",
    "Tiles",
    "band_statistics",
    "classes_of",
    "labels_of",
    "unet",
]
