"""Differentiable sorting of rows, on a CPU two to four times faster than `torch.sort`.

NumPy sorts 64-bit integers with vector instructions. The bits of a float32 compare like an integer once those of
negative numbers, except for the sign, are inverted. With them in the upper half of a key and the index in the lower
half, one sort gives both the values and their order.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def sort_rows(values: Tensor) -> Tensor:
    """Sort values (..., M) along their last axis, ascending; a NaN comes last, or first if its sign bit is set."""
    return _sorted(values)[0]


def _sorted(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sorted values, differentiable, and the indices that sort them."""
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.sort(-1)
    return torch.ops.style.sort_rows(values)


def squared_quantile_distance(values: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Compute the mean squared difference of values to quantiles at their places, (B,): in one dimension, the squared
    Wasserstein distance.

    Args:
        values: (B, D, M), in any order.
        target: (B, D, M), quantiles as `quantiles` returns them.
        weight: of each value, (1 or B, 1, M) with a mean of 1; None: 1 for all.
    """
    if weight is None:
        return (sort_rows(values) - target).square().mean((1, 2))
    found, order = _sorted(values)
    mass = weight.expand(values.shape).gather(-1, order)
    last = target.shape[-1] - 1
    # Each value at the middle of its own mass, the first that weighs anything at the least quantile, the last at the
    # largest: 0, 1, 2, ... where all weigh 1.
    middle, none = mass.cumsum(-1) - mass / 2, mass == 0
    least = middle.masked_fill(none, torch.inf).amin(-1, keepdim=True)
    most = middle.masked_fill(none, -torch.inf).amax(-1, keepdim=True)
    place = ((middle - least) * (last / (most - least).clamp_min(1e-6))).clamp(0, last)
    below = place.long()
    above = (below + 1).clamp_max(last)
    goal = torch.lerp(target.gather(-1, below), target.gather(-1, above), place - below)
    return (mass * (found - goal).square()).mean((1, 2))


def quantiles(
    values: Sequence[Tensor], weights: Sequence[float], count: int, masses: Sequence[Tensor | None] | None = None
) -> Tensor:
    """Return equally spaced quantiles of a weighted mixture, (1, D, count), from the least value to the largest.

    Args:
        values: of each part, (1, D, M); each counts weight / M.
        weights: of the parts, above 0, with a sum of 1.
        count: number of quantiles.
        masses: of each part, (1, 1, M), what its values count relative to one another; None: the same.
    """
    if len(values) == 1 and (masses is None or masses[0] is None):
        return F.interpolate(sort_rows(values[0]), count, mode="linear", align_corners=True)
    given = masses or [None] * len(values)
    # not every GPU has float64
    within = [
        torch.ones(each.shape[2], dtype=torch.float64) if mass is None else mass.flatten().cpu().double()
        for each, mass in zip(values, given, strict=True)
    ]
    parts = [each.cpu().double()[..., mass > 0] for each, mass in zip(values, within, strict=True)]
    mixed, order = torch.cat(parts, 2).sort(2)
    if mixed.shape[2] == 1:
        return mixed.expand(-1, -1, count).to(values[0])
    mass = torch.cat([weight * m[m > 0] / m.sum() for m, weight in zip(within, weights, strict=True)])[order]
    # Each value at the middle of its own mass, the first at 0 and the last at 1: k / (M - 1) where all weigh the same.
    place = mass.cumsum(2) - mass / 2
    place = (place - place[..., :1]) / (place[..., -1:] - place[..., :1])
    wanted = torch.linspace(0, 1, count, dtype=place.dtype, device=place.device).expand(*place.shape[:2], -1)
    above = torch.searchsorted(place, wanted.contiguous()).clamp(1, place.shape[2] - 1)
    low, high = place.gather(2, above - 1), place.gather(2, above)
    return torch.lerp(mixed.gather(2, above - 1), mixed.gather(2, above), (wanted - low) / (high - low)).to(values[0])


@lru_cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="sort")


def _argsort(values: np.ndarray) -> np.ndarray:
    """Return the indices, int64, that sort the rows of (rows, M)."""
    bits = values.view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFF_FFFF)).astype(np.int64)
    keys <<= 32
    keys |= np.arange(values.shape[1])
    keys.sort(axis=1)
    keys &= 0xFFFF_FFFF
    return keys


@torch.library.custom_op("style::sort_rows", mutates_args=())
def _sort_rows(values: Tensor) -> tuple[Tensor, Tensor]:
    flat = values.detach().reshape(-1, values.shape[-1])
    parts = [part.numpy() for part in flat.split(-(-len(flat) // torch.get_num_threads()))]
    found = list(_threads().map(_argsort, parts)) if len(parts) > 1 else [_argsort(parts[0])]
    indices = torch.from_numpy(np.concatenate(found)).view(values.shape)
    return values.gather(-1, indices), indices


@_sort_rows.register_fake
def _(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.new_empty(values.shape), values.new_empty(values.shape, dtype=torch.int64)


def _save_indices(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, gradient: Tensor, _: Tensor | None) -> Tensor:  # type: ignore[no-untyped-def]
    (indices,) = ctx.saved_tensors
    return gradient.new_empty(gradient.shape).scatter_(-1, indices, gradient)


_sort_rows.register_autograd(_backward, setup_context=_save_indices)
