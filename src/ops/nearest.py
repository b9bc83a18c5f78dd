"""The nearest of many rows, for every row of others: the search behind both kinds of patches."""

from collections.abc import Iterator

import torch
from torch import Tensor

from src.ops.kernels import products

# Rows of either side that are multiplied at a time on a CPU: 4 MiB of float32, which stays in its cache, where written
# out and read back the products would take as long as they take to compute.
ROWS, COLUMNS = 512, 2048
# On a GPU, and of all columns.
ROWS_ON_GPU = 1024


def largest_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Return for each of `rows` (R, D) which of `columns` (C, D) it has the largest product with: (R,)."""
    if products.usable(rows, columns):
        return products.largest(rows, columns)
    return torch.cat([_largest(part, columns) for part in rows.split(_at_once(rows))])


def smallest_products(rows: Tensor, columns: Tensor) -> Tensor:
    """Return for each of `columns` (C, D) its smallest product with any of `rows` (R, D): (C,)."""
    if products.usable(rows, columns):
        return products.smallest(rows, columns)
    least = rows.new_full((len(columns),), torch.inf)
    for part in rows.split(_at_once(rows)):
        for first, found in _products(part, columns):
            some = least[first : first + found.shape[1]]
            torch.minimum(some, found.amin(0), out=some)
    return least


def _largest(rows: Tensor, columns: Tensor) -> Tensor:
    found = [(each.max(1), first) for first, each in _products(rows, columns)]
    values = torch.stack([best.values for best, _ in found])
    places = torch.stack([best.indices + first for best, first in found])
    return places.gather(0, values.max(0, keepdim=True).indices)[0]


def _products(rows: Tensor, columns: Tensor) -> Iterator[tuple[int, Tensor]]:
    """Yield the number of a first column and the products with some, overwritten by the next."""
    count = COLUMNS if rows.device.type == "cpu" else len(columns)
    room = rows.new_empty(len(rows) * min(count, len(columns)))
    for first in range(0, len(columns), count):
        some = columns[first : first + count]
        yield first, torch.mm(rows, some.T, out=room[: len(rows) * len(some)].view(len(rows), len(some)))


def _at_once(rows: Tensor) -> int:
    return ROWS if rows.device.type == "cpu" else ROWS_ON_GPU
