"""Base class of encoders: frozen networks whose named activations the objective compares.

Adding a network takes one file with an `Encoder` subclass and its `EncoderSpec`, and an entry in `registry.ENCODERS`.
Nothing outside an encoder's own file parses the name of a tap.
"""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from src.encoders.registry import TapInfo, positions
from src.ops.smoothing import released_activation, softmax_activation


class BlockMemory(NamedTuple):
    """Size of the activations of a block, in values per pixel of the image.

    Attributes:
        layer: of the largest layer.
        output: of what the next block reads; 0 for the last.
        kept: of what is kept for the gradient.
    """

    layer: float
    output: float
    kept: float


class Encoder(nn.Module):
    """A frozen network that returns named activations of images in [0, 1].

    The network runs as a chain of blocks, so that activations can be checkpointed block by block and, where
    `conv_widths` describes the convolutions of a block, in bands of rows (see `checkpointing`). An encoder that
    implements no such chain is a single block.

    Args:
        taps: channels, stride and block of each activation that can be read.
        mean, std: statistics of RGB in [0, 1] by which the network's input is normalised.

    Attributes:
        compute_dtype: precision of the convolutions and of the taps; None is the image's.
        swag: how taps are smoothed, off | paper | released; see `ops.smoothing`.
        rounds_up: whether a pooling rounds odd sizes up.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, taps: dict[str, TapInfo], mean: Sequence[float] = (0.0,) * 3, std: Sequence[float] = (1.0,) * 3
    ) -> None:
        super().__init__()
        self.taps = taps
        self.compute_dtype: torch.dtype | None = None
        self.swag = "off"
        self.rounds_up = False
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    @abstractmethod
    def run_block(
        self, block: int, values: Tensor, taps: Iterable[str], last: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Run one block.

        Args:
            block: its number, from 1.
            values: the block's input, (B, C, H, W); the normalised image for block 1.
            taps: names to return; those of other blocks are ignored.
            last: nothing behind the block's deepest tap is needed.

        Returns:
            Activations by tap name, (B, C, H, W) each, and the next block's input; None where `last`.
        """

    def normalize(self, image: Tensor) -> Tensor:
        """Bring RGB in [0, 1], (B, 3, H, W), to the network's input statistics."""
        return (image - self.mean) / self.std

    def enter(self, image: Tensor) -> Tensor:
        """Return the input of block 1 for images (B, 3, H, W) in [0, 1]: normalised, in `compute_dtype`."""
        normalized = self.normalize(image)
        return normalized if self.compute_dtype is None else normalized.to(self.compute_dtype)

    def features(self, image: Tensor, taps: Iterable[str]) -> dict[str, Tensor]:
        """Return the activations of images (B, 3, H, W) in [0, 1] by tap name, (B, C, H', W') each."""
        wanted = list(taps)
        deepest = self.depth(wanted)
        found: dict[str, Tensor] = {}
        values: Tensor | None = self.enter(image)
        for block in range(1, deepest + 1):
            assert values is not None
            more, values = self.run_block(block, values, wanted, block == deepest)
            found |= self.smoothed(block, more)
        return found

    def smoothed(self, block: int, activations: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return whole activations of a block as the losses read them, smoothed as `swag` says."""
        if self.swag == "off":
            return activations
        smooth = softmax_activation if self.swag == "paper" else partial(released_activation, block=block)
        return {tap: smooth(values) for tap, values in activations.items()}

    def compute_in(self, dtype: torch.dtype) -> None:
        """Run the network in another precision, which the taps then have too."""
        mean, std = self.mean, self.std
        self.to(dtype)
        self.mean, self.std = mean, std
        self.compute_dtype = dtype

    def use_kernels(self) -> bool:
        """Use compiled CPU kernels where they apply; return whether any does. The weights must not change later."""
        return False

    def depth(self, taps: Iterable[str]) -> int:
        """Return the number of blocks that have to run to compute these taps."""
        return max((self.taps[tap].block for tap in taps), default=0)

    def feature_size(self, size: Sequence[int], tap: str) -> tuple[int, int]:
        """Return height and width of a tap for an image of this (height, width)."""
        height, width = (positions(side, self.taps[tap].stride, self.rounds_up) for side in size)
        return height, width

    def conv_widths(self, block: int) -> list[int]:
        """Return the output channels of the 3 x 3 convolutions of a block; empty where it cannot run in bands."""
        return []

    @property
    def banded(self) -> bool:
        """Return whether blocks can run in bands of rows."""
        return self.swag != "paper" and bool(self.conv_widths(1))

    def block_memory(self, block: int) -> BlockMemory:
        """Return the size of a block, for the memory estimate; here that of its taps."""
        sizes = [info.channels / info.stride**2 for info in self.taps.values() if info.block == block]
        return BlockMemory(max(sizes), sizes[-1] if block < self.depth(self.taps) else 0.0, sum(sizes))
