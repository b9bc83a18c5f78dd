"""Distances between a pastiche and its style image, and the measurement of a finished picture for its record.

The optimisation minimises neither distance, so they compare pictures made with different losses, layers and weights.
Read them next to SSIM, as a trade-off: a picture gets closer to the style by giving up structure of the content.

Limits: these are statistics of patches and of filter responses. They detect a wrong palette or contrast, but hardly
distinguish brush strokes from noise. On the study's pairs, networks with random weights score as well as trained ones,
although their pictures are plainly worse.
"""

import hashlib
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from src.config.schema import Backbone, RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.encoders.registry import encoder_spec
from src.evaluation.ssim import gradient_ssim
from src.ops import kernels
from src.ops.gram import FeatureStatistics
from src.ops.losses import style_normalized
from src.ops.sorting import sort_rows
from src.tracking import names as keys
from src.tracking.record import RunRecord
from src.transfer.terms.style import statistics

PATCH = 7
PATCHES = 4096
DIRECTIONS = 256
SMALLEST_LEVEL = 16
# One judge for all runs, so that their Gram distances share a scale. Random weights need no download.
JUDGE = Backbone(name="vgg16", weights="random", seed=0, pool="blur")
JUDGE_NAME = f"{JUDGE.name}, random weights, seed {JUDGE.seed}"
JUDGE_TAPS = ("relu1_1", "relu2_1", "relu3_1")
CACHED_STYLES = 32


def judge(record: RunRecord, config: RunConfig, image: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
    """Measure a finished picture and write the results into its record.

    Args:
        record: has `ssim`; receives `gradient_ssim`, `patch_distance`, `gram_distance`, `judge` and `score`.
        config: of the run.
        image: (1, 3, H, W) pastiche, sRGB; clamped to [0, 1] here.
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].

    Returns:
        The measured values by metric name, for the loggers. `gram_distance` is missing (None in the record) if the run
        optimised the judge network itself.
    """
    assert record.ssim is not None
    image, content, style = (each.detach().clamp(0, 1).float().cpu() for each in (image, content, style))
    distance = patch_distance(image, style)
    values = {
        keys.GRADIENT_SSIM: gradient_ssim(image, content),
        keys.PATCH_DISTANCE: distance,
        keys.SCORE: config.score.of(record.ssim, distance),
    }
    if not is_judge(config.backbone):
        values[keys.GRAM_DISTANCE] = gram_distance(image, style)
        record.judge = JUDGE_NAME
    for key, value in values.items():
        setattr(record, key, value)
    return values


def laplacian_pyramid(image: Tensor, depth: int) -> list[Tensor]:
    """Return `depth` band-pass levels of an image (B, 3, H, W), finest first, and the low-pass residual."""
    levels = []
    for _ in range(depth):
        smaller = _blur(image)[..., ::2, ::2]
        levels.append(image - F.interpolate(smaller, image.shape[-2:], mode="bilinear", align_corners=False))
        image = smaller
    return [*levels, image]


def pyramid_depth(image: Tensor) -> int:
    """Return how often an image (B, 3, H, W) can be halved with at least 16 px left on its shorter side."""
    depth, side = 0, min(image.shape[-2:])
    while side >= 2 * SMALLEST_LEVEL:
        depth, side = depth + 1, (side + 1) // 2
    return depth


def _blur(image: Tensor) -> Tensor:
    taps = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (taps[:, None] * taps).expand(image.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), kernel, groups=image.shape[1])


