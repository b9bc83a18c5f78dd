import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck

from src.data.views import Views
from src.mesh.cameras import around, fitting_focal, lattice
from src.transfer.terms.base import Inputs, Reference, Regions, StyleImage
from src.transfer.views import Sheet, mirrored
from tests.support.models import grid_faces, plane_views, surface_views, torus
from tests.support.pictures import smooth_image

CPU, WIDE = torch.device("cpu"), torch.float64


def _torus_views(count: int = 3, samples: int = 1, side: float = 0.5) -> Views:
    points, uv, faces = torus()
    cameras = around(points, lattice(count), 35.0)
    places = np.stack([uv[:, 0], 1 - uv[:, 1]], 1)
    focal = fitting_focal(points, cameras)
    return surface_views(points[faces], places[faces], cameras, focal, side, samples)


def test_a_square_seen_texel_for_pixel_is_the_picture() -> None:
    image = smooth_image(0, 24, 24).double()
    sheet = Sheet(plane_views(), (24, 24), CPU, WIDE)
    assert sheet.size == (24, 24) and (sheet.mask == 1).all() and (sheet.coverage == 1).all()
    torch.testing.assert_close(sheet(image), image, rtol=0, atol=1e-12)
    torch.testing.assert_close(sheet.picture(image), image, rtol=0, atol=1e-12)


def test_references_are_seen_through_the_cameras_too() -> None:
    image, weight = smooth_image(0, 24, 24).double(), torch.rand(1, 1, 24, 24, dtype=WIDE)
    inputs = replace(Inputs.of(image, image), references=(Reference(image, weight),))
    sheet = Sheet(plane_views(samples=4, side=0.25), (24, 24), CPU, WIDE)
    (found,) = sheet.inputs(inputs).references
    torch.testing.assert_close(found.image, sheet(image))
    torch.testing.assert_close(found.weight, torch.nn.functional.avg_pool2d(weight, 4), rtol=0, atol=1e-12)


def test_a_pixel_that_covers_several_texels_has_their_mean() -> None:
    image = torch.rand(1, 3, 24, 24, dtype=WIDE)
    sheet = Sheet(plane_views(samples=4, side=0.25), (24, 24), CPU, WIDE)
    expected = torch.nn.functional.avg_pool2d(image, 4)
    torch.testing.assert_close(sheet(image), expected, rtol=0, atol=1e-12)


def test_views_equal_those_of_rays_cast_one_triangle_at_a_time() -> None:
    views, image = _torus_views(samples=2), smooth_image(1, 32, 40).double()
    sheet = Sheet(views, (32, 40), CPU, WIDE)
    found, side = sheet(image), 20
    assert sheet.size == (2 * side, 2 * side)
    for number, camera in enumerate(views.cameras):
        color, weight = _cast(views, camera, image, side)
        row, column = divmod(number, 2)
        cell = found[0, :, row * side : (row + 1) * side, column * side : (column + 1) * side]
        cover = sheet.coverage[0, 0, row * side : (row + 1) * side, column * side : (column + 1) * side]
        torch.testing.assert_close(cover, weight, rtol=0, atol=1e-12)
        assert 0.2 < weight.mean() < 0.9
        torch.testing.assert_close(cell[:, weight > 0], color[:, weight > 0], rtol=0, atol=1e-9)
    assert not sheet.coverage[..., side:, side:].any() and not sheet.mask[..., side:, side:].any(), "no fourth view"


