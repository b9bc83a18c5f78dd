"""2 x 2 poolings."""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def blur_pool(values: Tensor) -> Tensor:
    """Halve (B, C, H, W) with the binomial kernel 1 3 3 1, which removes frequencies that alias at half the size.

    Without it the network does not see patterns on the grid of its strides, and the optimiser is free to draw them
    (Zhang 2019, "Making convolutional networks shift-invariant again"; Henaff and Simoncelli 2016). Borders are
    replicated. An odd size is rounded up: rounded down, its last row would have a weight of 1/8, the losses of deeper
    layers would hardly depend on it, and the optimiser would leave coloured dots along that border.
    """
    given = values.dtype
    if values.device.type == "cpu" and given == torch.bfloat16:  # its bfloat16 gradient is six times slower on a CPU
        values = values.float()
    odd = (values.shape[2] % 2, values.shape[3] % 2)
    kernel = (_binomial.__wrapped__ if torch.compiler.is_compiling() else _binomial)(values.dtype, values.device)
    with torch.autocast(values.device.type, enabled=False):
        channels = values.shape[1]
        return F.conv2d(replicated(values, *odd), kernel.expand(channels, 1, 4, 4), stride=2, groups=channels).to(given)


def replicated(values: Tensor, rows: int = 0, columns: int = 0) -> Tensor:
    """Pad (B, C, H, W) by replicating its border once, and `rows` and `columns` more times below and on the right."""
    if torch.compiler.is_compiling():  # torch 2.15's compiler gets the memory layout of this pad's gradient wrong
        values = torch.cat((values[:, :, :1], values, *[values[:, :, -1:]] * (1 + rows)), 2)
        return torch.cat((values[..., :1], values, *[values[..., -1:]] * (1 + columns)), 3)
    return F.pad(values, (1, 1 + columns, 1, 1 + rows), mode="replicate")


@lru_cache(maxsize=8)  # creating it in every step would synchronise a GPU with the host
def _binomial(dtype: torch.dtype, device: torch.device) -> Tensor:
    line = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=dtype, device=device) / 8
    return line[:, None] * line


def max_pool(values: Tensor) -> Tensor:
    """Halve (B, C, H, W) by the maximum of each 2 x 2."""
    if torch.compiler.is_compiling() and values.device.type == "cpu":
        return _max_pool(values)[0]
    return F.max_pool2d(values, 2)


# Opaque to the compiler: the gradient of a maximum that torch 2.15 compiles for a CPU is five times slower than eager.
@torch.library.custom_op("style::max_pool", mutates_args=())
def _max_pool(values: Tensor) -> tuple[Tensor, Tensor]:
    return torch.ops.aten.max_pool2d_with_indices(values, [2, 2], [2, 2])


@_max_pool.register_fake
def _(values: Tensor) -> tuple[Tensor, Tensor]:
    found = F.max_pool2d(values, 2)
    return found, torch.empty_like(found, dtype=torch.int64)


@torch.library.custom_op("style::max_pool_gradient", mutates_args=())
def _max_pool_gradient(gradient: Tensor, values: Tensor, indices: Tensor) -> Tensor:
    backward = torch.ops.aten.max_pool2d_with_indices_backward
    return backward(gradient, values, [2, 2], [2, 2], [0, 0], [1, 1], False, indices)


@_max_pool_gradient.register_fake
def _(gradient: Tensor, values: Tensor, indices: Tensor) -> Tensor:
    return torch.empty_like(values)


def _setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    ctx.save_for_backward(inputs[0], output[1])
    ctx.mark_non_differentiable(output[1])


def _backward(ctx, gradient: Tensor, _):  # type: ignore[no-untyped-def]
    return _max_pool_gradient(gradient, *ctx.saved_tensors)


_max_pool.register_autograd(_backward, setup_context=_setup_context)

# Each halves height and width; odd sizes are rounded down by max and avg, as in published programs, and up by blur.
POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": max_pool,
    "avg": lambda values: F.avg_pool2d(values, 2),
    "blur": blur_pool,
}
