"""Patch matching between feature maps, and the averaging of overlapping patches.

Gram matrices fix how often each pattern occurs, and leave open whether a line continues or a ring closes. The patch
loss compares each 3 x 3 patch of the image's features with its nearest patch of the style's (Li and Wand 2016,
"Combining Markov random fields and convolutional neural networks for image synthesis", eq. 2 and 3).

Patches of an image are taken on a grid of every `STRIDE`-th position.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.gram import EPSILON, weighted_mean
from src.ops.guides import hard_region
from src.ops.nearest import argmax_products

PATCH_SIZE = 3
# Distance between neighbouring patches of the image: at 2, patches of 3 x 3 still cover every position.
STRIDE = 2
# Most style patches to search; a larger style is sampled on a coarser grid, which bounds the cost.
MAX_PATCHES = 16384
# Most bytes of patches that are cut out at a time.
CHUNK_BYTES = 24 * 2**20


class StylePatches:
    """The patches of a style image at one layer, to be matched to those of an image.

    Args:
        features: (1, N, H, W), at least 3 x 3 positions.
        dtype: of the search's products; bfloat16 is several times faster where the hardware supports it.
        weight: of each position, (1, 1, H, W) with a mean of 1: patches of less than half the largest one are left out.

    Attributes:
        patches: (P, N, 3, 3).
        directions: the patches less their mean, normalised, (P, N x 3 x 3).
        energy: mean sum of squares of a position, (1,).
    """

    def __init__(self, features: Tensor, dtype: torch.dtype, weight: Tensor | None = None) -> None:
        self.energy = weighted_mean(features.square(), weight).sum(1)
        stride = 1
        while (features.shape[2] // stride) * (features.shape[3] // stride) > MAX_PATCHES:
            stride += 1
        patches = F.unfold(features, PATCH_SIZE, stride=stride)[0].T.contiguous()
        if weight is not None:
            patches = patches[hard_region(F.avg_pool2d(weight, PATCH_SIZE, stride)).flatten()]
        # cosine similarity, because Euclidean distance would prefer style patches of low contrast
        self.directions = F.normalize(patches - patches.mean(0), dim=1).to(dtype)
        patches = patches.view(len(patches), -1, PATCH_SIZE, PATCH_SIZE)
        self.patches = patches.contiguous(memory_format=torch.channels_last)  # as `assemble` reads them

    @classmethod
    def mixed(cls, parts: "Sequence[StylePatches]", shares: Sequence[float]) -> "StylePatches":
        """Return the patches of several styles as those of one; the shares, whose sum is 1, weight the energy."""
        whole = copy.copy(parts[0])
        whole.energy = torch.stack([share * part.energy for part, share in zip(parts, shares, strict=True)]).sum(0)
        whole.directions = torch.cat([part.directions for part in parts])
        whole.patches = torch.cat([part.patches for part in parts]).contiguous(memory_format=torch.channels_last)
        return whole

    def nearest(self, features: Tensor, weight: Tensor | None = None) -> Tensor:
        """Find the most similar style patch for each patch of features (B, N, H, W).

        Similarity is the cosine of the angle between the patches, each less the mean of its image.

        Args:
            features: of the image.
            weight: of each position in the image's mean, (1 or B, 1, H, W) with a mean of 1; None: 1 everywhere.

        Returns:
            (B, L), indices into `patches` for the L places of the grid.
        """
        image = pad_for_patches(features, "replicate")
        bands = [image[:, :, rows] for rows in grid_bands(image)]
        if weight is None:
            total = torch.stack([_cut(band).sum(2) for band in bands]).sum(0)
            mean = (total / math.prod(grid_shape(features.shape[2:]))).unsqueeze(2)
        else:
            padded = pad_for_patches(weight, "replicate")
            shares = [_cut(padded[:, :, rows]).mean(1, keepdim=True) for rows in grid_bands(image)]
            total = torch.stack([(_cut(band) * each).sum(2) for band, each in zip(bands, shares, strict=True)]).sum(0)
            mean = (total / torch.cat(shares, 2).sum(2)).unsqueeze(2)
        return torch.cat([self._search((_cut(band) - mean).to(self.directions.dtype)) for band in bands], 1)

    def _search(self, patches: Tensor) -> Tensor:
        return torch.stack([argmax_products(sample.T.contiguous(), self.directions) for sample in patches])

    def assemble(self, indices: Tensor, features: Tensor) -> Tensor:
        """Average the style patches of the indices (B, L) where they overlap: (B, N, H, W) as `features`.

        The squared distance of all patches has the same gradient as the distance to this average, where each position
        is weighted by the number of patches that cover it.
        """
        grid = indices.view(-1, *grid_shape(features.shape[2:]))
        return average_overlaps(partial(self._pixels, grid), features)

    def _pixels(self, grid: Tensor, y: int, x: int) -> Tensor:
        """Return position (y, x) of the patches of a grid of indices (B, rows, columns): (B, N, rows, columns)."""
        return self.patches[:, :, y, x][grid].permute(0, 3, 1, 2)

    def relative(self, distance: Tensor, positions: int) -> Tensor:
        """Divide the squared distance to the features of `assemble`, (B,), summed over so many positions, by that
        number and by the mean energy of the style's positions.
        """
        return distance / positions / self.energy.clamp_min(EPSILON)


class JoinedPatches(StylePatches):
    """Patches of several styles, one for each sample of a batch; the styles may differ in size."""

    def __init__(self, parts: Sequence[StylePatches]) -> None:
        self.parts = parts
        self.energy = torch.cat([part.energy for part in parts])

    def nearest(self, features: Tensor, weight: Tensor | None = None) -> Tensor:
        """Find the most similar patch of each sample's own style: (B, L)."""
        weights = [None] * len(features) if weight is None else weight.expand(len(features), -1, -1, -1).split(1)
        samples = zip(self.parts, features.split(1), weights, strict=True)
        return torch.cat([part.nearest(each, own) for part, each, own in samples])

    def _pixels(self, grid: Tensor, y: int, x: int) -> Tensor:
        return torch.cat([part._pixels(each, y, x) for part, each in zip(self.parts, grid.split(1), strict=True)])


