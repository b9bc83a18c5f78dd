"""Palette loss: distance between the distributions of colours, and of colour changes, of two images.

A network is insensitive to some mixtures of colours and to some high-frequency patterns, and an optimiser exploits
that: it adds tints that the style does not have, and fine ripples where the style has flat colour and few edges, both
with the right variance. The sliced Wasserstein distance of order 2 is zero only where two distributions are equal
(Bonneel, Rabin, Peyre and Pfister 2015, "Sliced and Radon Wasserstein barycenters of measures", eq. 9). Along one
direction of colour space it is the mean squared difference of the sorted projections.
"""

import copy
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from src.ops.guides import guide, shares_of_positions
from src.ops.sorting import quantiles, squared_quantile_distance

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
# Side of the blocks, and the axis along which neighbouring ones are subtracted, of each distribution.
Place = tuple[int, int | None]
PLACES: tuple[Place, ...] = tuple((block, None) for block in COLOR_BLOCKS)
PLACES += tuple((block, axis) for block in CHANGE_BLOCKS for axis in (2, 3))
# Least standard deviation to divide by, for a style of nearly one colour; about 0.02 of the range from black to white.
LEAST_DEVIATION = 0.1


class Palette:
    """The distributions of a style image's colours and colour changes, or of a mixture of several.

    Args:
        style: (1, 3, H, W), normalised by the network's statistics; or several.
        size: height and width of the images to compare, px, each at least 8.
        weights: of the styles: a colour of style s counts weights[s] over the number of its colours.
        guides: of the styles, as `block_guides` returns them; None: all of a style counts.
    """

    def __init__(
        self,
        style: Tensor | Sequence[Tensor],
        size: tuple[int, int],
        weights: Sequence[float] = (1.0,),
        guides: Sequence[Mapping[Place, Tensor] | None] | None = None,
    ) -> None:
        styles = [style] if isinstance(style, Tensor) else style
        style = styles[0]
        # made once, because copying them to a GPU at each step would block
        color_directions = F.normalize(style.new_tensor(COLOR_DIRECTIONS), dim=1)
        change_directions = F.normalize(style.new_tensor(CHANGE_DIRECTIONS), dim=1)
        self._parts = []
        for place in PLACES:
            masses = [None if each is None else each[place] for each in guides or [None] * len(styles)]
            colors = color_directions, 1 / len(COLOR_BLOCKS)
            changes = change_directions, CHANGE_WEIGHT / len(CHANGE_BLOCKS) / 2
            directions, weight = colors if place[1] is None else changes
            self._parts.append(_Distribution(styles, weights, masses, size, directions, place, weight))

    @classmethod
    def joined(cls, palettes: "Sequence[Palette]") -> "Palette":
        """Concatenate the palettes of several styles along the batch; all must be for images of one size."""
        whole = copy.copy(palettes[0])
        whole._parts = [_Distribution.joined(parts) for parts in zip(*(each._parts for each in palettes), strict=True)]
        return whole

    def loss(self, image: Tensor, recompute: bool = False, guides: Mapping[Place, Tensor] | None = None) -> Tensor:
        """Compute the sliced Wasserstein distance of an image, relative to the style's variance: (B,).

        The mean over directions and block sizes for the colours, plus `CHANGE_WEIGHT` times that for their changes.

        Args:
            image: (B, 3, H, W), normalised like the style.
            recompute: save memory by recomputing each distribution in the backward pass.
            guides: of the image, as `block_guides` returns them, (B, 1, positions) each; None: all of it counts.
        """
        weights = [guides[part.place] if guides else None for part in self._parts]
        distances = [
            checkpoint(part.distance, image, weight, use_reentrant=False, preserve_rng_state=False)
            if recompute
            else part.distance(image, weight)
            for part, weight in zip(self._parts, weights, strict=True)
        ]
        return torch.stack(distances).sum(0)


def block_guides(mask: Tensor, kind: str) -> dict[Place, Tensor]:
    """Return the weights of blocks, and of pairs of neighbouring blocks, that a mask (1, 1, H, W) gives, by place.

    They are (1, 1, positions), of mean 1; where less than one block belongs to the region they are 0.
    """
    found = {}
    for block, axis in PLACES:
        shares = shares_of_positions(mask, (mask.shape[2] // block, mask.shape[3] // block), block, 0, kind)
        if axis is not None:
            count = shares.shape[axis] - 1
            shares = torch.minimum(shares.narrow(axis, 0, count), shares.narrow(axis, 1, count))
        weights = guide(shares)
        found[block, axis] = (torch.zeros_like(shares) if weights is None else weights).flatten(2)
    return found


class _Distribution:
    """The distribution of a style's colours, or of their changes, projected on some directions.

    Args:
        styles: (1, 3, H, W) each.
        shares: of the styles in the mixture.
        masses: of the positions of each style, (1, 1, positions); None: all alike.
        size: height and width of the images to compare, px.
        directions: (D, 3), of unit length.
        place: side of the blocks that are averaged, px, and the axis along which neighbouring blocks are subtracted, 2
            or 3; None for the colours themselves.
        weight: of this distribution's distance in the loss.
    """

    def __init__(
        self,
        styles: Sequence[Tensor],
        shares: Sequence[float],
        masses: Sequence[Tensor | None],
        size: tuple[int, int],
        directions: Tensor,
        place: Place,
        weight: float,
    ) -> None:
        self.directions, self.place, self.weight = directions, place, weight
        block, axis = place
        rows, columns = (side // block - (axis == number) for number, side in enumerate(size, 2))
        there = [at for at, mass in enumerate(masses) if mass is None or bool(mass.any())]
        if not there:  # the styles have nothing to compare with
            self.sorted = styles[0].new_zeros(1, len(directions), rows * columns)
            self.weight = 0.0
        else:
            values = [self._projected(styles[at]) for at in there]
            own = [shares[at] / sum(shares[at] for at in there) for at in there]
            self.sorted = quantiles(values, own, rows * columns, [masses[at] for at in there])
        self.variance = self.sorted.var(2, correction=0).mean().clamp_min(LEAST_DEVIATION**2)

    @classmethod
    def joined(cls, parts: "Sequence[_Distribution]") -> "_Distribution":
        whole = copy.copy(parts[0])
        whole.sorted = torch.cat([each.sorted for each in parts])
        whole.variance = torch.stack([each.variance for each in parts])
        return whole

    def _projected(self, image: Tensor) -> Tensor:
        """Return the projections of all blocks, or of their changes, (B, D, positions)."""
        block, axis = self.place
        pixels = F.avg_pool2d(image, block) if block > 1 else image
        along = torch.einsum("lc,bchw->blhw", self.directions, pixels)
        return (along if axis is None else along.diff(dim=axis)).flatten(2)

    def distance(self, image: Tensor, weight: Tensor | None = None) -> Tensor:
        """Return the weighted distance of images (B, 3, H, W), (B,), with weights (1 or B, 1, positions)."""
        distance = squared_quantile_distance(self._projected(image), self.sorted, weight)
        return self.weight * distance / self.variance
