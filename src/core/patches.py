"""Patches of a style: for every place of an image the one that is nearest, and the distance to it.

Statistics say how often each pattern occurs, not that a line goes on or that a ring closes. Asking each 3 x 3 patch of
features to be like one that the style really has does (Li and Wand 2016, "Combining Markov random fields and
convolutional neural networks for image synthesis", eq. 2 and 3). How patches are cut out and laid over one another is
the same for pixels (core/example).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from src.core.statistics import TINY, energy, positions

SIZE = 3
# Places of the image are looked up on every other position: patches of three still cover all.
STRIDE = 2
# A style with more patches than this is thinned out on a regular grid: the cost of a search is bounded.
MOST = 16384
_CHUNK = 1024


class StylePatches:
    """What the patch loss keeps of the style image at one layer.

    Args:
        features: (1, N, H, W), at least 3 x 3 positions.
        dtype: what the search multiplies in; bfloat16 is several times faster where the hardware has it.
    """

    def __init__(self, features: Tensor, dtype: torch.dtype) -> None:
        self.energy = energy(features) / positions(features)
        stride = 1
        while (features.shape[2] // stride) * (features.shape[3] // stride) > MOST:
            stride += 1
        self.patches = F.unfold(features, SIZE, stride=stride)[0].T.contiguous()
        centred = self.patches - self.patches.mean(0)
        # Where the angle decides, a patch of little contrast is nearest to few: matching by distance prefers such
        self.directions = F.normalize(centred, dim=1).to(dtype)

    def nearest(self, features: Tensor) -> Tensor:
        """Return the number of the style patch at the smallest angle, both less their means, of every place: (B, L).

        Args:
            features: (B, N, H, W).
        """
        patches = F.unfold(padded(features, SIZE, "replicate"), SIZE, stride=STRIDE)
        centred = (patches - patches.mean(2, keepdim=True)).to(self.directions.dtype)
        found = [
            torch.cat([(part.mT @ self.directions.mT).argmax(1) for part in each.split(_CHUNK, 1)]) for each in centred
        ]
        return torch.stack(found)

    def assembled(self, places: Tensor, features: Tensor) -> Tensor:
        """Return the style patches of these numbers laid over one another and averaged, (B, N, H, W) as `features`.

        The sum of squared distances of all patches has the same gradient as the distance to this average.
        """
        return averaged(self.patches[places.flatten()].view(*places.shape, -1).mT, features, SIZE)

    def loss(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the mean squared distance of features (B, N, H, W) to `assembled` ones, relative to the style's mean
        energy of a position: (B,).
        """
        return energy(features - target) / positions(features) / self.energy.clamp_min(TINY)


class JoinedPatches(StylePatches):
    """The patches of several styles, one for each sample of a batch; the styles may differ in size."""

    def __init__(self, parts: Sequence[StylePatches]) -> None:
        self.parts = parts
        self.energy = torch.cat([each.energy for each in parts])

    def nearest(self, features: Tensor) -> Tensor:
        """Return what `StylePatches.nearest` does, of each sample among the patches of its own style: (B, L)."""
        return torch.cat([part.nearest(each) for part, each in zip(self.parts, features.split(1), strict=True)])

    def assembled(self, places: Tensor, features: Tensor) -> Tensor:
        """Return what `StylePatches.assembled` does, (B, N, H, W)."""
        found = [part.patches[numbers] for part, numbers in zip(self.parts, places, strict=True)]
        return averaged(torch.stack(found).mT, features, SIZE)


def padded(image: Tensor, size: int, mode: str) -> Tensor:
    """Return an image (B, N, H, W) with so much around it that every `STRIDE`-th position is the centre of a patch.

    Args:
        image: features or pixels.
        size: side of a patch, odd.
        mode: what is around it, as of `torch.nn.functional.pad`.
    """
    left, right, top, bottom = _around(image, size)
    return F.pad(image, (left, right, top, bottom), mode)


def averaged(patches: Tensor, like: Tensor, size: int) -> Tensor:
    """Return patches laid at their places and averaged where they overlap, (B, N, H, W).

    Args:
        patches: (B, N x size x size, places), in the order in which `unfold` takes them from the `padded` image.
        like: an image of the shape that is wanted.
        size: side of a patch, odd.
    """
    height, width = like.shape[-2:]
    left, right, top, bottom = _around(like, size)
    whole = (top + height + bottom, left + width + right)
    total = F.fold(patches, whole, size, stride=STRIDE)
    count = F.fold(torch.ones_like(patches[:1, : size * size]), whole, size, stride=STRIDE)
    return (total / count)[:, :, top : top + height, left : left + width]


def _around(image: Tensor, size: int) -> tuple[int, int, int, int]:
    """Return what goes to the left, right, top and bottom: half a patch, and what makes the strides come out even."""
    height, width = image.shape[-2:]
    half = size // 2
    return half, half + (width - 1) % STRIDE, half, half + (height - 1) % STRIDE
