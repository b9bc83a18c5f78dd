"""Nearest-neighbour search between two sets of rows, by their dot products.

The product of all pairs is never materialised: a C kernel reduces it in registers where it is available; otherwise
PyTorch computes it in blocks.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from src.ops.kernels import products

# Size of a block of products on a CPU: 4 MiB of float32, which stays in the cache.
ROWS, COLUMNS = 512, 2048
# Stop when a round serves less than this part of the rows: all rounds cost at most 32 times the first.
LEAST_SERVED = 1 / 32
# On a GPU a block has these rows and all columns.
ROWS_ON_GPU = 1024


def argmax_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Find for each of `rows` (R, D) the index of the one of `columns` (C, D) with the largest dot product: (R,).

    Of equal products the first counts.
    """
    if products.usable(rows, columns):
        return products.argmax_products(rows, columns)
    best = rows.new_full((len(rows),), -torch.inf)
    index = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for top, left, found in _blocks(rows, columns):
        part, (values, at) = slice(top, top + len(found)), found.max(1)
        index[part] = torch.where(values > best[part], at + left, index[part])
        best[part] = torch.maximum(values, best[part])
    return index


def limited_argmax_products(rows: Tensor, columns: Tensor, most: int) -> Tensor:
    """Find a column for each row as `argmax_products`, but take each column at most `most` times: (R,).

    Of the rows that want the same column those with the largest products get it. The others choose again, among the
    columns with room. When few get what they want, because the rows are much alike, the rest fill that room in order.

    Args:
        rows: (R, D).
        columns: (C, D), with R <= most C.
        most: at least 1.
    """
    index = torch.empty(len(rows), dtype=torch.int64, device=rows.device)
    room = torch.full((len(columns),), most, device=rows.device)
    rest = torch.arange(len(rows), device=rows.device)
    while len(rest):
        open_ = room.nonzero()[:, 0]
        wanted = open_[argmax_products(rows[rest], columns[open_])]
        best_first = (rows[rest] * columns[wanted]).sum(1).argsort(descending=True, stable=True)
        order = best_first[wanted[best_first].argsort(stable=True)]  # by column, within a column the best first
        rest, wanted = rest[order], wanted[order]
        rank = torch.arange(len(rest), device=rows.device) - torch.searchsorted(wanted, wanted)
        served = rank < room[wanted]
        index[rest[served]] = wanted[served]
        room -= wanted[served].bincount(minlength=len(columns))
        few = served.count_nonzero() < LEAST_SERVED * len(rest)
        rest = rest[~served].sort().values
        if few:
            index[rest] = torch.arange(len(columns), device=rows.device).repeat_interleave(room)[: len(rest)]
            break
    return index


def _blocks(rows: Tensor, columns: Tensor) -> Iterator[tuple[int, int, Tensor]]:
    """Yield blocks of products with the indices of their first row and column; each overwrites the one before."""
    height, width = (ROWS, COLUMNS) if rows.device.type == "cpu" else (ROWS_ON_GPU, len(columns))
    buffer = rows.new_empty(min(height, len(rows)) * min(width, len(columns)))
    for top in range(0, len(rows), height):
        for left in range(0, len(columns), width):
            some, others = rows[top : top + height], columns[left : left + width]
            shape = (len(some), len(others))
            yield top, left, torch.mm(some, others.T, out=buffer[: math.prod(shape)].view(shape))
