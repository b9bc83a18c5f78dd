"""VGG as an encoder: run block by block, no deeper than the deepest tap."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.encoders.base import BlockMemory, Encoder
from src.encoders.pooling import POOLS, replicated
from src.encoders.registry import VGGSpec, rounds_up
from src.ops.kernels import winograd


class VGG(Encoder):
    """A frozen VGG.

    A ReLU works in place only where the convolution's own output is not tapped. torchvision's ReLUs always work in
    place, which silently turns a stored conv1_1 into relu1_1.

    Args:
        spec: which network.
        taps: names of `spec.taps` that will be read; the network is built as deep as the deepest of them.
        pool: a name of `POOLS`.
    """

    def __init__(self, spec: VGGSpec, taps: Iterable[str], pool: str) -> None:
        names = list(spec.channels)
        depth = 1 + max(names.index(tap.replace("relu", "conv")) for tap in taps)
        built = {name.removeprefix("conv") for name in names[:depth]}
        super().__init__({tap: info for tap, info in spec.taps.items() if tap[4:] in built}, spec.mean, spec.std)
        self.spec = spec
        self.pool_name = pool
        self.pool = POOLS[pool]
        self.rounds_up = rounds_up(pool)
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name in names[:depth]:
            # skip_init: every weight is loaded or seeded later and must not draw from the global random generator.
            self.convolutions[name] = nn.utils.skip_init(
                nn.Conv2d, channels, spec.channels[name], 3, padding=1, padding_mode=spec.padding
            )
            channels = spec.channels[name]
        self.requires_grad_(False)
        self.winograd: dict[str, winograd.Convolution] = {}

    def use_kernels(self) -> bool:
        """Use the Winograd kernel for every convolution it supports: on a CPU in float32."""
        for name, convolution in self.convolutions.items():
            assert isinstance(convolution, nn.Conv2d)
            if winograd.usable(convolution.weight):
                self.winograd[name] = winograd.Convolution(convolution.weight, self.spec.padding == "replicate")
        return bool(self.winograd)

    def names(self, block: int) -> list[str]:
        """Return the convolutions of a block that are built."""
        return [name for name in self.convolutions if int(name[4]) == block]

    def conv_widths(self, block: int) -> list[int]:
        """Return the output channels of the convolutions of a block."""
        return [self.spec.channels[name] for name in self.names(block)]

    def block_memory(self, block: int) -> BlockMemory:
        """Return the size of a block; replicate padding without the kernel keeps padded copies for the gradient."""
        widths, last = self.conv_widths(block), block == self.depth(self.taps)
        kept: float = sum(widths)
        if self.spec.padding == "replicate" and not self.winograd:
            kept += sum(widths[:-1]) + (widths[0] // 2 if block > 1 else 3)
        if not last and self.pool_name == "blur":
            kept += widths[-1]
        if not last and self.pool_name == "max":
            value_bytes = next(self.parameters()).element_size()
            kept += widths[-1] / 4 * torch.int64.itemsize / value_bytes  # the positions of the maxima
        area = 4.0 ** (1 - block)
        return BlockMemory(max(widths) * area, 0.0 if last else widths[-1] * area / 4, kept * area)

    def run_block(
        self, block: int, values: Tensor, taps: Iterable[str], last: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Run the convolutions of one block, and the pooling behind it unless `last`. See `Encoder.run_block`."""
        wanted = {tap for tap in taps if self.taps[tap].block == block}
        found: dict[str, Tensor] = {}
        for name in self.names(block):
            convolution, before_relu = self.convolutions[name], name in wanted
            assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
            if name in self.winograd:
                values = self.winograd[name](values, convolution.bias, relu=not before_relu)
            elif self.spec.padding == "replicate":
                values = F.conv2d(replicated(values), convolution.weight, convolution.bias)
            else:
                values = convolution(values)
            if before_relu:
                found[name] = values
            if last and len(found) == len(wanted):
                break
            if before_relu or name not in self.winograd:
                values = F.relu(values, inplace=not before_relu)
            after = name.replace("conv", "relu")
            if after in wanted:
                found[after] = values
            if last and len(found) == len(wanted):
                break
        return found, None if last else self.pool(values)
