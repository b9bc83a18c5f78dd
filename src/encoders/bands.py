"""The network block by block, in bands of rows, with what a block computes kept or computed anew for its gradient.

Where activations are not kept, the memory of an evaluation is that of what lies between blocks (a quarter of a block's
layers each) and of one band. It is exact: a band is computed from as many rows more, on either side, as its block can
see, and every loss here is a function of sums over positions (`read`), which add up over bands. Going forward, the sums
are collected; going back, when the loss has told how it depends on each sum and on the block's output, every band is
computed once more and sends its share to the block's input: activation checkpointing (Chen, Xu, Zhang and Guestrin
2016, "Training deep nets with sublinear memory cost") by block, and within a block by band.

Overlaps of a block are a few rows of its own resolution. Tiles taken through the whole network (Galerne, Raad, Lezama
and Morel 2022, "Scaling painting style transfer") overlap by its whole receptive field, 85 px on every side of each for
VGG-19, and compute that much twice.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from src.encoders.recomputation import Band, Recomputation
from src.encoders.registry import block_of
from src.encoders.vgg import Extractor
from src.ops.gram import moment_sums
from src.ops.losses import Statistics

# Given a tap, its features in some rows, and these rows: tensors by name, always the same, that add up over rows.
Read = Callable[[str, Tensor, slice], Mapping[str, Tensor]]
_Run = Callable[[Tensor, "Band"], tuple[list[Tensor], Tensor | None]]


def sums(
    extractor: Extractor, normalized: Tensor, taps: Iterable[str], read: Read, recomputed: Recomputation
) -> dict[str, dict[str, Tensor]]:
    """Return what is read of each tap, summed over all rows; differentiable in the image as far as `read` is.

    Args:
        extractor: has the taps.
        normalized: (B, 3, H, W).
        taps: names; nothing above the deepest of them is run.
        read: see `Read`; given all rows at once where they are not computed in bands.
        recomputed: what is not kept.
    """
    wanted = list(dict.fromkeys(taps))
    deepest = max(map(block_of, wanted), default=0)
    found: dict[str, dict[str, Tensor]] = {tap: {} for tap in wanted}
    values: Tensor | None = extractor.enter(normalized)
    for block in range(1, deepest + 1):
        assert values is not None
        inside, last = [tap for tap in wanted if block_of(tap) == block], block == deepest
        names: list[tuple[str, str]] = []
        run = partial(_run, extractor, block, inside, last, read, names)
        if block <= recomputed.blocks:
            *flat, values = _Recomputed.apply(values, run, _bands(extractor, block, last, values, recomputed))
        else:
            height = values.shape[2]
            flat, values = run(values, Band(0, height, height, 0, not last))
        for (tap, name), each in zip(names, flat, strict=True):
            found[tap][name] = each
    return found


def whole_taps(
    extractor: Extractor, normalized: Tensor, taps: Iterable[str], recomputed: Recomputation
) -> dict[str, Tensor]:
    """Return the activations at taps, (B, C, H', W') each, without gradient, and no other layer as a whole."""
    found: dict[str, Tensor] = {}

    def gather(tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        height, _ = feature_size(normalized, tap)
        if features.shape[2] == height:
            found[tap] = features
            return {}
        if tap not in found:
            shape = (features.shape[0], features.shape[1], height, features.shape[3])
            found[tap] = features.new_empty(shape).contiguous(memory_format=torch.channels_last)
        found[tap][:, :, rows] = features
        return {}

    with torch.no_grad():
        sums(extractor, normalized, taps, gather, recomputed)
    return found


def statistics(
    extractor: Extractor, normalized: Tensor, taps: Iterable[str], recomputed: Recomputation
) -> dict[str, Statistics]:
    """Return the statistics of an image (B, 3, H, W) at taps."""

    def read(tap: str, features: Tensor, rows: slice) -> Mapping[str, Tensor]:
        return dict(zip(("gram", "total"), moment_sums(features), strict=True))

    found = sums(extractor, normalized, taps, read, recomputed)
    return {
        tap: Statistics.of_sums(**each, positions=math.prod(feature_size(normalized, tap)))
        for tap, each in found.items()
    }


def feature_size(image: Tensor, tap: str) -> tuple[int, int]:
    """Return height and width of the features of an image at a tap: every pooling halves both, rounding down."""
    stride = 2 ** (block_of(tap) - 1)
    return image.shape[2] // stride, image.shape[3] // stride


def _bands(extractor: Extractor, block: int, last: bool, values: Tensor, recomputed: Recomputation) -> list[Band]:
    widths = [extractor.architecture.channels[name] for name in extractor.names(block)]
    row_bytes = values.shape[0] * values.shape[3] * max(widths) * values.element_size()
    reach = len(widths) + (not last)  # a row of each convolution, and one of the pooling
    return recomputed.bands(values.shape[2], row_bytes, reach, not last)


def _run(
    extractor: Extractor, block: int, inside: list[str], last: bool, read: Read, names: list[tuple[str, str]],
    values: Tensor, band: Band,
) -> tuple[list[Tensor], Tensor | None]:  # fmt: skip
    """Return what is read of a band's taps, one after the other, and its rows of the block's output; `names` receives
    what each is.
    """
    features, output = extractor.block(block, values, inside, last)
    read_of = {tap: read(tap, _cut(features[tap], band.inner), band.rows) for tap in inside}
    names[:] = [(tap, name) for tap, each in read_of.items() for name in each]
    flat = [value for each in read_of.values() for value in each.values()]
    return flat, None if output is None else _cut(output, band.inner_pooled)


def _cut(values: Tensor, rows: slice) -> Tensor:
    # all of them are no slice: its gradient would be one more copy
    return values if rows == slice(0, values.shape[2]) else values[:, :, rows]


class _Recomputed(torch.autograd.Function):
    """A block of which its input alone is kept: `run` on every band of it, again when the gradient is asked for."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, run: _Run, bands: list[Band]) -> tuple[Tensor | None, ...]:
        ctx.run, ctx.bands = run, bands
        ctx.save_for_backward(values)
        ctx.set_materialize_grads(False)
        total: list[Tensor] = []
        output: Tensor | None = None
        for band in bands:
            found, part = run(values[:, :, band.read], band)
            total = [before + more for before, more in zip(total, found, strict=True)] if total else found
            if part is None or len(bands) == 1:
                output = part
                continue
            if output is None:
                shape = (part.shape[0], part.shape[1], bands[-1].pooled.stop, part.shape[3])
                output = part.new_empty(shape).contiguous(memory_format=torch.channels_last)
            output[:, :, band.pooled] = part
        return (*total, output)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, None, None]:
        (values,) = ctx.saved_tensors
        *of_sums, of_output = gradients
        collected: Tensor | None = None
        for band in ctx.bands:
            with torch.enable_grad():
                part = values[:, :, band.read].detach().requires_grad_()
                found, output = ctx.run(part, band)
            given = [*of_sums, None if of_output is None else of_output[:, :, band.pooled]]
            asked = [
                (result, gradient)
                for result, gradient in zip([*found, output], given, strict=True)
                if gradient is not None and result is not None and result.requires_grad
            ]
            if not asked:
                continue
            results, upstream = zip(*asked, strict=True)
            (gradient,) = torch.autograd.grad(results, part, upstream)
            if len(ctx.bands) == 1:
                return gradient, None, None
            if collected is None:
                collected = torch.zeros_like(values)
            collected[:, :, band.read] += gradient
        return collected, None, None