def patch_distance(image: Tensor, style: Tensor) -> float:
    """Return the sliced Wasserstein distance between 7 x 7 patches, averaged over the levels of a Laplacian pyramid.

    Karras, Aila, Laine and Lehtinen 2018, section 5, with one difference: they normalise the patches of each set by its
    own mean and standard deviation, so their distance ignores palette and contrast. Here the style's normalise both.

    Both pyramids have the depth of the shallower one, so band-pass levels are compared with band-pass levels and the
    residual with the residual. Patches are taken at random positions relative to the size of a level: the same
    positions for pictures of one size, so the distance of a picture to itself is exactly 0.

    Args:
        image: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].

    Returns:
        The distance in standard deviations of the style's values. Positions and directions are seeded, so the same
        pictures always give the same value.
    """
    depth = min(pyramid_depth(image), pyramid_depth(style))
    pairs = zip(laplacian_pyramid(image, depth), laplacian_pyramid(style, depth), strict=True)
    distances = []
    for level, (mine, theirs) in enumerate(pairs):
        mean = theirs.mean((2, 3), keepdim=True)
        deviation = theirs.std((2, 3), keepdim=True).clamp_min(1e-4)
        generator = torch.Generator().manual_seed(level)
        places = torch.rand(2, PATCHES, generator=generator, dtype=torch.float64)
        patches = [_patches((each - mean) / deviation, places) for each in (mine, theirs)]
        distances.append(_sliced_wasserstein(patches[0], patches[1], generator))
    return sum(distances) / len(distances)


def _patches(image: Tensor, places: Tensor) -> Tensor:
    """Return the patches of an image (1, 3, H, W) at relative positions (2, N) in [0, 1), as rows (N, 3 * 49)."""
    windows = image[0].unfold(1, PATCH, 1).unfold(2, PATCH, 1)
    rows, columns = ((size * place).long() for size, place in zip(windows.shape[1:3], places, strict=True))
    return windows[:, rows, columns].transpose(0, 1).flatten(1)


def _sliced_wasserstein(first: Tensor, second: Tensor, generator: torch.Generator) -> float:
    directions = F.normalize(torch.randn(first.shape[1], DIRECTIONS, generator=generator), dim=0)
    sorted_first, sorted_second = (sort_rows((each @ directions).T.contiguous()) for each in (first, second))
    return float((sorted_first - sorted_second).abs().mean())


def is_judge(backbone: Backbone) -> bool:
    """Return whether a network has the judge's weights at its taps; VGG-16 and VGG-19 are the same up to relu3_1."""
    return backbone.weights == "random" and backbone.seed == JUDGE.seed and backbone.name in ("vgg16", "vgg19")


@torch.no_grad()
def gram_distance(image: Tensor, style: Tensor) -> float:
    """Return the style loss of `loss=normalized` through the judge network, averaged over its three taps.

    Args:
        image: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].

    Returns:
        0 for equal Gram matrices, 1 for an image whose features are all zero.
    """
    mine, theirs = _statistics(image), _style_statistics(style)
    return float(torch.stack([style_normalized(mine[tap], theirs[tap]) for tap in JUDGE_TAPS]).mean())


def _statistics(image: Tensor) -> dict[str, FeatureStatistics]:
    network = _judge_network(kernels.enabled())
    return statistics(network, image, JUDGE_TAPS, Checkpointing(len(JUDGE_TAPS), banded=True))


@cache
def _judge_network(compiled: bool) -> Encoder:
    """Return the judge with compiled kernels or without, as the run has them: the two differ by rounding."""
    network, _ = encoder_spec(JUDGE.name).build(JUDGE, list(JUDGE_TAPS), None)
    if compiled:
        network.use_kernels()
    return network.to(memory_format=torch.channels_last)


_style_cache: dict[tuple[bool, bytes], dict[str, FeatureStatistics]] = {}


def _style_statistics(style: Tensor) -> dict[str, FeatureStatistics]:
    """Return the statistics of a style image, measured once for all pictures of a process that share it."""
    key = kernels.enabled(), hashlib.sha256(style.numpy().tobytes()).digest()
    if key not in _style_cache:
        if len(_style_cache) == CACHED_STYLES:
            _style_cache.clear()
        _style_cache[key] = _statistics(style)
    return _style_cache[key]
