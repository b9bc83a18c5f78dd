"""Transparency: colours where an image has none."""

import torch
import torch.nn.functional as F
from torch import Tensor


def fill_transparent(color: Tensor, alpha: Tensor) -> Tensor:
    """Continue the colours of an image into its transparent pixels, smoothly.

    Push-pull interpolation (Gortler et al. 1996, "The lumigraph", section 3.4): colours are averaged over ever larger
    squares, weighted by alpha, and transparent pixels take those of the smallest square that has any. So there is no
    edge for the style to follow where an object ends.

    Args:
        color: (B, 3, H, W), not multiplied by alpha.
        alpha: (B, 1, H, W) in [0, 1], above 0 somewhere.

    Returns:
        (B, 3, H, W); pixels whose alpha is above 0 are unchanged.
    """
    height, width = color.shape[2:]
    if max(height, width) == 1 or bool((alpha > 0).all()):
        return color
    weight = F.avg_pool2d(alpha, 2, ceil_mode=True)
    mean = F.avg_pool2d(color * alpha, 2, ceil_mode=True) / weight.clamp_min(1e-12)
    coarse = fill_transparent(mean, weight)
    return torch.where(alpha > 0, color, F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False))
