"""Content and style losses of one layer in named forms, and total variation; one value per sample, (B,).

| form            | content                     | style, from the Gram matrices G (image), A (style)      | layers |
|-----------------|-----------------------------|---------------------------------------------------------|--------|
| `equations`     | 1/2 sum (F - P)^2    (eq 1) | 1/(4 N^2) sum (G/M - A/M')^2                     (eq 4) | mean   |
| `published`     | mean (F - P)^2              | mean (G - A)^2, Gram matrices not normalised            | sum    |
| `normalized`    | sum (F - P)^2 / sum P^2     | sum (G/M - A/M')^2 / sum (A/M')^2                       | mean   |
| `moments`       | as `normalized`             | 1/2 relative error of the covariance, 1/2 of the mean   | mean   |
| `patches`       | as `normalized`             | `moments` and the patch loss (ops/patches), weighted    | mean   |
| `mean_squares`  | mean (F - P)^2              | mean (G/(N M) - A/(N M'))^2                             | sum    |
| `gram_mean_std` | mean (F - P)^2              | `mean_squares` plus 10 times the mean squared           | sum    |
|                 |                             | differences of means and of standard deviations         |        |

F and P are the features of image and content image, N the channels, M and M' the positions of image and style image.
The equations are those of "Texture Enhancement Using Neural Style Transfer" (after Gatys, Ecker and Bethge, CVPR
2016). With style and image of one size (M = M') `equations` is eq. 4 as printed. At different sizes each Gram matrix is
divided by its own number of positions; otherwise a larger style image would count as a stronger style.

G/M is the covariance of the channels plus the outer product of their means. After a ReLU the means dominate it, so a
Gram matrix that matches to a percent may have the wrong covariance, which is the texture; `moments` weights the two
separately.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.gram import EPSILON, FeatureStatistics, energy

# Least variance and eigenvalue of a covariance matrix, relative to the style's mean square of a channel.
LEAST_VARIANCE = 1e-4
Rows = tuple[slice, slice]  # and columns
# The pixels below, and to the right, with those that they are compared with.
NEIGHBOURS: tuple[tuple[Rows, Rows], ...] = (
    ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
)
# Weight of means and standard deviations relative to the Gram matrices in `gram_mean_std`.
MEAN_STD = 10.0


def content_equations(target: Tensor) -> float:
    """Return the factor 1/2 of eq. 1."""
    return 0.5


def content_published(target: Tensor) -> float:
    """Return the factor that turns the sum into a mean over the features, as in the published program."""
    return 1 / target[0].numel()


def content_normalized(target: Tensor) -> Tensor:
    """Return the factor, (B,), that makes the sum relative to the target's energy: 1 for features of zero."""
    return 1 / energy(target).clamp_min(EPSILON)


