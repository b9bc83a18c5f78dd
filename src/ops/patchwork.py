"""A start for the image: the content laid anew in patches of the style.

From the content itself, descent leaves flat places flat: statistics say how often a ring or a facet occurs, not where
one should grow. Here each place takes the style's patch that is most like it, the patches are averaged where they
overlap, and so on to and fro, from coarse to fine: texture optimisation (Kwatra et al. 2005, "Texture optimization for
example-based synthesis") held by a picture (Elad and Milanfar 2017, "Style transfer via texture synthesis"), with
distances that let every patch of the style have its turn (Granot et al. 2022, "Drop the GAN", eq. 2).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.exemplar import SIZE, ExamplePatches, carried

# Long side of the coarsest level, px: a patch is a sixth of the picture there.
COARSEST = 44
# Long side of the finest level at which the whole style is searched, px: that takes time as the fourth power of it.
SEARCHED = 192
NOISE = 0.05
# Variance of colours below which a picture counts as grey along that axis: less is noise, and is not blown up.
GREYEST = 1e-3
# Standard deviation of brightness that counts as none: in a blank picture rounding is all there is.
BLANK = 0.02


@torch.no_grad()
def patchwork(
    content: Tensor, style: Tensor, hold: float, edges: float, blend: float, generator: torch.Generator
) -> Tensor:
    """Return the content in patches of the style, (1, 3, H, W) in [0, 1].

    Args:
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].
        hold: weight of the content, its colours matched to the style's, where it is flat; the patches weigh 1.
        edges: what is added to that where its contrast is greatest, at a level or a coarser one.
        blend: weight of the content, in the style's colours, laid over the finished patches where its contrast is
            greatest: what no patch of the style can draw, a thin mast say, is there all the same.
        generator: of the noise at the coarsest level, on the CPU.
    """
    content = match_colors(content, style)
    longest = max(content.shape[-2:])
    searched, finer = levels(longest)
    scene = _scaled(content, searched[0] / longest)
    image = scene + NOISE * torch.randn(scene.shape, generator=generator).to(scene)
    contrast = torch.zeros_like(scene[:, :1])  # where an object stands out as a whole, its inside is held too
    example = style
    for size in (*searched, *finer):
        last_image, last_example = image, example
        scene, example = _scaled(content, size / longest), _scaled(style, size / longest)
        image, patches = _resized(last_image, scene), ExamplePatches(example)
        contrast = torch.maximum(_contrast(scene), _resized(contrast, scene).clamp(0, 1))
        weight = hold + edges * contrast
        if size in searched:
            for turn in range(_rounds(size)):
                origins = patches.nearest(_held(image, scene, weight), rescale=turn % 2 == 0)
                image = patches.lay(origins, image)
        else:
            origins = carried(origins, (last_image, last_example), (image, example))
            origins = patches.improved(origins, _held(image, scene, weight))
            image = patches.lay(origins, image)
    return _held(image, scene, blend * contrast).clamp(0, 1)


def match_colors(image: Tensor, to: Tensor) -> Tensor:
    """Return an image whose colours have the mean and covariance of another's, moved as little as possible.

    The linear map A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2 between the covariances A and B: optimal transport of two normal
    distributions.

    Args:
        image: (1, 3, H, W) in [0, 1].
        to: (1, 3, H', W') in [0, 1].

    Returns:
        (1, 3, H, W), clipped to [0, 1].
    """
    own, other = image[0].flatten(1), to[0].flatten(1)
    variances, theirs = (torch.cov(colors.cpu().double()) for colors in (own, other))  # not every device can do more
    root, inverse = (_power(variances, exponent, GREYEST) for exponent in (0.5, -0.5))
    transport = (inverse @ _power(root @ theirs @ root, 0.5, 0.0) @ inverse).to(own)
    moved = transport @ (own - own.mean(1, keepdim=True)) + other.mean(1, keepdim=True)
    return moved.clamp(0, 1).view_as(image)


def _power(matrix: Tensor, exponent: float, least: float) -> Tensor:
    """Return a power of a symmetric matrix; `least` stands for eigenvalues that are smaller."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(least) ** exponent) @ vectors.T


def levels(longest: int) -> tuple[list[int], list[int]]:
    """Return the long sides of the levels, px, coarsest first.

    Args:
        longest: long side of the image, px, which is the last level.

    Returns:
        Those at which the style is searched, each sqrt(2) times the one before and half the image's at most; and the
        finer ones, each twice the one before or less: every averaging of patches takes some of a thin line away.
    """
    back = 2
    while longest / math.sqrt(2) ** back > SEARCHED:
        back += 1
    searched = [round(longest / math.sqrt(2) ** back)]
    while (coarser := round(longest / math.sqrt(2) ** (back + len(searched)))) >= COARSEST:
        searched.insert(0, coarser)
    finer = [longest]
    while (coarser := round(finer[0] / 2)) > searched[-1]:
        finer.insert(0, coarser)
    return searched, finer


def _rounds(size: int) -> int:
    """Return how often a level is searched: a large one is slow, and finds little that is new."""
    return 6 if size <= SEARCHED / 2 else 4 if size <= round(SEARCHED / math.sqrt(2)) else 2


def _held(image: Tensor, scene: Tensor, weight: Tensor) -> Tensor:
    return (image + weight * scene) / (1 + weight)


def _scaled(image: Tensor, factor: float) -> Tensor:
    height, width = (max(SIZE, round(side * factor)) for side in image.shape[-2:])
    return F.interpolate(image, (height, width), mode="bicubic", align_corners=False, antialias=True)


def _resized(image: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(image, like.shape[-2:], mode="bicubic", align_corners=False)


def _contrast(scene: Tensor) -> Tensor:
    """Return the standard deviation of brightness around each place, 1 where it is high: (1, 1, h, w) in [0, 1]."""
    gray = scene.mean(1, keepdim=True)
    # line by line: the mean of all at once would depend on how many threads share it
    gray = F.pad(gray - gray.mean(3, keepdim=True).mean(2, keepdim=True), (2, 2, 2, 2), "reflect")
    mean = F.avg_pool2d(gray, 5, 1)
    deviation = (F.avg_pool2d(gray.square(), 5, 1) - mean.square()).clamp_min(0).sqrt()
    high = deviation.flatten().sort().values[int(0.95 * (deviation.numel() - 1))]
    return (deviation / high.clamp_min(BLANK)).clamp(max=1)
