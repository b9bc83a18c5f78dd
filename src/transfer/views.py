"""What the cameras of `canvas.views` show of a texture: a sheet of all views."""

import functools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from src.data.views import Floats, Views
from src.ops.alpha import fill_transparent
from src.ops.rasterizing import NONE, Hits, rasterize
from src.ops.sampling import Sampling, bilinear_taps
from src.ops.seams import blend_across_seams
from src.transfer.terms.base import Inputs

BACKGROUND = 1.0  # grey of the background in pictures of the views


class Sheet:
    """A differentiable map from the canvas, a texture, to the sheet of its views.

    A background pixel shows the surface mirrored at its outline, so that a network sees no edge there. The losses
    ignore the background, and surfaces that are seen at a steep angle.

    Args:
        views: surface and cameras, of one turn.
        size: height and width of the canvas, px.
        device, dtype: of the images.

    Attributes:
        size, canvas: height and width of the sheet and of the canvas, px.
        mask: (1, 1, H, W) in [0, 1], how much of each pixel counts.
        coverage: (1, 1, H, W) in [0, 1], how much of each pixel is no background.
        seen: (1, 1, h, w), how often the views show each pixel of the canvas; 0 for what none shows.
    """

    def __init__(self, views: Views, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> None:
        side = view_side(views, size)
        self.size, self.canvas = sheet_size(views, size), size
        found = [_view(views, camera, side, size) for camera in views.cameras]
        pixels, weights, coverage, counted = (_laid_out(each, views.sheet) for each in zip(*found, strict=True))
        self.sampling = Sampling(
            torch.from_numpy(pixels).flatten(0, 1),
            torch.from_numpy(weights).flatten(0, 1).to(dtype),
            math.prod(size),
            device,
        )
        self.coverage, self.mask = (
            torch.from_numpy(each)[None, None].to(device, dtype) for each in (coverage, counted)
        )
        self.seen = self.sampling.shares.view(1, 1, *size).clone()
        self._welded = functools.partial(_weld, views, size, device, dtype)

    @functools.cached_property
    def weld(self) -> Sampling | None:
        """Blend of the canvas across the seams of its UV map; None without any."""
        return self._welded()

    def __call__(self, image: Tensor) -> Tensor:
        """Return the views of images, (B, C, h, w) to (B, C, H, W)."""
        return self.sampling(image).unflatten(2, self.size)

    def inputs(self, inputs: Inputs) -> Inputs:
        """Return the views of the content, its masks and the references; the styles are as they are."""
        mask = self.mask if inputs.mask is None else self.mask * self(inputs.mask)
        regions = inputs.regions and replace(inputs.regions, shares=self(inputs.regions.shares) * self.mask)
        kept = None if inputs.kept is None else self(inputs.kept)
        references = tuple(
            replace(each, image=self(each.image), weight=self(each.weight)) for each in inputs.references
        )
        return replace(
            inputs, content=self(inputs.content), mask=mask, regions=regions, kept=kept, references=references
        )

    def picture(self, image: Tensor) -> Tensor:
        """Return the views of images (B, 3, h, w) on a plain background, (B, 3, H, W)."""
        return torch.lerp(torch.full_like(self.coverage, BACKGROUND), self(image), self.coverage)

    def as_saved(self, image: Tensor) -> Tensor:
        """Return images (B, 3, h, w) with what no view shows filled from its surroundings, and with welded seams."""
        shown = (self.seen > 0).to(image)
        filled = fill_transparent(image, shown.expand(len(image), -1, -1, -1))
        return filled if self.weld is None else self.weld(filled).unflatten(2, self.canvas)


def view_side(views: Views, size: tuple[int, int]) -> int:
    """Return the side of a view, px, for a canvas of this height and width."""
    return max(1, round(float(views.side) * max(size)))


def sheet_size(views: Views, size: tuple[int, int]) -> tuple[int, int]:
    """Return height and width of the sheet, px, for a canvas of this height and width."""
    side = view_side(views, size)
    return side * int(views.sheet[0]), side * int(views.sheet[1])


def cells(views: Views, size: tuple[int, int]) -> NDArray[np.int64]:
    """Return left, top, width and height, px, of the cells of a canvas of this height and width, (cells, 4)."""
    rows, columns = (
        np.rint(np.arange(count + 1) * whole / count).astype(np.int64)
        for count, whole in zip(views.grid, size, strict=True)
    )
    left, top = np.meshgrid(columns[:-1], rows[:-1])
    width, height = np.meshgrid(np.diff(columns), np.diff(rows))
    return np.stack([left, top, width, height], -1).reshape(-1, 4)


def _weld(views: Views, size: tuple[int, int], device: torch.device, dtype: torch.dtype) -> Sampling | None:
    """Return the map of a canvas to one that is continuous across the seams of its UV map."""
    rectangles = cells(views, size)
    places = views.uv * rectangles[views.cell][:, None, 2:]
    found = blend_across_seams(views.corners, places, views.cell)
    numbers = []
    for cell, place in ((found.cell, found.texel + 0.5), (found.cell, found.own), (found.other_cell, found.other)):
        left, top, width, height = (torch.from_numpy(side) for side in rectangles[cell].T)
        x, y = torch.from_numpy(place).T
        columns, rows, weights = bilinear_taps(x, y, width, height)
        numbers.append(((rows + top[:, None]) * size[1] + columns + left[:, None], weights))
    used = in_use(views, size)
    target = numbers[0][0][:, 0].numpy()
    # A pixel beyond a seam belongs to the gap between islands, or it is the other side's own.
    usable = np.flatnonzero(~found.beyond | ~used[target])
    order = usable[np.argsort(np.abs(found.distance[usable]), kind="stable")]
    target, first = np.unique(target[order], return_index=True)  # by the nearest seam
    chosen = torch.from_numpy(order[first])
    if not len(chosen):
        return None
    count = math.prod(size)
    pixels = torch.arange(count)[:, None].repeat(1, 8)
    weights = torch.zeros(count, 8, dtype=torch.float64)
    weights[:, 0] = 1
    share = torch.from_numpy(found.share)[chosen, None]
    pixels[target] = torch.cat([numbers[1][0][chosen], numbers[2][0][chosen]], 1)
    weights[target] = torch.cat([(1 - share) * numbers[1][1][chosen], share * numbers[2][1][chosen]], 1)
    return Sampling(pixels, weights.to(dtype), count, device)


def in_use(views: Views, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a canvas of this height and width triangles cover, flat."""
    height, width = size
    rectangles = cells(views, size)[views.cell][:, None]
    within = views.uv - np.floor(views.uv.min(1, keepdims=True))  # textures repeat
    flat = rectangles[..., :2] + within * rectangles[..., 2:] - (width / 2, height / 2)
    corners = np.concatenate([flat, np.ones((*flat.shape[:2], 1))], 2)
    return rasterize(corners, 1.0, height, width).face.ravel() != NONE


def _laid_out(views: Any, sheet: NDArray[np.int64]) -> NDArray[Any]:
    """Return views, (side, side, ...) each, as one sheet (H, W, ...), row by row; what is left is 0."""
    rows, columns = (int(count) for count in sheet)
    first = views[0]
    side = first.shape[0]
    cells = np.zeros((rows * columns, *first.shape), first.dtype)
    cells[: len(views)] = views
    grid = cells.reshape(rows, columns, side, side, -1).swapaxes(1, 2)
    return grid.reshape(rows * side, columns * side, *first.shape[2:])


def _view(
    views: Views, camera: Floats, side: int, size: tuple[int, int]
) -> tuple[NDArray[np.int64], Floats, Floats, Floats]:
    """Return pixels and weights, (side, side, T) each, coverage and mask, (side, side) each, of what a camera shows."""
    samples = int(views.samples)
    corners = views.corners @ camera[:, :3].T + camera[:, 3]
    hits = rasterize(corners, float(views.focal) * side * samples, side * samples, side * samples)
    shown = hits.face != NONE
    numbers, shares = np.zeros((*shown.shape, 4), np.int64), np.zeros((*shown.shape, 4))
    numbers[shown], shares[shown] = _taps(views, hits, shown, size)
    counted = np.zeros(shown.shape)
    counted[shown] = _cosines(corners, hits, shown) >= math.cos(math.radians(float(views.steepest)))

    def by_pixel(values: NDArray[Any]) -> NDArray[Any]:
        """Return the values of all samples of a pixel, (side, side, ...)."""
        return values.reshape(side, samples, side, samples, -1).swapaxes(1, 2).reshape(side, side, -1)

    shares, coverage = by_pixel(shares), by_pixel(shown).mean(2)
    shares = shares / np.maximum(shares.sum(2, keepdims=True), 1e-12)
    rows, columns = mirrored(coverage > 0)
    return by_pixel(numbers)[rows, columns], shares[rows, columns], coverage, by_pixel(counted).mean(2)


def _taps(
    views: Views, hits: Hits, shown: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.int64], Floats]:
    """Return numbers and weights, (N, 4) each, of the pixels of the canvas at the points that are shown."""
    face = hits.face[shown]
    place = np.einsum("nc,ncd->nd", hits.barycentric[shown], views.uv[face])
    left, top, width, height = cells(views, size)[views.cell[face]].T
    columns, rows, weights = bilinear_taps(
        *map(torch.from_numpy, (place[:, 0] * width, place[:, 1] * height, width, height))
    )
    numbers = (rows.numpy() + top[:, None]) * size[1] + columns.numpy() + left[:, None]
    return numbers, weights.numpy()


def _cosines(corners: Floats, hits: Hits, shown: NDArray[np.bool_]) -> Floats:
    """Return the cosine of the angle between a triangle's normal and the ray, (N,), at the points that are shown."""
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    face = hits.face[shown]
    points = np.einsum("nc,ncd->nd", hits.barycentric[shown], corners[face])
    lengths = np.linalg.norm(normals[face], axis=1) * np.linalg.norm(points, axis=1)
    return np.abs((normals[face] * points).sum(1)) / np.maximum(lengths, 1e-300)


def mirrored(shown: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return row and column, (H, W) each, of the pixel whose value each pixel has.

    A pixel outside of the shape `shown` has that of its mirror image at the nearest pixel of the shape, or of the
    nearest one itself where the mirror image is outside.
    """
    from scipy.ndimage import distance_transform_edt

    here = np.indices(shown.shape)
    if not shown.any():
        return here[0], here[1]
    nearest = distance_transform_edt(~shown, return_distances=False, return_indices=True)
    across = 2 * nearest - here
    limits = np.array(shown.shape)[:, None, None]
    inside = ((across >= 0) & (across < limits)).all(0)
    usable = inside & shown[tuple(np.where(inside, across, 0))]
    rows, columns = np.where(usable, across, nearest)
    return rows, columns