def style_equations(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute eq. 4 for one layer, (B,), with Gram matrices divided by their number of positions."""
    channels = image.gram.shape[1]
    return energy(image.gram / image.positions - target.gram / target.positions) / (4 * channels**2)


def style_published(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute the mean squared difference of Gram matrices that are not normalised, as the published program: (B,)."""
    return (image.gram - target.gram).square().flatten(1).mean(1)


def style_normalized(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute the squared difference of the Gram matrices per position, relative to the target's energy: (B,)."""
    goal = target.gram / target.positions
    return energy(image.gram / image.positions - goal) / energy(goal).clamp_min(EPSILON)


def style_moments(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute half the relative squared error of the covariances plus half that of the means: (B,).

    A Gram matrix combines the two (Li, Wang, Liu and Hou 2017, "Demystifying neural style transfer").
    """
    covariance = energy(image.covariance - target.covariance) / energy(target.covariance).clamp_min(EPSILON)
    mean = energy(image.mean - target.mean) / energy(target.mean).clamp_min(EPSILON)
    return 0.5 * (covariance + mean)


def style_mean_std(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute half the relative squared error of the means plus half that of the standard deviations: (B,).

    The statistics of adaptive instance normalisation (Huang and Belongie 2017, eq. 13). Both variances are raised by
    `LEAST_VARIANCE` of the target's mean square of a channel, so that the gradient is finite for constant features.
    """
    square = (target.gram / target.positions).diagonal(dim1=1, dim2=2).mean(1, keepdim=True)
    least = (LEAST_VARIANCE * square).clamp_min(EPSILON)
    mine, theirs = ((each.covariance.diagonal(dim1=1, dim2=2).clamp_min(0) + least).sqrt() for each in (image, target))
    deviation = energy(mine - theirs) / energy(theirs)
    mean = energy(image.mean - target.mean) / energy(target.mean).clamp_min(EPSILON)
    return 0.5 * (mean + deviation)


def style_mean_squares(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute the mean squared difference of the Gram matrices per position and channel, (B,): G / (N M).

    The style loss of neural-style and, with a weight of 1e3 / N^2 on G / M, of Gatys's own program.
    """
    difference = image.gram / image.positions - target.gram / target.positions
    return (difference / image.gram.shape[1]).square().flatten(1).mean(1)


def style_gram_mean_std(image: FeatureStatistics, target: FeatureStatistics) -> Tensor:
    """Compute `style_mean_squares` plus `MEAN_STD` times those of means and standard deviations of the channels: (B,).

    With a weight of 1e3, what the programs of SPST (Galerne, Raad, Lezama and Morel 2024, "Scaling painting style
    transfer") and SGSST compute.
    """
    mean = (image.mean - target.mean).square().mean(1)
    return style_mean_squares(image, target) + MEAN_STD * (
        mean + (_deviation(image) - _deviation(target)).square().mean(1)
    )


def _deviation(statistics: FeatureStatistics) -> Tensor:
    """Return the standard deviation of each channel, (B, N), with a finite gradient where a channel is constant."""
    return (statistics.covariance.diagonal(dim1=1, dim2=2).clamp_min(0) + EPSILON).sqrt()


def total_variation(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the anisotropic total variation with squared differences (Mahendran and Vedaldi 2015, beta = 2).

    Args:
        image: (B, C, H, W) in [0, 1].
        weight: of each pixel, (1 or B, 1, H, W); a difference has the smaller one of two. None: 1 everywhere.

    Returns:
        (B,), a mean over pixels, and so independent of the image's size.
    """
    down, right = (_changes(image, weight, *pair).mean(1) for pair in NEIGHBOURS)
    return down + right


def stencil_variation(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the total variation with squared differences to all eight neighbours, (B,), as crowsonkb's program does.

    For smooth images it is close to `total_variation`. Arguments as there.
    """
    rim = F.pad(image, (1, 1, 1, 1), mode="replicate")
    weights = None if weight is None else F.pad(weight, (1, 1, 1, 1), mode="replicate")
    inner, first, second, third = slice(1, -1), slice(None, -1), slice(1, None), slice(2, None)
    # share of a direction, and rows and columns of the two neighbours
    pairs = (
        (3, (inner, third), (inner, inner)),
        (3, (third, inner), (inner, inner)),
        (12, (second, second), (first, first)),
        (12, (second, first), (first, second)),
    )
    squares = [_changes(rim, weights, one, other).mean(1) / share for share, one, other in pairs]
    return 2 * torch.stack(squares).sum(0)


def absolute_variation(image: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the anisotropic total variation, sum |x' - x| over vertical and horizontal neighbours per value: (B,).

    Arguments as of `total_variation`.
    """
    down, right = (_changes(image, weight, *pair, torch.abs).sum(1) for pair in NEIGHBOURS)
    return (down + right) / image[0].numel()


def _changes(
    image: Tensor,
    weight: Tensor | None,
    one: Rows,
    other: Rows,
    size: Callable[[Tensor], Tensor] = torch.square,
) -> Tensor:
    """Return the sizes of the differences of neighbours, given by rows and columns, (B, N), each times its weight."""
    change = size(image[..., *one] - image[..., *other])
    return (change if weight is None else change * torch.minimum(weight[..., *one], weight[..., *other])).flatten(1)


TV_FORMS = {"squares": total_variation, "stencil": stencil_variation, "absolute": absolute_variation}


@dataclass(frozen=True)
class LossForm:
    """One row of the table above.

    Attributes:
        content_factor: target features (B, N, H, W) to the factor of the squared distance of the content features.
        style: statistics of the image and of the target at one layer to the layer's style loss, (B,).
        average_layers: whether the layers' style losses are averaged; otherwise they are summed.
        sums_positions: whether a loss grows with the image's size, because it sums over positions.
    """

    content_factor: Callable[[Tensor], Tensor | float]
    style: Callable[[FeatureStatistics, FeatureStatistics], Tensor]
    average_layers: bool
    sums_positions: bool = False


LOSS_FORMS = {
    "normalized": LossForm(content_normalized, style_normalized, average_layers=True),
    "moments": LossForm(content_normalized, style_moments, average_layers=True),
    "patches": LossForm(content_normalized, style_moments, average_layers=True),
    "equations": LossForm(content_equations, style_equations, average_layers=True, sums_positions=True),
    "published": LossForm(content_published, style_published, average_layers=False, sums_positions=True),
    "mean_squares": LossForm(content_published, style_mean_squares, average_layers=False),
    "gram_mean_std": LossForm(content_published, style_gram_mean_std, average_layers=False),
}
