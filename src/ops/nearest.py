"""Nearest-neighbour search between two sets of rows, by their dot products.

The product of all pairs is never materialised: a C kernel reduces it in registers where it is available; otherwise
PyTorch computes it in blocks.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from src.ops.kernels import products

# Size of a block of products on a CPU: 4 MiB of float32, which stays in the cache.
ROWS, COLUMNS = 512, 2048
# On a GPU a block has these rows and all columns.
ROWS_ON_GPU = 1024


def argmax_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Find for each of `rows` (R, D) the index of the one of `columns` (C, D) with the largest dot product: (R,).

    Of equal products the first counts.
    """
    if products.usable(rows, columns):
        return products.argmax_products(rows, columns)
    return torch.cat([_argmax(block, columns) for block in rows.split(_block_rows(rows))])


def min_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Find for each of `columns` (C, D) its smallest dot product with any of `rows` (R, D): (C,)."""
    if products.usable(rows, columns):
        return products.min_products(rows, columns)
    least = rows.new_full((len(columns),), torch.inf)
    for block in rows.split(_block_rows(rows)):
        for first, found in _products(block, columns):
            part = least[first : first + found.shape[1]]
            torch.minimum(part, found.amin(0), out=part)
    return least


def _argmax(rows: Tensor, columns: Tensor) -> Tensor:
    best = rows.new_full((len(rows),), -torch.inf)
    index = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
    for first, found in _products(rows, columns):
        values, at = found.max(1)
        index = torch.where(values > best, at + first, index)
        best = torch.maximum(values, best)
    return index


def _products(rows: Tensor, columns: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of products as (index of the first column, products); each block overwrites the one before."""
    count = min(COLUMNS, len(columns)) if rows.device.type == "cpu" else len(columns)
    buffer = rows.new_empty(len(rows) * count)
    for first in range(0, len(columns), count):
        block = columns[first : first + count]
        yield first, torch.mm(rows, block.T, out=buffer[: len(rows) * len(block)].view(len(rows), len(block)))


def _block_rows(rows: Tensor) -> int:
    return ROWS if rows.device.type == "cpu" else ROWS_ON_GPU
