"""Patch matching against a brute-force search in NumPy, and the gradient of the patch loss."""

import numpy as np
import pytest
import torch

from src.ops import patches as patches_module
from src.ops.gram import squared_distance
from src.ops.patches import PATCH_SIZE, STRIDE, JoinedPatches, StylePatches, average_overlaps, grid_shape


def _features(seed: int, height: int, width: int, samples: int = 1) -> torch.Tensor:
    return torch.rand(samples, 4, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _patches(features: np.ndarray, stride: int) -> np.ndarray:
    _, height, width = features.shape
    rows, columns = range(0, height - 2, stride), range(0, width - 2, stride)
    return np.stack([features[:, y : y + 3, x : x + 3].ravel() for y in rows for x in columns])


@pytest.mark.parametrize(("height", "width"), [(7, 9), (8, 5), (6, 6)])
def test_nearest_equals_brute_force(height: int, width: int) -> None:
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
def test_a_style_is_assembled_from_its_own_patches(height: int, width: int) -> None:
    style = _features(0, height, width)
    patches = StylePatches(style, torch.float64)
    target = patches.assemble(patches.nearest(style), style)
    assert target.shape == style.shape
    inner = (slice(None), slice(None), slice(2, -2), slice(2, -2))  # patches at the border contain padding
    torch.testing.assert_close(target[inner], style[inner])


def test_gradient_of_the_loss_is_that_of_all_patches_divided_by_their_overlap() -> None:
    style, image = _features(0, 9, 9), _features(1, 7, 7).requires_grad_()
    patches = StylePatches(style, torch.float64)
    places = patches.nearest(image.detach())
    distance = squared_distance(image, patches.assemble(places, image))
    (towards,) = torch.autograd.grad(patches.relative(distance, 49).sum(), image)
    padded = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="constant")
    mine = torch.nn.functional.unfold(padded, 3, stride=STRIDE)[0].T
    (each,) = torch.autograd.grad((mine - patches.patches[places[0]].flatten(1)).square().sum(), image)
    count = torch.ones(1, 1, 9, 9, dtype=torch.float64)
    covered = torch.nn.functional.fold(torch.nn.functional.unfold(count, 3, stride=STRIDE), (9, 9), 3, stride=STRIDE)[
        ..., 1:-1, 1:-1
    ]
    scale = 49 * (style.square().sum() / 81)
    torch.testing.assert_close(towards * scale, each / covered)


def test_a_large_style_is_sampled_down_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.ops.patches.MAX_PATCHES", 20)
    style = _features(0, 12, 12)
    patches = StylePatches(style, torch.float32)
    assert len(patches.patches) <= 20
    assert patches.nearest(_features(1, 5, 5).float()).max() < len(patches.patches)


@pytest.mark.parametrize(("height", "width"), [(23, 9), (16, 12)])
def test_searching_in_bands_finds_the_same_patches(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    style, image = _features(0, 9, 9), _features(1, height, width, samples=2)
    patches = StylePatches(style, torch.float64)
    places = patches.nearest(image)
    monkeypatch.setattr(patches_module, "CHUNK_BYTES", 1)
    assert torch.equal(patches.nearest(image), places)


@pytest.mark.parametrize("part", [patches_module.CHUNK_BYTES, 1])
def test_joined_patches_give_each_sample_those_of_its_own_style(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patches_module, "CHUNK_BYTES", part)
    image = _features(1, 16, 11, samples=2)
    styles = [StylePatches(_features(2, 9, 9), torch.float64), StylePatches(_features(3, 7, 12), torch.float64)]
    joined = JoinedPatches(styles)
    places = joined.nearest(image)
    distance = squared_distance(image, joined.assemble(places, image))
    for sample, style in enumerate(styles):
        one = image[sample : sample + 1]
        alone = style.nearest(one)
        assert torch.equal(places[sample : sample + 1], alone)
        expected = style.relative(squared_distance(one, style.assemble(alone, one)), 176)
        torch.testing.assert_close(joined.relative(distance, 176)[sample : sample + 1], expected)


def test_overlapping_patches_are_averaged() -> None:
    """Written out with loops, for patches of random values."""
    size = PATCH_SIZE
    image = torch.empty(2, 3, 9, 12, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    rows, columns = grid_shape(image.shape[2:])
    patches = torch.rand(2, 3, rows, columns, size, size, generator=torch.Generator().manual_seed(0)).double()
    total, count = torch.zeros(2, 3, 9 + 2 * size, 12 + 2 * size).double(), torch.zeros(9 + 2 * size, 12 + 2 * size)
    for y in range(rows):
        for x in range(columns):
            at = (..., slice(STRIDE * y, STRIDE * y + size), slice(STRIDE * x, STRIDE * x + size))
            total[at] += patches[:, :, y, x]
            count[at] += 1
    half = size // 2
    expected = (total / count)[..., half : half + 9, half : half + 12]
    found = average_overlaps(lambda y, x: patches[..., y, x], image)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=torch.channels_last)
