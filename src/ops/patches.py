"""Patches of a style: for every place of an image the one that is nearest, and the distance to it.

Statistics say how often each pattern occurs, not that a line goes on or that a ring closes. Asking each 3 x 3 patch of
features to be like one that the style really has does (Li and Wand 2016, "Combining Markov random fields and
convolutional neural networks for image synthesis", eq. 2 and 3). How patches are cut out and laid over one another is
the same for pixels (core/example).
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.gram import TINY, energy, positions
from src.ops.nearest import largest_products

SIZE = 3
# Places of the image are looked up on every other position: patches of three still cover all.
STRIDE = 2
# A style with more patches than this is thinned out on a regular grid: the cost of a search is bounded.
MOST = 16384
# Patches are cut out, and laid down, so much of them at a time, bytes.
PART = 24 * 2**20


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
        image = padded(features, SIZE, "replicate")
        parts = [image[:, :, rows] for rows in place_rows(image, SIZE)]
        total = torch.stack([_cut_out(part).sum(2) for part in parts]).sum(0)
        mean = (total / math.prod(places(features))).unsqueeze(2)
        return torch.cat([self._nearest((_cut_out(part) - mean).to(self.directions.dtype)) for part in parts], 1)

    def _nearest(self, centred: Tensor) -> Tensor:
        return torch.stack([largest_products(each.T.contiguous(), self.directions) for each in centred])

    def assembled(self, numbers: Tensor, features: Tensor) -> Tensor:
        """Return the style patches of these numbers laid over one another and averaged, (B, N, H, W) as `features`.

        The sum of squared distances of all patches has the same gradient as the distance to this average.
        """
        grid = numbers.view(-1, *places(features))
        return averaged(lambda rows: self.taken(grid[:, rows].flatten(1)), features, SIZE)

    def taken(self, numbers: Tensor) -> Tensor:
        """Return the style patches of these numbers, (B, L) to (B, N x 3 x 3, L)."""
        return self.patches[numbers.flatten()].view(*numbers.shape, -1).mT

    def relative(self, distance: Tensor, positions: int) -> Tensor:
        """Return the squared distance of features to `assembled` ones, (B,), summed over so many positions, as a mean
        relative to the style's mean energy of a position.
        """
        return distance / positions / self.energy.clamp_min(TINY)


class JoinedPatches(StylePatches):
    """The patches of several styles, one for each sample of a batch; the styles may differ in size."""

    def __init__(self, parts: Sequence[StylePatches]) -> None:
        self.parts = parts
        self.energy = torch.cat([each.energy for each in parts])

    def nearest(self, features: Tensor) -> Tensor:
        """Return what `StylePatches.nearest` does, of each sample among the patches of its own style: (B, L)."""
        return torch.cat([part.nearest(each) for part, each in zip(self.parts, features.split(1), strict=True)])

    def taken(self, numbers: Tensor) -> Tensor:
        """Return what `StylePatches.taken` does, of each sample its own style's: (B, N x 3 x 3, L)."""
        return torch.cat([part.taken(each) for part, each in zip(self.parts, numbers.split(1), strict=True)])


def padded(image: Tensor, size: int, mode: str) -> Tensor:
    """Return an image (B, N, H, W) with so much around it that every `STRIDE`-th position is the centre of a patch.

    Args:
        image: features or pixels.
        size: side of a patch, odd.
        mode: what is around it, as of `torch.nn.functional.pad`.
    """
    left, right, top, bottom = _around(image, size)
    return F.pad(image, (left, right, top, bottom), mode)


def places(image: Tensor) -> tuple[int, int]:
    """Return how many rows and columns of places an image (B, N, H, W) has: its last pixel belongs to one."""
    height, width = image.shape[-2:]
    return height // STRIDE + 1, width // STRIDE + 1


def averaged(patches: Callable[[slice], Tensor], like: Tensor, size: int) -> Tensor:
    """Return patches laid at their places and averaged where they overlap, (B, N, H, W).

    Args:
        patches: gives those of some rows of places, (B, N x size x size, rows x columns), in the order in which
            `unfold` takes them from the `padded` image; asked for a part at a time, as all are much larger than it.
        like: an image of the shape that is wanted.
        size: side of a patch, odd.
    """
    height, width = like.shape[-2:]
    half, (rows, columns) = size // 2, places(like)
    result: Tensor | None = None
    step = STRIDE * _rows_at_once(like, size)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        some = slice(max(0, -(-(top - half) // STRIDE)), min(rows, (bottom - 1 + half) // STRIDE + 1))
        given = patches(some)
        whole = (STRIDE * (some.stop - some.start - 1) + size, STRIDE * (columns - 1) + size)
        total = F.fold(given, whole, size, stride=STRIDE)
        count = F.fold(torch.ones_like(given[:1, : size * size]), whole, size, stride=STRIDE)
        first = top + half - STRIDE * some.start
        part = (total / count)[:, :, first : first + bottom - top, half : half + width]
        if result is None:
            result = torch.empty_like(like, dtype=part.dtype)
        result[:, :, top:bottom] = part
    assert result is not None
    return result


def place_rows(image: Tensor, size: int) -> Iterator[slice]:
    """Yield the rows of a `padded` image whose patches are cut out at a time, from the first place to the last."""
    count = (image.shape[2] - size) // STRIDE + 1
    step = _rows_at_once(image, size)
    for first in range(0, count, step):
        yield slice(STRIDE * first, STRIDE * (min(count, first + step) - 1) + size)


def _rows_at_once(image: Tensor, size: int) -> int:
    batch, channels, _, width = image.shape
    return max(1, PART // (batch * channels * size * size * (width // STRIDE + 1) * 4))


def _cut_out(image: Tensor) -> Tensor:
    return F.unfold(image, SIZE, stride=STRIDE)


def _around(image: Tensor, size: int) -> tuple[int, int, int, int]:
    """Return what goes to the left, right, top and bottom: half a patch, and what makes the strides come out even."""
    height, width = image.shape[-2:]
    half = size // 2
    return half, half + (width - 1) % STRIDE, half, half + (height - 1) % STRIDE
