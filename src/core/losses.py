"""Content and style losses of one layer, in five named forms. Each returns one value per sample, (B,).

| form         | content                        | style (G, A already Gram matrices)               | layer weights |
|--------------|--------------------------------|--------------------------------------------------|---------------|
| `equations`  | 1/2 sum (F - P)^2       (eq 1) | 1/(4 N^2) sum (G/M - A/M')^2              (eq 4)  | 1/n    (eq 5) |
| `published`  | mean (F - P)^2                 | mean (G - A)^2, Grams not normalised             | 1             |
| `normalized` | sum (F - P)^2 / sum P^2        | sum (G/M - A/M')^2 / sum (A/M')^2                | 1/n           |
| `moments`    | as `normalized`                | half that of the covariance, half of the mean    | 1/n           |
| `patches`    | as `normalized`                | a share of `moments`, the rest by core/patches;  | 1/n           |
|              |                                | beside the layers the colours, by core/palette   |               |

The equations are those of "Texture Enhancement Using Neural Style Transfer" (after Gatys, Ecker and Bethge, CVPR
2016). With style and image of one size (M = M') the first row is eq. 4 as printed; at different sizes each Gram is
divided by its own number of positions, without which a larger style image would count as a stronger style.

G/M is the covariance of the channels plus the outer product of their means. After a ReLU the means are the larger part
of it by far, so a Gram that matches to a percent may hold little of the texture; `moments` weighs the two apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.core.statistics import TINY, energy, gram_matrix, moments, positions


@dataclass(frozen=True)
class StyleTarget:
    """What the style loss keeps of the style image at one layer.

    Attributes:
        gram: (B, N, N), not normalised; B is 1 or the batch of the canvas.
        mean: (B, N) of each channel.
        covariance: (B, N, N) of the channels over the positions.
        positions: M', the number of positions it was summed over; (B, 1, 1) where it is not the same for all.
    """

    gram: Tensor
    mean: Tensor
    covariance: Tensor
    positions: int | Tensor

    @classmethod
    def of(cls, features: Tensor) -> "StyleTarget":
        """Measure the style features (B, N, H, W)."""
        gram, mean = moments(features)
        covariance = gram / positions(features) - mean.unsqueeze(2) * mean.unsqueeze(1)
        return cls(gram, mean, covariance, positions(features))

    @classmethod
    def joined(cls, targets: "Sequence[StyleTarget]") -> "StyleTarget":
        """Return the targets of several samples, in their order, as those of one batch."""
        gram, mean, covariance = (
            torch.cat([getattr(each, name) for each in targets]) for name in ("gram", "mean", "covariance")
        )
        counts = torch.cat([torch.as_tensor(each.positions).view(-1, 1, 1).to(gram) for each in targets])
        return cls(gram, mean, covariance, counts)


def content_equations(features: Tensor, target: Tensor) -> Tensor:
    """Eq. 1: half the summed squared difference of the features, (B, N, H, W) each, to (B,)."""
    return 0.5 * energy(features - target)


def content_published(features: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared difference of the features, as the study's program computes it: (B,)."""
    return (features - target).square().flatten(1).mean(1)


def content_normalized(features: Tensor, target: Tensor) -> Tensor:
    """Return the squared difference relative to the target's energy: 0 is a perfect match, 1 as far off as zero."""
    return energy(features - target) / energy(target).clamp_min(TINY)


def style_equations(features: Tensor, target: StyleTarget) -> Tensor:
    """Eq. 4 of one layer: (B, N, H, W) against the style's Gram, to (B,)."""
    channels = features.shape[1]
    difference = gram_matrix(features) / positions(features) - target.gram / target.positions
    return energy(difference) / (4 * channels**2)


def style_published(features: Tensor, target: StyleTarget) -> Tensor:
    """Return the mean squared difference of Grams that are not normalised, as the study's program does: (B,)."""
    return (gram_matrix(features) - target.gram).square().flatten(1).mean(1)


def style_normalized(features: Tensor, target: StyleTarget) -> Tensor:
    """Return the squared difference of the Grams per position, relative to the energy of the target's: (B,)."""
    goal = target.gram / target.positions
    difference = gram_matrix(features) / positions(features) - goal
    return energy(difference) / energy(goal).clamp_min(TINY)


def style_moments(features: Tensor, target: StyleTarget) -> Tensor:
    """Return half the relative squared difference of the covariances plus half that of the means: (B,).

    Mean and covariance are what a Gram matrix holds (Li, Wang, Liu and Hou 2017, "Demystifying neural style
    transfer"); apart, neither hides the other.
    """
    mine = StyleTarget.of(features)
    goal = target.covariance
    covariance = energy(mine.covariance - goal) / energy(goal).clamp_min(TINY)
    mean = energy(mine.mean - target.mean) / energy(target.mean).clamp_min(TINY)
    return 0.5 * (covariance + mean)


def total_variation(image: Tensor) -> Tensor:
    """Return the anisotropic total variation with squared differences (Mahendran and Vedaldi 2015, beta = 2).

    Args:
        image: (B, C, H, W) in [0, 1]. The value is a mean over pixels, so it does not grow with the size.

    Returns:
        (B,).
    """
    down = (image[..., 1:, :] - image[..., :-1, :]).square().flatten(1).mean(1)
    right = (image[..., :, 1:] - image[..., :, :-1]).square().flatten(1).mean(1)
    return down + right


@dataclass(frozen=True)
class LossForm:
    """One named form.

    Attributes:
        content: its content loss.
        style: its style loss of the statistics.
        averaged: whether layers are averaged (1/n) or summed.
        extended: whether patches and palette of the style take part.
    """

    content: Callable[[Tensor, Tensor], Tensor]
    style: Callable[[Tensor, StyleTarget], Tensor]
    averaged: bool
    extended: bool = False


LOSS_FORMS = {
    "normalized": LossForm(content_normalized, style_normalized, averaged=True),
    "moments": LossForm(content_normalized, style_moments, averaged=True),
    "patches": LossForm(content_normalized, style_moments, averaged=True, extended=True),
    "equations": LossForm(content_equations, style_equations, averaged=True),
    "published": LossForm(content_published, style_published, averaged=False),
}
