"""From few labels to a segmentation model: plan, label, split, train, diagnose, label again.

Import it by name, ``from xrxai import training``; nothing here is on the accessor. Nets and
augmentation need the extra: ``pip install "xrxai[training]"``.
"""

from __future__ import annotations

from xrxai.training.answers import cross_predict, probabilities
from xrxai.training.applicability import applicability
from xrxai.training.augment import Augmentation
from xrxai.training.bars import plot_reasons
from xrxai.training.checks import check_labels
from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of
from xrxai.training.diagnosis import diagnose
from xrxai.training.doubt import label_errors
from xrxai.training.graphs import plot_confusion, plot_history
from xrxai.training.history import Fitted
from xrxai.training.instances import count_instances, instances
from xrxai.training.leakage import check_leakage
from xrxai.training.loop import fit
from xrxai.training.losses import Loss, loss_of
from xrxai.training.metrics import evaluate
from xrxai.training.nets import SegmentationNet, unet
from xrxai.training.next import next_tiles
from xrxai.training.parts import part_labels, windows_of
from xrxai.training.pictures import Pictures, plot_predictions, plot_tiles
from xrxai.training.plan import plan_tiles, tiles_to_polygons
from xrxai.training.plates import plot_diagnosis
from xrxai.training.rasterise import rasterise
from xrxai.training.reasons import explain_errors
from xrxai.training.separability import separability
from xrxai.training.separability_figure import plot_separability
from xrxai.training.shift import explanation_shift
from xrxai.training.split import random_split, split_blocks
from xrxai.training.stored import load_net, save_weights
from xrxai.training.summary import label_summary
from xrxai.training.tilelists import TileList
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
    "TileList",
    "Tiles",
    "applicability",
    "band_statistics",
    "check_labels",
    "check_leakage",
    "classes_of",
    "count_instances",
    "cross_predict",
    "diagnose",
    "evaluate",
    "explain_errors",
    "explanation_shift",
    "fit",
    "grid",
    "instances",
    "label_errors",
    "label_summary",
    "labels_of",
    "load_net",
    "loss_of",
    "next_tiles",
    "part_labels",
    "plan_tiles",
    "plot_confusion",
    "plot_diagnosis",
    "plot_history",
    "plot_predictions",
    "plot_reasons",
    "plot_separability",
    "plot_tiles",
    "probabilities",
    "random_split",
    "rasterise",
    "save_weights",
    "separability",
    "split_blocks",
    "tiles_to_polygons",
    "transfer",
    "unet",
    "windows_of",
]
