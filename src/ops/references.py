"""Several weighted reference images as one, for a squared distance of pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor


def merged(images: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Return one image, one weight map and a constant whose squared distance is that of all images together.

    sum_k w_k (x - r_k)^2 = w (x - r)^2 + c with w = sum_k w_k, r = sum_k w_k r_k / w and c = sum_k w_k (r_k - r)^2.

    Args:
        images: r_k, (B, 3, H, W) each.
        weights: w_k >= 0, (B, 1, H, W) each.

    Returns:
        r (B, 3, H, W), 0 where all weights are 0; w (B, 1, H, W); and c summed over pixels and channels, (B,).
    """
    total = torch.stack(list(weights)).sum(0)
    shares = [weight / total.clamp_min(torch.finfo(total.dtype).tiny) for weight in weights]
    mean = torch.stack([share * image for share, image in zip(shares, images, strict=True)]).sum(0)
    spread = [squared_distance(image, mean, weight) for image, weight in zip(images, weights, strict=True)]
    return mean, total, torch.stack(spread).sum(0)


def squared_distance(image: Tensor, reference: Tensor, weight: Tensor) -> Tensor:
    """Return sum w (x - r)^2 over pixels and channels, (B,), of images (B, 3, H, W) and weights (B, 1, H, W)."""
    return (weight * (image - reference).square()).sum((1, 2, 3))
