"""Nearest patches against a search written out, and what the loss means."""

import numpy as np
import pytest
import torch

from src.ops import patches as patches_module
from src.ops.gram import squared_distance
from src.ops.patches import STRIDE, JoinedPatches, StylePatches


def _features(seed: int, height: int, width: int, samples: int = 1) -> torch.Tensor:
    return torch.rand(samples, 4, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _patches(features: np.ndarray, stride: int) -> np.ndarray:
    _, height, width = features.shape
    rows, columns = range(0, height - 2, stride), range(0, width - 2, stride)
    return np.stack([features[:, y : y + 3, x : x + 3].ravel() for y in rows for x in columns])


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 5), (6, 6)])
def test_nearest_equals_a_search_written_out(height: int, width: int) -> None:
    style, image = _features(0, 6, 7), _features(1, height, width, samples=2)
    found = StylePatches(style, torch.float64).nearest(image)
    theirs = _patches(style[0].numpy(), 1)
    theirs = theirs - theirs.mean(0)
    for sample, places in zip(image.numpy(), found, strict=True):
        below, right = 1 + (height + 1) % 2, 1 + (width + 1) % 2
        mine = _patches(np.pad(sample, ((0, 0), (1, below), (1, right)), mode="edge"), STRIDE)
        mine = mine - mine.mean(0)
        cosine = mine @ theirs.T / np.linalg.norm(mine, axis=1)[:, None] / np.linalg.norm(theirs, axis=1)
        np.testing.assert_array_equal(places.numpy(), cosine.argmax(1))


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 5)])
def test_a_style_is_made_of_its_own_patches(height: int, width: int) -> None:
    style = _features(0, height, width)
    patches = StylePatches(style, torch.float64)
    target = patches.assembled(patches.nearest(style), style)
    assert target.shape == style.shape
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # at the border some come from beyond
    torch.testing.assert_close(target[inner], style[inner])


def test_descending_the_loss_is_descending_the_distance_of_every_patch() -> None:
    """The gradient towards the average is that of all patches, each position weighed by how many cover it."""
    style, image = _features(0, 9, 9), _features(1, 7, 7).requires_grad_()
    patches = StylePatches(style, torch.float64)
    places = patches.nearest(image.detach())
    distance = squared_distance(image, patches.assembled(places, image))
    (towards,) = torch.autograd.grad(patches.relative(distance, 49).sum(), image)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="constant")
    mine = torch.nn.functional.unfold(padded, 3, stride=STRIDE)[0].T
    (each,) = torch.autograd.grad((mine - patches.patches[places[0]]).square().sum(), image)
    count = torch.ones(1, 1, 9, 9, dtype=torch.float64)
    covered = torch.nn.functional.fold(torch.nn.functional.unfold(count, 3, stride=STRIDE), (9, 9), 3, stride=STRIDE)[
        ..., 1:-1, 1:-1
    ]
    scale = 49 * (style.square().sum() / 81)
    torch.testing.assert_close(towards * scale, each / covered)


def test_a_large_style_is_thinned_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.ops.patches.MOST", 20)
    style = _features(0, 12, 12)
    patches = StylePatches(style, torch.float32)
    assert len(patches.patches) <= 20
    assert patches.nearest(_features(1, 5, 5).float()).max() < len(patches.patches)


@pytest.mark.parametrize(("height", "width"), [(23, 9), (16, 12)])
def test_a_part_at_a_time_is_the_same(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    style, image = _features(0, 9, 9), _features(1, height, width, samples=2)
    patches = StylePatches(style, torch.float64)
    places = patches.nearest(image)
    whole = patches.assembled(places, image)
    monkeypatch.setattr(patches_module, "PART", 1)
    assert torch.equal(patches.nearest(image), places)
    torch.testing.assert_close(patches.assembled(places, image), whole, rtol=1e-12, atol=0)


@pytest.mark.parametrize("part", [patches_module.PART, 1])
def test_joined_each_sample_has_the_patches_of_its_own_style(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches_module, "PART", part)
    image = _features(1, 16, 11, samples=2)
    styles = [StylePatches(_features(2, 9, 9), torch.float64), StylePatches(_features(3, 7, 12), torch.float64)]
    joined = JoinedPatches(styles)
    places = joined.nearest(image)
    distance = squared_distance(image, joined.assembled(places, image))
    for sample, style in enumerate(styles):
        one = image[sample : sample + 1]
        alone = style.nearest(one)
        assert torch.equal(places[sample : sample + 1], alone)
        expected = style.relative(squared_distance(one, style.assembled(alone, one)), 176)
        torch.testing.assert_close(joined.relative(distance, 176)[sample : sample + 1], expected)
