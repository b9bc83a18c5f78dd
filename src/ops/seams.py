"""Blend a texture across the seams of its UV map, where neighbours on the surface lie far apart in the texture."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH = 4.0  # texels on either side of a seam that are blended
GAP = 1.5  # texels beyond a seam that a bilinear filter may read
PRECISION = 1e-5  # of positions that count as one, over the size of the surface
LARGEST_SEAM = 1e-3  # texels: edges whose places differ by less are no seam


@dataclass(frozen=True)
class Blend:
    """Texels near seams, and what each of them becomes: (1 - share) x own + share x other.

    A texel at a distance t from a seam is blended with the point at the same distance on the other side, with a share
    of 1/2 at the seam, which falls to 0 at `WIDTH`. A texel beyond the seam continues the other side. So both sides
    have one value at the seam.

    Attributes:
        texel: (N, 2), column and row in the cell of the texture; may lie outside where the texture repeats.
        cell: (N,), its texture.
        own: (N, 2), place of the point on the texel's side of the seam, px.
        other: (N, 2), place of the point on the other side, px.
        other_cell: (N,), texture of the other side.
        share: (N,), of the other side.
        distance: (N,), from the seam, px; negative beyond it.
    """

    texel: NDArray[np.int64]
    cell: NDArray[np.int64]
    own: Floats
    other: Floats
    other_cell: NDArray[np.int64]
    share: Floats
    distance: Floats

    @property
    def beyond(self) -> NDArray[np.bool_]:
        """Return which texels lie beyond their seam."""
        return self.distance < 0


@dataclass(frozen=True)
class _Side:
    """One side of a seam in the texture, px: where it begins, the edge, the unit normal into the triangle, the texels
    per unit of length across the seam, and the texture.
    """

    start: Floats
    edge: Floats
    inward: Floats
    texels: float
    cell: int

    def at(self, along: Floats, distance: Floats) -> Floats:
        """Return places (N, 2) at shares of the edge and distances from it, px."""
        return self.start + along[:, None] * self.edge + distance[:, None] * self.inward


def blend_across_seams(corners: Floats, places: Floats, cell: NDArray[np.int64]) -> Blend:
    """Return how texels near seams are blended.

    A seam is an edge of exactly two triangles that lies at two places of the texture, or in two textures.

    Args:
        corners: (F, 3, 3), of the triangles.
        places: (F, 3, 2), of the corners in their texture, px.
        cell: (F,), the texture of each triangle.
    """
    parts: list[tuple] = []
    for sides in _seams(corners, places, cell):
        for mine, other in (sides, sides[::-1]):
            parts.append(_texels(mine, other))
    names = ("texel", "own", "other", "share", "distance", "cell", "other_cell")
    if not parts:
        none, nowhere = np.zeros(0, np.int64), np.zeros((0, 2))
        return Blend(nowhere.astype(np.int64), none, nowhere, nowhere, none, np.zeros(0), np.zeros(0))
    return Blend(**{name: np.concatenate(values) for name, values in zip(names, zip(*parts, strict=True), strict=True)})


def _seams(corners: Floats, places: Floats, cell: NDArray[np.int64]) -> list[tuple[_Side, _Side]]:
    size = max(float(np.ptp(corners.reshape(-1, 3), axis=0).max()), 1e-12)
    names = np.unique(np.rint(corners.reshape(-1, 3) / (PRECISION * size)), axis=0, return_inverse=True)[1].reshape(
        -1, 3
    )
    edges: dict[tuple[int, int], list[tuple[int, int, int]]] = defaultdict(list)
    for corner in range(3):
        first, last = names[:, corner], names[:, (corner + 1) % 3]
        turned = first > last
        for face, (one, two, back) in enumerate(zip(first.tolist(), last.tolist(), turned.tolist(), strict=True)):
            begin, end = (corner, (corner + 1) % 3)
            edges[(two, one) if back else (one, two)].append((face, end, begin) if back else (face, begin, end))
    found = []
    for (one, two), users in edges.items():
        if one == two or len(users) != 2:
            continue
        (face, begin, end), (other, other_begin, other_end) = users
        apart = np.abs(places[face, [begin, end]] - places[other, [other_begin, other_end]]).max()
        if cell[face] == cell[other] and apart < LARGEST_SEAM:
            continue
        sides = [_side(corners[each], places[each], first, last, int(cell[each])) for each, first, last in users]
        if sides[0] is not None and sides[1] is not None:
            found.append((sides[0], sides[1]))
    return found


def _side(corners: Floats, places: Floats, begin: int, end: int, cell: int) -> _Side | None:
    """Return a side of a seam; None where the triangle has no area, on the surface or in the texture."""
    third = 3 - begin - end
    heights = []
    for points in (corners, places):
        edge, across = points[end] - points[begin], points[third] - points[begin]
        length = edge @ edge
        if length <= 0:
            return None
        upright = across - (across @ edge) / length * edge
        heights.append(upright)
    high, inward = np.linalg.norm(heights[0]), np.linalg.norm(heights[1])
    if high <= 0 or inward <= 0:
        return None
    return _Side(places[begin], places[end] - places[begin], heights[1] / inward, float(inward / high), cell)


def _texels(mine: _Side, other: _Side) -> tuple:
    """Return the texels beside a seam, with what `Blend` has of them."""
    ends = np.stack([mine.start, mine.start + mine.edge])
    low, high = np.floor(ends.min(0) - WIDTH).astype(int), np.ceil(ends.max(0) + WIDTH).astype(int)
    texel = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True))), -1).reshape(-1, 2)
    offset = texel + 0.5 - mine.start
    along = offset @ mine.edge / (mine.edge @ mine.edge)
    distance = offset @ mine.inward
    near = (along >= 0) & (along <= 1) & (distance < WIDTH) & (distance > -GAP)
    texel, along, distance = texel[near], along[near], distance[near]
    away, beyond = np.abs(distance), distance < 0
    share = 0.5 * (1 - away / WIDTH)
    own, across = mine.at(along, away), other.at(along, away / mine.texels * other.texels)
    cells = np.full(len(texel), mine.cell), np.full(len(texel), other.cell)
    return texel, own, across, np.where(beyond, 1 - share, share), distance, *cells