def grid_shape(size: Sequence[int]) -> tuple[int, int]:
    """Return rows and columns of the grid of patches at a height and width; the last patches cover the last pixels."""
    height, width = size
    return height // STRIDE + 1, width // STRIDE + 1


def pad_for_patches(image: Tensor, mode: str) -> Tensor:
    """Pad features (B, N, H, W) by half a patch, so that every `STRIDE`-th position is the centre of a patch.

    Args:
        image: the features.
        mode: as in `torch.nn.functional.pad`.
    """
    height, width = image.shape[-2:]
    half = PATCH_SIZE // 2
    return F.pad(image, (half, half + (width - 1) % STRIDE, half, half + (height - 1) % STRIDE), mode)


def grid_bands(padded: Tensor) -> Iterator[slice]:
    """Yield the rows of a padded image that hold some rows of its grid, top to bottom, `CHUNK_BYTES` at a time."""
    count = (padded.shape[2] - PATCH_SIZE) // STRIDE + 1
    step = _rows_at_once(padded)
    for first in range(0, count, step):
        yield slice(STRIDE * first, STRIDE * (min(count, first + step) - 1) + PATCH_SIZE)


def average_overlaps(pixels: Callable[[int, int], Tensor], like: Tensor) -> Tensor:
    """Put patches at their places and average them where they overlap, (B, N, H, W).

    Args:
        pixels: row and column inside a patch to the values of all patches there, (B, N, rows, columns) of the grid.
        like: an image of the shape and memory layout to return.
    """
    (height, width), half = like.shape[2:], PATCH_SIZE // 2
    rows, columns = grid_shape((height, width))
    dtype = torch.promote_types(like.dtype, torch.float32)
    total = pad_for_patches(torch.zeros_like(like, dtype=dtype), "constant")
    count = torch.zeros_like(total[:1, :1])
    for y, x in itertools.product(range(PATCH_SIZE), repeat=2):
        at = (..., slice(y, y + STRIDE * rows - 1, STRIDE), slice(x, x + STRIDE * columns - 1, STRIDE))
        total[at] += pixels(y, x)
        count[at] += 1
    inside = (..., slice(half, half + height), slice(half, half + width))
    return torch.div(total[inside], count[inside], out=torch.empty_like(like, dtype=dtype))


def _rows_at_once(image: Tensor) -> int:
    """Return the rows of the grid whose patches take at most `CHUNK_BYTES` in float32."""
    batch, channels, _, width = image.shape
    return max(1, CHUNK_BYTES // (batch * channels * PATCH_SIZE**2 * (width // STRIDE + 1) * 4))


def _cut(image: Tensor) -> Tensor:
    return F.unfold(image, PATCH_SIZE, stride=STRIDE)
