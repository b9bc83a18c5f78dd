"""Stylise pictures of any size by a feed-forward network, large ones tile by tile."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from src.data.images import working_size
from src.feedforward import SMALLEST, STRIDE, TILE
from src.feedforward.network import StyleNetwork


def stylise(network: StyleNetwork, image: Tensor, shares: Tensor, tile: int = TILE) -> Tensor:
    """Return the stylised image, (1, 3, H, W) in [0, 1].

    An image with more pixels than a tile is computed in tiles. They overlap by the reach of the network, and all use
    the instance statistics of the image reduced to the size of a tile (Chen et al. 2022, URST), so that no seam shows.

    Args:
        network: in evaluation mode.
        image: (1, 3, H, W) in [0, 1].
        shares: (1, S), the share of each style.
        tile: side of a tile, px, a multiple of STRIDE.
    """
    height, width = image.shape[2:]
    padded = padded_to_stride(image)
    with torch.no_grad():
        if height * width <= tile**2:
            return network(padded, shares)[:, :, :height, :width]
        reduced = padded_to_stride(resize_antialiased(image, tile))
        result = torch.empty_like(padded)
        with network.statistics_of(reduced, shares):
            for (top, bottom), (left, right) in _tiles(padded.shape[2], padded.shape[3], tile):
                outer_top, outer_left = max(0, top - network.reach), max(0, left - network.reach)
                part = padded[:, :, outer_top : bottom + network.reach, outer_left : right + network.reach]
                made = network(part, shares)[:, :, top - outer_top :, left - outer_left :]
                result[:, :, top:bottom, left:right] = made[:, :, : bottom - top, : right - left]
    return result[:, :, :height, :width]


def padded_to_stride(image: Tensor) -> Tensor:
    """Return an image (B, C, H, W), its last rows and columns repeated up to multiples of STRIDE, SMALLEST at least."""
    rows, columns = (max(-side % STRIDE, SMALLEST - side) for side in image.shape[2:])
    return F.pad(image, (0, columns, 0, rows), mode="replicate")


def resize_antialiased(image: Tensor, edge: int) -> Tensor:
    """Return an image (B, 3, H, W) reduced to a long side of `edge` px, clipped to [0, 1]."""
    width, height = working_size((image.shape[3], image.shape[2]), edge, "keep")
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(0, 1)


def _tiles(height: int, width: int, tile: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
    """Yield the rows and columns (first, end) of the tiles of a picture."""
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            yield (top, min(top + tile, height)), (left, min(left + tile, width))
