"""3 x 3 convolutions by Winograd's minimal filtering: a quarter of the multiplications, on a CPU, in float32.

A tile of 4 x 4 outputs takes 36 products in place of 144 (Lavin and Gray 2016, "Fast algorithms for convolutional
neural networks"). Rounding errors are some five times those of the plain sum, about 2e-6 of a layer's values.

Bias and ReLU are part of the operator, forward and backward: where an image is in the cache anyhow, they cost nothing.
"""

import ctypes
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from src.ops.kernels import build

# Weights to tiles, G w G^T (Lavin and Gray 2016, section 4.3). The transforms of images are in winograd.c.
G = (
    *((1 / 4, 0, 0), (-1 / 6, -1 / 6, -1 / 6), (-1 / 6, 1 / 6, -1 / 6)),
    *((1 / 24, 1 / 12, 1 / 6), (1 / 24, -1 / 12, 1 / 6), (0, 0, 1)),
)
# Channels come in whole blocks of these; with as few as an image has, transforms outweigh the multiplications saved.
BLOCK = 32
TOLERANCE = 1e-4


class Filters:
    """The weights of one convolution as tiles, for its result and for the gradient of its input.

    Args:
        weight: (K, C, 3, 3), float32.
        extend: whether the image is replicated beyond its border; otherwise there are zeros.
    """

    def __init__(self, weight: Tensor, extend: bool) -> None:
        self.forward = _tiled(weight)
        self.backward = _tiled(weight.transpose(0, 1).flip(2, 3))
        self.extend = extend

    def __call__(self, values: Tensor, bias: Tensor, relu: bool) -> Tensor:
        """Convolve (B, C, H, W) to (B, K, H, W), channels innermost in both; differentiable in `values` alone."""
        return torch.ops.style.convolve(values, self.forward, self.backward, bias, relu, self.extend)


def usable(weight: Tensor) -> bool:
    """Return whether convolutions with these weights (K, C, 3, 3) can be done here, and are faster so."""
    blocks = all(channels % BLOCK == 0 for channels in weight.shape[:2])
    return blocks and weight.dtype == torch.float32 and weight.device.type == "cpu" and available()


@lru_cache
def available() -> bool:
    """Return whether the transforms could be built here and compute what they should."""
    if build.load("winograd") is None:
        return False
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, BLOCK, 7, 9, generator=generator).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(BLOCK, BLOCK, 3, 3, generator=generator)
    found = Filters(weight, extend=False)(values, torch.zeros(BLOCK), False)
    expected = F.conv2d(values, weight, padding=1)
    return bool((found - expected).norm() < TOLERANCE * expected.norm())


def _tiled(weight: Tensor) -> Tensor:
    """Return (36, K / P, C, P) of weights (K, C, 3, 3), computed in float64: panels of P filters each."""
    basis = torch.tensor(G, dtype=torch.float64)
    tiles = torch.einsum("ai,bj,kcij->abck", basis, basis, weight.double())
    panels = tiles.reshape(36, weight.shape[1], -1, _library().panel()).transpose(1, 2)
    return panels.to(weight.dtype).contiguous()


def _library() -> ctypes.CDLL:
    library = build.load("winograd")
    assert library is not None
    library.space.restype = ctypes.c_size_t
    return library


def _made(filters: Tensor) -> int:
    return filters.shape[1] * filters.shape[3]


def _innermost(values: Tensor) -> Tensor:
    return values.contiguous(memory_format=torch.channels_last)


def _empty(batch: int, channels: int, height: int, width: int, like: Tensor) -> Tensor:
    return torch.empty(batch, channels, height, width, dtype=like.dtype, memory_format=torch.channels_last)


def _address(tensor: Tensor | None) -> ctypes.c_void_p | None:
    return None if tensor is None else ctypes.c_void_p(tensor.data_ptr())


def _filter(
    values: Tensor, mask: Tensor | None, filters: Tensor, bias: Tensor | None, relu: bool, extend: bool, wider: int
) -> Tensor:
    """Convolve values, 0 where the mask is not positive, with tiled filters; `wider` by so much on each side."""
    library = _library()
    values, mask = _innermost(values), None if mask is None else _innermost(mask)
    batch, channels, height, width = values.shape
    result = _empty(batch, _made(filters), height + 2 * wider, width + 2 * wider, values)
    made, tall, broad = result.shape[1:]
    space = values.new_empty(library.space(tall, broad, channels, made))
    for index in range(batch):
        image, seen = values[index], None if mask is None else mask[index]
        library.convolve(
            *map(_address, (image, seen, filters, bias, result[index], space)),
            *(height, width, channels, tall, broad, made, 1 + wider, int(extend), int(relu)),
        )
    return result


@torch.library.custom_op("style::convolve", mutates_args=())
def _convolve(values: Tensor, forward: Tensor, backward: Tensor, bias: Tensor, relu: bool, extend: bool) -> Tensor:
    return _filter(values, None, forward, bias, relu, extend, wider=0)


@_convolve.register_fake
def _(values: Tensor, forward: Tensor, backward: Tensor, bias: Tensor, relu: bool, extend: bool) -> Tensor:
    return _empty(values.shape[0], _made(forward), values.shape[2], values.shape[3], values)


@torch.library.custom_op("style::convolve_gradient", mutates_args=())
def _gradient(gradient: Tensor, result: Tensor, backward: Tensor, relu: bool, extend: bool) -> Tensor:
    mask = result if relu else None
    if not extend:
        return _filter(gradient, mask, backward, None, False, False, wider=0)
    # of the image with its replicated border, which is then added to what it replicates
    whole = _filter(gradient, mask, backward, None, False, False, wider=1)
    whole[:, :, 1] += whole[:, :, 0]
    whole[:, :, -2] += whole[:, :, -1]
    whole[:, :, :, 1] += whole[:, :, :, 0]
    whole[:, :, :, -2] += whole[:, :, :, -1]
    return _innermost(whole[:, :, 1:-1, 1:-1])


@_gradient.register_fake
def _(gradient: Tensor, result: Tensor, backward: Tensor, relu: bool, extend: bool) -> Tensor:
    return _empty(gradient.shape[0], _made(backward), gradient.shape[2], gradient.shape[3], gradient)


def _keep(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
    _, _, backward, _, relu, extend = inputs
    ctx.save_for_backward(*((output, backward) if relu else (backward,)))
    ctx.options = relu, extend


def _differentiate(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
    *result, backward = ctx.saved_tensors
    relu, extend = ctx.options
    found = _gradient(gradient, result[0] if relu else gradient, backward, relu, extend)
    return found, None, None, None, None, None


_convolve.register_autograd(_differentiate, setup_context=_keep)
