"""What a pastiche keeps of its content and takes of its style, by measures that no optimisation here descends along.

    structure (to the content)   SSIM; SSIM of the luminance's gradient magnitude: 1 is the content itself
    texture (to the style)       sliced Wasserstein distance of patches; Gram distance under another network: 0 is alike

Read them together, as a trade-off: every step towards the style costs structure. And know their limit: statistics of
patches and of filter banks guard colour and contrast, and do not tell strokes from noise. Measured on the study's
pairs, networks with random weights, whose pictures are plainly worse, score as well as trained ones.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from src.config.schema import Backbone, RunConfig
from src.encoders.base import Encoder
from src.encoders.checkpointing import Checkpointing
from src.encoders.registry import encoder_spec
from src.ops.losses import Statistics, style_normalized
from src.ops.sorting import sort_rows
from src.tracking import names as keys
from src.tracking.record import RunRecord
from src.transfer.terms.style import statistics

PATCH = 7
PATCHES = 4096
DIRECTIONS = 256
SMALLEST_LEVEL = 16
# The network that judges must not be the one that was optimised. Random weights see the statistics of a filter bank.
OTHER = Backbone(name="vgg16", weights="random")
JUDGED_AT = ("relu1_1", "relu2_1", "relu3_1")


def measure(image: Tensor, content: Tensor, style: Tensor, optimised: Backbone) -> dict[str, float]:
    """Return all measures that are not in `metrics`, by the names of the record.

    Args:
        image: (1, 3, H, W) pastiche, sRGB; clamped to [0, 1] here.
        content: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1].
        optimised: the network whose losses made the image; another one judges.
    """
    image, content, style = (each.detach().clamp(0, 1).float().cpu() for each in (image, content, style))
    return {
        keys.GRADIENT_SSIM: gradient_ssim(image, content),
        keys.PATCH_DISTANCE: patch_distance(image, style),
        keys.GRAM_DISTANCE: gram_distance(image, style, judge_of(optimised)),
    }


def judge(record: RunRecord, config: RunConfig, image: Tensor, content: Tensor, style: Tensor) -> dict[str, float]:
    """Measure a finished picture for its record, and score it; return the measures by their keys, for the trackers."""
    found = measure(image, content, style, config.backbone)
    assert record.ssim is not None
    found[keys.SCORE] = config.score.of(record.ssim, found[keys.PATCH_DISTANCE])
    for key, value in found.items():
        setattr(record, key, value)
    return found


def luminance(image: Tensor) -> Tensor:
    """Return the luma of sRGB values (Rec. 709 weights), (B, 3, H, W) to (B, 1, H, W)."""
    weights = image.new_tensor([0.2126, 0.7152, 0.0722]).view(1, 3, 1, 1)
    return (image * weights).sum(1, keepdim=True)


def gradient_magnitude(image: Tensor) -> Tensor:
    """Return the Sobel gradient's magnitude of the luminance; the gradient of a step from 0 to 1 is 1."""
    along = image.new_tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4
    kernels = torch.stack([along, along.T]).unsqueeze(1)
    return F.conv2d(F.pad(luminance(image), (1, 1, 1, 1), mode="replicate"), kernels).norm(dim=1, keepdim=True)


def gradient_ssim(image: Tensor, content: Tensor) -> float:
    """Return SSIM of the gradient magnitudes, data range 1: whether edges are where the content has them."""
    value = structural_similarity_index_measure(
        gradient_magnitude(image), gradient_magnitude(content), data_range=(0.0, 1.0)
    )
    assert isinstance(value, Tensor)
    return float(value)


def laplacian_pyramid(image: Tensor) -> list[Tensor]:
    """Return the bands of an image (B, 3, H, W), finest first; the last is what is left, at 16 px or a little more."""
    levels = []
    while min(image.shape[-2:]) >= 2 * SMALLEST_LEVEL:
        smaller = _blur(image)[..., ::2, ::2]
        larger = F.interpolate(smaller, image.shape[-2:], mode="bilinear", align_corners=False)
        levels.append(image - larger)
        image = smaller
    return [*levels, image]


def _blur(image: Tensor) -> Tensor:
    taps = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = (taps[:, None] * taps).expand(image.shape[1], 1, 5, 5)
    return F.conv2d(F.pad(image, (2, 2, 2, 2), mode="reflect"), kernel, groups=image.shape[1])


def patch_distance(image: Tensor, style: Tensor) -> float:
    """Return the sliced Wasserstein distance of 7 x 7 patches, averaged over a Laplacian pyramid.

    Karras, Aila, Laine and Lehtinen 2018, section 5, with one difference: they normalise the patches of either set by
    that set's own mean and deviation, which blinds them to palette and contrast; here both are normalised by the
    style's.

    Args:
        image: (1, 3, H, W) in [0, 1].
        style: (1, 3, H', W') in [0, 1]; levels that only the larger has are left out.

    Returns:
        In standard deviations of the style's values. The same for the same images: positions and directions are fixed.
    """
    pairs = list(zip(laplacian_pyramid(image), laplacian_pyramid(style), strict=False))
    distances = []
    for level, (mine, theirs) in enumerate(pairs):
        mean = theirs.mean((2, 3), keepdim=True)
        deviation = theirs.std((2, 3), keepdim=True).clamp_min(1e-4)
        generator = torch.Generator().manual_seed(level)
        patches = [_patches((each - mean) / deviation, generator) for each in (mine, theirs)]
        distances.append(_sliced_wasserstein(patches[0], patches[1], generator))
    return sum(distances) / len(distances)


def _patches(image: Tensor, generator: torch.Generator) -> Tensor:
    windows = image[0].unfold(1, PATCH, 1).unfold(2, PATCH, 1)
    rows, columns = windows.shape[1:3]
    place = torch.randint(rows * columns, (PATCHES,), generator=generator)
    return windows[:, place // columns, place % columns].transpose(0, 1).flatten(1)


def _sliced_wasserstein(first: Tensor, second: Tensor, generator: torch.Generator) -> float:
    directions = F.normalize(torch.randn(first.shape[1], DIRECTIONS, generator=generator), dim=0)
    sorted_first, sorted_second = (sort_rows((each @ directions).T.contiguous()) for each in (first, second))
    return float((sorted_first - sorted_second).abs().mean())


def judge_of(optimised: Backbone) -> Backbone:
    """Return the network that measures pictures made with another: the embedded one, or for it seeded VGG-16."""
    return OTHER if optimised.name == "embedded" else Backbone()


@torch.no_grad()
def gram_distance(image: Tensor, style: Tensor, judge: Backbone) -> float:
    """Return the `normalized` style loss, averaged over relu1_1, relu2_1, relu3_1 of the judge: 1 is a blank image."""
    extractor = _extractor(judge.name, judge.weights)
    mine, theirs = (_statistics(extractor, each) for each in (image, style))
    losses = [style_normalized(mine[tap], theirs[tap]) for tap in JUDGED_AT]
    return float(torch.stack(losses).mean())


def _statistics(extractor: Encoder, image: Tensor) -> dict[str, Statistics]:
    return statistics(extractor, image, JUDGED_AT, Checkpointing(len(JUDGED_AT), banded=True))


@lru_cache(maxsize=2)
def _extractor(name: str, weights: str) -> Encoder:
    extractor, _ = encoder_spec(name).build(Backbone(name=name, weights=weights), list(JUDGED_AT), None)
    extractor.use_kernels()
    return extractor.to(memory_format=torch.channels_last)
