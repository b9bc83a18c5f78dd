"""Apply a feed-forward network to images."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from src.data.images import Pixels, working_size
from src.feedforward import TILE
from src.feedforward.tiles import stylise
from src.feedforward.weights import LoadedNetwork
from src.ops.color import restore_colors


@dataclass
class Painter:
    """A network with the options that it is used with.

    Attributes:
        loaded: the network.
        shares: (1, S), the share of each style.
        device: where it runs.
        edge: long side of the result, px; None: as the content.
        color: style | luminance | content.
        tile: side of the tiles of large pictures, px.
        seconds: that the network took so far, without reading and writing.
    """

    loaded: LoadedNetwork
    shares: Tensor
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    edge: int | None = None
    color: str = "style"
    tile: int = TILE
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Move the network to the device."""
        self.loaded.network.to(self.device)
        self.shares = self.shares.to(self.device)

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (width, height) of the result for a content image of this (width, height)."""
        return size if self.edge is None else working_size(size, self.edge, "keep")

    def paint(self, pixels: Pixels) -> Tensor:
        """Return the stylised image, (1, 3 or 4, H, W) in [0, 1]; a fourth channel is the content's alpha."""
        size = self.size(pixels.size)
        result = self(pixels.color(size))
        alpha = pixels.alpha(size)
        return result if alpha is None else torch.cat([result, alpha], 1)

    def __call__(self, content: Tensor) -> Tensor:
        """Return the stylised image for a content image at its size, both (1, 3, H, W) in [0, 1], on the CPU."""
        begun = time.perf_counter()
        result = stylise(self.loaded.network, content.to(self.device), self.shares, self.tile).cpu()
        self.seconds += time.perf_counter() - begun
        return restore_colors(self.color, content, result)
