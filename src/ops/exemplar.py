"""Patches of an example image: their search, their refinement from level to level, and the image that they form."""

import math
from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.nearest import argmax_products, min_products
from src.ops.patches import STRIDE, average_overlaps, grid_bands, grid_shape, pad_for_patches

# At a STRIDE of 2 some twelve patches of 7 x 7 overlap at each pixel.
SIZE = 7
HALF = SIZE // 2
# Smaller values make the search use every patch of the example; squared distance over a patch, of pixels in [0, 1].
DIVERSITY_OFFSET = 0.02


class ExemplarPatches:
    """The patches of an example image (1, 3, h, w) in [0, 1], each side at least `SIZE`.

    A patch is named by its origin, the position of its upper left corner in the example. `origins` (2, rows, columns)
    holds the row and column of the patch at each place of an image's grid (every `STRIDE`-th pixel).
    """

    def __init__(self, example: Tensor) -> None:
        self.example = example
        self.rows, self.columns = (side - SIZE + 1 for side in example.shape[-2:])
        # a view: the patches of a large example would take 147 times its memory
        self.patches = example[0].unfold(1, SIZE, 1).unfold(2, SIZE, 1).permute(1, 2, 0, 3, 4)
        self._scaled_keys: Tensor | None = None

    def nearest(self, image: Tensor, rescale: bool) -> Tensor:
        """Find the nearest patch for each place of an image.

        Each patch's squared distances are divided by its smallest one plus an offset, so that patches which are far
        from the whole image are used too (Granot et al. 2022, "Drop the GAN", eq. 2).

        Args:
            image: (1, 3, H, W).
            rescale: compute the divisors again; the first search always does.

        Returns:
            origins, (2, rows, columns).
        """
        mean, keys = self._keys
        queries = _cut(pad_for_patches(image, SIZE, "reflect")) - mean
        queries = torch.cat([queries, torch.ones_like(queries[:, :1]), queries.square().sum(1, keepdim=True)], 1)
        if rescale or self._scaled_keys is None:
            # a quarter of the places is enough to estimate the smallest distances
            sample = queries.unflatten(0, grid_shape(image))[::2, ::2].flatten(0, 1)
            smallest = min_products(sample, keys).clamp_min(0)
            self._scaled_keys = keys / -(DIVERSITY_OFFSET + smallest).unsqueeze(1)  # negative: argmax finds the nearest
        found = argmax_products(queries, self._scaled_keys)
        return torch.stack([found // self.columns, found % self.columns]).view(2, *grid_shape(image))

    def refine(self, origins: Tensor, image: Tensor) -> Tensor:
        """Replace each origin by the nearest of a few candidates (Ashikhmin 2001, "Synthesizing natural textures").

        The candidates are the origin, those a pixel away, and those that continue a neighbour's patch.

        Args:
            origins: (2, rows, columns).
            image: (1, 3, H, W).
        """
        padded = pad_for_patches(image, SIZE, "reflect")
        found, first = [], 0
        for rows in grid_bands(padded, SIZE):
            queries = _cut(padded[:, :, rows])
            last = first + len(queries) // origins.shape[2]
            found.append(self._refine(origins, slice(first, last), queries))
            first = last
        return torch.cat(found, 1)

    def _refine(self, origins: Tensor, rows: slice, queries: Tensor) -> Tensor:
        shape = (rows.stop - rows.start, origins.shape[2])
        best, least = origins[:, rows], queries.new_full(shape, math.inf)
        for candidate in _candidates(origins, rows):
            candidate = self._clamped(candidate)
            distance = (self._at(candidate) - queries).square().sum(1).view(shape)
            better = distance < least
            best, least = torch.where(better, candidate, best), torch.where(better, distance, least)
        return best

    def assemble(self, origins: Tensor, image: Tensor) -> Tensor:
        """Put the patches at their places and average them where they overlap: (1, 3, H, W) as `image`."""
        origins = self._clamped(origins)
        return average_overlaps(lambda y, x: self.example[:, :, origins[0] + y, origins[1] + x], image, SIZE)

    @cached_property
    def _keys(self) -> tuple[Tensor, Tensor]:
        """Mean of the patches, and their keys (-2 k, |k|^2, 1): the dot product with (q, 1, |q|^2) is |q - k|^2."""
        patches = self.patches.reshape(self.rows * self.columns, -1)
        mean = patches.mean(0)
        keys = patches - mean
        return mean, torch.cat([-2 * keys, keys.square().sum(1, keepdim=True), torch.ones_like(keys[:, :1])], 1)

    def _clamped(self, origins: Tensor) -> Tensor:
        return torch.stack([origins[0].clamp(0, self.rows - 1), origins[1].clamp(0, self.columns - 1)])

    def _at(self, origins: Tensor) -> Tensor:
        return self.patches[origins[0].flatten(), origins[1].flatten()].flatten(1)


def upsample_origins(origins: Tensor, before: tuple[Tensor, Tensor], after: tuple[Tensor, Tensor]) -> Tensor:
    """Transfer origins to a finer level: each place continues the patch of the nearest place of the coarse level.

    Args:
        origins: (2, rows, columns) of the coarse level.
        before: image and example of the coarse level; their sizes are used.
        after: image and example of the finer level.
    """
    parents, offsets = [], []
    for axis, count in enumerate(grid_shape(after[0])):
        factor = after[0].shape[2 + axis] / before[0].shape[2 + axis]
        at = STRIDE * torch.arange(count, device=origins.device)
        parent = (((at + 0.5) / factor - 0.5) / STRIDE).round().long().clamp(max=origins.shape[1 + axis] - 1)
        parents.append(parent)
        offsets.append(at - ((STRIDE * parent + 0.5) * factor - 0.5))  # from the parent's centre, in fine pixels
    rows, columns = parents
    found = []
    for axis, offset in enumerate((offsets[0].unsqueeze(1), offsets[1].unsqueeze(0))):
        factor = after[1].shape[2 + axis] / before[1].shape[2 + axis]
        centre = (origins[axis][rows][:, columns] + HALF + 0.5) * factor - 0.5
        found.append((centre + offset).round().long() - HALF)
    return torch.stack(found)


def _candidates(origins: Tensor, rows: slice) -> Iterator[Tensor]:
    """Yield candidate origins for some rows of the grid, (2, rows, columns) each; see `ExemplarPatches.refine`."""
    steps = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    here = origins[:, rows]
    yield here
    for step in steps:
        yield here + origins.new_tensor(step).view(2, 1, 1)
    for step in steps:
        neighbour_rows = torch.arange(rows.start, rows.stop, device=origins.device) - step[0]
        neighbours = torch.roll(origins[:, neighbour_rows % origins.shape[1]], step[1], 2)
        yield neighbours + STRIDE * origins.new_tensor(step).view(2, 1, 1)


def _cut(image: Tensor) -> Tensor:
    """Return the patches of a padded image, (places, 3 x SIZE x SIZE)."""
    return F.unfold(image, SIZE, stride=STRIDE)[0].T
