"""Self-similarity against loops over positions, and its invariances."""

import itertools

import pytest
import torch
from torch import Tensor

from src.ops.self_similarity import (
    POSITIONS,
    SelfSimilarity,
    distance_shares,
    pooled_rows,
    pooled_size,
    share_distance,
)


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_loops(image: Tensor, content: Tensor, weight: Tensor) -> float:
    """Equation 7 with weights, for feature maps (C, P) and weights (P,)."""

    def shares(values: Tensor) -> Tensor:
        count = values.shape[1]
        found = torch.zeros(count, count, dtype=values.dtype)
        for i in range(count):
            for j in range(count):
                found[i, j] = 1 - torch.cosine_similarity(values[:, i], values[:, j], dim=0)
        return found / (weight[:, None] * found).sum(0)

    difference = (shares(image) - shares(content)).abs()
    return float((weight[None] * weight[:, None] * difference).sum() / weight.sum())


@pytest.mark.parametrize("weighted", [False, True])
def test_equals_loops_over_positions(weighted: bool) -> None:
    image, content = features(2, 5, 3, 4), features(2, 5, 3, 4, seed=1)
    weight = features(1, 1, 3, 4, seed=2) if weighted else None
    target = SelfSimilarity.of(content, weight)
    found = share_distance(distance_shares(image, target.shortest, weight), target.shares, weight)
    masses = torch.ones(12, dtype=torch.float64) if weight is None else weight.flatten()
    expected = [by_loops(*(each.flatten(1) for each in pair), masses) for pair in zip(image, content, strict=True)]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)


def test_brightness_of_features_and_order_of_channels_do_not_count() -> None:
    content = features(1, 6, 4, 5)
    target = SelfSimilarity.of(content)
    for other in (3 * content, content.flip(1)):
        assert share_distance(distance_shares(other, target.shortest), target.shares).item() < 1e-12


def test_areas_that_become_alike_or_differ_count() -> None:
    left, right = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    left[:, 0], right[:, 1] = 1.0, 1.0
    halves, even = torch.cat([left, right], 3), torch.cat([left, left], 3)
    target = SelfSimilarity.of(halves)
    assert share_distance(distance_shares(halves.flip(1), target.shortest), target.shares).item() == 0
    assert share_distance(distance_shares(even, target.shortest), target.shares).item() == pytest.approx(1.0)


def test_gradients_are_finite_where_features_are_silent_or_all_alike() -> None:
    for content in (torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4), torch.eye(16).view(1, 16, 4, 4)):
        image = torch.zeros_like(content).requires_grad_()
        target = SelfSimilarity.of(content)
        share_distance(distance_shares(image, target.shortest), target.shares).sum().backward()
        assert image.grad is not None and image.grad.isfinite().all()


@pytest.mark.parametrize("size", [(44, 44), (100, 37), (3, 2000), (20, 30)])
def test_bands_sum_to_averages_over_areas(size: tuple[int, int]) -> None:
    whole = features(2, 3, *size)
    down, across = pooled_size(*size)
    assert down * across <= POSITIONS and (size != (20, 30) or (down, across) == size)
    expected = torch.nn.functional.adaptive_avg_pool2d(whole, (down, across))
    cuts = [0, 1, size[0] // 2, size[0]]
    bands = [slice(first, last) for first, last in itertools.pairwise(cuts)]
    found = sum(pooled_rows(whole[:, :, band], size[0], band) for band in bands)
    torch.testing.assert_close(found, expected)
