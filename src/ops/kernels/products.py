"""Fused matrix product and arg-max, or minimum, of its entries; the product is never materialised. CPU, float32."""

import torch
from torch import Tensor

from src.ops.kernels import build


def available() -> bool:
    """Return whether the kernels are switched on and could be compiled."""
    return build.enabled() and build.load("products") is not None


def usable(rows: Tensor, columns: Tensor) -> bool:
    """Return whether the kernels can be used for `rows` (R, D) and `columns` (C, D)."""
    suited = all(each.dtype == torch.float32 and each.device.type == "cpu" and len(each) for each in (rows, columns))
    return suited and available()


def argmax_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Find for each of `rows` (R, D) the index of the one of `columns` (C, D) with the largest dot product: (R,).

    Of equal products the first counts.
    """
    threads, count = torch.get_num_threads(), len(rows)
    values = rows.new_empty(threads, count)
    found = torch.empty(threads, count, dtype=torch.int32)
    _call("argmax_products", rows, columns, values, found)
    return found[0].long()


def min_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Find for each of `columns` (C, D) its smallest dot product with any of `rows` (R, D): (C,)."""
    values = rows.new_empty(len(columns))
    _call("min_products", rows, columns, values)
    return values


def _call(name: str, rows: Tensor, columns: Tensor, *results: Tensor) -> None:
    library = build.load("products")
    assert library is not None
    threads, depth = torch.get_num_threads(), rows.shape[1]
    space = rows.new_empty(threads * library.space(depth))
    tensors = (rows.contiguous(), columns.contiguous(), *results, space)
    library[name](*map(build.address, tensors), len(rows), len(columns), depth, threads)
