"""Evaluating an encoder block by block, with activation checkpointing by block and by band of rows.

Every style and content loss here is a function of sums over positions, and such sums add up over bands of rows. With
checkpointing, the forward pass keeps only the inputs of the checkpointed blocks and the sums. The backward pass, which
knows how the loss depends on each sum and on the block's output, runs every band once more and adds its gradient to the
block's input (Chen, Xu, Zhang and Guestrin 2016, "Training deep nets with sublinear memory cost"). The result is exact:
a band reads as many extra rows on either side as its block's receptive field needs.

The overlap of two bands is a few rows of the block's own resolution. Tiles through the whole network (Galerne, Raad,
Lezama and Morel 2022, "Scaling painting style transfer") overlap by its whole receptive field, 85 px on every side for
VGG-19, and compute that much twice.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from src.encoders.base import Encoder
from src.encoders.registry import positions

# Size of one layer of a band, bytes. Against 128 MiB this saves a fifth of the peak and costs a twentieth of the time.
BAND_BYTES = 24 * 2**20

# Called with a tap, its features in some rows, and those rows. Returns tensors by name that add up over rows; the names
# are the same for every band.
Read = Callable[[str, Tensor, slice], Mapping[Any, Tensor]]


@dataclass(frozen=True)
class Checkpointing:
    """Which activations are recomputed for the gradient instead of being kept.

    Attributes:
        blocks: the first so many blocks are recomputed, the others are kept.
        banded: recompute in bands of rows; otherwise one block at a time.
    """

    blocks: int = 0
    banded: bool = False

    @property
    def strategy(self) -> str:
        """Return the name as in `trainer.memory`: whole | checkpointed | tiled."""
        return "whole" if self.blocks == 0 else "tiled" if self.banded else "checkpointed"

    def describe(self) -> str:
        """Return the strategy in words."""
        if self.blocks == 0:
            return "whole (all activations kept)"
        which = "block 1" if self.blocks == 1 else f"blocks 1 to {self.blocks}"
        return f"{self.strategy} ({which} recomputed for the gradient{' in bands of rows' * self.banded})"


KEEP_ALL = Checkpointing()
ALL = slice(None)


@dataclass(frozen=True)
class Band:
    """Rows [top, bottom) of a block's layers.

    Attributes:
        height: rows of the whole layer.
        reach: extra rows that are read on either side.
        output_height: rows of the block's whole output, which are half as many where the block ends with a pooling.
        whole: the band is the whole block, whose layers may differ in height.
    """

    top: int
    bottom: int
    height: int
    reach: int
    output_height: int
    whole: bool = False

    @classmethod
    def of_all(cls, height: int) -> "Band":
        """Return all rows of a block whose input has so many."""
        return cls(0, height, height, 0, height, whole=True)

    @property
    def read(self) -> slice:
        """Return the rows of the block's input that the band is computed from."""
        return slice(max(0, self.top - self.reach), min(self.height, self.bottom + self.reach))

    @property
    def rows(self) -> slice:
        """Return the band's rows."""
        return slice(self.top, self.bottom)

    @property
    def inner(self) -> slice:
        """Return the band's rows among the computed ones."""
        return ALL if self.whole else slice(self.top - self.read.start, self.bottom - self.read.start)

    @property
    def output_rows(self) -> slice:
        """Return the band's rows of the block's output."""
        if self.whole:
            return ALL
        return self._pooled(self.rows)

    @property
    def inner_output(self) -> slice:
        """Return the band's output rows among the computed ones."""
        if self.whole:
            return ALL
        first, rows = self._pooled(self.read).start, self.output_rows
        return slice(rows.start - first, rows.stop - first)

    def _pooled(self, rows: slice) -> slice:
        """Return the rows of the output that come from these, which begin with an even row."""
        if self.output_height == self.height:
            return rows
        return slice(rows.start // 2, min((rows.stop + 1) // 2, self.output_height))


def bands(height: int, row_bytes: float, reach: int, output_height: int) -> list[Band]:
    """Return the bands of a block.

    Args:
        height: rows of its input.
        row_bytes: size of a row of its widest layer.
        reach: rows above and below that one output row depends on.
        output_height: rows of its output.
    """
    rows = max(2 * reach, int(BAND_BYTES / row_bytes) // 2 * 2)
    tops = list(range(0, height, rows))
    if len(tops) > 1 and height - tops[-1] < 2:  # max and avg would pool a single last row to nothing
        tops.pop()
    return [
        Band(top, bottom, height, reach + reach % 2, output_height)
        for top, bottom in zip(tops, [*tops[1:], height], strict=True)
    ]


def accumulate(
    encoder: Encoder, image: Tensor, taps: Iterable[str], read: Read, checkpointing: Checkpointing = KEEP_ALL
) -> dict[str, dict[Any, Tensor]]:
    """Return what `read` returns for each tap, summed over all rows.

    The result is differentiable in the image as far as `read` is.

    Args:
        encoder: has the taps.
        image: (B, 3, H, W) in [0, 1].
        taps: names; blocks behind the deepest of them do not run.
        read: see `Read`; called once per tap with all rows where the block is not banded.
        checkpointing: what is recomputed.
    """
    wanted = list(dict.fromkeys(taps))
    deepest = encoder.depth(wanted)
    found: dict[str, dict[Any, Tensor]] = {tap: {} for tap in wanted}
    values: Tensor | None = encoder.enter(image)
    for block in range(1, deepest + 1):
        assert values is not None
        last = block == deepest
        names: list[tuple[str, Any]] = []
        run = partial(
            _run, encoder, block, [tap for tap in wanted if encoder.taps[tap].block == block], last, read, names
        )
        whole = Band.of_all(values.shape[2])
        if block <= checkpointing.blocks:
            parts = _bands_of(encoder, block, last, values) if checkpointing.banded else [whole]
            *flat, values = _Recomputed.apply(values, run, parts)
        else:
            flat, values = run(values, whole)
        for (tap, name), each in zip(names, flat, strict=True):
            found[tap][name] = each
    return found


def feature_maps(
    encoder: Encoder, image: Tensor, taps: Iterable[str], checkpointing: Checkpointing = KEEP_ALL
) -> dict[str, Tensor]:
    """Return the activations at taps, (B, C, H', W') each, without gradient.

    With banded checkpointing, no other layer of the banded blocks exists as a whole.
    """
    found: dict[str, Tensor] = {}

    def collect(tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        height, _ = encoder.feature_size(image.shape[2:], tap)
        if features.shape[2] == height:
            found[tap] = features
            return {}
        if tap not in found:
            shape = (features.shape[0], features.shape[1], height, features.shape[3])
            found[tap] = features.new_empty(shape).contiguous(memory_format=torch.channels_last)
        found[tap][:, :, rows] = features
        return {}

    with torch.no_grad():
        accumulate(encoder, image, taps, collect, checkpointing)
    return found


def _bands_of(encoder: Encoder, block: int, last: bool, values: Tensor) -> list[Band]:
    widths = encoder.conv_widths(block)
    if not encoder.banded or not widths:
        return [Band.of_all(values.shape[2])]
    row_bytes = values.shape[0] * values.shape[3] * max(widths) * values.element_size()
    reach = len(widths) + (not last)  # one row per convolution and one for the pooling
    height = values.shape[2]
    return bands(height, row_bytes, reach, height if last else positions(height, 2, encoder.rounds_up))


def _run(
    encoder: Encoder,
    block: int,
    taps: list[str],
    last: bool,
    read: Read,
    names: list[tuple[str, Any]],
    values: Tensor,
    band: Band,
) -> tuple[list[Tensor], Tensor | None]:
    """Return what is read of a band's taps as a flat list, and the band's rows of the block's output.

    `names` receives the tap and name of each entry of the list.
    """
    features, output = encoder.run_block(block, values, taps, last)
    features = encoder.smoothed(block, features)
    rows = {tap: slice(0, features[tap].shape[2]) if band.whole else band.rows for tap in taps}
    readings = {tap: read(tap, _rows(features[tap], band.inner), rows[tap]) for tap in taps}
    names[:] = [(tap, name) for tap, each in readings.items() for name in each]
    flat = [value for each in readings.values() for value in each.values()]
    return flat, None if output is None else _rows(output, band.inner_output)


def _rows(values: Tensor, rows: slice) -> Tensor:
    # Slicing all rows would cost a copy in the backward pass.
    return values if rows in (ALL, slice(0, values.shape[2])) else values[:, :, rows]


class _Recomputed(torch.autograd.Function):
    """Run a block in bands and keep only its input; run every band again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, run: Any, parts: list[Band]) -> tuple[Tensor | None, ...]:
        ctx.run, ctx.parts = run, parts
        ctx.save_for_backward(values)
        ctx.set_materialize_grads(False)
        total: list[Tensor] = []
        output: Tensor | None = None
        for band in parts:
            found, part = run(values[:, :, band.read], band)
            total = [before + more for before, more in zip(total, found, strict=True)] if total else found
            if part is None or len(parts) == 1:
                output = part
                continue
            if output is None:
                shape = (part.shape[0], part.shape[1], parts[-1].output_rows.stop, part.shape[3])
                output = part.new_empty(shape).contiguous(memory_format=torch.channels_last)
            output[:, :, band.output_rows] = part
        return (*total, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        (values,) = ctx.saved_tensors
        *of_sums, of_output = gradients
        collected: Tensor | None = None
        for band in ctx.parts:
            with torch.enable_grad():
                part = values[:, :, band.read].detach().requires_grad_()
                found, output = ctx.run(part, band)
            upstream = [*of_sums, None if of_output is None else _rows(of_output, band.output_rows)]
            needed = [
                (result, gradient)
                for result, gradient in zip([*found, output], upstream, strict=True)
                if gradient is not None and result is not None and result.requires_grad
            ]
            if not needed:
                continue
            results, incoming = zip(*needed, strict=True)
            (gradient,) = torch.autograd.grad(results, part, incoming)
            if len(ctx.parts) == 1:
                return gradient, None, None
            if collected is None:
                collected = torch.zeros_like(values)
            collected[:, :, band.read] += gradient
        return collected, None, None
