"""The network, run as far as the deepest tap asked for."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.encoders.pooling import POOLS, replicated
from src.encoders.registry import Architecture, convolution_of
from src.ops.kernels import winograd


class Extractor(nn.Module):
    """A frozen VGG that returns named activations.

    Built only as deep as the deepest of `taps`. ReLUs work in place exactly where nobody looks at the convolution's
    own output: torchvision's always do, which turns a stored "conv1_1" into relu1_1 behind the reader's back.

    Args:
        architecture: which network.
        taps: names as in `Architecture.taps`; a call may ask for fewer.
        pool: a name of `POOLS`.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, architecture: Architecture, taps: Iterable[str], pool: str) -> None:
        super().__init__()
        self.architecture = architecture
        self.taps = tuple(dict.fromkeys(taps))
        for tap in self.taps:
            architecture.check(tap)
        names = architecture.convolutions
        depth = 1 + max(names.index(convolution_of(tap)) for tap in self.taps)
        self.pool = POOLS[pool]
        self.convolutions = nn.ModuleDict()
        channels = 3
        for name in names[:depth]:
            width = architecture.channels[name]
            # skip_init: every weight is about to be loaded or seeded, and must not draw from the global generator
            self.convolutions[name] = nn.utils.skip_init(
                nn.Conv2d, channels, width, 3, padding=1, padding_mode=architecture.padding
            )
            channels = width
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.compute_dtype: torch.dtype | None = None
        self.fast: dict[str, winograd.Filters] = {}

    def normalize(self, image: Tensor) -> Tensor:
        """Bring an sRGB image in [0, 1] to the network's input statistics."""
        return (image - self.mean) / self.std

    def denormalize(self, normalized: Tensor) -> Tensor:
        """Undo `normalize`."""
        return normalized * self.std + self.mean

    def compute_in(self, dtype: torch.dtype) -> "Extractor":
        """Run the convolutions in another precision, which is then the taps' too. Returns itself."""
        self.convolutions.to(dtype)
        self.compute_dtype = dtype
        return self

    def speed_up(self) -> "Extractor":
        """Do the convolutions that gain by it in fewer multiplications; the weights must not change any more.

        On a CPU, in float32; they are those of the layers with many channels, nearly all. Returns itself.
        """
        for name, convolution in self.convolutions.items():
            assert isinstance(convolution, nn.Conv2d)
            if winograd.usable(convolution.weight):
                self.fast[name] = winograd.Filters(convolution.weight, convolution.padding_mode == "replicate")
        return self

    def forward(self, normalized: Tensor, taps: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations at `taps` (default: all it was built for).

        Args:
            normalized: (B, 3, H, W), as `normalize` returns it.
            taps: a subset of the taps given at the start; nothing above the deepest of them is run.

        Returns:
            tap name to (B, C, H', W').
        """
        wanted = self.taps if taps is None else tuple(taps)
        deepest = max(int(tap[4]) for tap in wanted)
        found: dict[str, Tensor] = {}
        values: Tensor | None = self.enter(normalized)
        for block in range(1, deepest + 1):
            assert values is not None
            more, values = self.block(block, values, wanted, block == deepest)
            found.update(more)
        return found

    def enter(self, normalized: Tensor) -> Tensor:
        """Return the first block's input: the image in the precision of the convolutions."""
        return normalized if self.compute_dtype is None else normalized.to(self.compute_dtype)

    def names(self, block: int) -> list[str]:
        """Return the convolutions of a block, counted from 1, as far as they are built."""
        return [name for name in self.convolutions if name[4] == str(block)]

    def block(
        self, block: int, values: Tensor, taps: Iterable[str], last: bool
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Run one block.

        Args:
            block: its number, from 1.
            values: its input, (B, C, H, W).
            taps: those that lie in other blocks are left out.
            last: whether nothing after its deepest tap is wanted.

        Returns:
            tap name to activations, and the pooled output, which is the next block's input; None of the last.
        """
        wanted = {tap for tap in taps if tap[4] == str(block)}
        found: dict[str, Tensor] = {}
        for name in self.names(block):
            convolution, seen = self.convolutions[name], name in wanted
            assert isinstance(convolution, nn.Conv2d) and convolution.bias is not None
            if name in self.fast:
                values = self.fast[name](values, convolution.bias, relu=not seen)
            elif self.architecture.padding == "replicate":
                values = F.conv2d(replicated(values), convolution.weight, convolution.bias)
            else:
                values = convolution(values)
            if seen:
                found[name] = values
            after = name.replace("conv", "relu")
            if last and len(found) == len(wanted):
                break
            if seen or name not in self.fast:
                values = F.relu(values, inplace=not seen)
            if after in wanted:
                found[after] = values
            if last and len(found) == len(wanted):
                break
        return found, None if last else self.pool(values)
