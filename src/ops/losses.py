"""Content and style losses of one layer, in five named forms, one value per sample, (B,).

Each is a function of sums over positions alone (Gram matrix, channel means, squared distance), so that a picture may be
measured in parts.

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

from src.ops.gram import TINY, energy, moment_sums, positions


@dataclass(frozen=True)
class Statistics:
    """What the style loss reads of a picture at one layer.

    Attributes:
        gram: (B, N, N), not normalised; for a target B is 1 or the batch of the canvas.
        mean: (B, N) of each channel.
        covariance: (B, N, N) of the channels over the positions.
        positions: M, the number of positions it was summed over; (B, 1, 1) where it is not the same for all.
    """

    gram: Tensor
    mean: Tensor
    covariance: Tensor
    positions: int | Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Statistics":
        """Measure features (B, N, H, W)."""
        return cls.of_sums(*moment_sums(features), positions(features))

    @classmethod
    def of_sums(cls, gram: Tensor, total: Tensor, positions: int) -> "Statistics":
        """Return those of what `moment_sums` returns, of one map or added up over its parts: M positions in all."""
        mean = total / positions
        return cls(gram, mean, gram / positions - mean.unsqueeze(2) * mean.unsqueeze(1), positions)

    @classmethod
    def joined(cls, targets: "Sequence[Statistics]") -> "Statistics":
        """Return the targets of several samples, in their order, as those of one batch."""
        gram, mean, covariance = (
            torch.cat([getattr(each, name) for each in targets]) for name in ("gram", "mean", "covariance")
        )
        counts = torch.cat([torch.as_tensor(each.positions).view(-1, 1, 1).to(gram) for each in targets])
        return cls(gram, mean, covariance, counts)


def content_equations(target: Tensor) -> float:
    """Eq. 1: half the sum."""
    return 0.5


def content_published(target: Tensor) -> float:
    """Return what makes the sum the mean over the features, as the study's program computes it."""
    return 1 / target[0].numel()


def content_normalized(target: Tensor) -> Tensor:
    """Return what makes the sum relative to the target's energy, (B,): 0 is a perfect match, 1 as far off as zero."""
    return 1 / energy(target).clamp_min(TINY)


def style_equations(mine: Statistics, target: Statistics) -> Tensor:
    """Eq. 4 of one layer, (B,): against the style's Gram."""
    channels = mine.gram.shape[1]
    difference = mine.gram / mine.positions - target.gram / target.positions
    return energy(difference) / (4 * channels**2)


def style_published(mine: Statistics, target: Statistics) -> Tensor:
    """Return the mean squared difference of Grams that are not normalised, as the study's program does: (B,)."""
    return (mine.gram - target.gram).square().flatten(1).mean(1)


def style_normalized(mine: Statistics, target: Statistics) -> Tensor:
    """Return the squared difference of the Grams per position, relative to the energy of the target's: (B,)."""
    goal = target.gram / target.positions
    difference = mine.gram / mine.positions - goal
    return energy(difference) / energy(goal).clamp_min(TINY)


def style_moments(mine: Statistics, target: Statistics) -> Tensor:
    """Return half the relative squared difference of the covariances plus half that of the means: (B,).

    Mean and covariance are what a Gram matrix holds (Li, Wang, Liu and Hou 2017, "Demystifying neural style
    transfer"); apart, neither hides the other.
    """
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
        content: what it multiplies the squared distance of the content features by, given their target (B, N, H, W).
        style: its style loss, (B,), of the statistics of a layer and of their target.
        averaged: whether layers are averaged (1/n) or summed.
        extended: whether patches and palette of the style take part.
    """

    content: Callable[[Tensor], Tensor | float]
    style: Callable[[Statistics, Statistics], Tensor]
    averaged: bool
    extended: bool = False


LOSS_FORMS = {
    "normalized": LossForm(content_normalized, style_normalized, averaged=True),
    "moments": LossForm(content_normalized, style_moments, averaged=True),
    "patches": LossForm(content_normalized, style_moments, averaged=True, extended=True),
    "equations": LossForm(content_equations, style_equations, averaged=True),
    "published": LossForm(content_published, style_published, averaged=False),
}
