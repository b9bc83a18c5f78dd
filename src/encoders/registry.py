"""The networks by name: their layers, taps and input statistics. No torch here, so names are checked at once."""

import re
from dataclasses import dataclass
from typing import Literal

from src.common.errors import InputError
from src.config.schema import RunConfig, taps

# Input statistics of torchvision's ImageNet weights, on RGB in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Padding = Literal["zeros", "replicate"]

_TAP = re.compile(r"(relu|conv)(\d)_(\d)")


@dataclass(frozen=True)
class Architecture:
    """A VGG: blocks of 3x3 convolutions, each followed by a 2x2 pooling.

    Attributes:
        name: as in `backbone=NAME`.
        blocks: the output channels of each convolution, block by block.
        url: torchvision's IMAGENET1K_V1 weights; None for a network whose weights are in this package.
        sha256: the checksum of its trained weights, or the first digits of it (torchvision's are in the file's name).
        mean, std: the statistics its input is normalised by, on RGB in [0, 1].
        padding: what lies beyond the border of each convolution's input. Zeros there draw a dark rim on the pastiche;
            torchvision's networks have them, and the published record with them.
    """

    name: str
    blocks: tuple[tuple[int, ...], ...]
    url: str | None
    sha256: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    padding: Padding = "zeros"

    @property
    def convolutions(self) -> list[str]:
        """Return the names of all convolutions in order: conv1_1, conv1_2, conv2_1, ..."""
        return [f"conv{b}_{i}" for b, block in enumerate(self.blocks, 1) for i in range(1, len(block) + 1)]

    @property
    def channels(self) -> dict[str, int]:
        """Return the output channels of each convolution."""
        return dict(zip(self.convolutions, (width for block in self.blocks for width in block), strict=True))

    @property
    def taps(self) -> list[str]:
        """Return all names that may be tapped: each convolution's output before (conv) and after (relu) its ReLU."""
        return [name.replace("conv", kind) for name in self.convolutions for kind in ("conv", "relu")]

    def check(self, tap: str) -> None:
        """Raise an `InputError` that lists the right names where `tap` is none of them."""
        if tap not in self.taps:
            names = ", ".join(name for name in self.taps if name.startswith("relu"))
            raise InputError(
                f"{self.name} has no layer {tap!r}; after the ReLU: {names}; before it: the same with conv for relu"
            )

    def smallest_side(self, taps: list[str]) -> int:
        """Return the smallest side, px, of an image for which each tap still has a position: 2 per pooling above."""
        return max(2 ** (block_of(tap) - 1) for tap in taps)


def block_of(tap: str) -> int:
    """Return the block, counted from 1, of a tap: relu3_1 is in block 3."""
    match = _TAP.fullmatch(tap)
    assert match, tap
    return int(match[2])


def convolution_of(tap: str) -> str:
    """Return the convolution a tap belongs to: relu3_1 belongs to conv3_1."""
    return tap.replace("relu", "conv")


_ADDRESS = "https://download.pytorch.org/models/{}-{}.pth"

ARCHITECTURES = {
    "embedded": Architecture(
        "embedded",
        ((32, 32), (64, 64), (128, 128, 128), (256, 256, 256), (256, 256)),
        None,
        "a620467e8526a5b85a145a9f47ecaadcf7be4ddb8a6a486b926d7ba370638a5c",
        padding="replicate",
    ),
    "vgg19": Architecture(
        "vgg19",
        ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
        _ADDRESS.format("vgg19", "dcbb9e9d"),
        "dcbb9e9d",
    ),
    "vgg16": Architecture(
        "vgg16",
        ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
        _ADDRESS.format("vgg16", "397923af"),
        "397923af",
    ),
}


def architecture(name: str) -> Architecture:
    """Return a network by name.

    Raises:
        InputError: unknown; lists the known ones.
    """
    if name not in ARCHITECTURES:
        raise InputError(f"backbone={name} is unknown; one of: {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[name]


def check_taps(config: RunConfig) -> None:
    """Check that the backbone is known and has every tap of a run.

    Raises:
        InputError: with the right names.
    """
    network = architecture(config.backbone.name)
    style, content = taps(config)
    for tap in (*style, content):
        network.check(tap)
