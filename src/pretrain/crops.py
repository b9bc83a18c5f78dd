"""Random crops of a folder of images, the training data of the embedded backbone."""

import copy
import dataclasses
import math
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from src.data.folders import read_pictures, shuffled
from src.pretrain.config import PretrainConfig

# Above this zoom a crop is sampled from the picture at half size, to avoid aliasing.
HALF_SIZE_FROM = 1.5
# Mean and standard deviation of all grey crops: those of an average photograph.
GREY_MEAN, GREY_DEVIATION = 0.45, 0.22


class Batch(NamedTuple):
    """Crops (B, 3, S, S) in [0, 1] and their classes (B,): the picture's index, plus the number of pictures if grey."""

    images: Tensor
    instances: Tensor


class Crops(Dataset[Batch]):
    """Endless sequence of random batches; batch n depends only on the pictures, the options and n.

    Grey crops have one brightness and contrast, and the grey version of a picture is a class of its own: palettes alone
    tell most pictures apart, and a network that can rely on them need not learn shapes.

    Args:
        paths: the pictures, one instance each; those that cannot be read are left out with a warning.
        options: size, zoom, rotation, jitter, noise, grey, blur, mix, batch_size, edge and seed are used.

    Raises:
        InputError: fewer than two of the pictures can be read.
    """

    def __init__(self, paths: list[Path], options: PretrainConfig) -> None:
        self.options = options
        self.pictures = read_pictures(paths, options.edge)
        self.halves = [F.avg_pool2d(each.float(), 2).round().byte() for each in self.pictures]

    @property
    def classes(self) -> int:
        """Return the number of classes: two per picture, in colour and in grey."""
        return 2 * len(self.pictures)

    def resized(self, size: int, batch_size: int) -> "Crops":
        """Return the same pictures cut into batches of another crop size, px."""
        other = copy.copy(self)
        other.options = dataclasses.replace(self.options, size=size, batch_size=batch_size)
        return other

    def __getitem__(self, number: int) -> Batch:
        """Return a batch by its number."""
        options = self.options
        instances = torch.tensor(shuffled(len(self.pictures), options.batch_size, number, options.seed))
        generator = torch.Generator().manual_seed(self.options.seed * 1_000_003 + number)
        crops = self._jittered(torch.cat([self._crop(int(each), generator) for each in instances]), generator)
        grey = torch.rand(len(crops), generator=generator) < self.options.grey
        crops = torch.where(grey.view(-1, 1, 1, 1), _to_grey(crops), crops)
        if self.options.blur:
            crops = _blurred(crops, self.options.blur * torch.rand(len(crops), generator=generator))
        if self.options.mix:  # a crop keeps the class of its larger part
            share = torch.rand(len(crops), 1, 1, 1, generator=generator) / 2
            mixed = torch.rand(share.shape, generator=generator) < self.options.mix
            crops = crops.lerp(crops.roll(1, 0), share * mixed)
        sigma = self.options.noise * torch.rand(len(crops), 1, 1, 1, generator=generator)
        crops = (crops + sigma * torch.randn(crops.shape, generator=generator)).clamp(0, 1)
        return Batch(crops, instances + len(self.pictures) * grey)

    def _crop(self, instance: int, generator: torch.Generator) -> Tensor:
        options = self.options
        u = torch.rand(6, generator=generator).tolist()
        height, width = self.pictures[instance].shape[-2:]
        low, high = options.zoom
        most = max(low, min(high, 0.97 * min(height, width) / options.size))
        zoom = low * (most / low) ** u[0]
        stretch = 1.1 ** (2 * u[1] - 1)
        turn = 2 * u[2] - 1
        half_x, half_y = zoom * options.size / width, zoom * options.size / height
        x, y = ((2 * v - 1) * max(0.0, 1 - half) for v, half in ((u[3], half_x), (u[4], half_y)))
        flip = -1.0 if u[5] < 0.5 else 1.0
        cos, sin = math.cos(math.radians(turn * options.rotation)), math.sin(math.radians(turn * options.rotation))
        # Maps crop coordinates to picture coordinates, both in [-1, 1].
        theta = torch.tensor(
            [
                [flip * half_x * stretch * cos, -half_x / stretch * sin, x],
                [flip * half_y * stretch * sin, half_y / stretch * cos, y],
            ]
        )
        source = self.halves[instance] if zoom > HALF_SIZE_FROM else self.pictures[instance]
        grid = F.affine_grid(theta[None], [1, 3, options.size, options.size], align_corners=False)
        return F.grid_sample(source.float() / 255, grid, padding_mode="reflection", align_corners=False)

    def _jittered(self, images: Tensor, generator: torch.Generator) -> Tensor:
        change = 1 + self.options.jitter * (2 * torch.rand(len(images), 3, 1, 1, generator=generator) - 1)
        brightness, contrast, saturation = change.unsqueeze(1).unbind(2)
        grey = images.mean(1, keepdim=True)
        images = grey + saturation * (images - grey)
        middle = images.mean((1, 2, 3), keepdim=True)
        return brightness * (middle + contrast * (images - middle))


def _to_grey(images: Tensor) -> Tensor:
    grey = images.mean(1, keepdim=True)
    deviation, mean = torch.std_mean(grey, (2, 3), keepdim=True)
    return (GREY_MEAN + GREY_DEVIATION * (grey - mean) / (deviation + 0.02)).expand_as(images)


def _blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Return images (B, C, H, W), each blurred by a Gaussian of its own standard deviation (B,), px."""
    radius = math.ceil(3 * float(sigma.max()))
    offsets = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp_min(0.05)[:, None]).square())
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None, None]
    # The images of a batch are the channels of a convolution, so that each has a kernel of its own.
    padded = F.pad(images, (radius,) * 4, mode="replicate").transpose(0, 1)
    rows = F.conv2d(padded, kernel, groups=len(images))
    return F.conv2d(rows, kernel.mT, groups=len(images)).transpose(0, 1)
