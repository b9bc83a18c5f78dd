"""What a stage of a run will need of memory, told before it begins.

The arithmetic follows the tensors that are alive at the same time, block by block, forward and back. Where a library
decides how many copies it takes, the count was measured; `python -m src.bench memory` sets estimate and peak side by
side.
"""

from dataclasses import dataclass, replace

import torch

from src.config.schema import RunConfig
from src.encoders.recomputation import BAND, Recomputation
from src.encoders.registry import Architecture, block_of, convolution_of
from src.encoders.vgg import Extractor
from src.ops.losses import LOSS_FORMS
from src.ops.patches import MOST, PART, SIZE
from src.transfer.objective import Taps

# Sorted values of the palette loss for each pixel: thirteen lines through the colours at 1/2, 1/4 and 1/8 of the size,
# three through their changes along both axes at 1, 1/2 and 1/4.
SORTED = 13 * (1 / 4 + 1 / 16 + 1 / 64) + 6 * (1 + 1 / 4 + 1 / 16)
# While a cloud is sorted: values, keys and places of 64 bits, and what it is joined from, bytes for each of them.
SORTING = 44
# Layers' worth of gradients at the same time while a block goes back: what comes in, what goes on, what a tap adds.
GRADIENTS = 4
# Copies of one row of an image while SSIM is taken: five maps and their averages, bytes a pixel and channel.
SSIM = 80
PATCHWORK = 60  # the start: pictures of some levels, places and candidates, bytes a pixel
# What comes after the estimate whatever the size: libraries loaded late, buffers of the convolutions, bytes.
LATER = 0.25 * 2**30


