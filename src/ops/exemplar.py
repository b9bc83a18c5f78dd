"""The patches of an example picture: which of them lie where in an image, and the image that they make."""

import math
from collections.abc import Iterator
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.nearest import largest_products, smallest_products
from src.ops.patches import STRIDE, averaged, padded, place_rows, places

# At STRIDE pixels from place to place, patches of seven overlap twelvefold.
SIZE = 7
AROUND = SIZE // 2
# How much patches are kept from being used alike, in squared distances over a patch (values in [0, 1]).
RELUCTANCE = 0.02


class ExamplePatches:
    """The patches of an example, (1, 3, h, w) in [0, 1], no side shorter than a patch.

    They are named by where their upper left corner lies: origins (2, rows, columns) hold that of the patch at each
    place of an image, whose places are every `STRIDE`-th pixel, from the first on.
    """

    def __init__(self, example: Tensor) -> None:
        self.rows, self.columns = (side - SIZE + 1 for side in example.shape[-2:])
        # a view: written out, the patches of a large example would take 147 times its memory
        self.patches = example[0].unfold(1, SIZE, 1).unfold(2, SIZE, 1).permute(1, 2, 0, 3, 4)
        self._scaled: Tensor | None = None

    def nearest(self, image: Tensor, rescale: bool) -> Tensor:
        """Return the origins of the nearest patches.

        By distances that are scaled for each patch: one that is far from everything is brought nearer, so that what
        is rare in the example is used too.

        Args:
            image: (1, 3, H, W).
            rescale: measure the scales anew, as the first search does anyhow.
        """
        mean, keys = self._keys
        queries = _queries(image) - mean
        queries = torch.cat([queries, torch.ones_like(queries[:, :1]), queries.square().sum(1, keepdim=True)], 1)
        if rescale or self._scaled is None:
            # every other place of every other row tells how far a patch is from all as well as all do
            some = queries.unflatten(0, places(image))[::2, ::2].flatten(0, 1)
            nearest = smallest_products(some, keys).clamp_min(0)
            self._scaled = keys / -(RELUCTANCE + nearest).unsqueeze(1)  # the nearest has the largest product
        found = largest_products(queries, self._scaled)
        return torch.stack([found // self.columns, found % self.columns]).view(2, *places(image))

    def improved(self, origins: Tensor, image: Tensor) -> Tensor:
        """Return better origins for an image (1, 3, H, W): of those given, those a pixel aside, and those that go on
        where a neighbour's patch lies, the nearest (Ashikhmin 2001, "Synthesizing natural textures").
        """
        around = padded(image, SIZE, "reflect")
        found, first = [], 0
        for rows in place_rows(around, SIZE):
            queries = _cut_out(around[:, :, rows])
            last = first + len(queries) // origins.shape[2]
            found.append(self._improved(origins, slice(first, last), queries))
            first = last
        return torch.cat(found, 1)

    def _improved(self, origins: Tensor, rows: slice, queries: Tensor) -> Tensor:
        size = (rows.stop - rows.start, origins.shape[2])
        best, least = origins[:, rows], queries.new_full(size, math.inf)
        for candidate in _candidates(origins, rows):
            candidate = self._inside(candidate)
            distance = (self._at(candidate) - queries).square().sum(1).view(size)
            better = distance < least
            best, least = torch.where(better, candidate, best), torch.where(better, distance, least)
        return best

    def lay(self, origins: Tensor, image: Tensor) -> Tensor:
        """Return the patches at their places, averaged where they overlap, (1, 3, H, W) as `image`."""
        origins = self._inside(origins)
        return averaged(lambda rows: self._at(origins[:, rows]).T.unsqueeze(0), image, SIZE)

    @cached_property
    def _keys(self) -> tuple[Tensor, Tensor]:
        """Mean of the patches, and the patches such that |q - k|^2 = (q, 1, |q|^2) . (-2 k, |k|^2, 1) is a product."""
        patches = self.patches.reshape(self.rows * self.columns, -1)
        mean = patches.mean(0)
        keys = patches - mean
        return mean, torch.cat([-2 * keys, keys.square().sum(1, keepdim=True), torch.ones_like(keys[:, :1])], 1)

    def _inside(self, origins: Tensor) -> Tensor:
        return torch.stack([origins[0].clamp(0, self.rows - 1), origins[1].clamp(0, self.columns - 1)])

    def _at(self, origins: Tensor) -> Tensor:
        return self.patches[origins[0].flatten(), origins[1].flatten()].flatten(1)


def carried(origins: Tensor, before: tuple[Tensor, Tensor], now: tuple[Tensor, Tensor]) -> Tensor:
    """Return the origins of a finer level: each place goes on in the patch of the coarse place next to it.

    Args:
        origins: (2, rows, columns) of the coarse level.
        before: image and example of the coarse level, for their sizes.
        now: those of the finer one.
    """
    parents, found = [], []
    for axis, count in enumerate(places(now[0])):
        factor = now[0].shape[2 + axis] / before[0].shape[2 + axis]
        at = STRIDE * torch.arange(count, device=origins.device)
        parent = (((at + 0.5) / factor - 0.5) / STRIDE).round().long().clamp(max=origins.shape[1 + axis] - 1)
        parents.append((parent, at - ((STRIDE * parent + 0.5) * factor - 0.5)))
    (rows, below), (columns, right) = parents  # and how far, on the finer level, a place is from where its parent is
    for axis, apart in enumerate((below.unsqueeze(1), right.unsqueeze(0))):
        factor = now[1].shape[2 + axis] / before[1].shape[2 + axis]
        centre = (origins[axis][rows][:, columns] + AROUND + 0.5) * factor - 0.5
        found.append((centre + apart).round().long() - AROUND)
    return torch.stack(found)


def _candidates(origins: Tensor, rows: slice) -> Iterator[Tensor]:
    """Yield what might be better in some rows, (2, rows, columns) each: what is there, a pixel aside, and where the
    patch of a neighbour goes on.
    """
    near = [(y, x) for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    here = origins[:, rows]
    yield here
    for step in near:
        yield here + origins.new_tensor(step).view(2, 1, 1)
    for step in near:
        of = torch.arange(rows.start, rows.stop, device=origins.device) - step[0]
        neighbours = torch.roll(origins[:, of % origins.shape[1]], step[1], 2)
        yield neighbours + STRIDE * origins.new_tensor(step).view(2, 1, 1)


def _queries(image: Tensor) -> Tensor:
    """Return the patch around each place of an image, (places, 3 x SIZE x SIZE)."""
    return _cut_out(padded(image, SIZE, "reflect"))


def _cut_out(image: Tensor) -> Tensor:
    return F.unfold(image, SIZE, stride=STRIDE)[0].T
