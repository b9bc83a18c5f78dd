"""Palette loss: distance between the distributions of colours, and of colour changes, of two images.

A network is insensitive to some mixtures of colours and to some high-frequency patterns, and an optimiser exploits
that: it adds tints that the style does not have, and fine ripples where the style has flat colour and few edges, both
with the right variance. The sliced Wasserstein distance of order 2 is zero only where two distributions are equal
(Bonneel, Rabin, Peyre and Pfister 2015, "Sliced and Radon Wasserstein barycenters of measures", eq. 9). Along one
direction of colour space it is the mean squared difference of the sorted projections.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from src.ops.sorting import quantiles, sort_rows

# Colours are compared after averaging over blocks of these sides, px; smaller ones would transfer the style's grain.
COLOR_BLOCKS = (2, 4, 8)
# Along the axes, the face diagonals and the space diagonals of the colour cube: fixed, so that the loss is too.
COLOR_DIRECTIONS = (
    *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    *((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
    *((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)),
)
# Changes are the differences of neighbouring blocks, of brightness and of two opponent colours.
CHANGE_BLOCKS = (1, 2, 4)
CHANGE_DIRECTIONS = ((1, 1, 1), (1, -1, 0), (1, 1, -2))
# Weight of the changes; that of the colours is 1. A larger one would transfer the noise of a scanned style.
CHANGE_WEIGHT = 0.5
# Least standard deviation to divide by, for a style of nearly one colour; about 0.02 of the range from black to white.
LEAST_DEVIATION = 0.1


class Palette:
    """The distributions of a style image's colours and colour changes, or of a mixture of several.

    Args:
        style: (1, 3, H, W), normalised by the network's statistics; or several.
        size: height and width of the images to compare, px, each at least 8.
        weights: of the styles: a colour of style s counts weights[s] over the number of its colours.
    """

    def __init__(
        self, style: Tensor | Sequence[Tensor], size: tuple[int, int], weights: Sequence[float] = (1.0,)
    ) -> None:
        styles = [style] if isinstance(style, Tensor) else style
        style = styles[0]
        # made once, because copying them to a GPU at each step would block
        color_directions = F.normalize(style.new_tensor(COLOR_DIRECTIONS), dim=1)
        change_directions = F.normalize(style.new_tensor(CHANGE_DIRECTIONS), dim=1)
        change_weight = CHANGE_WEIGHT / len(CHANGE_BLOCKS) / 2
        self._parts = [
            *(
                _Distribution(styles, weights, size, color_directions, block, None, 1 / len(COLOR_BLOCKS))
                for block in COLOR_BLOCKS
            ),
            *(
                _Distribution(styles, weights, size, change_directions, block, axis, change_weight)
                for block in CHANGE_BLOCKS
                for axis in (2, 3)
            ),
        ]

    @classmethod
    def joined(cls, palettes: "Sequence[Palette]") -> "Palette":
        """Concatenate the palettes of several styles along the batch; all must be for images of one size."""
        whole = copy.copy(palettes[0])
        whole._parts = [_Distribution.joined(parts) for parts in zip(*(each._parts for each in palettes), strict=True)]
        return whole

    def loss(self, image: Tensor, recompute: bool = False) -> Tensor:
        """Compute the sliced Wasserstein distance of an image, relative to the style's variance: (B,).

        The mean over directions and block sizes for the colours, plus `CHANGE_WEIGHT` times that for their changes.

        Args:
            image: (B, 3, H, W), normalised like the style.
            recompute: save memory by recomputing each distribution in the backward pass.
        """
        distances = [
            checkpoint(part.distance, image, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else part.distance(image)
            for part in self._parts
        ]
        return torch.stack(distances).sum(0)


class _Distribution:
    """The distribution of a style's colours, or of their changes, projected on some directions.

    Args:
        styles: (1, 3, H, W) each.
        shares: of the styles in the mixture.
        size: height and width of the images to compare, px.
        directions: (D, 3), of unit length.
        block: side of the blocks that are averaged, px.
        axis: along which neighbouring blocks are subtracted, 2 or 3; None for the colours themselves.
        weight: of this distribution's distance in the loss.
    """

    def __init__(
        self,
        styles: Sequence[Tensor],
        shares: Sequence[float],
        size: tuple[int, int],
        directions: Tensor,
        block: int,
        axis: int | None,
        weight: float,
    ) -> None:
        self.directions, self.block, self.axis, self.weight = directions, block, axis, weight
        rows, columns = (side // block - (axis == number) for number, side in enumerate(size, 2))
        self.sorted = quantiles([self._projected(style) for style in styles], shares, rows * columns)
        self.variance = self.sorted.var(2, correction=0).mean().clamp_min(LEAST_DEVIATION**2)

    @classmethod
    def joined(cls, parts: "Sequence[_Distribution]") -> "_Distribution":
        whole = copy.copy(parts[0])
        whole.sorted = torch.cat([each.sorted for each in parts])
        whole.variance = torch.stack([each.variance for each in parts])
        return whole

    def _projected(self, image: Tensor) -> Tensor:
        """Return the projections of all blocks, or of their changes, (B, D, positions)."""
        pixels = F.avg_pool2d(image, self.block) if self.block > 1 else image
        along = torch.einsum("lc,bchw->blhw", self.directions, pixels)
        return (along if self.axis is None else along.diff(dim=self.axis)).flatten(2)

    def distance(self, image: Tensor) -> Tensor:
        """Return the weighted distance of images (B, 3, H, W), (B,)."""
        squares = (sort_rows(self._projected(image)) - self.sorted).square()
        return self.weight * squares.mean((1, 2)) / self.variance
