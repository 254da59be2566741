"""Rotation, scale and blur of tiles in which pixels are missing, by kornia."""

from __future__ import annotations

import math
from typing import Any

import torch


def warped(
    image: torch.Tensor, label: torch.Tensor, valid: torch.Tensor, angle: float, scale: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image (band, y, x), label and valid (y, x), turned about the centre by degrees and enlarged.

    One matrix for all three. Label and valid are those of the nearest pixel; the image is the mean
    of the valid ones among its four neighbours, by their bilinear weights: nothing invalid and
    nothing from beyond the edge is mixed in.
    """
    transform = kornia().geometry.transform
    rows, columns = label.shape
    centre = torch.tensor([[(columns - 1) / 2, (rows - 1) / 2]], dtype=torch.float64)
    matrix = transform.get_rotation_matrix2d(
        centre,
        torch.tensor([angle], dtype=torch.float64),
        torch.full((1, 2), scale, dtype=torch.float64),
    )
    # float64, so that all see the same grid: places of a pixel's edge round the same way.
    known = valid.to(torch.float64)[None]
    smooth = torch.cat([torch.where(valid, image, 0).to(torch.float64), known])[None]
    exact = torch.stack([label.to(torch.float64) + 1, known[0]])[None]
    size = (rows, columns)
    smooth = transform.warp_affine(smooth, matrix, size, mode="bilinear")[0]
    exact = transform.warp_affine(exact, matrix, size, mode="nearest")[0]
    found = exact[1] > 0.5
    mean = smooth[:-1] / torch.where(found, smooth[-1], 1)
    return mean.to(image.dtype), exact[0].round().to(label.dtype) - 1, found


def blurred(image: torch.Tensor, valid: torch.Tensor, sigma: float) -> torch.Tensor:
    """Image (band, y, x) blurred by a Gaussian of `sigma` pixels, over valid pixels alone."""
    side = 2 * math.ceil(3 * sigma) + 1
    both = torch.cat([torch.where(valid, image, 0), valid.to(image.dtype)[None]])[None]
    both = kornia().filters.gaussian_blur2d(both, side, (sigma, sigma), border_type="constant")[0]
    mean: torch.Tensor = both[:-1] / torch.where(valid, both[-1], 1)
    return mean


def kornia() -> Any:
    """kornia, or how to install it."""
    try:
        import kornia
    except ImportError as error:
        raise ImportError(
            f"Augmentation needs kornia, which cannot be imported ({error}); type "
            'pip install "xrxai[training]", or Augmentation(rotate=0, scale=(1, 1), blur=0).'
        ) from None
    return kornia
