"""The encoders by name and what is known of them without importing torch: taps, strides, input statistics, weights."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal

from src.common.errors import InputError
from src.config.options import unknown_value

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


class EncoderSpec(ABC):
    """What the registry holds of an encoder; importing it loads no torch.

    Attributes:
        name: as in `backbone=NAME`.
        pools: what `backbone.pool` may be.
        smallest: smallest side of an image, px, whatever the taps.
        regular: whether the size of a feature map is that which `positions` returns.
    """

    name: str
    regular: ClassVar[bool] = True
    pools: ClassVar[tuple[str, ...]] = ("blur", "avg", "max")
    smallest: int = 1

    @property
    @abstractmethod
    def taps(self) -> dict[str, TapInfo]:
        """Return all activations that can be read, shallow to deep."""

    def resolve(self, tap: str) -> str:
        """Return the tap that a name of the layer sets, such as relu3_1, stands for."""
        return tap

    @abstractmethod
    def explain_taps(self) -> str:
        """Return the names of the taps for an error message."""

    @abstractmethod
    def build(self, backbone: "Backbone", taps: list[str], mirror: str | None) -> tuple["Encoder", str]:
        """Return the network, cut behind its deepest tap, with its weights loaded, and their sha256.

        Raises:
            InputError: weights that are missing or do not fit.
        """


@dataclass(frozen=True)
class VGGSpec(EncoderSpec):
    """A VGG: blocks of 3 x 3 convolutions, each with a ReLU, and a 2 x 2 pooling between blocks.

    Taps: `conv3_1` is the output of the first convolution of block 3, `relu3_1` the same after its ReLU.

    Attributes:
        name: as in `backbone=NAME`.
        blocks: output channels of each convolution, block by block.
        url: address of the ImageNet weights; None for weights that ship with this package.
        sha256: checksum of the trained weights, or its first digits.
        mean, std: statistics of RGB in [0, 1] by which the input is normalised.
        padding: what surrounds the input of each convolution. Zeros, which torchvision uses, darken the rim of the
            result.
        bgr: the weights of a file expect the channels as blue, green, red.
    """

    name: str
    blocks: tuple[tuple[int, ...], ...]
    url: str | None
    sha256: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    padding: Padding = "zeros"
    bgr: bool = False

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


@dataclass(frozen=True)
class Stage:
    """Layers of a network, run one after another; the output of the last is a tap.

    Attributes:
        modules: their names in the network.
        channels, stride: of the output.
    """

    modules: tuple[str, ...]
    channels: int
    stride: int


@dataclass(frozen=True)
class StagedSpec(EncoderSpec):
    """A network that is a chain of five stages, with a tap at the end of each: `stage1` to `stage5`.

    The layer sets name the blocks of a VGG; relu3_1, say, stands for `stage3` here.

    Attributes:
        name: as in `backbone=NAME`.
        source: MODULE:FUNCTION that builds the network; called with `arguments`.
        stages: shallow to deep.
        weights: address of the trained weights, or MODULE:FUNCTION that returns the path of their file.
        sha256: their checksum, or its first digits.
        mean, std: statistics of RGB in [0, 1] by which the input is normalised.
        smallest: smallest side of an image, px.
        arguments: of the function.
        residual_scale: last part of the name of the parameters that scale the residual branches, if it has any.
    """

    name: str
    source: str
    stages: tuple[Stage, ...]
    weights: str
    sha256: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    smallest: int = 1
    arguments: Mapping[str, object] = field(default_factory=dict)
    residual_scale: str = ""

    pools: ClassVar[tuple[str, ...]] = ("own",)
    regular: ClassVar[bool] = False

    @cached_property
    def taps(self) -> dict[str, TapInfo]:
        """Return the output of each stage."""
        return {
            f"stage{number}": TapInfo(stage.channels, stage.stride, number)
            for number, stage in enumerate(self.stages, 1)
        }

    def resolve(self, tap: str) -> str:
        """Return the stage whose number is that of the block in the name of a VGG's tap."""
        found = re.fullmatch(r"(?:relu|conv)(\d)_\d", tap)
        return f"stage{found[1]}" if found else tap

    def explain_taps(self) -> str:
        """Return the names of the taps for an error message."""
        return f"it has {', '.join(self.taps)}; relu1_1 or another name of VGG's block 1 stands for stage1, and so on"

    def build(self, backbone: "Backbone", taps: list[str], mirror: str | None) -> tuple["Encoder", str]:
        """Return the network, cut behind its deepest tap, with its weights loaded, and their sha256."""
        from src.encoders.staged import build_staged

        return build_staged(self, backbone, taps, mirror)


