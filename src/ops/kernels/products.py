"""The largest or smallest of all products of two sets of rows, none of which is written down, on a CPU, in float32."""

import ctypes
from functools import lru_cache

import torch
from torch import Tensor

from src.ops.kernels import build


def usable(rows: Tensor, columns: Tensor) -> bool:
    """Return whether what is asked of these (R, D) and (C, D) can be found here."""
    suited = all(each.dtype == torch.float32 and each.device.type == "cpu" and len(each) for each in (rows, columns))
    return suited and _library() is not None


def largest(rows: Tensor, columns: Tensor) -> Tensor:
    """Return for each of `rows` (R, D) which of `columns` (C, D) it has the largest product with, the first of equal
    ones: (R,).
    """
    rows, columns = rows.contiguous(), columns.contiguous()
    threads, count = torch.get_num_threads(), len(rows)
    values = rows.new_empty(threads, count)
    found = torch.empty(threads, count, dtype=torch.int32)
    _call("largest", rows, columns, values, found)
    return found[0].long()


def smallest(rows: Tensor, columns: Tensor) -> Tensor:
    """Return for each of `columns` (C, D) its smallest product with any of `rows` (R, D): (C,)."""
    values = rows.new_empty(len(columns))
    _call("smallest", rows.contiguous(), columns.contiguous(), values)
    return values


@lru_cache
def _library() -> ctypes.CDLL | None:
    library = build.load("products")
    if library is not None:
        library.space.restype = ctypes.c_size_t
    return library


def _call(name: str, rows: Tensor, columns: Tensor, *results: Tensor) -> None:
    library = _library()
    assert library is not None
    depth = rows.shape[1]
    room = rows.new_empty(torch.get_num_threads() * library.space(depth))
    addresses = (ctypes.c_void_p(each.data_ptr()) for each in (rows, columns, *results, room))
    library[name](*addresses, len(rows), len(columns), depth)
