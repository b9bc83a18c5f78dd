"""The distances of the named style terms, each against an independent computation and in its edge cases."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from src.ops import bures, columns, slices
from src.ops.bures import GaussianTarget, wasserstein
from src.ops.central_moments import central_moments, moment_discrepancy, power_sums
from src.ops.columns import StyleColumns, unit_columns
from src.ops.gram import FeatureStatistics, squared_distance
from src.ops.losses import LEAST_VARIANCE, style_mean_std, style_moments, style_normalized
from src.ops.slices import project, random_directions, sliced_distance
from src.ops.sorting import quantiles
from tests.support.features import statistics_of

CHANNELS = 4


def features(seed: int, height: int = 5, width: int = 7) -> Tensor:
    """Return features after a ReLU, (1, 4, H, W) in float64."""
    drawn = torch.randn(1, CHANNELS, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (drawn + 0.3).relu()


def flat(values: Tensor) -> np.ndarray:
    """Return features as channels x positions."""
    return values[0].flatten(1).numpy()


def _mean_std(image: Tensor, style: Tensor) -> Tensor:
    return style_mean_std(statistics_of(image), statistics_of(style))


def _wasserstein(image: Tensor, style: Tensor) -> Tensor:
    return wasserstein(statistics_of(image), GaussianTarget.of(statistics_of(style)))


def _sliced(image: Tensor, style: Tensor) -> Tensor:
    directions = random_directions(image.shape[1], (0, 0, 0)).unsqueeze(0).to(image)
    goal = quantiles([project(style, directions).flatten(2)], [1.0], image.shape[2] * image.shape[3])
    return sliced_distance(project(image, directions), goal)


def _cmd(image: Tensor, style: Tensor) -> Tensor:
    mean = style.sigmoid().mean((2, 3))
    moments = [central_moments(power_sums(each, mean), each[0, 0].numel(), mean) for each in (image, style)]
    return moment_discrepancy(*moments)


def _nearest(image: Tensor, style: Tensor, searched: Tensor | None = None) -> Tensor:
    """Return the distance with mean and matches of the image, or of another that was searched before."""
    found, searched = StyleColumns(style, style.dtype), image.detach() if searched is None else searched
    mean = searched.mean((2, 3), keepdim=True)
    goal = found.assemble(found.nearest(unit_columns(searched - mean, found.shortest)), image)
    return squared_distance(unit_columns(image - mean, found.shortest), goal) / 2 / image[0, 0].numel()


DISTANCES: dict[str, Callable[..., Tensor]] = {
    "gram": lambda image, style: style_normalized(statistics_of(image), statistics_of(style)),
    "moments": lambda image, style: style_moments(statistics_of(image), statistics_of(style)),
    "mean_std": _mean_std,
    "wasserstein": _wasserstein,
    "sliced_wasserstein": _sliced,
    "cmd": _cmd,
    "nearest": _nearest,
}
each_distance = pytest.mark.parametrize("name", DISTANCES)


@each_distance
def test_a_distance_is_zero_at_its_target_and_positive_elsewhere(name: str) -> None:
    style = features(1)
    assert DISTANCES[name](style, style).item() == pytest.approx(0, abs=1e-8)
    assert DISTANCES[name](features(0), style).item() > 0.01


@each_distance
def test_the_gradient_equals_finite_differences(name: str) -> None:
    image, style = features(0, 3, 4).requires_grad_(), features(1, 6, 4)
    before = image.detach().clone()  # gradcheck changes the image in place
    searched = {"searched": before} if name == "nearest" else {}
    assert torch.autograd.gradcheck(lambda each: DISTANCES[name](each, style, **searched), image)


@each_distance
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_constant_features_have_a_finite_distance_and_gradient(name: str, dtype: torch.dtype) -> None:
    """On either side or both, zero or not, and at the target itself."""
    pictures = [torch.zeros(1, CHANNELS, 5, 7), torch.full((1, CHANNELS, 5, 7), 3.0), features(0)]
    for image in pictures:
        for style in pictures:
            leaf = image.to(dtype).clone().requires_grad_()
            found = DISTANCES[name](leaf, style.to(dtype))
            (gradient,) = torch.autograd.grad(found.sum(), leaf)
            assert torch.isfinite(found).all() and torch.isfinite(gradient).all()


@each_distance
def test_features_of_zero_are_at_distance_one(name: str) -> None:
    """So a weight means about the same for every term; by angles, where no column has a direction, it is a half."""
    found = DISTANCES[name](torch.zeros(1, CHANNELS, 5, 7, dtype=torch.float64), features(1)).item()
    assert found == pytest.approx(0.5 if name == "nearest" else 1, rel=0.02)


@pytest.mark.parametrize("name", sorted(set(DISTANCES) - {"nearest", "cmd"}))
def test_a_distance_does_not_depend_on_the_scale_of_the_features(name: str) -> None:
    image, style = features(0), features(1)
    torch.testing.assert_close(DISTANCES[name](1e3 * image, 1e3 * style), DISTANCES[name](image, style))


def test_mean_and_deviation_equal_numpy() -> None:
    image, style = features(0), features(1, 6, 4)
    mine, theirs = flat(image), flat(style)
    least = LEAST_VARIANCE * (theirs**2).mean()
    deviations = np.sqrt(mine.var(1) + least), np.sqrt(theirs.var(1) + least)
    expected = ((mine.mean(1) - theirs.mean(1)) ** 2).sum() / (theirs.mean(1) ** 2).sum()
    expected += ((deviations[0] - deviations[1]) ** 2).sum() / (deviations[1] ** 2).sum()
    assert _mean_std(image, style).item() == pytest.approx(expected / 2, rel=1e-12)


def test_wasserstein_equals_numpy() -> None:
    """Tr (S'^1/2 S S'^1/2)^1/2 is the sum of the roots of the eigenvalues of S S', which is not symmetric."""
    image, style = features(0), features(1, 6, 4)
    mine, theirs = flat(image), flat(style)
    square = (theirs**2).sum() / theirs.shape[1]
    least = LEAST_VARIANCE * square / CHANNELS * np.eye(CHANNELS)
    one, other = (np.cov(each, bias=True) + least for each in (mine, theirs))
    fidelity = np.sqrt(np.linalg.eigvals(one @ other).real).sum()
    expected = ((mine.mean(1) - theirs.mean(1)) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * fidelity
    assert _wasserstein(image, style).item() == pytest.approx(expected / square, rel=1e-9)


def test_wasserstein_between_scaled_features_is_that_of_the_map_between_them() -> None:
    """F -> a F is the optimal map: the distance is the mean square of (a - 1) F, (a - 1)^2 relative to that of F."""
    style = features(1, 40, 40)
    assert _wasserstein(1.5 * style, style).item() == pytest.approx(0.25, rel=1e-3)
    assert _wasserstein(style + 2, style).item() == pytest.approx(
        4 * CHANNELS / style.square().mean((2, 3)).sum().item(), rel=1e-9
    )


def test_features_of_an_apple_gpu_reach_the_cpu_before_they_become_float64() -> None:
    class OnMps:
        device = torch.device("mps")

        def cpu(self) -> Tensor:
            return torch.ones(2)

    assert bures._wide(OnMps()).dtype == torch.float64  # type: ignore[arg-type]


def test_wasserstein_has_a_gradient_at_equal_eigenvalues_and_without_full_rank() -> None:
    """Covariances c I and c' I: the gradient in S is (1 - sqrt(c'/c)) I. With three positions the rank is two."""
    eye = torch.eye(CHANNELS, dtype=torch.float64)[None]
    mean = torch.zeros(1, CHANNELS, dtype=torch.float64)
    covariance = (4 * eye).requires_grad_()
    target = GaussianTarget.of(FeatureStatistics(eye, mean, eye, 1))
    wasserstein(FeatureStatistics(4 * eye, mean, covariance, 1), target).sum().backward()
    assert covariance.grad is not None
    torch.testing.assert_close(covariance.grad * CHANNELS, 0.5 * eye, rtol=1e-3, atol=1e-12)
    image = features(0, 1, 3).float().requires_grad_()
    _wasserstein(image, features(1, 1, 2).float()).sum().backward()
    assert image.grad is not None and torch.isfinite(image.grad).all() and image.grad.abs().max() < 10


def test_sliced_wasserstein_equals_numpy_at_equal_and_unequal_numbers_of_positions() -> None:
    image = features(0)
    directions = random_directions(CHANNELS, (0, 0, 0)).numpy()
    for style in (features(1), features(2, 9, 8)):
        mine, theirs = np.sort(directions @ flat(image)), np.sort(directions @ flat(style))
        at = np.linspace(0, theirs.shape[1] - 1, mine.shape[1])
        goal = np.stack([np.interp(at, np.arange(theirs.shape[1]), row) for row in theirs])
        expected = ((mine - goal) ** 2).mean() / (goal**2).mean()
        assert _sliced(image, style).item() == pytest.approx(expected, rel=1e-10)


def test_directions_are_orthonormal_and_depend_on_the_seed_alone() -> None:
    for channels in (3, 32, 70):
        found = random_directions(channels, (1, 2, 3))
        count = min(slices.DIRECTIONS, channels)
        torch.testing.assert_close(found @ found.T, torch.eye(count, dtype=torch.float64))
        assert torch.equal(found, random_directions(channels, (1, 2, 3)))
    assert not torch.equal(random_directions(3, (1, 2, 3)), random_directions(3, (1, 3, 3)))


def test_central_moments_equal_numpy() -> None:
    image, style = features(0), features(1, 6, 4)
    found = []
    for each in (image, style):
        values = 1 / (1 + np.exp(-flat(each)))
        mean = values.mean(1, keepdims=True)
        found.append([mean[:, 0], *(((values - mean) ** order).mean(1) for order in (2, 3, 4, 5))])
    mine, theirs = (np.array(each) for each in found)
    blank = np.zeros_like(theirs)
    blank[0] = 0.5
    distances = [np.linalg.norm(each - theirs, axis=1).sum() for each in (mine, blank)]
    assert _cmd(image, style).item() == pytest.approx(distances[0] / distances[1], rel=1e-10)


def test_nearest_equals_a_search_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    image, style = features(0), features(1, 6, 4)
    mine, theirs = (each - each.mean(1, keepdims=True) for each in (flat(image), flat(style)))
    cosine = (mine / np.linalg.norm(mine, axis=0)).T @ (theirs / np.linalg.norm(theirs, axis=0))
    assert _nearest(image, style).item() == pytest.approx((1 - cosine.max(1)).mean(), rel=1e-10)
    monkeypatch.setattr(columns, "MAX_COLUMNS", 6)  # every second column of every second row
    thinned = theirs.reshape(CHANNELS, 6, 4)[:, ::2, ::2].reshape(CHANNELS, 6)
    cosine = (mine / np.linalg.norm(mine, axis=0)).T @ (thinned / np.linalg.norm(thinned, axis=0))
    assert _nearest(image, style).item() == pytest.approx((1 - cosine.max(1)).mean(), rel=1e-10)


def test_power_sums_of_bands_add_up_and_cancel_little_in_float32() -> None:
    image, centre = features(0, 8).float(), torch.full((1, CHANNELS), 0.6)
    whole, parts = power_sums(image, centre), [power_sums(part, centre) for part in image.split(3, 2)]
    torch.testing.assert_close(whole, sum(parts[1:], parts[0]))
    found = central_moments(whole, 56, centre)
    exact = central_moments(power_sums(image.double(), centre.double()), 56, centre.double())
    assert math.isclose((found - exact).abs().max().item(), 0, abs_tol=1e-7)
