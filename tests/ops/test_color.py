"""Colour matching: the statistics of the result, closed forms, images of little variance. Brightness and OKLab."""

import pytest
import torch
from scipy.linalg import inv, sqrtm
from torch import Tensor

from src.ops.color import from_oklab, grey, luma, match_colors, to_oklab, with_lightness_of, with_luma_of
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
    torch.testing.assert_close(_covariance(result), _covariance(style), rtol=0, atol=1e-9)


def test_the_map_is_that_of_monge_and_kantorovich() -> None:
    """Independently with SciPy's matrix roots: C^-1/2 (C^1/2 S C^1/2)^1/2 C^-1/2, from covariance C to S."""
    image, to = _noise(0, 9, 14), _noise(1, 20, 11)
    ours, theirs = (_covariance(each).numpy() for each in (image, to))
    root = sqrtm(ours)
    expected = torch.from_numpy(inv(root) @ sqrtm(root @ theirs @ root) @ inv(root))
    moved = expected @ (image - image.mean((2, 3), keepdim=True)).flatten(2) + to.mean((2, 3)).unsqueeze(2)
    torch.testing.assert_close(match_colors(image, to), moved.view_as(image), rtol=0, atol=1e-9)


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


COLORS = torch.tensor(
    [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.5, 0.9], [0.7, 0.4, 0.1], [0.5, 0.5, 0.5]],
    dtype=torch.float64,
).T.reshape(1, 3, 2, 4)


def test_oklab_has_its_published_values_and_an_inverse() -> None:
    lab = to_oklab(COLORS)
    published = {1: (1, 0, 0), 2: (0.62796, 0.22486, 0.12585), 3: (0.86644, -0.23389, 0.17950)}
    published[4] = (0.45201, -0.03246, -0.31153)
    for place, values in published.items():
        torch.testing.assert_close(lab.flatten(2)[0, :, place].tolist(), list(map(float, values)), rtol=0, atol=2e-5)
    torch.testing.assert_close(from_oklab(lab), COLORS, rtol=0, atol=1e-6)


def test_luma_is_taken_and_chroma_kept_where_there_is_room() -> None:
    content, other = smooth_image(0, 24, 20).double() * 0.4 + 0.3, smooth_image(1, 24, 20).double() * 0.2 + 0.4
    result = with_luma_of(content, other)
    torch.testing.assert_close(luma(result), luma(other))
    torch.testing.assert_close(result - grey(result), content - grey(content))
    # no room: luma and hue are kept, the chroma shrinks as little as it must
    vivid = with_luma_of(COLORS, torch.full_like(COLORS, 0.6))
    torch.testing.assert_close(luma(vivid), torch.full((1, 1, 2, 4), 0.6, dtype=torch.float64))
    red = vivid[0, :, 0, 2]
    torch.testing.assert_close(red, torch.tensor([1, 1, 1]) + 0.4 / 0.7874 * (torch.tensor([1.0, 0, 0]) - 1).double())


def test_lightness_is_taken_and_hue_kept() -> None:
    content, other = smooth_image(0, 24, 20).double() * 0.4 + 0.3, smooth_image(1, 24, 20).double() * 0.2 + 0.4
    mine, lab, theirs = (to_oklab(each) for each in (with_lightness_of(content, other), content, other))
    torch.testing.assert_close(mine[:, :1], theirs[:, :1], rtol=0, atol=1e-4)
    chroma, wanted = (each[:, 1:].norm(dim=1) for each in (mine, lab))
    assert (chroma <= wanted + 1e-4).all()
    torch.testing.assert_close(mine[:, 1:] * wanted[:, None], lab[:, 1:] * chroma[:, None], rtol=0, atol=1e-4)
    # a colour far inside the gamut, at its own lightness, stays as it is
    muted = 0.5 + 0.1 * (content - 0.5)
    torch.testing.assert_close(with_lightness_of(muted, muted), muted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("combine", [with_luma_of, with_lightness_of])
@pytest.mark.parametrize("level", [-0.5, 0.0, 0.02, 0.5, 0.98, 1.0, 1.7])
def test_every_result_lies_in_the_gamut(combine: object, level: float) -> None:
    result = combine(COLORS, torch.full_like(COLORS, level))  # type: ignore[operator]
    assert result.isfinite().all() and result.min() >= 0 and result.max() <= 1
    if level in (0.0, 1.0):
        torch.testing.assert_close(result, torch.full_like(COLORS, level), rtol=0, atol=1e-3)
