"""The encoders by name and what is known of them without importing torch: taps, strides, input statistics, weights."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol

from src.common.errors import InputError

if TYPE_CHECKING:
    from src.config.schema import Backbone, RunConfig
    from src.encoders.base import Encoder

# Input statistics of torchvision's ImageNet weights, for RGB in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Padding = Literal["zeros", "replicate"]


@dataclass(frozen=True)
class TapInfo:
    """One activation that can be read.

    Attributes:
        channels: of the feature map.
        stride: image pixels per position, along either axis.
        block: the block of the network that computes it, from 1.
        reach: pixels beyond its own stride x stride that a position may depend on, on each side; None: not known, and
            taken for the whole image.
    """

    channels: int
    stride: int
    block: int = 1
    reach: int | None = None


class EncoderSpec(Protocol):
    """What the registry holds of an encoder; importing it loads no torch."""

    @property
    def name(self) -> str:
        """Return the name, as in `backbone=NAME`."""

    @property
    def taps(self) -> dict[str, TapInfo]:
        """Return all activations that can be read, shallow to deep."""

    def explain_taps(self) -> str:
        """Return the names of the taps for an error message."""

    def build(self, backbone: "Backbone", taps: list[str], mirror: str | None) -> tuple["Encoder", str]:
        """Return the network, cut behind its deepest tap, with its weights loaded, and their sha256.

        Raises:
            InputError: weights that are missing or do not fit.
        """


@dataclass(frozen=True)
class VGGSpec:
    """A VGG: blocks of 3 x 3 convolutions, each with a ReLU, and a 2 x 2 pooling between blocks.

    Taps: `conv3_1` is the output of the first convolution of block 3, `relu3_1` the same after its ReLU.

    Attributes:
        name: as in `backbone=NAME`.
        blocks: output channels of each convolution, block by block.
        url: address of torchvision's IMAGENET1K_V1 weights; None for weights that ship with this package.
        sha256: checksum of the trained weights, or its first digits.
        mean, std: statistics of RGB in [0, 1] by which the input is normalised.
        padding: what surrounds the input of each convolution. Zeros, which torchvision uses, darken the rim of the
            result.
    """

    name: str
    blocks: tuple[tuple[int, ...], ...]
    url: str | None
    sha256: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    padding: Padding = "zeros"

    @cached_property
    def channels(self) -> dict[str, int]:
        """Return the output channels of each convolution, in order: conv1_1, conv1_2, conv2_1, ..."""
        return {
            f"conv{block}_{place}": width
            for block, widths in enumerate(self.blocks, 1)
            for place, width in enumerate(widths, 1)
        }

    @cached_property
    def taps(self) -> dict[str, TapInfo]:
        """Return each convolution's output before (conv) and after (relu) its ReLU.

        A convolution reaches one position further. So does the blurring pooling; others reach less.
        """
        found, reach = {}, 0
        for block, widths in enumerate(self.blocks, 1):
            stride = 2 ** (block - 1)
            reach += stride // 2  # of the pooling before the block
            for place, width in enumerate(widths, 1):
                reach += stride
                for kind in ("conv", "relu"):
                    found[f"{kind}{block}_{place}"] = TapInfo(width, stride, block, reach)
        return found

    def explain_taps(self) -> str:
        """Return the names of the taps for an error message."""
        names = ", ".join(name for name in self.taps if name.startswith("relu"))
        return f"after the ReLU: {names}; before it: the same with conv instead of relu"

    def build(self, backbone: "Backbone", taps: list[str], mirror: str | None) -> tuple["Encoder", str]:
        """Return the network, cut behind its deepest tap, with its weights loaded, and their sha256."""
        from src.encoders.weights import build_vgg

        return build_vgg(self, backbone, taps, mirror)


_ADDRESS = "https://download.pytorch.org/models/{}-{}.pth"

ENCODERS: dict[str, EncoderSpec] = {
    "embedded": VGGSpec(
        "embedded",
        ((32, 32), (64, 64), (128, 128, 128), (256, 256, 256), (256, 256)),
        None,
        "245b13a33611ea3c98ccaeb97db8410240aa30ff88b2055556bf00ddd16b9b3d",
        padding="replicate",
    ),
    "vgg19": VGGSpec(
        "vgg19",
        ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
        _ADDRESS.format("vgg19", "dcbb9e9d"),
        "dcbb9e9d",
    ),
    "vgg16": VGGSpec(
        "vgg16",
        ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
        _ADDRESS.format("vgg16", "397923af"),
        "397923af",
    ),
}


def encoder_spec(name: str) -> EncoderSpec:
    """Return an encoder by name.

    Raises:
        InputError: unknown; lists the known ones.
    """
    if name not in ENCODERS:
        raise InputError(f"backbone={name} is unknown; one of: {', '.join(ENCODERS)}")
    return ENCODERS[name]


def smallest_side(spec: EncoderSpec, taps: list[str]) -> int:
    """Return the smallest side of an image, px, at which each tap still has a position."""
    return max(spec.taps[tap].stride for tap in taps)


def check_taps(config: "RunConfig") -> None:
    """Check that the backbone exists and has the taps that the layers name.

    Raises:
        InputError: with the right names.
    """
    from src.config.schema import taps

    spec = encoder_spec(config.backbone.name)
    style, content = taps(config)
    for tap in (*style, content):
        if tap not in spec.taps:
            raise InputError(f"{spec.name} has no layer {tap!r}; {spec.explain_taps()}")
