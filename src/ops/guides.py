"""Carry masks down to feature maps (Gatys, Ecker, Bethge, Hertzmann and Shechtman 2017, section 4).

"Controlling perceptual factors in neural style transfer". A region's Gram matrix weights every position p by T_p^2,
with a guide T normalised to sum T^2 = 1. The weights here are M T^2 for M positions, which have a mean of 1: so a sum
over all positions with these weights stands for a sum over M positions of the region, and every loss divides by the M
that it divides by without a mask.

The paper resamples T. Here T^2 is, so that along a soft edge the weights of two regions add up to those of their union.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def shares_of_positions(mask: Tensor, size: tuple[int, int], stride: int, reach: int | None, kind: str) -> Tensor:
    """Return how much of each position of a feature map is in a region, (1, 1, h, w) in [0, 1].

    Args:
        mask: (1, 1, H, W) in [0, 1], the share of each pixel that belongs to the region.
        size: h and w.
        stride: pixels per position, along either axis.
        reach: pixels beyond its own stride x stride that a position may depend on, on each side; None: all.
        kind: simple (mean of the position's own pixels) | inside (least value of its receptive field) | all (largest
            value of its receptive field).
    """
    height, width = mask.shape[2:]
    up = size == (-(-height // stride), -(-width // stride))  # the network rounds odd sizes up
    if kind == "simple":
        regular = up or size == (height // stride, width // stride)
        return F.avg_pool2d(mask, stride, ceil_mode=up) if regular else F.adaptive_avg_pool2d(mask, size)
    if reach is None:
        return (mask.amin() if kind == "inside" else mask.amax()).expand(1, 1, *size)
    values = -mask if kind == "inside" else mask
    for axis in (0, 1):  # pixels outside of the picture do not count
        window, step, padding = [1, 1], [1, 1], [0, 0]
        window[axis], step[axis], padding[axis] = stride + 2 * reach, stride, reach
        values = F.max_pool2d(values, window, step, padding, ceil_mode=up)
    return -values if kind == "inside" else values


def guide(shares: Tensor, least: float = 1.0) -> Tensor | None:
    """Scale the shares of positions (1, 1, h, w) to a mean of 1; None where they sum to less than `least` positions.

    With `least=0`, shares of zero stay zero.
    """
    total = shares.sum()
    return None if total < least else shares * (shares.numel() / total.clamp_min(1e-12))


def hard_region(shares: Tensor) -> Tensor:
    """Return a boolean mask of the positions whose share is at least half the largest."""
    return shares >= shares.amax() / 2


def joined(guides: Sequence[Mapping[Any, Tensor]]) -> dict[Any, Tensor]:
    """Return the guides of a batch, (B, 1, h, w) by name; a sample without one has weight 1 everywhere."""
    known: dict[Any, Tensor] = {}
    for each in guides:
        known |= each
    return {name: torch.cat([each.get(name, torch.ones_like(one)) for each in guides]) for name, one in known.items()}
