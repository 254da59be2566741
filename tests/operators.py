"""Let torchvision be imported that was built for another torch: its operators are missing then.

The import stops where it describes two of them. Nets of segmentation_models_pytorch and timm, which
import it, need neither. `make notebooks` runs this file at the start of each kernel.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

library = None


def _built_for_cuda() -> bool:
    """Whether torchvision looks for CUDA, without importing it."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return False
    return "+cu" in Path(spec.origin).with_name("version.py").read_text()


if torch.version.cuda is None and _built_for_cuda() and not hasattr(torch.ops.torchvision, "nms"):
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
