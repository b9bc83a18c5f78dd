"""Palette loss against optimal transport by brute force, and its invariances."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from src.ops.palette import CHANGE_BLOCKS, CHANGE_DIRECTIONS, CHANGE_WEIGHT, COLOR_BLOCKS, Palette


def _image(seed: int, height: int, width: int, samples: int = 1) -> torch.Tensor:
    return torch.randn(samples, 3, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _averaged(image: np.ndarray, factor: int) -> np.ndarray:
    channels, height, width = image.shape
    blocks = image.reshape(channels, height // factor, factor, width // factor, factor)
    return blocks.mean((2, 4))


def _transport(mine: np.ndarray, theirs: np.ndarray) -> float:
    """Return the least mean squared distance over all assignments of the values: all are tried if there are few."""
    if len(mine) <= 4:
        return min(np.square(mine - order).mean() for order in itertools.permutations(theirs))
    return float(np.square(np.sort(mine) - np.sort(theirs)).mean())


def _relative(mine: np.ndarray, theirs: np.ndarray, lines: Sequence[tuple[int, ...]]) -> float:
    """Return the mean cost along directions divided by the mean variance, of values (3, positions)."""
    directions = np.array(lines) / np.linalg.norm(lines, axis=1, keepdims=True)
    costs = [_transport(line @ mine, line @ theirs) for line in directions]
    return float(np.mean(costs) / np.mean([(line @ theirs).var() for line in directions]))


def test_loss_equals_optimal_transport_along_each_direction() -> None:
    image, style = _image(0, 16, 16, samples=2), _image(1, 16, 16)
    thirteen = [line for line in itertools.product((-1, 0, 1), repeat=3) if line > (0, 0, 0)]
    assert len(thirteen) == 13
    for found, sample in zip(Palette(style, (16, 16)).loss(image), image.numpy(), strict=True):
        colours = [
            _relative(*(_averaged(each, factor).reshape(3, -1) for each in (sample, style[0].numpy())), thirteen)
            for factor in COLOR_BLOCKS
        ]
        changes = [
            _relative(
                *(np.diff(_averaged(each, factor), axis=axis).reshape(3, -1) for each in (sample, style[0].numpy())),
                CHANGE_DIRECTIONS,
            )
            for factor in CHANGE_BLOCKS
            for axis in (1, 2)
        ]
        assert found.item() == pytest.approx(np.mean(colours) + CHANGE_WEIGHT * np.mean(changes), rel=1e-9)


def test_loss_does_not_depend_on_where_a_colour_is() -> None:
    style = _image(0, 16, 24)
    palette = Palette(style, (16, 24))
    assert palette.loss(style).item() == 0
    moved = torch.cat([style[..., 8:], style[..., :8]], dim=3)
    assert palette.loss(moved).item() < 0.02, "the seam adds a few changes of colour"
    assert palette.loss(style.flip(1)).item() > 0.01, "swapped channels are other colours"


def test_ripples_and_one_edge_of_equal_variance_are_told_apart() -> None:
    """A covariance is the same for both."""
    edge = torch.zeros(1, 3, 32, 32, dtype=torch.float64)
    edge[..., 16:] = 1
    ripple = torch.zeros_like(edge)
    ripple[..., ::2] = 1
    for image in (edge, ripple):
        assert image.var(correction=0).item() == 0.25
    apart = Palette(edge, (32, 32)).loss(ripple).item()
    assert apart > 10 * Palette(edge, (32, 32)).loss(edge + 0.1).item()


def test_a_style_of_another_size_is_compared_by_its_quantiles() -> None:
    ramp = torch.linspace(-1, 1, 64, dtype=torch.float64).expand(1, 3, 64, 64)
    small = torch.nn.functional.avg_pool2d(ramp, 2)
    palette = Palette(ramp, (32, 32))
    brighter = palette.loss(small + 0.5).item() - palette.loss(small).item()
    assert brighter == pytest.approx(0.5**2 / ramp.var(correction=0).item(), rel=0.05)


def test_a_style_of_one_colour_has_a_finite_loss() -> None:
    grey = torch.zeros(1, 3, 16, 16, dtype=torch.float64)
    image = _image(0, 16, 16).requires_grad_()
    loss = Palette(grey, (16, 16)).loss(image)
    (gradient,) = torch.autograd.grad(loss.sum(), image)
    assert loss.item() < 1e4 and gradient.isfinite().all()
    assert (gradient * image).sum() > 0, "a descent step moves towards the colour of the style"


@pytest.mark.parametrize("recompute", [False, True])
def test_joined_palettes_give_each_sample_the_loss_of_its_own_style(recompute: bool) -> None:
    image = _image(0, 16, 24, samples=2).requires_grad_()
    palettes = [Palette(_image(seed, 16, 16 + 8 * seed), (16, 24)) for seed in (1, 2)]
    found = Palette.joined(palettes).loss(image, recompute)
    expected = torch.cat([palette.loss(one) for palette, one in zip(palettes, image.split(1), strict=True)])
    torch.testing.assert_close(found, expected)
    assert found[0] != found[1]
    torch.testing.assert_close(*(torch.autograd.grad(each.sum(), image)[0] for each in (found, expected)))
