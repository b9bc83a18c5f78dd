"""How well cameras show a texture: texels per pixel, and the share of the texture in use that they show."""

from dataclasses import dataclass

import numpy as np

from src.data.views import Floats, Views
from src.ops.rasterizing import NONE, rasterize
from src.transfer.views import Sheet, cells, in_use, view_side

PERCENTILE = 75  # of the texels per pixel that samples are chosen by


@dataclass(frozen=True)
class Coverage:
    """Of a canvas under its cameras.

    Attributes:
        in_use: share of the canvas that triangles cover.
        shown: share of what they cover that a view shows.
    """

    in_use: float
    shown: float


def texels_per_pixel(views: Views, size: tuple[int, int]) -> float:
    """Return the number of texels along the side of a pixel: the 75th percentile over the visible surface.

    Args:
        views: surface and cameras.
        size: height and width of the canvas, px.
    """
    side = view_side(views, size)
    texels = _areas(_places(views, size))
    found, counts = [], []
    for camera in views.cameras:
        corners = views.corners @ camera[:, :3].T + camera[:, 3]
        pixels = _areas(corners[..., :2] / corners[..., 2:]) * (float(views.focal) * side) ** 2
        face = rasterize(corners, float(views.focal) * side, side, side).face
        number, count = np.unique(face[face != NONE], return_counts=True)
        found.append(np.sqrt(texels[number] / np.maximum(pixels[number], 1e-12)))
        counts.append(count)
    values = np.repeat(np.concatenate(found), np.concatenate(counts))
    return float(np.percentile(values, PERCENTILE)) if len(values) else 0.0


def coverage(views: Views, sheet: Sheet) -> Coverage:
    """Return how much of a canvas is in use, and how much of that is shown."""
    used = in_use(views, sheet.canvas).reshape(sheet.canvas)
    shown = (sheet.seen[0, 0] > 0).cpu().numpy() & used
    return Coverage(float(used.mean()), float(shown.sum() / max(1, used.sum())))


def _places(views: Views, size: tuple[int, int]) -> Floats:
    """Return the places of corners on the canvas, px, (F, 3, 2); those that repeat their texture may be outside."""
    rectangles = cells(views, size)[views.cell][:, None]
    return rectangles[..., :2] + views.uv * rectangles[..., 2:]


def _areas(corners: Floats) -> Floats:
    """Return the areas of triangles in the plane, (F, 3, 2) to (F,)."""
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0]) / 2
