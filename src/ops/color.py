"""One picture in the colours of another."""

import torch
from torch import Tensor

# Variance of 8-bit rounding: a colour that does not vary is not stretched without end.
ROUNDING = 1 / (12 * 255**2)


def recolored(content: Tensor, style: Tensor) -> Tensor:
    """Return the content under the one linear map of colours that gives it the style's mean and covariance and moves
    them least: A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2, with A and B the covariances of content and style (Pitié and Kokaram
    2007, "The linear Monge-Kantorovitch linear colour mapping"; Gatys et al. 2017, section 5.1, transfer colours so,
    by another such map).

    Args:
        content: (B, 3, H, W) in [0, 1].
        style: (B or 1, 3, H', W') in [0, 1].

    Returns:
        (B, 3, H, W), of the content's dtype; not clamped.
    """
    pixels, colors = content.double().flatten(2), style.double().flatten(2)
    (middle, spread), (center, wanted) = _colors(pixels), _colors(colors)
    root, inverse = _power(spread, 0.5), _power(spread, -0.5)
    change = inverse @ _power(root @ wanted @ root, 0.5) @ inverse
    return (change @ (pixels - middle) + center).view_as(content).to(content.dtype)


def _colors(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean, (B, 3, 1), and the covariance, (B, 3, 3), of pixels (B, 3, N)."""
    middle = pixels.mean(2, keepdim=True)
    apart = pixels - middle
    own = torch.eye(pixels.shape[1], dtype=pixels.dtype, device=pixels.device)
    return middle, apart @ apart.mT / pixels.shape[2] + ROUNDING * own


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp_min(0) ** exponent) @ vectors.mT
