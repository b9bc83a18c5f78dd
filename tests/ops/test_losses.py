"""Losses and feature statistics against closed forms and independent computations."""

import numpy as np
import pytest
import torch

from src.ops.gram import FeatureStatistics, moment_sums, squared_distance
from src.ops.losses import LOSS_FORMS, TV_FORMS, LossForm, content_equations, style_equations, total_variation
from tests.support.features import statistics_of


def _convolved(seed: int, height: int = 5, width: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 4, height, width, generator=generator, dtype=torch.float64)


def _content(form: LossForm, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return form.content_factor(target) * squared_distance(features, target)


def _style(form: LossForm, features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return form.style(statistics_of(features), statistics_of(target))


def test_gram_matrix_equals_numpy() -> None:
    features = np.random.default_rng(0).normal(size=(3, 4, 5, 6))
    expected = np.stack([[[sum(f[i].ravel() * f[j].ravel()) for j in range(4)] for i in range(4)] for f in features])
    np.testing.assert_allclose(moment_sums(torch.from_numpy(features))[0].numpy(), expected, rtol=1e-12)


def test_content_gradient_is_equation_2() -> None:
    """dL/dF before the ReLU is F - P where F > 0, else 0."""
    convolved, target = _convolved(0).requires_grad_(), _convolved(1).relu()
    features = convolved.relu()
    (content_equations(target) * squared_distance(features, target)).sum().backward()
    expected = torch.where(features > 0, features - target, 0.0)
    torch.testing.assert_close(convolved.grad, expected.detach(), rtol=1e-13, atol=1e-13)
    assert (expected == 0).any() and (expected != 0).any()


def test_style_gradient_is_equation_6() -> None:
    """At equal sizes, dE/dF before the ReLU is 1/(N^2 M^2) F^T (G - A) where F > 0, else 0."""
    convolved, style = _convolved(0).requires_grad_(), _convolved(1).relu()
    features = convolved.relu()
    style_equations(statistics_of(features), statistics_of(style)).sum().backward()
    channels, positions = 4, 35
    flat = features.detach()[0].flatten(1)
    difference = flat @ flat.T - style[0].flatten(1) @ style[0].flatten(1).T
    expected = (flat.T @ difference).T.view_as(features[0]) / (channels**2 * positions**2)
    expected = torch.where(features[0] > 0, expected, 0.0)
    torch.testing.assert_close(convolved.grad[0], expected.detach(), rtol=1e-12, atol=1e-15)


def test_style_equation_4_at_equal_sizes() -> None:
    features, style = _convolved(2), _convolved(3)
    gram, target = moment_sums(features)[0][0], moment_sums(style)[0][0]
    expected = ((gram - target) ** 2).sum() / (4 * 4**2 * 35**2)
    torch.testing.assert_close(style_equations(statistics_of(features), statistics_of(style))[0], expected)


@pytest.mark.parametrize("form", ["equations", "normalized", "moments", "mean_squares", "gram_mean_std"])
def test_style_loss_does_not_depend_on_the_size_of_the_style(form: str) -> None:
    """Each Gram matrix is divided by its own number of positions: a style repeated twice gives the same loss."""
    features, style = _convolved(0), _convolved(1)
    tiled = style.repeat(1, 1, 2, 1)
    once = _style(LOSS_FORMS[form], features, style)
    torch.testing.assert_close(_style(LOSS_FORMS[form], features, tiled), once)


def test_moments_loss_equals_numpy() -> None:
    features, style = _convolved(4), _convolved(5, 6, 6)
    mine, theirs = (each[0].flatten(1).numpy() for each in (features, style))
    expected = 0.5 * (
        ((np.cov(mine, bias=True) - np.cov(theirs, bias=True)) ** 2).sum() / (np.cov(theirs, bias=True) ** 2).sum()
        + ((mine.mean(1) - theirs.mean(1)) ** 2).sum() / (theirs.mean(1) ** 2).sum()
    )
    assert _style(LOSS_FORMS["moments"], features, style).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["normalized", "moments"])
def test_relative_forms_are_one_for_zero_features_and_independent_of_scale(name: str) -> None:
    form = LOSS_FORMS[name]
    features, target = _convolved(0), _convolved(1)
    zero = torch.zeros_like(features)
    assert _content(form, zero, target).item() == pytest.approx(1)
    assert _style(form, zero, target).item() == pytest.approx(1)
    torch.testing.assert_close(_content(form, 3 * features, 3 * target), _content(form, features, target))
    torch.testing.assert_close(_style(form, 3 * features, 3 * target), _style(form, features, target))


@pytest.mark.parametrize("form", LOSS_FORMS)
def test_loss_is_zero_at_the_target_and_finite_for_a_target_of_zeros(form: str) -> None:
    target = _convolved(1)
    assert _content(LOSS_FORMS[form], target, target).item() == 0
    assert _style(LOSS_FORMS[form], target, target).item() == 0
    black = torch.zeros_like(target)
    assert torch.isfinite(_content(LOSS_FORMS[form], target, black)).all()
    assert torch.isfinite(_style(LOSS_FORMS[form], target, black)).all()


@pytest.mark.parametrize("form", LOSS_FORMS)
def test_a_batch_of_two_equals_two_single_samples(form: str) -> None:
    batch = torch.cat([_convolved(0), _convolved(1)])
    targets = torch.cat([_convolved(2), _convolved(3)])
    together = _content(LOSS_FORMS[form], batch, targets), _style(LOSS_FORMS[form], batch, targets)
    for i in range(2):
        one, goal = batch[i : i + 1], targets[i : i + 1]
        torch.testing.assert_close(together[0][i : i + 1], _content(LOSS_FORMS[form], one, goal))
        torch.testing.assert_close(together[1][i : i + 1], _style(LOSS_FORMS[form], one, goal))


def test_total_variation_of_a_ramp() -> None:
    """A ramp of slope s along one axis has squared differences s^2 along that axis and 0 along the other."""
    ramp = (torch.arange(6.0) * 0.1).view(1, 1, 1, 6).expand(2, 3, 4, 6)
    torch.testing.assert_close(total_variation(ramp), torch.full((2,), 0.01))
    torch.testing.assert_close(TV_FORMS["absolute"](ramp), torch.full((2,), 0.1 * 5 / 6))
    # 5 of 6 columns of pixels have a neighbour; of 7 columns and 5 rows of diagonals 5 columns cross the slope
    torch.testing.assert_close(TV_FORMS["stencil"](ramp), torch.full((2,), 2 * 0.01 * (5 / 6 / 3 + 2 * 5 / 7 / 12)))


@pytest.mark.parametrize("form", TV_FORMS)
def test_total_variation_of_a_batch_and_its_gradient(form: str) -> None:
    images = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    together = TV_FORMS[form](images)
    torch.testing.assert_close(together, torch.cat([TV_FORMS[form](each) for each in images.split(1)]))
    assert torch.autograd.gradcheck(TV_FORMS[form], images)


def test_squared_distance_and_its_gradient_equal_the_definition() -> None:
    features, target = _convolved(0).requires_grad_(), _convolved(1)
    assert torch.autograd.gradcheck(squared_distance, (features, target))
    torch.testing.assert_close(squared_distance(features, target), (features - target).square().sum((1, 2, 3)))


def test_sums_over_bands_add_up_to_the_whole() -> None:
    """Large images are measured in bands of rows."""
    features, target = _convolved(0, 8), _convolved(1, 8)
    whole, parts = moment_sums(features), [moment_sums(part) for part in features.split(3, 2)]
    torch.testing.assert_close(whole[0], sum(gram for gram, _ in parts))
    torch.testing.assert_close(whole[1], sum(total for _, total in parts))
    distances = map(squared_distance, features.split(3, 2), target.split(3, 2))
    torch.testing.assert_close(squared_distance(features, target), sum(distances))


def test_moment_sums_and_their_gradients_equal_the_definition() -> None:
    features = _convolved(0).requires_grad_()
    assert torch.autograd.gradcheck(moment_sums, features)
    gram, total = moment_sums(features)
    torch.testing.assert_close(total, features.flatten(2).sum(2))
    torch.testing.assert_close(gram, features.flatten(2) @ features.flatten(2).mT)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradient_of_moment_sums_is_no_view_so_that_autograd_can_add_to_it_in_place(
    layout: torch.memory_format,
) -> None:
    features = _convolved(0).contiguous(memory_format=layout).requires_grad_()
    (gradient,) = torch.autograd.grad(moment_sums(features)[0].sum(), features)
    assert gradient._base is None
    assert gradient.stride() == features.stride()


@pytest.mark.parametrize("form", sorted(LOSS_FORMS))
def test_joined_targets_of_different_sizes_give_each_sample_its_own_loss(form: str) -> None:
    image = torch.cat([_convolved(1), _convolved(2)])
    targets = [statistics_of(_convolved(3, 6, 4)), statistics_of(_convolved(4, 9, 8))]
    found = LOSS_FORMS[form].style(statistics_of(image), FeatureStatistics.joined(targets))
    alone = [
        LOSS_FORMS[form].style(statistics_of(one), target) for one, target in zip(image.split(1), targets, strict=True)
    ]
    torch.testing.assert_close(found, torch.cat(alone))
    content = [_convolved(5), 3 * _convolved(6)]
    factors = [torch.as_tensor(LOSS_FORMS[form].content_factor(each)).expand(1) for each in content]
    joined = torch.as_tensor(LOSS_FORMS[form].content_factor(torch.cat(content))).expand(2)
    torch.testing.assert_close(joined, torch.cat(factors))
