"""The colours of a style, and how sharply they change, whatever the network makes of them.

A network is blind to some mixtures of colours and to some ripples, and an optimiser finds them: tints that the style
does not have, and a faint weave over all where the style has flat colour and few edges; both have the variance asked
for. The sliced Wasserstein distance of order 2 between two clouds of values is zero only where their distributions are
the same (Bonneel, Rabin, Peyre and Pfister 2015, "Sliced and Radon Wasserstein barycenters of measures", eq. 9):
along a line through colour space, it is the mean squared difference of the sorted values.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from src.ops.sorting import sort_rows

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
        colour_lines = F.normalize(style.new_tensor(COLOUR_LINES), dim=1)
        change_lines = F.normalize(style.new_tensor(CHANGE_LINES), dim=1)
        self.clouds = [
            *(_Cloud(style, size, colour_lines, factor, None, 1 / len(COLOUR_FACTORS)) for factor in COLOUR_FACTORS),
            *(
                _Cloud(style, size, change_lines, factor, axis, CHANGE_SHARE / len(CHANGE_FACTORS) / 2)
                for factor in CHANGE_FACTORS
                for axis in (2, 3)
            ),
        ]

    @classmethod
    def joined(cls, palettes: "Sequence[Palette]") -> "Palette":
        """Return the palettes of several styles, one for each sample of a batch, as one; all for images of one size."""
        whole = copy.copy(palettes[0])
        whole.clouds = [_Cloud.joined(each) for each in zip(*(palette.clouds for palette in palettes), strict=True)]
        return whole

    def loss(self, image: Tensor, sparing: bool = False) -> Tensor:
        """Return the squared distance of an image (B, 3, H, W) relative to the style's variance: (B,).

        It is the mean over lines and factors for the colours, plus a share of the same for their changes.

        Args:
            image: normalised likewise.
            sparing: differentiate each part as soon as it is known, so that one keeps nothing when the next begins; a
                gradient of the result is none that can be differentiated again.
        """
        if sparing:
            return _OneByOne.apply(image, self.clouds)
        return torch.stack([cloud.distance(image) for cloud in self.clouds]).sum(0)


class _Cloud:
    """One cloud of values: of a factor, and of an axis along which neighbours differ, or of the colours themselves."""

    def __init__(
        self, style: Tensor, size: tuple[int, int], lines: Tensor, factor: int, axis: int | None, share: float
    ) -> None:
        self.lines, self.factor, self.axis, self.share = lines, factor, axis, share
        rows, columns = (side // factor - (axis == number) for number, side in enumerate(size, 2))
        theirs = sort_rows(self._values(style))
        self.sorted = F.interpolate(theirs, rows * columns, mode="linear", align_corners=True)
        self.spread = self.sorted.var(2, correction=0).mean().clamp_min(LEAST_SPREAD**2)

    @classmethod
    def joined(cls, clouds: "Sequence[_Cloud]") -> "_Cloud":
        """Return those of several styles as one; its values and its spread are of each sample its own."""
        whole = copy.copy(clouds[0])
        whole.sorted = torch.cat([each.sorted for each in clouds])
        whole.spread = torch.stack([each.spread for each in clouds])
        return whole

    def _values(self, image: Tensor) -> Tensor:
        """Return (B, lines, places)."""
        pixels = F.avg_pool2d(image, self.factor) if self.factor > 1 else image
        along = torch.einsum("lc,bchw->blhw", self.lines, pixels)
        return (along if self.axis is None else along.diff(dim=self.axis)).flatten(2)

    def distance(self, image: Tensor) -> Tensor:
        """Return its share of the loss, (B,)."""
        squares = (sort_rows(self._values(image)) - self.sorted).square()
        return self.share * squares.mean((1, 2)) / self.spread


class _OneByOne(torch.autograd.Function):
    """The sum of all distances; its gradient is known when it is, and is all that is kept."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, clouds: list[_Cloud]) -> Tensor:
        wanted = ctx.needs_input_grad[0]
        total = image.new_zeros(image.shape[0])
        collected = torch.zeros_like(image) if wanted else None
        for cloud in clouds:
            with torch.set_grad_enabled(wanted):
                given = image.detach().requires_grad_(wanted)
                distance = cloud.distance(given)
                if collected is not None:
                    collected += torch.autograd.grad(distance.sum(), given)[0]
            total += distance.detach()
        ctx.save_for_backward(collected)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (collected,) = ctx.saved_tensors
        return gradient.view(-1, 1, 1, 1) * collected, None
