"""From few labels to a segmentation model: plan, label, split, train, diagnose, label again.

Import it by name, ``from xrxai import training``; nothing here is on the accessor. Nets and
augmentation need the extra: ``pip install "xrxai[training]"``.
"""

from __future__ import annotations

from xrxai.training.checks import check_labels
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.instances import count_instances, instances
from xrxai.training.leakage import check_leakage
from xrxai.training.parts import part_labels, windows_of
from xrxai.training.plan import plan_tiles, tiles_to_polygons
from xrxai.training.rasterise import rasterise
from xrxai.training.separability import separability
from xrxai.training.separability_figure import plot_separability
from xrxai.training.split import random_split, split_blocks
from xrxai.training.summary import label_summary
from xrxai.training.windows import grid

__all__ = [
    "UNLABELLED",
    "Classes",
    "check_labels",
    "check_leakage",
    "classes_of",
    "count_instances",
    "grid",
    "instances",
    "label_summary",
    "labels_of",
    "part_labels",
    "plan_tiles",
    "plot_separability",
    "random_split",
    "rasterise",
    "separability",
    "split_blocks",
    "tiles_to_polygons",
    "windows_of",
]
