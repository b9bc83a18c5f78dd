"""The image as parameter: the only thing that learns."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.backbones.extractor import Extractor
from src.config import Canvas as CanvasOptions
from src.config import Init
from src.errors import InputError


class Canvas(nn.Module):
    """An image (B, 3, H, W) and the parameters it is made of.

    In `pixel` and `normalized` space it is its one parameter. In `pyramid` space it is the start plus a sum of levels,
    the k-th a factor of 2^k smaller and enlarged by bicubic interpolation: sum_k r_k up(p_k), p_k zero at the start.
    Adam moves each number of a level by its rate r_k, so a coarse level moves whole regions together, where pixels of
    their own would each follow the sign of their own gradient, which is what noise is made of. The finest levels are
    brightness alone (`luma` of them): the eye sees colour less sharply, and speckle of colour is what pixels do best.

    Args:
        start: (B, 3, H, W) in [0, 1].
        extractor: gives the statistics of the normalised space.
        options: space, rates of the levels, and whether the image is kept in [0, 1].
    """

    mean: Tensor
    std: Tensor
    start: Tensor

    def __init__(self, start: Tensor, extractor: Extractor, options: CanvasOptions) -> None:
        super().__init__()
        self.space, self.clamp, self.rates = options.space, options.clamp, options.rates
        self.size = (start.shape[2], start.shape[3])
        self.register_buffer("mean", extractor.mean.clone(), persistent=False)
        self.register_buffer("std", extractor.std.clone(), persistent=False)
        start = start.detach().clone().contiguous()
        if self.space == "pyramid":
            self.register_buffer("start", start)
            batch, height, width = start.shape[0], *self.size
            self.levels = nn.ParameterList(
                start.new_zeros(batch, 1 if k < options.luma else 3, -(-height // 2**k), -(-width // 2**k))
                for k in range(len(self.rates))
            )
        else:
            self.levels = nn.ParameterList([start if self.space == "pixel" else (start - self.mean) / self.std])

    def normalized(self) -> Tensor:
        """Return the network's input, differentiable."""
        return self.levels[0] if self.space == "normalized" else (self._pixels() - self.mean) / self.std

    @torch.no_grad()
    def image(self) -> Tensor:
        """Return the image in pixel space, detached, not clamped."""
        return self.levels[0] * self.std + self.mean if self.space == "normalized" else self._pixels().clone()

    def _pixels(self) -> Tensor:
        if self.space != "pyramid":
            return self.levels[0]
        image = self.start
        for level, rate in zip(self.levels, self.rates, strict=True):
            image = image + rate * F.interpolate(level, self.size, mode="bicubic", align_corners=False)
        return image

    @torch.no_grad()
    def project(self) -> None:
        """Put every pixel back into [0, 1], where asked for: in a pyramid by moving the start, not the levels."""
        if not self.clamp:
            return
        if self.space == "pyramid":
            image = self._pixels()
            self.start += image.clamp(0, 1) - image
        elif self.space == "pixel":
            self.levels[0].clamp_(0, 1)
        else:
            low, high = -self.mean / self.std, (1 - self.mean) / self.std
            self.levels[0].copy_(torch.minimum(torch.maximum(self.levels[0], low), high))


def starting_image(init: Init, content: Tensor, seed: int, given: Tensor | None) -> Tensor:
    """Return where the image starts, (B, 3, H, W) in [0, 1].

    Args:
        init: content | noise (uniform, seeded) | style | file.
        content: (B, 3, H, W), which also gives the size.
        seed: of the noise; drawn on the CPU, so it is the same on every device.
        given: the style or file image at the content's size, for those two.
    """
    if init.name == "content":
        return content.clone()
    if init.name == "noise":
        noise = torch.rand(content.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
        return noise.to(content)
    if given is None or given.shape != content.shape:
        raise InputError(f"init={init.name} needs a picture of the content's size")
    return given.clone()
