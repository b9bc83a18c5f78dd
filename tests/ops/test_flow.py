"""Warping, consistency and edges of flow, weights of several frames, and the warping error, by closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.flow import (
    consistent,
    motion_edges,
    nearest_first,
    softened,
    warp,
    warping_error,
)


def constant(x: float, y: float, height: int = 12, width: int = 16) -> Tensor:
    """Return a flow that is the same everywhere."""
    return torch.tensor([x, y], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width).clone()


def noise(channels: int = 3, height: int = 12, width: int = 16, seed: int = 0) -> Tensor:
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(seed))


def test_a_flow_of_zero_returns_the_image_bit_by_bit() -> None:
    image = noise()
    warped, inside = warp(image, constant(0, 0))
    assert torch.equal(warped, image) and bool(inside.all())


def test_whole_pixels_shift_the_image_and_tell_what_lies_outside() -> None:
    image = noise()
    warped, inside = warp(image, constant(3, -2))
    assert torch.equal(warped[..., 2:, :-3], image[..., :-2, 3:])
    assert bool(inside[..., 2:, :-3].all()) and not bool(inside[..., :2, :].any()) and not bool(inside[..., -3:].any())
    assert torch.equal(warped[0, :, 5, -1], image[0, :, 3, -1]), "the border is repeated"


def test_fractions_of_pixels_interpolate_bilinearly() -> None:
    rows, columns = torch.meshgrid(torch.arange(12.0), torch.arange(16.0), indexing="ij")
    image = (2 * columns + 3 * rows + columns * rows)[None, None]
    flow = torch.rand(1, 2, 12, 16, generator=torch.Generator().manual_seed(1)) - 0.5
    warped, inside = warp(image, flow)
    x, y = columns + flow[0, 0], rows + flow[0, 1]
    torch.testing.assert_close(warped[inside > 0], (2 * x + 3 * y + x * y)[inside[0, 0] > 0], rtol=1e-5, atol=1e-4)


def test_warping_agrees_with_grid_sample() -> None:
    image, flow = noise().double(), 4 * noise(2, seed=3).double() - 2
    rows, columns = torch.meshgrid(torch.arange(12.0).double(), torch.arange(16.0).double(), indexing="ij")
    grid = torch.stack([2 * (columns + flow[0, 0]) / 15 - 1, 2 * (rows + flow[0, 1]) / 11 - 1], -1)[None]
    expected = F.grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=True)
    torch.testing.assert_close(warp(image, flow)[0], expected)


def test_an_image_of_one_row_or_column_is_warped() -> None:
    line = noise(height=1, width=6)
    assert torch.equal(warp(line, constant(1, 0, 1, 6))[0][..., :-1], line[..., 1:])
    assert torch.equal(warp(line.mT, constant(0, 1, 6, 1))[0][..., :-1, :], line.mT[..., 1:, :])


def test_opposite_flows_are_consistent_inside_and_others_are_not() -> None:
    found = consistent(constant(3, 0), constant(-3, 0))
    assert bool(found[..., :-3].all()) and not bool(found[..., -3:].any()), "what comes from outside is hidden"
    # |f + b|^2 = 4 is not below 0.01 (9 + 1) + 0.5
    assert not bool(consistent(constant(3, 0), constant(-1, 0)).any())


@pytest.mark.parametrize(("difference", "agrees"), [(0.72, True), (0.84, False)])
def test_the_threshold_of_consistency(difference: float, agrees: bool) -> None:
    # b = 2, f = -2 + d: d^2 = 0.5184 < 0.01 (4 + 1.6384) + 0.5 = 0.556; 0.7056 is above 0.5535
    found = consistent(constant(2, 0), constant(-2 + difference, 0))[..., :-2]
    assert bool(found.all()) is agrees and bool(found.any()) is agrees


def test_occlusion_behind_a_moving_square() -> None:
    """A square moves by 4 px to the right: where it was before, the background is new in the second frame."""
    back, forth = constant(0, 0, 20, 30), constant(0, 0, 20, 30)
    forth[:, 0, 5:15, 8:16] = 4  # first to second frame
    back[:, 0, 5:15, 12:20] = -4  # second to first
    visible = consistent(back, forth)
    expected = torch.ones(1, 1, 20, 30)
    expected[..., 5:15, 8:12] = 0
    assert torch.equal(visible, expected)


def test_edges_of_motion() -> None:
    flow = constant(0, 0, 8, 20)
    flow[:, 0, :, 10:] = 1.0
    edges = motion_edges(flow)[0, 0]
    # central differences of 0.5 on both sides: 0.25 > 0.01 * 1 + 0.002
    assert torch.equal(edges.nonzero()[:, 1].unique(), torch.tensor([9, 10]))
    ramp = torch.arange(20.0).mul(0.04).expand(1, 1, 8, 20)
    slow = torch.cat([ramp, torch.zeros_like(ramp)], 1)
    assert not bool(motion_edges(slow)[..., 1:-1].any()), "0.0016 is below 0.002"
    assert not bool(motion_edges(constant(3, 0)).any())


def test_softening_keeps_zeros_and_far_ones() -> None:
    reliable = torch.ones(1, 1, 9, 20)
    reliable[..., :6] = 0
    soft = softened(reliable)[0, 0, 4]
    assert torch.allclose(soft[4:10], torch.tensor([0.0, 0.0, 0.6, 0.8, 1.0, 1.0]))
    assert torch.equal(softened(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 5, 5))


def test_nearer_frames_come_first() -> None:
    given = ([1, 0.5, 0, 0], [1, 1, 0.2, 0], [1, 1, 1, 1])
    one, two, three = (torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 4) for values in given)
    weights = nearest_first([one, two, three])
    expected = ([1, 0.5, 0, 0], [0, 0.5, 0.2, 0], [0, 0, 0.8, 1])
    for weight, values in zip(weights, expected, strict=True):
        torch.testing.assert_close(weight.flatten(), torch.tensor(values, dtype=torch.float32))
    torch.testing.assert_close(sum(weights), torch.stack([one, two, three]).amax(0))
    assert nearest_first([]) == []


def test_the_warping_error_counts_visible_pixels() -> None:
    image = noise()
    flow, visible = constant(2, 0), torch.ones(1, 1, 12, 16)
    moved = torch.roll(image, 2, 3)  # found in `moved` 2 px to the right
    assert warping_error(image, moved, flow, visible) == 0
    visible[..., :8] = 0
    assert warping_error(image, moved + 0.1, flow, visible) == pytest.approx(0.01, rel=1e-4)
    assert warping_error(image, moved, flow, torch.zeros_like(visible)) == 0
