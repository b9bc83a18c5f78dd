"""3 x 3 convolutions by Winograd's minimal filtering, with a quarter of the multiplications. CPU, float32.

A tile of 4 x 4 outputs takes 36 multiplications instead of 144 (Lavin and Gray 2016, "Fast algorithms for convolutional
neural networks"). Rounding errors are about 2e-6 of a layer's values, five times those of a direct convolution.

Bias and ReLU are part of the operator, forward and backward, because the image is in the cache there.
"""

import ctypes
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.kernels import build

# Transform of the weights, G w G^T (Lavin and Gray 2016, section 4.3). Those of images are in winograd.c.
G = (
    *((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6)),
    *((1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
)
# Channels must be multiples of this; for the three of an image the transforms would cost more than they save.
BLOCK = 32
TOLERANCE = 1e-4


class Convolution:
    """A convolution with fixed, transformed weights, for its output and for the gradient of its input.

    Args:
        weight: (K, C, 3, 3), float32.
        replicate: whether the image's border is replicated; otherwise the image is padded with zeros.
    """

    def __init__(self, weight: Tensor, replicate: bool) -> None:
        self.weight = weight
        self.forward = _transformed(weight)
        self.backward = _transformed(weight.transpose(0, 1).flip(2, 3))
        self.replicate = replicate

    def __call__(self, values: Tensor, bias: Tensor, relu: bool) -> Tensor:
        """Convolve (B, C, H, W) to (B, K, H, W), in channels-last layout; differentiable in `values` alone.

        Uses PyTorch's convolution while the kernels are switched off.
        """
        if not build.enabled():
            padded = F.pad(values, (1, 1, 1, 1), mode="replicate") if self.replicate else values
            found = F.conv2d(padded, self.weight, bias, padding=0 if self.replicate else 1)
            return found.relu() if relu else found
        return torch.ops.style.convolve(values, self.forward, self.backward, bias, relu, self.replicate)


def usable(weight: Tensor) -> bool:
    """Return whether convolutions with these weights (K, C, 3, 3) can use the kernel, and are faster with it."""
    blocks = all(channels % BLOCK == 0 for channels in weight.shape[:2])
    return blocks and weight.dtype == torch.float32 and weight.device.type == "cpu" and available()


def available() -> bool:
    """Return whether the kernel is switched on, could be compiled, and agrees with PyTorch on an example."""
    return build.enabled() and _is_correct()


@lru_cache
def _is_correct() -> bool:
    if build.load("winograd") is None:
        return False
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, BLOCK, 7, 9, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(BLOCK, BLOCK, 3, 3, generator=generator)
    found = Convolution(weight, replicate=False)(values, torch.zeros(BLOCK), False)
    expected = F.conv2d(values, weight, padding=1)
    return bool((found - expected).norm() < TOLERANCE * expected.norm())


def _transformed(weight: Tensor) -> Tensor:
    """Transform weights (K, C, 3, 3), in float64, to (36, K / P, C, P): panels of P filters."""
    basis = torch.tensor(G, dtype=torch.float64)
    tiles = torch.einsum("ai,bj,kcij->abck", basis, basis, weight.double())
    panels = tiles.reshape(36, weight.shape[1], -1, _library().panel()).transpose(1, 2)
    return panels.to(weight.dtype).contiguous()


def _library() -> ctypes.CDLL:
    library = build.load("winograd")
    assert library is not None
    return library


def _channels(filters: Tensor) -> int:
    """Return the number of filters, which is that of output channels."""
    return filters.shape[1] * filters.shape[3]


def _channels_last(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _empty(batch: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    return torch.empty(batch, channels, height, width, dtype=like.dtype, memory_format=torch.channels_last)


def _filter(
    values: Tensor,
    positive: Tensor | None,
    filters: Tensor,
    bias: Tensor | None = None,
    relu: bool = False,
    replicate: bool = False,
    grow: int = 0,
) -> Tensor:
    """Convolve values, which count as 0 where `positive` is not; the result is `grow` pixels larger on each side."""
    library, threads = _library(), torch.get_num_threads()
    values, positive = _channels_last(values), None if positive is None else _channels_last(positive)
    batch, channels, height, width = values.shape
    result = _empty(batch, _channels(filters), height + 2 * grow, width + 2 * grow, values)
    out_channels, out_height, out_width = result.shape[1:]
    space = values.new_empty(library.space(out_height, out_width, channels, out_channels, threads))
    for index in range(batch):
        tensors = (values[index], None if positive is None else positive[index], filters, bias, result[index], space)
        sizes = (height, width, channels, out_height, out_width, out_channels)
        library.convolve(*map(build.address, tensors), *sizes, 1 + grow, int(replicate), int(relu), threads)
    return result


@torch.library.custom_op("style::convolve", mutates_args=())
def _convolve(values: Tensor, forward: Tensor, backward: Tensor, bias: Tensor, relu: bool, replicate: bool) -> Tensor:
    return _filter(values, None, forward, bias, relu, replicate)


@_convolve.register_fake
def _(values: Tensor, forward: Tensor, backward: Tensor, bias: Tensor, relu: bool, replicate: bool) -> Tensor:
    return _empty(values.shape[0], _channels(forward), values.shape[2], values.shape[3], values)


@torch.library.custom_op("style::convolve_gradient", mutates_args=())
def _gradient(gradient: Tensor, result: Tensor, backward: Tensor, relu: bool, replicate: bool) -> Tensor:
    positive = result if relu else None
    if not replicate:
        return _filter(gradient, positive, backward)
    # the gradient of the padded image, whose border is then added to the pixels that it replicates
    padded = _filter(gradient, positive, backward, grow=1)
    padded[:, :, 1] += padded[:, :, 0]
    padded[:, :, -2] += padded[:, :, -1]
    padded[:, :, :, 1] += padded[:, :, :, 0]
    padded[:, :, :, -2] += padded[:, :, :, -1]
    return _channels_last(padded[:, :, 1:-1, 1:-1])


@_gradient.register_fake
def _(gradient: Tensor, result: Tensor, backward: Tensor, relu: bool, replicate: bool) -> Tensor:
    return _empty(gradient.shape[0], _channels(backward), gradient.shape[2], gradient.shape[3], gradient)


def _save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, _, backward, _, relu, replicate = inputs
    ctx.save_for_backward(*((output, backward) if relu else (backward,)))
    ctx.options = relu, replicate


def _backward(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
    *result, backward = ctx.saved_tensors
    relu, replicate = ctx.options
    found = _gradient(gradient, result[0] if relu else gradient, backward, relu, replicate)
    return found, None, None, None, None, None


_convolve.register_autograd(_backward, setup_context=_save)
