"""Colour matching: the statistics of the result, closed forms, and images of little variance."""

import pytest
import torch
from torch import Tensor

from src.ops.color import match_colors
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
