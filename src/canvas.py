"""The image as parameter: the only thing that learns."""

import torch
from torch import Tensor, nn

from src.backbones.extractor import Extractor
from src.config import Canvas as CanvasOptions
from src.config import Init
from src.core.patchwork import patchwork
from src.errors import InputError


class Canvas(nn.Module):
    """One parameter (B, 3, H, W), in pixel space or in the network's normalised space.

    Args:
        start: (B, 3, H, W) in [0, 1].
        extractor: gives the statistics of the normalised space.
        options: space, and whether `project` clamps.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, start: Tensor, extractor: Extractor, options: CanvasOptions) -> None:
        super().__init__()
        self.in_pixels = options.space == "pixel"
        self.clamp = options.clamp
        self.register_buffer("mean", extractor.mean.clone(), persistent=False)
        self.register_buffer("std", extractor.std.clone(), persistent=False)
        value = start if self.in_pixels else (start - self.mean) / self.std
        self.parameter = nn.Parameter(value.detach().clone().contiguous())

    def normalized(self) -> Tensor:
        """Return the network's input, differentiable."""
        return (self.parameter - self.mean) / self.std if self.in_pixels else self.parameter

    @torch.no_grad()
    def image(self) -> Tensor:
        """Return the image in pixel space, detached, not clamped."""
        return self.parameter.clone() if self.in_pixels else self.parameter * self.std + self.mean

    @torch.no_grad()
    def project(self) -> None:
        """Put every pixel back into [0, 1], where asked for."""
        if not self.clamp:
            return
        if self.in_pixels:
            self.parameter.clamp_(0, 1)
        else:
            self.parameter.copy_(torch.minimum(torch.maximum(self.parameter, -self.mean / self.std), self.high))

    @property
    def high(self) -> Tensor:
        """Return white in the normalised space."""
        return (1 - self.mean) / self.std


def starting_image(init: Init, content: Tensor, style: Tensor, seed: int, given: Tensor | None) -> Tensor:
    """Return where the image starts, (1, 3, H, W) in [0, 1].

    Args:
        init: patchwork | content | noise (uniform, seeded) | style | file.
        content: (1, 3, H, W), which also gives the size.
        style: (1, 3, H', W').
        seed: of the noise; drawn on the CPU, so it is the same on every device.
        given: the style or file image at the content's size, for those two.
    """
    if init.name == "content":
        return content.clone()
    generator = torch.Generator().manual_seed(seed)
    if init.name == "patchwork":
        return patchwork(content.float(), style.float(), init.hold, init.edges, generator).to(content)
    if init.name == "noise":
        return torch.rand(content.shape, generator=generator, dtype=torch.float32).to(content)
    if given is None or given.shape != content.shape:
        raise InputError(f"init={init.name} needs a picture of the content's size")
    return given.clone()