def _stages(*stages: tuple[str, int, int]) -> tuple[Stage, ...]:
    return tuple(Stage(tuple(modules.split()), channels, stride) for modules, channels, stride in stages)


_ADDRESS = "https://download.pytorch.org/models/{}-{}.pth"
# Simonyan and Zisserman's own weights, converted from Caffe, as neural-style-pt downloads them. Their inputs are blue,
# green, red from 0 to 255 less the mean; their activations are about a hundred times as large as torchvision's.
_CAFFE_ADDRESS = "https://web.eecs.umich.edu/~justincj/models/{}-{}.pth"
_CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)
_CAFFE_STD = (1 / 255,) * 3

_VGG16 = ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3)
_VGG19 = ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4)

ENCODERS: dict[str, EncoderSpec] = {
    "embedded": VGGSpec(
        "embedded",
        ((32, 32), (64, 64), (128, 128, 128), (256, 256, 256), (256, 256)),
        None,
        "245b13a33611ea3c98ccaeb97db8410240aa30ff88b2055556bf00ddd16b9b3d",
        padding="replicate",
    ),
    "vgg19": VGGSpec("vgg19", _VGG19, _ADDRESS.format("vgg19", "dcbb9e9d"), "dcbb9e9d"),
    "vgg16": VGGSpec("vgg16", _VGG16, _ADDRESS.format("vgg16", "397923af"), "397923af"),
    "vgg19_caffe": VGGSpec(
        "vgg19_caffe", _VGG19, _CAFFE_ADDRESS.format("vgg19", "d01eb7cb"), "d01eb7cb", _CAFFE_MEAN, _CAFFE_STD, bgr=True
    ),
    "vgg16_caffe": VGGSpec(
        "vgg16_caffe", _VGG16, _CAFFE_ADDRESS.format("vgg16", "00b39a1b"), "00b39a1b", _CAFFE_MEAN, _CAFFE_STD, bgr=True
    ),
    "resnet50": StagedSpec(
        "resnet50",
        "torchvision.models:resnet50",
        _stages(
            ("conv1 bn1 relu", 64, 2),
            ("maxpool layer1", 256, 4),
            ("layer2", 512, 8),
            ("layer3", 1024, 16),
            ("layer4", 2048, 32),
        ),
        _ADDRESS.format("resnet50", "0676ba61"),
        "0676ba61",
        residual_scale="bn3.weight",
    ),
    "googlenet": StagedSpec(
        "googlenet",
        "torchvision.models:googlenet",
        _stages(
            ("conv1 maxpool1 conv2 conv3", 192, 4),
            ("maxpool2 inception3a", 256, 8),
            ("inception3b", 480, 8),
            ("maxpool3 inception4a", 512, 16),
            ("inception4b inception4c", 512, 16),
        ),
        _ADDRESS.format("googlenet", "1378be20"),
        "1378be20",
        # The statistics of the original weights. torchvision takes its usual ones and converts: transform_input=True.
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        arguments={"aux_logits": False, "transform_input": False, "init_weights": False},
    ),
    "inception_v3": StagedSpec(
        "inception_v3",
        "torchvision.models:inception_v3",
        _stages(
            ("Conv2d_1a_3x3 Conv2d_2a_3x3 Conv2d_2b_3x3", 64, 2),
            ("maxpool1 Conv2d_3b_1x1 Conv2d_4a_3x3 maxpool2 Mixed_5b", 256, 8),
            ("Mixed_5c Mixed_5d", 288, 8),
            ("Mixed_6a", 768, 16),
            ("Mixed_6b Mixed_6c Mixed_6d", 768, 16),
        ),
        _ADDRESS.format("inception_v3_google", "0cc3c7bd"),
        "0cc3c7bd",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        smallest=43,
        arguments={"aux_logits": False, "transform_input": False, "init_weights": False},
    ),
    "efficientnet_lite0": StagedSpec(
        "efficientnet_lite0",
        "src.encoders.efficientnet_lite:build",
        _stages(
            ("_conv_stem _bn0 _swish _blocks.0", 16, 2),
            ("_blocks.1 _blocks.2", 24, 4),
            ("_blocks.3 _blocks.4", 40, 8),
            ("_blocks.5 _blocks.6 _blocks.7 _blocks.8 _blocks.9 _blocks.10", 112, 16),
            ("_blocks.11 _blocks.12 _blocks.13 _blocks.14 _blocks.15", 320, 32),
        ),
        "src.encoders.efficientnet_lite:weights_file",
        "57934424",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    ),
    "convnext_tiny": StagedSpec(
        "convnext_tiny",
        "torchvision.models:convnext_tiny",
        _stages(
            ("features.0", 96, 4),
            ("features.1", 96, 4),
            ("features.2 features.3", 192, 8),
            ("features.4 features.5", 384, 16),
            ("features.6 features.7", 768, 32),
        ),
        _ADDRESS.format("convnext_tiny", "983f1562"),
        "983f1562",
        residual_scale="layer_scale",
    ),
    "alexnet": StagedSpec(
        "alexnet",
        "torchvision.models:alexnet",
        _stages(
            ("features.0 features.1", 64, 4),
            ("features.2 features.3 features.4", 192, 8),
            ("features.5 features.6 features.7", 384, 16),
            ("features.8 features.9", 256, 16),
            ("features.10 features.11", 256, 16),
        ),
        _ADDRESS.format("alexnet-owt", "7be5be79"),
        "7be5be79",
        smallest=31,
    ),
    "squeezenet": StagedSpec(
        "squeezenet",
        "torchvision.models:squeezenet1_1",
        _stages(
            ("features.0 features.1", 64, 2),
            ("features.2 features.3 features.4", 128, 4),
            ("features.5 features.6 features.7", 256, 8),
            ("features.8 features.9 features.10", 384, 16),
            ("features.11 features.12", 512, 16),
        ),
        _ADDRESS.format("squeezenet1_1", "b8a52dc0"),
        "b8a52dc0",
        smallest=17,
    ),
}


