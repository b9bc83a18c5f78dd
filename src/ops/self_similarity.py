"""Self-similarity of feature maps: which parts of an image are alike (Kolkin, Salavon and Shakhnarovich 2019, eq. 7).

"Style transfer by relaxed optimal transport and self-similarity" compares the cosine distances between all pairs of
positions instead of the features themselves. So content may take other colours and textures, while areas that are alike
stay alike and those that differ stay apart. Here feature maps are averaged to at most `POSITIONS` positions first; the
paper samples as many.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.columns import SHORTEST, SMALLEST, unit_columns
from src.ops.gram import at_least_float32

POSITIONS = 1024
LEAST = 1e-4  # mean distance that distances are divided by where all positions are alike


def pooled_size(height: int, width: int) -> tuple[int, int]:
    """Return the size that a feature map is averaged to: its own, or one of at most `POSITIONS` positions."""
    scale = min(1.0, math.sqrt(POSITIONS / (height * width)))
    return max(1, math.floor(height * scale)), max(1, min(math.floor(width * scale), POSITIONS))


def pooled_rows(features: Tensor, height: int, rows: slice) -> Tensor:
    """Average some rows of a feature map over the areas of `pooled_size`; the sum over bands is the whole average.

    Args:
        features: (B, C, h, W), which are these rows of a map of this height.
        height: H, of the whole map.
        rows: of the whole map.

    Returns:
        (B, C, H', W'), in float32 or more.
    """
    wide = at_least_float32(features)
    down, across = pooled_size(height, features.shape[3])
    return _averaging(height, down, wide)[:, rows] @ wide @ _averaging(features.shape[3], across, wide).T


def _averaging(length: int, areas: int, like: Tensor) -> Tensor:
    """Return the matrix that averages a line of values over areas, (areas, length)."""
    each = torch.eye(length, dtype=like.dtype, device=like.device).unsqueeze(0)
    return F.adaptive_avg_pool1d(each, areas)[0].T


class SelfSimilarity(NamedTuple):
    """Distances (B, P, P) between the positions of feature maps, as shares of the sum of their column.

    Attributes:
        shares: (B, P, P).
        shortest: (B,), length that shorter columns of features are divided by: their direction is noise.
    """

    shares: Tensor
    shortest: Tensor

    @classmethod
    def of(cls, pooled: Tensor, weight: Tensor | None = None) -> "SelfSimilarity":
        """Measure pooled features (B, C, H', W'); `weight` of each position, (1 or B, 1, H', W')."""
        shortest = (SHORTEST * pooled.square().sum(1).mean((1, 2)).sqrt()).clamp_min(SMALLEST)
        return cls(distance_shares(pooled, shortest, weight), shortest)


def distance_shares(pooled: Tensor, shortest: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return D_ij / sum_i w_i D_ij with the cosine distances D between positions i and j, (B, P, P).

    Args:
        pooled: features, (B, C, H', W').
        shortest: as of `SelfSimilarity`.
        weight: of each position, (1 or B, 1, H', W'); None: 1.
    """
    columns = unit_columns(pooled, shortest).flatten(2)
    distances = 1 - columns.transpose(1, 2) @ columns
    masses = _masses(weight, distances)
    sums = (masses.unsqueeze(2) * distances).sum(1, keepdim=True)
    return distances / sums.clamp_min(LEAST * masses.sum(1).view(-1, 1, 1))


def share_distance(shares: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean over positions j of sum_i w_i |shares_ij - target_ij|, (B,), in [0, 2]."""
    masses = _masses(weight, shares)
    columns = (masses.unsqueeze(2) * (shares - target).abs()).sum(1)
    return (masses * columns).sum(1) / masses.sum(1)


def _masses(weight: Tensor | None, like: Tensor) -> Tensor:
    return like.new_ones(1, like.shape[1]) if weight is None else weight.flatten(1)
