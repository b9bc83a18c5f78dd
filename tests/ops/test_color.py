"""The start in the style's colours: its statistics, and the map that leaves colours where they are."""

import pytest
import torch
from torch import Tensor

from src.ops.color import recolored


def _noise(seed: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(3, 3, generator=generator, dtype=torch.float64) / 8
    pixels = torch.randn(1, 3, height * width, generator=generator, dtype=torch.float64)
    return (mixed @ pixels + 0.5).view(1, 3, height, width)


def _covariance(image: Tensor) -> Tensor:
    return torch.cov(image.flatten(2)[0], correction=0)


def test_it_has_the_styles_mean_and_covariance() -> None:
    content, style = _noise(0, 9, 14), _noise(1, 20, 11)
    result = recolored(content, style)
    assert result.shape == content.shape
    torch.testing.assert_close(result.mean((2, 3)), style.mean((2, 3)))
    torch.testing.assert_close(_covariance(result), _covariance(style), rtol=1e-3, atol=1e-6)


def test_along_fixed_axes_it_is_the_change_of_mean_and_deviation() -> None:
    """Where both covariances are diagonal the map has a closed form: each channel for itself."""
    signs = torch.tensor([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1]], dtype=torch.float64).view(1, 3, 2, 2)
    content = 0.5 + 0.2 * signs
    style = torch.tensor([0.3, 0.4, 0.6]).view(1, 3, 1, 1) + torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1) * signs
    # the first channel does not vary: it takes the style's mean, and stays flat
    result = recolored(content, style)
    torch.testing.assert_close(result[:, 1:], style[:, 1:], rtol=0, atol=1e-4)
    torch.testing.assert_close(result[:, 0], style[:, 0], rtol=0, atol=1e-6)


def test_its_own_colours_leave_a_picture_as_it_is() -> None:
    content = _noise(2, 8, 8).float()
    torch.testing.assert_close(recolored(content, content), content, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.4])
def test_a_flat_picture_takes_the_mean_color(level: float) -> None:
    style = _noise(3, 8, 8)
    result = recolored(torch.full((2, 3, 5, 6), level, dtype=torch.float64), style)
    torch.testing.assert_close(result, style.mean((2, 3), keepdim=True).expand(2, 3, 5, 6))
