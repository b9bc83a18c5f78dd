"""Frozen networks that have seen ImageNet, whose activations a smaller network learns to reproduce."""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.common.errors import InputError
from src.common.files import expanded
from src.config.schema import Backbone
from src.data.sources import checked
from src.encoders import efficientnet_lite
from src.encoders.registry import VGGSpec, encoder_spec
from src.encoders.vgg import VGG
from src.encoders.weights import build_vgg


class Targets(NamedTuple):
    """What a student learns of images: activations (B, C, H, W) by its own taps, and class logits (B, classes)."""

    activations: dict[str, Tensor]
    logits: Tensor | None = None


class Teacher(Protocol):
    """A frozen network.

    Attributes:
        taps: the student's taps that have a target, and the channels of each target.
        classes: the number of classes it tells apart; 0 for a network without a classifier.
    """

    taps: dict[str, int]
    classes: int

    def targets(self, images: Tensor) -> Targets:
        """Return the targets for images (B, 3, H, W) in [0, 1], each of its tap's height and width."""


def build_teacher(name: str, weights: str, student: VGGSpec) -> tuple[Teacher, str]:
    """Return a teacher by name, and the sha256 of its weights.

    Raises:
        InputError: weights that are missing, random or do not fit, or a package that is not installed.
    """
    if weights == "random":
        raise InputError("teacher_weights=random teaches nothing; use trained or a file's path")
    if name == EfficientNetTeacher.NAME:
        network, digest = _build_efficientnet(weights)
        return EfficientNetTeacher(network, student), digest
    spec = encoder_spec(name)
    assert isinstance(spec, VGGSpec)
    taps = [tap for tap in student.taps if tap in spec.taps]
    vgg, digest = build_vgg(spec, Backbone(name=name, weights=weights, pool="max"), taps)
    return VGGTeacher(vgg, student), digest


class VGGTeacher:
    """A VGG: each activation is the target of the student's activation of the same name."""

    classes = 0

    def __init__(self, network: VGG, student: VGGSpec) -> None:
        self.network = network
        names = [name.replace("conv", "relu") for name in student.channels]
        self.taps = {name: network.taps[name].channels for name in names if name in network.taps}

    @torch.no_grad()
    def targets(self, images: Tensor) -> Targets:
        """Return the activations."""
        return Targets(self.network.to(images.device).features(images, self.taps))


class EfficientNetTeacher:
    """EfficientNet-Lite0 (Tan and Le 2019), of the package efficientnet-lite-pytorch.

    It sees the images at twice their size: its stages of stride 4, 8, 16 and 32 then have the positions of blocks 2 to
    5 of the student, and are the targets of the last ReLU of each.
    """

    NAME = efficientnet_lite.NAME
    # By block of the student: the last layer of the stage, of the package's `_blocks`, and its channels.
    STAGES = {2: (2, 24), 3: (4, 40), 4: (10, 112), 5: (15, 320)}  # noqa: RUF012
    # Input statistics of images in [0, 255], those of the TensorFlow original.
    MEAN, DEVIATION = 127, 128

    def __init__(self, network: nn.Module, student: VGGSpec) -> None:
        self.network = network.eval().requires_grad_(False)
        self.classes = 1000
        self.taps: dict[str, int] = {}
        self._found: dict[str, Tensor] = {}
        for block, (layer, channels) in self.STAGES.items():
            tap = f"relu{block}_{len(student.blocks[block - 1])}"
            self.taps[tap] = channels
            hook = lambda _layer, _given, values, tap=tap: self._found.update({tap: values})  # noqa: E731
            network.get_submodule(f"_blocks.{layer}").register_forward_hook(hook)

    @torch.no_grad()
    def targets(self, images: Tensor) -> Targets:
        """Return the activations of the stages, and the logits."""
        doubled = F.interpolate(images, scale_factor=2.0, mode="bilinear", align_corners=False)
        logits = self.network.to(images.device)((255 * doubled - self.MEAN) / self.DEVIATION)
        return Targets({tap: _centred(self._found.pop(tap)) for tap in self.taps}, logits)


def _centred(values: Tensor) -> Tensor:
    """Move (B, C, H, W) up and left by half a position: the package's strided convolutions pad below and right only."""
    return F.avg_pool2d(F.pad(values, (1, 0, 1, 0), mode="replicate"), 2, stride=1)


def _build_efficientnet(weights: str) -> tuple[nn.Module, str]:
    network = efficientnet_lite.build("teacher")
    path = efficientnet_lite.weights_file("teacher") if weights == "trained" else expanded(weights)
    if not path.is_file():
        raise InputError(f"teacher_weights={weights}: no such file; use trained or a file's path")
    try:
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception:  # torch raises many types for a file of another kind
        raise InputError(f"{path} does not hold the weights of {EfficientNetTeacher.NAME}") from None
    return network, checked(path, None)
