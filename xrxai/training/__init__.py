"""From few labels to a segmentation model: plan, label, split, train, diagnose, label again.

Import it by name, ``from xrxai import training``; nothing here is on the accessor. Nets and
augmentation need the extra: ``pip install "xrxai[training]"``.
"""

from __future__ import annotations

from xrxai.training.classes import UNLABELLED, Classes, classes_of, labels_of

__all__ = ["UNLABELLED", "Classes", "classes_of", "labels_of"]
