"""The measures: their fixed points, what they react to, and an independent reference for the distance of patches."""

import numpy as np
import pytest
import torch
from scipy.stats import wasserstein_distance
from torch import Tensor

from src.config.schema import Backbone
from src.evaluation import quality


@pytest.fixture
def picture() -> Tensor:
    """Some colourful blobs, (1, 3, 64, 72)."""
    small = torch.rand(1, 3, 8, 9, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.interpolate(small, scale_factor=8, mode="bicubic").clamp(0, 1)


def test_a_picture_is_like_itself(picture: Tensor) -> None:
    found = quality.measure(picture, picture, picture, Backbone())
    assert found["gradient_ssim"] == pytest.approx(1, abs=1e-6)
    assert found["gram_distance"] == pytest.approx(0, abs=1e-6)
    # the two sets of patches are drawn apart, so they differ as samples do
    assert found["patch_distance"] < 0.1


def test_gradient_magnitude_of_a_step_is_one() -> None:
    step = torch.zeros(1, 3, 6, 8)
    step[..., 4:] = 1
    assert quality.gradient_magnitude(step)[0, 0, 3].tolist() == pytest.approx([0, 0, 0, 1, 1, 0, 0, 0], abs=1e-6)


def test_edges_elsewhere_cost_gradient_ssim_and_colours_do_not(picture: Tensor) -> None:
    grey = quality.luminance(picture).expand(-1, 3, -1, -1)
    assert quality.gradient_ssim(grey, picture) == pytest.approx(1, abs=1e-5)
    assert quality.gradient_ssim(picture.flip(-1), picture) < 0.9


def test_texture_is_told_where_things_are_is_not(picture: Tensor) -> None:
    noise = torch.rand(picture.shape, generator=torch.Generator().manual_seed(2))
    for distance in (quality.patch_distance, lambda a, b: quality.gram_distance(a, b, quality.OTHER)):
        turned, other, paler = (distance(each, picture) for each in (picture.roll(16, -1), noise, 0.5 * picture))
        assert turned < 0.3 * other
        assert turned < 0.5 * paler, "contrast and palette count"


def test_sliced_wasserstein_equals_scipy_direction_by_direction() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(200, 12, generator=generator), 2 * torch.randn(200, 12, generator=generator) + 1
    ours = quality._sliced_wasserstein(first, second, torch.Generator().manual_seed(5))
    directions = torch.randn(12, quality.DIRECTIONS, generator=torch.Generator().manual_seed(5))
    directions = directions / directions.norm(dim=0)
    theirs = [wasserstein_distance((first @ each).numpy(), (second @ each).numpy()) for each in directions.unbind(1)]
    assert ours == pytest.approx(np.mean(theirs), rel=1e-5)


def test_the_pyramid_adds_up_and_ends_at_16_px(picture: Tensor) -> None:
    levels = quality.laplacian_pyramid(picture)
    assert [tuple(each.shape[-2:]) for each in levels] == [(64, 72), (32, 36), (16, 18)]
    image = levels[-1]
    for band in reversed(levels[:-1]):
        image = band + torch.nn.functional.interpolate(image, band.shape[-2:], mode="bilinear", align_corners=False)
    torch.testing.assert_close(image, picture)


def test_the_judge_is_never_the_network_that_was_optimised() -> None:
    for name in ("embedded", "vgg16", "vgg19"):
        assert quality.judge_of(Backbone(name=name)).name != name
