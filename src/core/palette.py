"""The colours of a style, and how sharply they change, whatever the network makes of them.

A network is blind to some mixtures of colours and to some ripples, and an optimiser finds them: tints that the style
does not have, and a faint weave over all where the style has flat colour and few edges; both have the variance asked
for. The sliced Wasserstein distance of order 2 between two clouds of values is zero only where their distributions are
the same (Bonneel, Rabin, Peyre and Pfister 2015, "Sliced and Radon Wasserstein barycenters of measures", eq. 9):
along a line through colour space, it is the mean squared difference of the sorted values.
"""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from src.core.sorting import sort_rows

# The colours of pixels averaged by these factors: small ones would also ask for the style's grain.
COLOUR_FACTORS = (2, 4, 8)
# Lines along the edges, the diagonals of the faces and of the whole colour cube: fixed, so that the loss is too.
COLOUR_LINES = (
    *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    *((1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)),
    *((1, 1, 1), (1, 1, -1), (1, -1, 1), (-1, 1, 1)),
)
# The differences of neighbours among pixels averaged by these factors, of brightness and of two opponent colours.
CHANGE_FACTORS = (1, 2, 4)
CHANGE_LINES = ((1, 1, 1), (1, -1, 0), (1, 1, -2))
# Their share beside the colours'. More brings the noise of a scanned style.
CHANGE_SHARE = 0.5
# A style of nearly one colour is measured against this spread, in the network's units (about 0.02 of black to white).
LEAST_SPREAD = 0.1


class Palette:
    """What the palette loss keeps of the style image.

    Args:
        style: (1, 3, H, W) style image, normalised by the network's statistics.
        size: height and width of the images to be compared with it, px, at least 8 each.
    """

    def __init__(self, style: Tensor, size: tuple[int, int]) -> None:
        # kept: made anew, they would be copied to a GPU, which waits for them, in every step
        self.colour_lines = F.normalize(style.new_tensor(COLOUR_LINES), dim=1)
        self.change_lines = F.normalize(style.new_tensor(CHANGE_LINES), dim=1)
        self.sorted: list[Tensor] = []
        self.spreads: list[Tensor] = []
        for theirs, mine in zip(self._clouds(style), self._clouds(style.new_zeros(1, 3, *size)), strict=True):
            values = F.interpolate(sort_rows(theirs), mine.shape[2], mode="linear", align_corners=True)
            self.sorted.append(values)
            self.spreads.append(values.var(2, correction=0).mean().clamp_min(LEAST_SPREAD**2))

    @classmethod
    def joined(cls, palettes: "Sequence[Palette]") -> "Palette":
        """Return the palettes of several styles, one for each sample of a batch, as one; all for images of one size."""
        whole = copy.copy(palettes[0])
        whole.sorted = [torch.cat(each) for each in zip(*(palette.sorted for palette in palettes), strict=True)]
        whole.spreads = [torch.stack(each) for each in zip(*(palette.spreads for palette in palettes), strict=True)]
        return whole

    def loss(self, image: Tensor) -> Tensor:
        """Return the squared distance of an image (B, 3, H, W) relative to the style's variance: (B,).

        It is the mean over lines and factors for the colours, plus a share of the same for their changes.
        """
        distances = [
            (sort_rows(cloud) - values).square().mean((1, 2)) / spread
            for cloud, values, spread in zip(self._clouds(image), self.sorted, self.spreads, strict=True)
        ]
        colours, changes = distances[: len(COLOUR_FACTORS)], distances[len(COLOUR_FACTORS) :]
        return torch.stack(colours).mean(0) + CHANGE_SHARE * torch.stack(changes).mean(0)

    def _clouds(self, image: Tensor) -> list[Tensor]:
        """Return the values that are compared, (B, lines, places): of each factor, and direction where they change."""
        colours = [_along(self.colour_lines, image, factor) for factor in COLOUR_FACTORS]
        maps = [_along(self.change_lines, image, factor) for factor in CHANGE_FACTORS]
        changes = [each.diff(dim=axis) for each in maps for axis in (2, 3)]
        return [cloud.flatten(2) for cloud in (*colours, *changes)]


def _along(lines: Tensor, image: Tensor, factor: int) -> Tensor:
    return torch.einsum("lc,bchw->blhw", lines, F.avg_pool2d(image, factor) if factor > 1 else image)
