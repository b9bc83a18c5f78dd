"""Structural similarity of a pastiche to its content image, of the pixels and of the edges.

All images are sRGB in [0, 1], (B, 3, H, W). Values are means over the batch; 1 means identical.
"""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from src.ops.color import luma


def ssim(image: Tensor, content: Tensor) -> float:
    """Return SSIM between the image, clamped to [0, 1], and the content, with data range 1."""
    return _ssim(image.clamp(0, 1).float(), content.float(), 1.0)


def ssim_published(image: Tensor, content: Tensor) -> float:
    """Return SSIM as the published record computes it: the image is not clamped and the data range is left out.

    torchmetrics then uses the larger range of the two images. Values beyond [0, 1] widen it, and with it the constants
    of SSIM, so the result is too high.
    """
    return _ssim(image.float(), content.float(), None)


def gradient_ssim(image: Tensor, content: Tensor) -> float:
    """Return SSIM between the gradient magnitudes, with data range 1: whether edges are where the content has them."""
    return _ssim(gradient_magnitude(image.clamp(0, 1).float()), gradient_magnitude(content.float()), (0.0, 1.0))


def gradient_magnitude(image: Tensor) -> Tensor:
    """Return the magnitude of the luma's Sobel gradient, (B, 1, H, W), scaled so that a step from 0 to 1 gives 1."""
    sobel = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([sobel, sobel.T]).unsqueeze(1)
    return F.conv2d(F.pad(luma(image), (1, 1, 1, 1), mode="replicate"), kernels).norm(dim=1, keepdim=True)


def _ssim(first: Tensor, second: Tensor, data_range: float | tuple[float, float] | None) -> float:
    value = structural_similarity_index_measure(first.detach(), second.detach(), data_range=data_range)
    assert isinstance(value, Tensor)
    return float(value)
