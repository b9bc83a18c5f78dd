"""Colour matching: the statistics of the result, closed forms, and images of little variance."""

import pytest
import torch
from torch import Tensor

from src.ops.color import match_colors
from src.ops.patchwork import LEAST_VARIANCE
from tests.support.pictures import smooth_image


def _noise(seed: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(3, 3, generator=generator, dtype=torch.float64) / 8
    pixels = torch.randn(1, 3, height * width, generator=generator, dtype=torch.float64)
    return (mixed @ pixels + 0.5).view(1, 3, height, width)


def _covariance(image: Tensor) -> Tensor:
    return torch.cov(image.flatten(2)[0], correction=0)


def test_result_has_mean_and_covariance_of_the_other_image() -> None:
    content, style = _noise(0, 9, 14), _noise(1, 20, 11)
    result = match_colors(content, style)
    assert result.shape == content.shape
    torch.testing.assert_close(result.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(_covariance(result), _covariance(style), rtol=1e-3, atol=1e-6)


def test_diagonal_covariances_match_each_channel_on_its_own() -> None:
    """Closed form: each channel is shifted to the mean and scaled to the standard deviation of the other image."""
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], dtype=torch.float64).view(1, 3, 2, 2)
    content = 0.5 + 0.2 * signs
    style = torch.tensor([0.3, 0.4, 0.6]).view(1, 3, 1, 1) + torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1) * signs
    # the first channel of the content is constant: it takes the style's mean and stays constant
    result = match_colors(content, style)
    torch.testing.assert_close(result[:, 1:], style[:, 1:], rtol=0, atol=1e-4)
    torch.testing.assert_close(result[:, 0], style[:, 0], rtol=0, atol=1e-6)


def test_matching_an_image_to_itself_changes_nothing() -> None:
    content = _noise(2, 8, 8).float()
    torch.testing.assert_close(match_colors(content, content), content, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_an_image_of_one_colour_takes_the_mean_colour(level: float) -> None:
    style = _noise(3, 8, 8)
    result = match_colors(torch.full((2, 3, 5, 6), level, dtype=torch.float64), style)
    torch.testing.assert_close(result, style.mean((2, 3), keepdim=True).expand(2, 3, 5, 6))


def _matched_with_floor(image: Tensor, to: Tensor) -> Tensor:
    """Match colours as the patchwork start does."""
    return match_colors(image, to, ridge=0.0, floor=LEAST_VARIANCE, correction=1).clamp(0, 1)


def test_with_a_floor_varied_images_are_matched_as_without() -> None:
    own, other = smooth_image(0, 40, 50) * 0.3 + 0.3, smooth_image(1, 30, 20) * 0.2 + 0.4
    matched = _matched_with_floor(own, other)
    assert matched.shape == own.shape
    torch.testing.assert_close(matched[0].mean((1, 2)), other[0].mean((1, 2)), atol=1e-3, rtol=0)
    torch.testing.assert_close(matched[0].flatten(1).cov(), other[0].flatten(1).cov(), atol=1e-3, rtol=0)
    torch.testing.assert_close(_matched_with_floor(own, own), own, atol=1e-3, rtol=0)


def test_a_floor_keeps_muted_colours_and_does_not_amplify_grain() -> None:
    grey = smooth_image(0, 40, 50).mean(1, keepdim=True) * 0.6 + 0.2
    muted = grey + 0.05 * (smooth_image(1, 40, 50) - 0.5)
    torch.testing.assert_close(_matched_with_floor(muted, muted), muted, atol=0.02, rtol=0)
    grain = grey + (torch.rand(1, 3, 40, 50, generator=torch.Generator().manual_seed(2)) - 0.5) / 127
    matched = _matched_with_floor(grain, smooth_image(3, 30, 20))[0]
    tint = matched - matched.mean(0)
    # without the mean tint of the image, grain is what remains
    assert (tint - tint.mean((1, 2), keepdim=True)).std(dim=0).mean() < 0.15


def test_each_sample_of_a_batch_is_matched_on_its_own() -> None:
    images, style = torch.cat([_noise(4, 9, 9), _noise(5, 9, 9)]), _noise(6, 12, 8)
    expected = torch.cat([match_colors(image, style) for image in images.split(1)])
    torch.testing.assert_close(match_colors(images, style), expected)


def test_float64_is_used_on_the_cpu_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """MPS has no float64: here, only tensors that were moved to the CPU can be converted to it."""
    to_cpu, to_double = Tensor.cpu, Tensor.double
    moved = []

    def cpu(tensor: Tensor) -> Tensor:
        moved.append(to_cpu(tensor).clone())
        return moved[-1]

    def double(tensor: Tensor) -> Tensor:
        if not any(tensor is each for each in moved):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return to_double(tensor)

    image, style = smooth_image(0, 20, 20), smooth_image(1, 20, 20)
    expected = match_colors(image, style)
    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr(Tensor, "double", double)
    assert torch.equal(match_colors(image, style), expected)
