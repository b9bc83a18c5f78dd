"""The image as parameter: the only thing that learns."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.common.errors import InputError
from src.config.schema import Canvas as CanvasOptions
from src.config.schema import Init
from src.encoders.vgg import Extractor
from src.ops.color import recolored
from src.ops.ema import Average
from src.ops.patchwork import patchwork

# Colours are changed on a grid this much coarser than the image's, where it is split.
COLOR_STEP = 4


class Canvas(nn.Module):
    """An image (B, 3, H, W) and the parameters it is made of.

    In `pixel` and `normalized` space it is its one parameter. In `split` space it is the start, plus a change of
    brightness at full size, less its finest ripples, plus a change of colours at a quarter of it, enlarged by bicubic
    interpolation. The eye sees colour less sharply than brightness, and rainbow speckle is what pixels free in all
    three channels do first; free in brightness alone, they still make edges jagged, pixel by pixel.

    Args:
        start: (B, 3, H, W) in [0, 1].
        extractor: gives the statistics of the normalised space.
        options: space, and whether `project` clamps.
        decay: of the running average of the image that is then its picture; 0 keeps none.
    """

    mean: Tensor
    std: Tensor
    start: Tensor

    def __init__(self, start: Tensor, extractor: Extractor, options: CanvasOptions, decay: float = 0.0) -> None:
        super().__init__()
        self.space, self.clamp = options.space, options.clamp
        self.size = (start.shape[2], start.shape[3])
        self.register_buffer("mean", extractor.mean.clone(), persistent=False)
        self.register_buffer("std", extractor.std.clone(), persistent=False)
        start = start.detach().clone().contiguous()
        self.average = Average(decay, start) if decay > 0 else None
        if self.space == "split":
            self.register_buffer("start", start)
            batch, (height, width) = start.shape[0], self.size
            brightness = start.new_zeros(batch, 1, height + 2, width + 2)
            colors = start.new_zeros(batch, 3, -(-height // COLOR_STEP), -(-width // COLOR_STEP))
            self.parts = nn.ParameterList([brightness, colors])
        else:
            self.parts = nn.ParameterList([start if self.space == "pixel" else (start - self.mean) / self.std])

    @classmethod
    def joined(cls, canvases: "Sequence[Canvas]") -> "Canvas":
        """Return canvases of one size and space as one of a batch, (B, 3, H, W); they become views of its samples."""
        whole = copy.deepcopy(canvases[0])
        for mine, *theirs in zip(whole._samples(), *(each._samples() for each in canvases), strict=True):
            mine.data = torch.cat([each.data for each in theirs])
        whole.tie(canvases)
        return whole

    def tie(self, canvases: "Sequence[Canvas]") -> None:
        """Make each of these a view of one sample of this one: whatever changes the one changes the other."""
        for sample, each in enumerate(canvases):
            for mine, theirs in zip(self._samples(), each._samples(), strict=True):
                theirs.data = mine.data[sample : sample + 1]

    def keep(self, samples: list[int]) -> None:
        """Leave all samples out but these."""
        for each in self._samples():
            each.data, each.grad = each.data[samples], None

    def _samples(self) -> list[Tensor]:
        """Return all that has a sample for each image, (B, ...)."""
        average = [] if self.average is None else [self.average.sum, self.average.weight]
        return [*self.parts, *([self.start] if self.space == "split" else []), *average]

    def normalized(self) -> Tensor:
        """Return the network's input, differentiable."""
        return self.parts[0] if self.space == "normalized" else (self._pixels() - self.mean) / self.std

    @torch.no_grad()
    def image(self) -> Tensor:
        """Return the image in pixel space, detached, not clamped."""
        return self.parts[0] * self.std + self.mean if self.space == "normalized" else self._pixels().clone()

    @torch.no_grad()
    def picture(self) -> Tensor:
        """Return the result so far, (B, 3, H, W), not clamped: the image, or its average over the updates."""
        return self.image() if self.average is None or not self.average.weight.any() else self.average.image()

    @torch.no_grad()
    def normalized_picture(self) -> Tensor:
        """Return the network's input for the picture."""
        return self.normalized() if self.average is None else (self.picture() - self.mean) / self.std

    def _pixels(self) -> Tensor:
        if self.space == "pixel":
            return self.parts[0]
        brightness, colors = self.parts
        # the mean of four, applied twice: the binomial filter (1, 2, 1) / 4 along both axes
        smooth = F.avg_pool2d(F.avg_pool2d(brightness, 2, 1), 2, 1)
        return self.start + smooth + F.interpolate(colors, self.size, mode="bicubic", align_corners=False)

    def after_update(self) -> None:
        """Do what follows an update of the parameters: project, and count the image."""
        self.project()
        if self.average is not None:
            self.average.add(self.image())

    @torch.no_grad()
    def project(self) -> None:
        """Put every pixel back into [0, 1], where asked for: where it is split by moving the start."""
        if not self.clamp:
            return
        if self.space == "split":
            image = self._pixels()
            self.start += image.clamp(0, 1) - image
        elif self.space == "pixel":
            self.parts[0].clamp_(0, 1)
        else:
            low, high = -self.mean / self.std, (1 - self.mean) / self.std
            self.parts[0].copy_(torch.minimum(torch.maximum(self.parts[0], low), high))


def starting_image(init: Init, content: Tensor, style: Tensor, seed: int, given: Tensor | None) -> Tensor:
    """Return where the image starts, (1, 3, H, W) in [0, 1].

    Args:
        init: patchwork | recolored | content | noise (uniform, seeded) | style | file.
        content: (1, 3, H, W), which also gives the size.
        style: (1, 3, H', W').
        seed: of the noise; drawn on the CPU, so it is the same on every device.
        given: the style or file image at the content's size, for those two.
    """
    if init.name == "content":
        return content.clone()
    if init.name == "recolored":
        return recolored(content, style).clamp(0, 1)
    generator = torch.Generator().manual_seed(seed)
    if init.name == "patchwork":
        return patchwork(content.float(), style.float(), init.hold, init.edges, init.blend, generator).to(content)
    if init.name == "noise":
        return torch.rand(content.shape, generator=generator, dtype=torch.float32).to(content)
    if given is None or given.shape != content.shape:
        raise InputError(f"init={init.name} needs a picture of the content's size")
    return given.clone()
