"""Sliced Wasserstein distance of features (Heitz, Vanhoey, Chambon and Belcour 2021).

"A sliced Wasserstein loss for neural texture synthesis", eq. 5: features are projected on random directions, and along
each direction the distance is the mean squared difference of the sorted projections. Here a style with another number
of positions is resampled to the image's quantiles, and directions are orthogonal.
"""

import numpy as np
import torch
from torch import Tensor

from src.ops.gram import EPSILON, at_least_float32
from src.ops.sorting import squared_quantile_distance

# Most directions at a time. Heitz et al. use as many as there are channels, and draw them anew at every step.
DIRECTIONS = 32


def random_directions(channels: int, seed: tuple[int, ...]) -> Tensor:
    """Draw orthonormal directions, (D, C) in float64, the same for the same seed; D is at most the channels."""
    drawn = np.random.default_rng(seed).standard_normal((channels, min(DIRECTIONS, channels)))
    return torch.from_numpy(np.linalg.qr(drawn)[0].T.copy())


def project(features: Tensor, directions: Tensor) -> Tensor:
    """Project features (B, C, H, W) on directions (B, D, C): (B, D, H, W)."""
    return (directions @ at_least_float32(features).flatten(2)).unflatten(2, features.shape[2:])


def sliced_distance(projected: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the squared distance of projections (B, D, H, W) to quantiles (B, D, H x W), relative to their mean
    square: (B,), 1 for features of zero.

    Args:
        projected: of features on directions.
        target: the style's quantiles.
        weight: of each position, (1 or B, 1, H, W) with a mean of 1; None: 1 everywhere.
    """
    square = target.square().mean((1, 2)).clamp_min(EPSILON)
    weight = None if weight is None else weight.flatten(2)
    return squared_quantile_distance(projected.flatten(2), target, weight) / square
