"""Feed-forward style network with conditional instance normalisation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.feedforward import SIZES, STRIDE

EPSILON = 1e-5


class ConditionalInstanceNorm(nn.Module):
    """Instance normalisation with a scale and a shift for each style (Dumoulin et al. 2017, eq. 5).

    Scales and shifts of a mixture of styles are the weighted means of theirs.

    Args:
        channels: C.
        styles: S.

    Attributes:
        statistics: mean and variance of a whole picture, (1, C, 1, 1) each, that are used instead of the input's own;
            None: the input's own.
        measures: keep the statistics of the next input.
    """

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(styles, channels))
        self.shift = nn.Parameter(torch.zeros(styles, channels))
        self.statistics: tuple[Tensor, Tensor] | None = None
        self.measures = False

    def forward(self, values: Tensor, shares: Tensor) -> Tensor:
        """Return normalised values (B, C, H, W) for shares of the styles (B, S)."""
        scale, shift = shares @ self.scale, shares @ self.shift
        if self.measures:
            variance, mean = torch.var_mean(values, (2, 3), correction=0, keepdim=True)
            self.statistics = mean, variance
        if self.statistics is None:
            values = F.instance_norm(values, eps=EPSILON)
        else:
            mean, variance = self.statistics
            values = (values - mean) * (variance + EPSILON).rsqrt()
        return values * scale[:, :, None, None] + shift[:, :, None, None]


class Layer(nn.Module):
    """Convolution with reflection padding, then conditional instance normalisation.

    Args:
        inputs, outputs: channels.
        kernel: side of the convolution's kernel.
        styles: number of styles.
        stride: of the convolution.
        upsampled: enlarge the input twice first, by nearest neighbours, which leaves no checkerboard (Odena et al.
            2016).
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, styles: int, stride: int = 1, upsampled: bool = False
    ) -> None:
        super().__init__()
        self.upsampled = upsampled
        self.convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode="reflect", bias=False)
        self.norm = ConditionalInstanceNorm(outputs, styles)

    def forward(self, values: Tensor, shares: Tensor) -> Tensor:
        """Return (B, outputs, H', W') for values (B, inputs, H, W) and shares (B, S)."""
        if self.upsampled:
            values = F.interpolate(values, scale_factor=2.0, mode="nearest")
        return self.norm(self.convolution(values), shares)


class Block(nn.Module):
    """Residual block without an activation after the sum (Gross and Wilber 2016, as in Johnson et al.)."""

    def __init__(self, channels: int, styles: int) -> None:
        super().__init__()
        self.first = Layer(channels, channels, 3, styles)
        self.second = Layer(channels, channels, 3, styles)

    def forward(self, values: Tensor, shares: Tensor) -> Tensor:
        """Return (B, C, H, W) for values of that shape and shares (B, S)."""
        return values + self.second(F.relu(self.first(values, shares)), shares)


class StyleNetwork(nn.Module):
    """The image transformation network of Johnson et al. 2016 for one or several styles.

    Two convolutions of stride 2, residual blocks, and two convolutions after nearest-neighbour upsampling, between two
    9 x 9 convolutions. Normalisation is by instance (Ulyanov et al. 2016), with parameters for each style.

    Args:
        size: name in SIZES.
        styles: number of styles, S.
    """

    def __init__(self, size: str, styles: int = 1) -> None:
        super().__init__()
        (full, half, quarter), blocks = SIZES[size]
        self.size, self.styles = size, styles
        self.first = Layer(3, full, 9, styles)
        self.down = nn.ModuleList([Layer(full, half, 3, styles, 2), Layer(half, quarter, 3, styles, 2)])
        self.blocks = nn.ModuleList(Block(quarter, styles) for _ in range(blocks))
        self.up = nn.ModuleList(
            [Layer(quarter, half, 3, styles, upsampled=True), Layer(half, full, 3, styles, upsampled=True)]
        )
        self.last = nn.Conv2d(full, 3, 9, padding=4, padding_mode="reflect")

    def forward(self, images: Tensor, shares: Tensor) -> Tensor:
        """Return stylised images (B, 3, H, W) in [0, 1].

        Args:
            images: (B, 3, H, W) in [0, 1], H and W multiples of STRIDE, at least SMALLEST.
            shares: (B, S), the share of each style, of sum 1.
        """
        values = F.relu(self.first(2 * images - 1, shares))
        for layer in self.down:
            values = F.relu(layer(values, shares))
        for block in self.blocks:
            values = block(values, shares)
        for layer in self.up:
            values = F.relu(layer(values, shares))
        return torch.sigmoid(self.last(values))

    @property
    def reach(self) -> int:
        """Return how far an input pixel influences the output, px, rounded up to a multiple of STRIDE."""
        # 9 x 9: 4. Strided convolutions: 1 and 2. Blocks: two convolutions of reach 4. Upsampled ones: 4 and 2, as a
        # neighbour of the coarser map is at most that far. 9 x 9: 4.
        reach = 4 + 1 + 2 + 2 * 4 * len(self.blocks) + 4 + 2 + 4
        return -(-reach // STRIDE) * STRIDE

    @contextmanager
    def statistics_of(self, image: Tensor, shares: Tensor) -> Iterator[None]:
        """Normalise by the statistics that the layers have for this image (1, 3, H, W) while in the block."""
        norms = [each for each in self.modules() if isinstance(each, ConditionalInstanceNorm)]
        try:
            for norm in norms:
                norm.measures = True
            with torch.no_grad():
                self(image, shares)
            for norm in norms:
                norm.measures = False
            yield
        finally:
            for norm in norms:
                norm.measures, norm.statistics = False, None
