"""Transfer of colour statistics between images."""

import torch
from torch import Tensor

# Variance of 8-bit rounding: keeps the map finite for an image whose colours do not vary.
ROUNDING_VARIANCE = 1 / (12 * 255**2)


def match_colors(image: Tensor, to: Tensor) -> Tensor:
    """Map an image's colours linearly to the mean and covariance of another image's.

    The map A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2, with A and B the covariances of `image` and `to`, is the optimal
    transport between two normal distributions: of all maps to these statistics it changes the colours least (Pitié
    and Kokaram 2007, "The linear Monge-Kantorovitch linear colour mapping"; Gatys et al. 2017, section 5.1, use another
    map).

    Args:
        image: (B, 3, H, W) in [0, 1].
        to: (B or 1, 3, H', W') in [0, 1].

    Returns:
        (B, 3, H, W), not clamped to [0, 1].
    """
    source, target = image.flatten(2), to.flatten(2)
    source_covariance, target_covariance = _covariance(source), _covariance(target)
    root, inverse = (_power(source_covariance, exponent) for exponent in (0.5, -0.5))
    transport = (inverse @ _power(root @ target_covariance @ root, 0.5) @ inverse).to(image)
    moved = transport @ (source - source.mean(2, keepdim=True)) + target.mean(2, keepdim=True)
    return moved.view_as(image)


def _covariance(pixels: Tensor) -> Tensor:
    """Return the covariance of pixels (B, 3, N) plus that of 8-bit rounding, (B, 3, 3), float64, on the CPU."""
    # on the CPU because MPS has no float64 and CUDA's eigendecomposition of a 3 x 3 matrix is slower
    covariance = torch.stack([torch.cov(sample, correction=0) for sample in pixels.cpu().double()])
    return covariance + ROUNDING_VARIANCE * torch.eye(3, dtype=torch.float64)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of symmetric matrices (B, 3, 3); eigenvalues that rounding made negative count as zero."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag_embed(values.clamp_min(0) ** exponent) @ vectors.mT