def encoder_spec(name: str) -> EncoderSpec:
    """Return an encoder by name.

    Raises:
        InputError: unknown; lists the known ones.
    """
    if name not in ENCODERS:
        raise InputError(unknown_value("backbone", name, ENCODERS))
    return ENCODERS[name]


def rounds_up(pool: str) -> bool:
    """Return whether a pooling of `backbone.pool` rounds odd sizes up."""
    return pool == "blur"


def positions(side: int, stride: int, rounded_up: bool) -> int:
    """Return the positions of a feature map along a side of an image, px, after poolings that round up or down."""
    return -(-side // stride) if rounded_up else side // stride


def smallest_side(spec: EncoderSpec, taps: list[str]) -> int:
    """Return the smallest side of an image that is accepted, px: the stride of the deepest tap, or more."""
    return max(spec.smallest, *(spec.taps[tap].stride for tap in taps))


def read_taps(config: "RunConfig") -> tuple[list[str], str]:
    """Return the style taps and the content tap of the backbone that the loss reads."""
    resolve, read = encoder_spec(config.backbone.name).resolve, config.loss.substitute
    style = [resolve(read.get(tap, tap)) for tap in config.layers.style]
    return style, resolve(read.get(config.layers.content, config.layers.content))


def check_backbone(config: "RunConfig") -> None:
    """Check that the backbone exists, pools in that way, and has the taps that the layers name.

    Raises:
        InputError: with the right names.
    """
    from src.config.schema import masks

    spec = encoder_spec(config.backbone.name)
    if config.backbone.pool not in spec.pools:
        raise InputError(
            f"backbone.pool={config.backbone.pool} cannot be combined with backbone={spec.name}; use "
            f"{' or '.join(spec.pools)}"
        )
    style, content = read_taps(config)
    unknown = [tap for tap in style if tap in spec.taps and spec.taps[tap].reach is None]
    if masks(config) and config.guides != "simple" and unknown:
        raise InputError(
            f"guides={config.guides} needs the receptive fields of the layers, which are not known for "
            f"backbone={spec.name}; use guides=simple"
        )
    for tap in (*style, content):
        if tap not in spec.taps:
            raise InputError(f"{spec.name} has no layer {tap!r}; {spec.explain_taps()}")
    if len(set(style)) < len(style):
        raise InputError(f"layers.style names a tap twice: {style}")
