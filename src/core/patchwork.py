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

SIZE = 7
STRIDE = 2
# Long side of the levels, px: up to half the image's, since descent adds what is finer, and at most this much, for
# the search takes time as the fourth power of it.
FINEST, COARSEST = 192, 44
# Rounds of a level. Little moves any more in the fine ones, which are the slow ones.
ROUNDS, LAST_ROUNDS = 6, (4, 2)
# How much all patches are kept from being used alike, in squared distances over a patch (values in [0, 1]).
RELUCTANCE = 0.02
NOISE = 0.05
_CHUNK = 256


@torch.no_grad()
def patchwork(content: Tensor, style: Tensor, hold: float, edges: float, generator: torch.Generator) -> Tensor:
    """Return the content in patches of the style, (1, 3, H, W) in [0, 1].

    Args:
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].
        hold: weight of the content, its colours matched to the style's, where it is flat; the patches weigh 1.
        edges: what is added to that where its local contrast is greatest.
        generator: of the noise at the coarsest level, on the CPU.
    """
    content = match_colors(content, style)
    longest = max(content.shape[-2:])
    sizes = levels(longest)
    image = None
    for number, edge in enumerate(sizes):
        scene, example = _scaled(content, edge / longest), _scaled(style, edge / max(style.shape[-2:]))
        if image is None:
            image = scene + NOISE * torch.randn(scene.shape, generator=generator).to(scene)
        else:
            image = F.interpolate(image, scene.shape[-2:], mode="bicubic", align_corners=False)
        patches = ExamplePatches(example)
        weight = hold + edges * _contrast(scene)
        left = len(sizes) - number
        for turn in range(LAST_ROUNDS[-left] if left <= len(LAST_ROUNDS) else ROUNDS):
            image = patches.lay((image + weight * scene) / (1 + weight), rescale=turn % 2 == 0)
    assert image is not None
    return F.interpolate(image, content.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


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
    a = torch.cov(own)
    root, inverse = _power(a, 0.5), _power(a, -0.5)
    transport = inverse @ _power(root @ torch.cov(other) @ root, 0.5) @ inverse
    moved = transport @ (own - own.mean(1, keepdim=True)) + other.mean(1, keepdim=True)
    return moved.clamp(0, 1).view_as(image)


class ExamplePatches:
    """The patches of an example (1, 3, h, w), looked up by distances that are scaled for each of them: a patch that is
    far from everything is brought nearer, so that what is rare in the example is used too.
    """

    def __init__(self, example: Tensor) -> None:
        self.patches = F.unfold(example, SIZE)[0].T.contiguous()
        self.mean = self.patches.mean(0)
        keys = self.patches - self.mean
        # |q - k|^2 = (q, 1, |q|^2) . (-2 k, |k|^2, 1): one product
        self.keys = torch.cat([-2 * keys, keys.square().sum(1, keepdim=True), torch.ones_like(keys[:, :1])], 1)
        self.scaled = self.keys.T

    def lay(self, image: Tensor, rescale: bool) -> Tensor:
        """Return the nearest patches of every other place, averaged where they overlap, (1, 3, H, W) as `image`.

        Args:
            image: (1, 3, H, W), no side shorter than a patch.
            rescale: measure the scales anew, which takes as long as the search itself.
        """
        height, width = image.shape[-2:]
        around = SIZE // 2
        padded = F.pad(
            image, (around, around + (width - 1) % STRIDE, around, around + (height - 1) % STRIDE), "reflect"
        )
        queries = F.unfold(padded, SIZE, stride=STRIDE)[0].T - self.mean
        queries = torch.cat([queries, torch.ones_like(queries[:, :1]), queries.square().sum(1, keepdim=True)], 1)
        if rescale:
            self._scale(queries)
        places = torch.cat([(part @ self.scaled).argmin(1) for part in queries.split(_CHUNK)])
        laid = self.patches[places].T.unsqueeze(0)
        size = (padded.shape[-2], padded.shape[-1])
        total = F.fold(laid, size, SIZE, stride=STRIDE)
        count = F.fold(torch.ones_like(laid[:, : SIZE * SIZE]), size, SIZE, stride=STRIDE)
        return (total / count)[:, :, around : around + height, around : around + width]

    def _scale(self, queries: Tensor) -> None:
        nearest = torch.full_like(self.keys[:, 0], math.inf)
        for part in queries.split(_CHUNK):
            nearest = torch.minimum(nearest, (part @ self.keys.T).amin(0))
        self.scaled = (self.keys / (RELUCTANCE + nearest.clamp_min(0)).unsqueeze(1)).T


def levels(longest: int) -> list[int]:
    """Return the long sides of the levels, px, coarsest first, each sqrt(2) times the one before."""
    sizes = [min(longest // 2, FINEST)]
    while round(sizes[0] / math.sqrt(2)) >= COARSEST:
        sizes.insert(0, round(sizes[0] / math.sqrt(2)))
    return sizes


def _scaled(image: Tensor, factor: float) -> Tensor:
    height, width = (max(SIZE, round(side * factor)) for side in image.shape[-2:])
    return F.interpolate(image, (height, width), mode="bicubic", align_corners=False, antialias=True)


def _contrast(scene: Tensor) -> Tensor:
    """Return the standard deviation of brightness around each place, 1 where it is high: (1, 1, h, w) in [0, 1]."""
    gray = F.pad(scene.mean(1, keepdim=True), (2, 2, 2, 2), "reflect")
    mean = F.avg_pool2d(gray, 5, 1)
    deviation = (F.avg_pool2d(gray.square(), 5, 1) - mean.square()).clamp_min(0).sqrt()
    return (deviation / (deviation.flatten().quantile(0.95) + 1e-6)).clamp(max=1)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Return a power of a symmetric positive matrix; 1e-5 stands for eigenvalues that are smaller."""
    values, vectors = torch.linalg.eigh(matrix)
    return vectors @ torch.diag(values.clamp_min(1e-5) ** exponent) @ vectors.T
