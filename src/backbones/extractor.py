"""The network, run as far as the deepest tap asked for."""

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.backbones.registry import Architecture, convolution_of

POOLS: dict[str, Callable[..., Tensor]] = {"max": F.max_pool2d, "avg": F.avg_pool2d}


class Extractor(nn.Module):
    """A frozen VGG that returns named activations.

    Built only as deep as the deepest of `taps`. ReLUs work in place exactly where nobody looks at the convolution's
    own output: torchvision's always do, which turns a stored "conv1_1" into relu1_1 behind the reader's back.

    Args:
        architecture: which network.
        taps: names as in `Architecture.taps`; a call may ask for fewer.
        pool: "max" or "avg", both 2x2 with stride 2.
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
            self.convolutions[name] = nn.utils.skip_init(nn.Conv2d, channels, width, 3, padding=1)
            channels = width
        self.register_buffer("mean", torch.tensor(architecture.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(architecture.std).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)
        self.compute_dtype: torch.dtype | None = None

    def normalize(self, image: Tensor) -> Tensor:
        """Bring an sRGB image in [0, 1] to the network's input statistics."""
        return (image - self.mean) / self.std

    def denormalize(self, normalized: Tensor) -> Tensor:
        """Undo `normalize`."""
        return normalized * self.std + self.mean

    def compute_in(self, dtype: torch.dtype) -> "Extractor":
        """Run the convolutions in another precision; taps come out in the input's. Returns itself."""
        self.convolutions.to(dtype)
        self.compute_dtype = dtype
        return self

    def forward(self, normalized: Tensor, taps: Iterable[str] | None = None) -> dict[str, Tensor]:
        """Return the activations at `taps` (default: all it was built for).

        Args:
            normalized: (B, 3, H, W), as `normalize` returns it.
            taps: a subset of the taps given at the start; nothing above the deepest of them is run.

        Returns:
            tap name to (B, C, H', W').
        """
        wanted = set(self.taps if taps is None else taps)
        found: dict[str, Tensor] = {}
        values = normalized if self.compute_dtype is None else normalized.to(self.compute_dtype)
        block = "1"
        for name, convolution in self.convolutions.items():
            if name[4] != block:
                values, block = self.pool(values, 2, 2), name[4]
            values = convolution(values)
            if name in wanted:
                found[name] = values.to(normalized.dtype)
            after = name.replace("conv", "relu")
            if len(found) == len(wanted):
                break
            values = F.relu(values, inplace=name not in wanted)
            if after in wanted:
                found[after] = values.to(normalized.dtype)
            if len(found) == len(wanted):
                break
        return found
