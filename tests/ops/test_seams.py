import numpy as np
import pytest
import torch

from src.ops.seams import WIDTH, blend_across_seams
from src.transfer.views import Sheet
from tests.support.models import plane_views, surface_views

# Two squares side by side. In the texture, 40 x 20 px, the second lies apart, turned by 90 degrees and half as large.
SQUARES = np.array([[[0, 0], [1, 0], [1, 1], [0, 1]], [[1, 0], [2, 0], [2, 1], [1, 1]]], float)
PLACES = np.array([[[2, 2], [18, 2], [18, 18], [2, 18]], [[24, 4], [24, 12], [32, 12], [32, 4]]], float)


def _triangles(squares: np.ndarray) -> np.ndarray:
    return np.concatenate([squares[:, [0, 1, 2]], squares[:, [0, 2, 3]]])


def _corners() -> np.ndarray:
    flat = _triangles(SQUARES)
    return np.concatenate([flat, np.full((*flat.shape[:2], 1), 3.0)], 2)


def _sheet() -> Sheet:
    views = surface_views(_corners(), _triangles(PLACES) / (40, 20), np.eye(3, 4)[None], 1.0, 1.0, 1)
    return Sheet(views, (20, 40), torch.device("cpu"), torch.float64)


def test_both_sides_of_a_seam_meet_half_way() -> None:
    image = torch.zeros(1, 1, 20, 40, dtype=torch.float64)
    image[..., 20:] = 1
    weld = _sheet().weld
    assert weld is not None
    welded = weld(image).view(20, 40)
    for step in range(4):  # from the seam at column 18 inward
        expected = 0.5 * (1 - (step + 0.5) / WIDTH)
        assert welded[3:17, 17 - step].numpy() == pytest.approx(expected)
    assert welded[3:17, 18].numpy() == pytest.approx(1 - 0.5 * (1 - 0.5 / WIDTH)), "beyond it, the other side"
    assert (welded[:, 2:14] == 0).all(), "texels far from it are as they were"
    for step in range(4):  # the other side, at row 4
        assert welded[4 + step, 25:31].numpy() == pytest.approx(1 - 0.5 * (1 - (step + 0.5) / WIDTH))
    assert (welded[9:, 22:] == 1).all()


def test_the_other_side_is_at_the_same_distance_on_the_surface() -> None:
    blend = blend_across_seams(_corners(), _triangles(PLACES), np.zeros(4, np.int64))
    first = (blend.cell == 0) & (blend.texel[:, 0] < 20) & ~blend.beyond
    assert first.sum() == 16 * 4, "four columns, of a square 16 px high"
    own, other = blend.own[first], blend.other[first]
    np.testing.assert_allclose(other[:, 1], 4 + (18 - own[:, 0]) / 2, atol=1e-9)  # half as many texels as on this side
    np.testing.assert_allclose(other[:, 0], 24 + (own[:, 1] - 2) / 2, atol=1e-9)


def test_a_surface_of_one_island_has_no_seam() -> None:
    views = plane_views()
    assert not len(blend_across_seams(views.corners, views.uv * 24, views.cell).texel)
    assert Sheet(views, (24, 24), torch.device("cpu"), torch.float64).weld is None


def test_textures_of_two_parts_are_blended() -> None:
    cell = np.array([0, 1, 0, 1])
    blend = blend_across_seams(_corners(), _triangles(PLACES), cell)
    assert set(zip(blend.cell.tolist(), blend.other_cell.tolist(), strict=True)) >= {(0, 1), (1, 0)}
