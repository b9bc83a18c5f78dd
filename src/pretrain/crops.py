"""Random crops of a folder of images, many from each: the training data of the embedded backbone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from src.common.errors import InputError
from src.data.images import read_image, to_tensor

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
# Beyond this zoom a crop is read from the picture at half size, or every other pixel would be skipped.
HALF_SIZE_FROM = 1.5
# Light and contrast of all grey crops: those of an average photograph.
GREY_MEAN, GREY_DEVIATION = 0.45, 0.22


class Batch(NamedTuple):
    """Crops, (B, 3, S, S) in [0, 1], and the class of each, (B,): its picture's number, or that of its grey version."""

    images: Tensor
    instances: Tensor


@dataclass(frozen=True)
class CropOptions:
    """How crops are cut and coloured.

    Attributes:
        size: side of a crop, px.
        zoom: smallest and largest number of picture pixels to a crop pixel; log-uniform between.
        rotation: largest angle to either side, degrees.
        jitter: largest relative change of brightness, contrast and saturation.
        noise: largest standard deviation of the Gaussian noise added.
        grey: share of crops without colour, at one brightness and contrast. Grey, a picture is a class of its own:
            palettes alone tell most pictures apart, and a network that may rely on them need not learn shapes.
    """

    size: int
    zoom: tuple[float, float]
    rotation: float
    jitter: float
    noise: float
    grey: float


def find_pictures(folder: Path) -> list[Path]:
    """Return the pictures of a folder, by name.

    Raises:
        InputError: there is no such folder, or fewer than two pictures in it.
    """
    if not folder.is_dir():
        raise InputError(f"images={folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(found) < 2:
        raise InputError(f"images={folder}: {len(found)} pictures in it; telling pictures apart takes two or more")
    return found


class Crops:
    """An endless sequence of batches; batch number n is the same whenever and wherever it is made.

    Args:
        paths: the pictures; each is one instance.
        options: how crops are cut.
        batch_size: crops in a batch, each from another picture where there are as many.
        edge: pictures are kept in memory with their short side at most this, px.
        seed: of everything random.
    """

    def __init__(self, paths: list[Path], options: CropOptions, batch_size: int, edge: int, seed: int) -> None:
        self.options = options
        self.batch_size = batch_size
        self.seed = seed
        self.pictures = [_load(path, edge) for path in paths]
        self.halves = [F.avg_pool2d(each.float(), 2).round().byte() for each in self.pictures]

    @property
    def classes(self) -> int:
        """Return the number of classes: each picture is one in colour and one in grey."""
        return 2 * len(self.pictures)

    def batch(self, number: int) -> Batch:
        """Return a batch by its number."""
        instances = self._instances(number)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        crops = self._coloured(torch.cat([self._crop(int(each), generator) for each in instances]), generator)
        grey = torch.rand(len(crops), generator=generator) < self.options.grey
        crops = torch.where(grey.view(-1, 1, 1, 1), _in_grey(crops), crops)
        sigma = self.options.noise * torch.rand(len(crops), 1, 1, 1, generator=generator)
        crops = (crops + sigma * torch.randn(crops.shape, generator=generator)).clamp(0, 1)
        return Batch(crops, instances + len(self.pictures) * grey)

    def batches(self, first: int) -> Iterator[Batch]:
        """Yield all batches from a number on."""
        while True:
            yield self.batch(first)
            first += 1

    def _instances(self, number: int) -> Tensor:
        # one shuffled sequence of all pictures after another, cut into batches
        count = len(self.pictures)
        places = torch.arange(number * self.batch_size, (number + 1) * self.batch_size)
        orders = {
            int(epoch): torch.randperm(count, generator=torch.Generator().manual_seed(self.seed + 7919 * int(epoch)))
            for epoch in (places // count).unique()
        }
        return torch.tensor([int(orders[int(place) // count][place % count]) for place in places])

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
        # from crop coordinates to picture coordinates, both in [-1, 1]
        theta = torch.tensor(
            [
                [flip * half_x * stretch * cos, -half_x / stretch * sin, x],
                [flip * half_y * stretch * sin, half_y / stretch * cos, y],
            ]
        )
        source = self.halves[instance] if zoom > HALF_SIZE_FROM else self.pictures[instance]
        grid = F.affine_grid(theta[None], [1, 3, options.size, options.size], align_corners=False)
        return F.grid_sample(source.float() / 255, grid, padding_mode="reflection", align_corners=False)

    def _coloured(self, images: Tensor, generator: torch.Generator) -> Tensor:
        jitter = self.options.jitter
        change = 1 + jitter * (2 * torch.rand(len(images), 3, 1, 1, generator=generator) - 1)
        brightness, contrast, saturation = change.unsqueeze(1).unbind(2)
        grey = images.mean(1, keepdim=True)
        images = grey + saturation * (images - grey)
        middle = images.mean((1, 2, 3), keepdim=True)
        return brightness * (middle + contrast * (images - middle))


def _in_grey(images: Tensor) -> Tensor:
    grey = images.mean(1, keepdim=True)
    deviation, mean = torch.std_mean(grey, (2, 3), keepdim=True)
    return (GREY_MEAN + GREY_DEVIATION * (grey - mean) / (deviation + 0.02)).expand_as(images)


def _load(path: Path, edge: int) -> Tensor:
    image = read_image(path)
    scale = min(1.0, edge / min(image.size))
    size = (max(2, round(image.width * scale)), max(2, round(image.height * scale)))
    return (to_tensor(image, size) * 255).round().byte()
