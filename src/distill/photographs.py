"""Random crops of photographs, the training data of a feed-forward network."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from src.data.folders import read_pictures, shuffled


class Photographs(Dataset[Tensor]):
    """Endless sequence of random batches of crops; batch n depends only on the pictures, the options and n.

    A crop is cut at a random size between `size` and the whole short side, resized to `size`, and mirrored half of the
    time.

    Args:
        paths: the photographs; those that cannot be read are left out with a warning.
        edge: pictures are reduced to this short side, px.
        size: side of a crop, px.
        batch_size: crops per batch.
        seed: of the order and the crops.

    Raises:
        InputError: fewer than two of the pictures can be read.
    """

    def __init__(self, paths: list[Path], edge: int, size: int, batch_size: int, seed: int) -> None:
        self.pictures = read_pictures(paths, edge)
        self.size, self.batch_size, self.seed = size, batch_size, seed

    def __getitem__(self, number: int) -> Tensor:
        """Return a batch by its number, (B, 3, S, S) in [0, 1]."""
        indices = shuffled(len(self.pictures), self.batch_size, number, self.seed)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return torch.cat([self._crop(self.pictures[index], generator) for index in indices])

    def _crop(self, picture: Tensor, generator: torch.Generator) -> Tensor:
        u = torch.rand(4, generator=generator).tolist()
        height, width = picture.shape[2:]
        side = min(self.size, height, width)
        side = round(side + u[0] * (min(height, width) - side))
        top, left = round(u[1] * (height - side)), round(u[2] * (width - side))
        crop = picture[:, :, top : top + side, left : left + side].float() / 255
        crop = F.interpolate(crop, (self.size, self.size), mode="bicubic", antialias=True).clamp(0, 1)
        return crop.flip(3) if u[3] < 0.5 else crop
