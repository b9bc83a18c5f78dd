"""Patch matching between feature maps, and the averaging of overlapping patches.

Gram matrices fix how often each pattern occurs, and leave open whether a line continues or a ring closes. The patch
loss compares each 3 x 3 patch of the image's features with its nearest patch of the style's (Li and Wand 2016,
"Combining Markov random fields and convolutional neural networks for image synthesis", eq. 2 and 3).

Patches of an image are taken on a grid of every `STRIDE`-th position. Cutting and averaging patches works on features
and on pixels alike (ops/exemplar).
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.gram import EPSILON, energy, positions
from src.ops.nearest import argmax_products

SIZE = 3
# Distance between neighbouring patches of the image: at 2, patches of 3 x 3 still cover every position.
STRIDE = 2
# Most style patches to search; a larger style is sampled on a coarser grid, which bounds the cost.
MOST = 16384
# Most bytes of patches that are cut out or averaged at a time.
PART = 24 * 2**20


class StylePatches:
    """The patches of a style image at one layer, to be matched to those of an image.

    Args:
        features: (1, N, H, W), at least 3 x 3 positions.
        dtype: of the search's products; bfloat16 is several times faster where the hardware supports it.

    Attributes:
        patches: (P, N x 3 x 3).
        directions: the patches less their mean, normalised, (P, N x 3 x 3).
        energy: mean sum of squares of a position, (1,).
    """

    def __init__(self, features: Tensor, dtype: torch.dtype) -> None:
        self.energy = energy(features) / positions(features)
        stride = 1
        while (features.shape[2] // stride) * (features.shape[3] // stride) > MOST:
            stride += 1
        self.patches = F.unfold(features, SIZE, stride=stride)[0].T.contiguous()
        # cosine similarity, because Euclidean distance would prefer style patches of low contrast
        self.directions = F.normalize(self.patches - self.patches.mean(0), dim=1).to(dtype)

    def nearest(self, features: Tensor) -> Tensor:
        """Find the most similar style patch for each patch of features (B, N, H, W).

        Similarity is the cosine of the angle between the patches, each less the mean of its image.

        Returns:
            (B, L), indices into `patches` for the L places of the grid.
        """
        image = pad_for_patches(features, SIZE, "replicate")
        bands = [image[:, :, rows] for rows in grid_bands(image, SIZE)]
        total = torch.stack([_cut(band).sum(2) for band in bands]).sum(0)
        mean = (total / math.prod(grid_shape(features))).unsqueeze(2)
        return torch.cat([self._search((_cut(band) - mean).to(self.directions.dtype)) for band in bands], 1)

    def _search(self, patches: Tensor) -> Tensor:
        return torch.stack([argmax_products(sample.T.contiguous(), self.directions) for sample in patches])

    def assembled(self, indices: Tensor, features: Tensor) -> Tensor:
        """Average the style patches of the indices (B, L) where they overlap: (B, N, H, W) as `features`.

        The squared distance of all patches has the same gradient as the distance to this average, where each position
        is weighted by the number of patches that cover it.
        """
        grid = indices.view(-1, *grid_shape(features))
        return average_overlaps(lambda rows: self.taken(grid[:, rows].flatten(1)), features, SIZE)

    def taken(self, indices: Tensor) -> Tensor:
        """Return the style patches of the indices: (B, L) to (B, N x 3 x 3, L)."""
        return self.patches[indices.flatten()].view(*indices.shape, -1).mT

    def relative(self, distance: Tensor, positions: int) -> Tensor:
        """Normalise the squared distance to the `assembled` features.

        Args:
            distance: (B,), a sum over positions.
            positions: their number.

        Returns:
            (B,), the mean over positions relative to the mean energy of the style's positions.
        """
        return distance / positions / self.energy.clamp_min(EPSILON)


class JoinedPatches(StylePatches):
    """Patches of several styles, one for each sample of a batch; the styles may differ in size."""

    def __init__(self, parts: Sequence[StylePatches]) -> None:
        self.parts = parts
        self.energy = torch.cat([part.energy for part in parts])

    def nearest(self, features: Tensor) -> Tensor:
        """Find the most similar patch of each sample's own style: (B, L)."""
        return torch.cat([part.nearest(each) for part, each in zip(self.parts, features.split(1), strict=True)])

    def taken(self, indices: Tensor) -> Tensor:
        """Return the patches of each sample's own style: (B, L) to (B, N x 3 x 3, L)."""
        return torch.cat([part.taken(each) for part, each in zip(self.parts, indices.split(1), strict=True)])


def grid_shape(image: Tensor) -> tuple[int, int]:
    """Return the rows and columns of an image's grid of patches; its last patches cover the last pixels."""
    height, width = image.shape[-2:]
    return height // STRIDE + 1, width // STRIDE + 1


def pad_for_patches(image: Tensor, size: int, mode: str) -> Tensor:
    """Pad an image (B, N, H, W) by half a patch, so that every `STRIDE`-th position is the centre of a patch.

    Args:
        image: features or pixels.
        size: side of a patch, odd.
        mode: as in `torch.nn.functional.pad`.
    """
    height, width = image.shape[-2:]
    half = size // 2
    return F.pad(image, (half, half + (width - 1) % STRIDE, half, half + (height - 1) % STRIDE), mode)


def grid_bands(padded: Tensor, size: int) -> Iterator[slice]:
    """Yield the rows of a padded image that hold some rows of its grid, from top to bottom, at most `PART` a time."""
    count = (padded.shape[2] - size) // STRIDE + 1
    step = _rows_at_once(padded, size)
    for first in range(0, count, step):
        yield slice(STRIDE * first, STRIDE * (min(count, first + step) - 1) + size)


def average_overlaps(patches: Callable[[slice], Tensor], like: Tensor, size: int) -> Tensor:
    """Put patches at their places and average them where they overlap, (B, N, H, W).

    Args:
        patches: rows of the grid to their patches, (B, N x size x size, rows x columns), ordered as by `F.unfold`;
            called for a part of the rows at a time, because all patches together are much larger than the image.
        like: an image of the shape to return.
        size: side of a patch, odd.
    """
    height, width = like.shape[-2:]
    half, (rows, columns) = size // 2, grid_shape(like)
    result: Tensor | None = None
    step = STRIDE * _rows_at_once(like, size)
    for top in range(0, height, step):
        bottom = min(height, top + step)
        part = slice(max(0, -(-(top - half) // STRIDE)), min(rows, (bottom - 1 + half) // STRIDE + 1))
        given = patches(part)
        covered = (STRIDE * (part.stop - part.start - 1) + size, STRIDE * (columns - 1) + size)
        total = F.fold(given, covered, size, stride=STRIDE)
        count = F.fold(torch.ones_like(given[:1, : size * size]), covered, size, stride=STRIDE)
        first = top + half - STRIDE * part.start
        band = (total / count)[:, :, first : first + bottom - top, half : half + width]
        if result is None:
            result = torch.empty_like(like, dtype=band.dtype)  # in the memory layout of `like`
        result[:, :, top:bottom] = band
    assert result is not None
    return result


def _rows_at_once(image: Tensor, size: int) -> int:
    """Return the rows of the grid whose patches take at most `PART` bytes of float32."""
    batch, channels, _, width = image.shape
    return max(1, PART // (batch * channels * size * size * (width // STRIDE + 1) * 4))


def _cut(image: Tensor) -> Tensor:
    return F.unfold(image, SIZE, stride=STRIDE)