@dataclass(frozen=True)
class Footprint:
    """One stage.

    Attributes:
        size: height and width, px; of all images of a batch alike.
        style: those of the style image.
        network: which.
        pool: how it halves.
        style_taps, content_tap: where it is read.
        patches, palette: whether these parts of the loss take part.
        split: whether brightness and colours are parameters of their own.
        average: whether the running average of the image is kept.
        optimizer: adam | lbfgs, and
        history: the curvature pairs that the second keeps.
        value: bytes of a pixel's value,
        feature: and of a feature's.
        tiled_filters: whether convolutions are those of `kernels.winograd`.
        patchwork: whether the stage begins with one.
    """

    size: tuple[int, int]
    style: tuple[int, int]
    network: Architecture
    pool: str
    style_taps: tuple[str, ...]
    content_tap: str
    patches: bool
    palette: bool
    split: bool
    average: bool
    optimizer: str
    history: int
    value: int
    feature: int
    tiled_filters: bool
    patchwork: bool

    @classmethod
    def of(
        cls, config: RunConfig, taps: Taps, extractor: Extractor, dtype: torch.dtype,
        sizes: tuple[tuple[int, int], tuple[int, int]], split: bool, begun: bool,
    ) -> "Footprint":  # fmt: skip
        """Return that of a stage; `begun` says that it goes on from a picture that is there."""
        extended = LOSS_FORMS[config.loss.name].extended
        return cls(
            *sizes,
            network=extractor.architecture,
            pool=config.backbone.pool,
            style_taps=tuple(taps.style),
            content_tap=taps.content,
            patches=extended and config.loss.patches > 0,
            palette=extended and config.loss.palette > 0,
            split=split,
            average=config.schedule.average > 0,
            optimizer=config.optimizer.name,
            history=config.optimizer.history,
            value=dtype.itemsize,
            feature=(extractor.compute_dtype or dtype).itemsize,
            tiled_filters=bool(extractor.fast),
            patchwork=config.init.name == "patchwork" and not begun,
        )

    @property
    def pixels(self) -> int:
        """Return how many there are."""
        return self.size[0] * self.size[1]

    @property
    def blocks(self) -> int:
        """Return the number of blocks that are run."""
        return max(map(block_of, (*self.style_taps, self.content_tap)))

    def scaled(self, factor: float) -> "Footprint":
        """Return that of the same stage with every side so many times as long."""
        (height, width), (down, across) = self.size, self.style
        return replace(
            self,
            size=(int(factor * height), int(factor * width)),
            style=(int(factor * down), int(factor * across)),
        )

    def need(self, recomputed: Recomputation) -> float:
        """Return what the stage takes at its peak, bytes, beside what the process holds before it."""
        phases = (self.evaluation(recomputed), self._targets(recomputed), self._matching(recomputed), self._ssim)
        start = PATCHWORK * self.pixels if self.patchwork else 0
        return LATER + self._pictures + max(self._targets_kept + self._parameters + max(phases), start)

    def _area(self, block: int, size: tuple[int, int] | None = None) -> int:
        height, width = size or self.size
        return (height // 2 ** (block - 1)) * (width // 2 ** (block - 1))

    def _tap(self, tap: str, size: tuple[int, int] | None = None) -> int:
        """Return the numbers of a tap's features."""
        return self.network.channels[convolution_of(tap)] * self._area(block_of(tap), size)

    def _widths(self, block: int) -> list[int]:
        """Return the channels of a block's convolutions, as far as they are run."""
        names = [name for name in self.network.convolutions if name[4] == str(block)]
        inside = [convolution_of(tap) for tap in (*self.style_taps, self.content_tap) if block_of(tap) == block]
        if block == self.blocks:
            names = names[: 1 + max(map(names.index, inside))]
        return [self.network.channels[name] for name in names]

    @property
    def _pictures(self) -> float:
        """Content, style, and the start."""
        style = self.style[0] * self.style[1]
        return 3 * self.value * (2 * self.pixels + style)

    @property
    def _numbers(self) -> float:
        """Return how many numbers the optimiser moves."""
        return self.pixels * (1 + 3 / 16 if self.split else 3)

    @property
    def _parameters(self) -> float:
        """Parameters, their gradients, what the optimiser keeps and takes for a while; the last finite copy of all."""
        kept = 2 * self.history + 10 if self.optimizer == "lbfgs" else 4
        copy = self._numbers + (3 * self.pixels if self.split else 0)
        average = 9 * self.pixels if self.average else 0  # its copy, too, and the image that is counted
        return self.value * (self._numbers * (2 + kept) + copy + average)

    @property
    def _targets_kept(self) -> float:
        found: float = self._tap(self.content_tap) * max(4, self.feature)
        if self.palette:
            found += SORTED * self.pixels * self.value
        for tap in self._matched:
            width = self.network.channels[convolution_of(tap)] * SIZE**2
            found += min(MOST, self._area(block_of(tap), self.style)) * width * (self.value + self.feature)
            found += self._tap(tap) * self.value
        return found

    @property
    def _matched(self) -> list[str]:
        return [tap for tap in self.style_taps if block_of(tap) > 1] if self.patches else []

    def _share(self, block: int, recomputed: Recomputation, size: tuple[int, int] | None = None) -> float:
        """Return the share of a block's layers that is there at a time while it is computed anew."""
        if not recomputed.banded:
            return 1.0
        layer = max(self._widths(block)) * self._area(block, size) * self.feature
        return min(1.0, 1.15 * BAND / layer)  # with its overlaps

    def evaluation(self, recomputed: Recomputation) -> float:
        """Return what one takes, forward and back: what is kept grows to the deepest block, and is given up again."""
        images = 3 * self.value * self.pixels * 4  # the image, normalised, its gradients
        sorting = 3 * SORTING * self.pixels if self.palette else 0
        # of each sorted value its place and its difference; or, taken one by one, their gradient alone
        colours = 3 * self.value * self.pixels if recomputed.blocks else 12 * SORTED * self.pixels
        kept, peak = 0.0, 0.0
        held: list[float] = []
        for block in range(1, self.blocks + 1):
            outputs = self._output(block)
            if block <= recomputed.blocks:
                passing = 3 * self._layer(block) * self._share(block, recomputed)
                held.append(outputs)
            else:
                passing = self._layer(block)
                held.append(self._kept(block) + outputs)
            peak = max(peak, kept + passing + outputs)
            kept += held[-1]
        if self.palette:
            kept += colours
        peak = max(peak, kept + sorting)
        for block in range(self.blocks, 0, -1):
            coming = self._output(block)
            going = self._output(block - 1) if block > 1 else 3 * self.value * self.pixels
            work = GRADIENTS * self._layer(block)
            if block <= recomputed.blocks:
                work = (work + self._kept(block)) * self._share(block, recomputed)
            peak = max(peak, kept + coming + going + work)
            kept -= held[block - 1]
        return images + peak

    def _layer(self, block: int) -> float:
        return max(self._widths(block)) * self._area(block) * self.feature

    def _output(self, block: int) -> float:
        return self._widths(block)[-1] * self._area(block + 1) * self.feature if 0 < block < self.blocks else 0.0

    def _kept(self, block: int) -> float:
        """Return what the gradient of a block asks for: every layer, and copies of what convolutions were given."""
        widths, area = self._widths(block), self._area(block)
        numbers: float = sum(widths)
        taps = (*self.style_taps, self.content_tap)
        numbers += sum(
            self.network.channels[tap] for tap in set(taps) if tap.startswith("conv") and block_of(tap) == block
        )
        if self.network.padding == "replicate" and not self.tiled_filters:
            numbers += sum(widths[:-1]) + (widths[0] // 2 if block > 1 else 3)
        if block < self.blocks:
            numbers += {"blur": widths[-1], "max": widths[-1] * 2 / self.feature, "avg": 0}[self.pool]
        return numbers * area * self.feature

    def _targets(self, recomputed: Recomputation) -> float:
        """Measuring the style, and the patches cut out of it, four times over for a moment."""
        peak, held = 0.0, 0.0
        for block in range(1, self.blocks + 1):
            layer = max(self._widths(block)) * self._area(block, self.style) * self.feature
            share = self._share(block, recomputed, self.style) if block <= recomputed.blocks else 1.0
            peak = max(peak, held + 3 * layer * share)
        for tap in self._matched:
            width = self.network.channels[convolution_of(tap)] * SIZE**2
            held += self._tap(tap, self.style) * self.feature
            peak = max(peak, held + 2 * min(MOST, self._area(block_of(tap), self.style)) * width * self.value)
        return peak

    def _matching(self, recomputed: Recomputation) -> float:
        """Looking up the nearest patches: the taps, one of them with a border."""
        taps = [self._tap(tap) * self.feature for tap in self._matched]
        return sum(taps) + max(taps) + 6 * PART if taps else 0.0

    @property
    def _ssim(self) -> float:
        return SSIM * 3 * self.pixels
