"""Fused matrix product and arg-max of its rows; the product is never materialised. CPU, float32."""

import torch
from torch import Tensor

from src.ops.kernels import build


def available() -> bool:
    """Return whether the kernels are switched on and this one could be compiled."""
    return build.enabled() and build.load("products") is not None


def usable(rows: Tensor, columns: Tensor) -> bool:
    """Return whether the kernel can be used for `rows` (R, D) and `columns` (C, D)."""
    suited = all(each.dtype == torch.float32 and each.device.type == "cpu" and len(each) for each in (rows, columns))
    return suited and available()


def argmax_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Find for each of `rows` (R, D) the index of the one of `columns` (C, D) with the largest dot product: (R,).

    Of equal products the first counts.
    """
    library = build.load("products")
    assert library is not None
    threads, (count, depth) = torch.get_num_threads(), rows.shape
    values = rows.new_empty(threads, count)
    found = torch.empty(threads, count, dtype=torch.int32)
    space = rows.new_empty(threads * library.space(depth))
    tensors = (rows.contiguous(), columns.contiguous(), values, found, space)
    library.argmax_products(*map(build.address, tensors), count, len(columns), depth, threads)
    return found[0].long()
