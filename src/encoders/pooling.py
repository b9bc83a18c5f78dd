"""Halving feature maps."""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def blur_pool(values: Tensor) -> Tensor:
    """Halve (B, C, H, W) by the binomial kernel 1 3 3 1: what is too fine for half the size is gone first.

    Without this a network cannot see, and so does not mind, patterns of the grid of its strides (Zhang 2019, "Making
    convolutional networks shift-invariant again"; Henaff and Simoncelli 2016). Borders are replicated.
    """
    given = values.dtype
    if values.device.type == "cpu" and given == torch.bfloat16:  # its gradient is six times slower than float32's
        values = values.float()
    made = _binomial.__wrapped__ if torch.compiler.is_compiling() else _binomial
    kernel = made(values.dtype, values.device).expand(values.shape[1], 1, 4, 4)
    padded = replicated(values)
    with torch.autocast(values.device.type, enabled=False):
        return F.conv2d(padded, kernel, stride=2, groups=values.shape[1]).to(given)


def replicated(values: Tensor) -> Tensor:
    """Return (B, C, H, W) with its border around it once more, (B, C, H + 2, W + 2)."""
    if torch.compiler.is_compiling():  # the compiler of torch 2.15 is mistaken in how the pad's gradient lies in memory
        values = torch.cat((values[:, :, :1], values, values[:, :, -1:]), 2)
        return torch.cat((values[..., :1], values, values[..., -1:]), 3)
    return F.pad(values, (1, 1, 1, 1), mode="replicate")


@lru_cache(maxsize=8)  # made anew, it would be copied to a GPU, which waits for it, at every pooling of every step
def _binomial(dtype: torch.dtype, device: torch.device) -> Tensor:
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=dtype, device=device) / 8
    return line[:, None] * line


def max_pool(values: Tensor) -> Tensor:
    """Halve (B, C, H, W): the largest of each 2 x 2."""
    if torch.compiler.is_compiling() and values.device.type == "cpu":
        return _max_pool(values)[0]
    return F.max_pool2d(values, 2)


# What the compiler of torch 2.15 makes of a maximum's gradient on a CPU takes five times as long as PyTorch's own.
@torch.library.custom_op("style::max_pool", mutates_args=())
def _max_pool(values: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.aten.max_pool2d_with_indices(values, [2, 2], [2, 2])


@_max_pool.register_fake
def _(values: Tensor) -> tuple[Tensor, Tensor]:
    found = F.max_pool2d(values, 2)
    return found, torch.empty_like(found, dtype=torch.int64)


@torch.library.custom_op("style::max_pool_gradient", mutates_args=())
def _max_pool_gradient(gradient: Tensor, values: Tensor, places: Tensor) -> Tensor:
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    return backward(gradient, values, [2, 2], [2, 2], [0, 0], [1, 1], False, places)


@_max_pool_gradient.register_fake
def _(gradient: Tensor, values: Tensor, places: Tensor) -> Tensor:
    return torch.empty_like(values)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], output[1])
    ctx.mark_non_differentiable(output[1])


def _differentiate(ctx, gradient: Tensor, _):  # type: ignore[no-untyped-def]
    return _max_pool_gradient(gradient, *ctx.saved_tensors)


_max_pool.register_autograd(_differentiate, setup_context=_keep)

# Each halves height and width, odd ones rounded down.
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": max_pool,
    "avg": lambda values: F.avg_pool2d(values, 2),
    "blur": blur_pool,
}
