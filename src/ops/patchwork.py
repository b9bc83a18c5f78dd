"""Initial image assembled from patches of the style image.

Optimisation that starts from the content image leaves its flat areas flat, because Gram matrices fix how often a
pattern occurs and leave open where. This start gives each place the most similar patch of the style, averages the
patches where they overlap, and repeats that from coarse to fine: texture optimisation (Kwatra et al. 2005, "Texture
optimization for example-based synthesis") guided by the content image (Elad and Milanfar 2017, "Style transfer via
texture synthesis"), with distances that make the search use all patches (Granot et al. 2022, "Drop the GAN", eq. 2).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.color import match_colors
from src.ops.exemplar import SIZE, ExemplarPatches, upsample_origins

# Long side of the coarsest level, px: a patch is a sixth of it.
COARSEST_EDGE = 44
# Long side of the finest level where the whole style is searched, px; the time grows as its fourth power.
SEARCH_EDGE = 192
NOISE = 0.05
# Least variance of the content's colours along an axis: less counts as noise and is not amplified (`match_colors`).
LEAST_VARIANCE = 1e-3
# Least standard deviation of brightness that counts as contrast: in a blank image there is rounding noise alone.
LEAST_CONTRAST = 0.02


@torch.no_grad()
def patchwork(
    content: Tensor, style: Tensor, hold: float, edges: float, blend: float, generator: torch.Generator
) -> Tensor:
    """Approximate the content image by patches of the style image.

    Args:
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].
        hold: weight of the content, in the style's colours, in flat areas; the patches have weight 1.
        edges: weight added to `hold` where the content's contrast is highest, at this level or a coarser one.
        blend: weight of the content, in the style's colours, in the finished image where its contrast is highest: keeps
            what no patch of the style can draw, such as a thin mast.
        generator: CPU generator of the noise at the coarsest level.

    Returns:
        (1, 3, H, W) in [0, 1].
    """
    content = match_colors(content, style, ridge=0.0, floor=LEAST_VARIANCE, correction=1).clamp(0, 1)
    longest = max(content.shape[-2:])
    searched, refined = pyramid_levels(longest)
    target = _scaled(content, searched[0] / longest)
    image = target + NOISE * torch.randn(target.shape, generator=generator).to(target)
    contrast = torch.zeros_like(target[:, :1])  # the maximum over levels, so that the inside of an object counts too
    example = style
    for edge in (*searched, *refined):
        last_image, last_example = image, example
        target, example = _scaled(content, edge / longest), _scaled(style, edge / longest)
        image, patches = _resized(last_image, target), ExemplarPatches(example)
        contrast = torch.maximum(_contrast(target), _resized(contrast, target).clamp(0, 1))
        weight = hold + edges * contrast
        if edge in searched:
            for iteration in range(_iterations(edge)):
                origins = patches.nearest(_mixed(image, target, weight), rescale=iteration % 2 == 0)
                image = patches.assemble(origins, image)
        else:
            origins = upsample_origins(origins, (last_image, last_example), (image, example))
            origins = patches.refine(origins, _mixed(image, target, weight))
            image = patches.assemble(origins, image)
    return _mixed(image, target, blend * contrast).clamp(0, 1)


def pyramid_levels(longest: int) -> tuple[list[int], list[int]]:
    """Choose the long sides of the pyramid's levels, px, coarsest first.

    Args:
        longest: long side of the image, px, which is the last level.

    Returns:
        The levels where the style is searched, which grow by sqrt(2) up to at most half the image's side, and the finer
        levels, which grow by at most 2: few, because each averaging of patches blurs thin lines.
    """
    edges = [longest / math.sqrt(2) ** k for k in range(2, 64)]
    small = [round(edge) for edge in edges if edge <= SEARCH_EDGE]
    searched = [edge for edge in small if edge >= COARSEST_EDGE][::-1] or small[:1]
    refined = [longest]
    while (coarser := round(refined[0] / 2)) > searched[-1]:
        refined.insert(0, coarser)
    return searched, refined


def _iterations(edge: int) -> int:
    """Return the number of searches at a level: fewer at large ones, which are slow and change little."""
    return 6 if edge <= SEARCH_EDGE / 2 else 4 if edge <= round(SEARCH_EDGE / math.sqrt(2)) else 2


def _mixed(image: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return (image + weight * target) / (1 + weight)


def _scaled(image: Tensor, factor: float) -> Tensor:
    height, width = (max(SIZE, round(side * factor)) for side in image.shape[-2:])
    return F.interpolate(image, (height, width), mode="bicubic", align_corners=False, antialias=True)


def _resized(image: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(image, like.shape[-2:], mode="bicubic", align_corners=False)


def _contrast(image: Tensor) -> Tensor:
    """Compute the local standard deviation of brightness over 5 x 5 pixels, scaled to [0, 1]: (1, 1, H, W).

    Its 95th percentile becomes 1, and larger values are clamped.
    """
    gray = image.mean(1, keepdim=True)
    # one axis at a time: the rounding of a mean over both depends on the number of threads
    gray = F.pad(gray - gray.mean(3, keepdim=True).mean(2, keepdim=True), (2, 2, 2, 2), "reflect")
    mean = F.avg_pool2d(gray, 5, 1)
    deviation = (F.avg_pool2d(gray.square(), 5, 1) - mean.square()).clamp_min(0).sqrt()
    high = deviation.flatten().sort().values[int(0.95 * (deviation.numel() - 1))]
    return (deviation / high.clamp_min(LEAST_CONTRAST)).clamp(max=1)