def _cast(views: Views, camera: np.ndarray, image: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return colour and coverage of a view with 2 x 2 rays a pixel (Möller and Trumbore 1997), through grid_sample."""
    place = (np.arange(2 * side) + 0.5) / (2 * side) - 0.5
    x, y = np.meshgrid(place / float(views.focal), place / float(views.focal))
    rays = np.stack([x, y, np.ones_like(x)], -1)
    depth, uv = np.full(x.shape, np.inf), np.zeros((*x.shape, 2))
    for triangle, places in zip(views.corners @ camera[:, :3].T + camera[:, 3], views.uv, strict=True):
        one, first, second = triangle[0], triangle[1] - triangle[0], triangle[2] - triangle[0]
        with np.errstate(divide="ignore", invalid="ignore"):
            across, upward = np.cross(rays, second), np.cross(-one, first)
            u, v = -(across @ one) / (across @ first), rays @ upward / (across @ first)
            distance = second @ upward / (across @ first)
            hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (distance > 0) & (distance < depth)
        depth[hit] = distance[hit]
        share = np.stack([1 - u - v, u, v], -1)[hit]
        uv[hit] = share @ places
    grid = torch.from_numpy(uv * 2 - 1)[None]
    repeated = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="circular")
    scale = torch.tensor([image.shape[3] / (image.shape[3] + 2), image.shape[2] / (image.shape[2] + 2)], dtype=WIDE)
    color = torch.nn.functional.grid_sample(repeated, grid * scale, align_corners=False)
    shown = torch.from_numpy(np.isfinite(depth)).double()[None, None]
    weight = torch.nn.functional.avg_pool2d(shown, 2)
    color = torch.nn.functional.avg_pool2d(color * shown, 2) / weight.clamp_min(1e-12)
    return color[0], weight[0, 0]


def test_gradient_is_right_and_zero_where_no_view_looks() -> None:
    sheet = Sheet(_torus_views(count=1, side=1.0), (16, 20), CPU, WIDE)
    image = torch.rand(1, 2, 16, 20, dtype=WIDE, requires_grad=True)
    assert gradcheck(sheet, (image,))
    (gradient,) = torch.autograd.grad((sheet(image) ** 2).sum(), image)
    unseen = sheet.seen == 0
    assert 0.1 < unseen.double().mean() < 0.9
    assert (gradient[unseen.expand_as(gradient)] == 0).all() and (gradient[~unseen.expand_as(gradient)] != 0).any()


def test_steep_surfaces_do_not_count() -> None:
    """Of a sphere seen from afar, the disc of radius sin 60 degrees counts: three quarters."""
    polar, azimuth = np.meshgrid(np.linspace(0, np.pi, 65), np.linspace(0, 2 * np.pi, 129), indexing="ij")
    sphere = np.stack([np.sin(polar) * np.sin(azimuth), np.cos(polar), np.sin(polar) * np.cos(azimuth)], -1)
    points, faces = sphere.reshape(-1, 3), grid_faces(64, 128)
    uv = np.stack([azimuth / (2 * np.pi), polar / np.pi], -1).reshape(-1, 2)
    cameras = around(points, np.array([[0.6, 0.0, 0.8]]), 2.0)
    focal = fitting_focal(points, cameras)
    sheet = Sheet(surface_views(points[faces], uv[faces], cameras, focal, 2.0, 2), (48, 48), CPU, WIDE)
    assert float(sheet.mask.sum() / sheet.coverage.sum()) == pytest.approx(0.75, abs=0.02)
    assert float(sheet.coverage.sum() / 96**2) == pytest.approx(math.pi * 0.46**2, rel=0.02)
    assert (sheet.mask <= sheet.coverage).all()


def test_textures_in_cells_do_not_mix() -> None:
    views = plane_views()
    for number in range(3):
        shifted = surface_views(
            views.corners, views.uv * 3 - 1, views.cameras, 3.0, 0.4, 2, cell=np.full(2, number), grid=np.array([2, 2])
        )
        sheet = Sheet(shifted, (21, 30), CPU, WIDE)
        row, column = divmod(number, 2)
        cell = torch.zeros(1, 1, 21, 30, dtype=torch.bool)
        cell[..., (0, 10, 21)[row] : (10, 21)[row], (0, 15)[column] : (15, 30)[column]] = True
        assert (sheet.seen[~cell] == 0).all() and (sheet.seen[cell] > 0).all()


def test_background_is_mirrored_at_the_outline() -> None:
    shown = np.zeros((1, 8), bool)
    shown[0, 3:6] = True
    rows, columns = mirrored(shown)
    assert columns[0].tolist() == [3, 5, 4, 3, 4, 5, 4, 3] and not rows.any()
    rows, columns = mirrored(np.zeros((2, 3), bool))
    assert columns.tolist() == [[0, 1, 2], [0, 1, 2]] and rows.tolist() == [[0, 0, 0], [1, 1, 1]]


def test_what_no_view_shows_is_filled_and_the_rest_kept() -> None:
    sheet = Sheet(_torus_views(count=1), (16, 20), CPU, WIDE)
    image = torch.rand(2, 3, 16, 20, dtype=WIDE)
    sheet.weld = None
    filled, seen = sheet.as_saved(image), (sheet.seen > 0).expand_as(image)
    assert torch.equal(filled[seen], image[seen]) and not torch.equal(filled[~seen], image[~seen])
    even = torch.where(seen, 0.25, image)
    torch.testing.assert_close(sheet.as_saved(even), torch.full_like(image, 0.25))


def test_masks_are_seen_as_the_content_is() -> None:
    sheet = Sheet(_torus_views(), (32, 40), CPU, WIDE)
    content, style = smooth_image(0, 32, 40).double(), smooth_image(1, 20, 20).double()
    shares, kept = torch.rand(1, 2, 32, 40, dtype=WIDE), torch.rand(1, 1, 32, 40, dtype=WIDE)
    inputs = Inputs(content, (StyleImage(style),), kept, regions=Regions(shares, ("a", "b")), kept=kept)
    seen = sheet.inputs(inputs)
    assert torch.equal(seen.content, sheet(content)) and seen.styles == inputs.styles
    assert seen.mask is not None and torch.equal(seen.mask, sheet.mask * sheet(kept))
    assert seen.regions is not None and torch.equal(seen.regions.shares, sheet.mask * sheet(shares))
    assert seen.kept is not None and torch.equal(seen.kept, sheet(kept))
    plain = sheet.inputs(Inputs.of(content, style))
    assert plain.mask is sheet.mask and plain.regions is None and plain.kept is None
