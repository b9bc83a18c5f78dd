"""Sample an image at scattered places by a sparse matrix of weights."""

import warnings
from typing import Any

import torch
from torch import Tensor


class Sampling:
    """A linear map from the pixels of an image to P samples, each a weighted sum of some pixels.

    Any filter is a choice of weights, so the footprint of a sample may have any shape and never mixes in pixels that
    it does not cover. The gradient is the product with the transposed matrix: 0 for pixels without a weight.

    Args:
        pixels: (P, T), numbers of the pixels (row x width + column) that a sample consists of.
        weights: (P, T), of these pixels; of a dtype and device that images have.
        count: of the pixels of an image.

    Attributes:
        shares: (count,), the sum of the weights of each pixel over all samples.
    """

    def __init__(self, pixels: Tensor, weights: Tensor, count: int) -> None:
        samples = torch.arange(len(pixels), device=pixels.device)[:, None].expand_as(pixels)
        used = weights != 0
        index = torch.stack([samples[used], pixels[used]])
        entries = torch.sparse_coo_tensor(index, weights[used], (len(pixels), count), check_invariants=False).coalesce()
        self.matrix = _compressed(entries)
        self.transposed = _compressed(entries.t().coalesce())
        self.shares = weights.new_zeros(count).index_add_(0, pixels[used], weights[used])

    def __call__(self, image: Tensor) -> Tensor:
        """Return the samples of images, (B, C, H, W) to (B, C, P); differentiable."""
        return _Product.apply(image.flatten(2), self.matrix, self.transposed)


def _compressed(entries: Tensor) -> Tensor:
    """Return a coalesced matrix by rows, with indices of 32 bits, which the library of a CPU takes as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        rows = entries.to_sparse_csr()
        return torch.sparse_csr_tensor(
            rows.crow_indices().int(), rows.col_indices().int(), rows.values(), rows.shape, check_invariants=False
        )


class _Product(torch.autograd.Function):
    """A sparse matrix times images, with the gradient by its transpose, which autograd would build at every step."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, matrix: Tensor, transposed: Tensor) -> Tensor:
        ctx.transposed = transposed
        return _multiplied(matrix, values)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _multiplied(ctx.transposed, gradient), None, None


def _multiplied(matrix: Tensor, values: Tensor) -> Tensor:
    """Return the product of a matrix (P, N) with each row of values (B, C, N): (B, C, P)."""
    columns = values.flatten(0, 1).T.contiguous()
    return (matrix @ columns).T.reshape(*values.shape[:2], len(matrix))


def bilinear_taps(x: Tensor, y: Tensor, width: Tensor, height: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the four pixels between whose centres a place lies, and their weights; an image repeats at its borders.

    Args:
        x: (...), columns of the places, px: 0 is the left border, 0.5 the centre of the first pixel.
        y: (...), rows of the places, px, likewise.
        width: (...), of the image, px.
        height: (...), of the image, px.

    Returns:
        Columns, rows and weights, (..., 4) each; the weights sum to 1.
    """
    left, top = (x - 0.5).floor(), (y - 0.5).floor()
    right, low = x - 0.5 - left, y - 0.5 - top
    columns, rows, weights = [], [], []
    for down, across in ((0, 0), (0, 1), (1, 0), (1, 1)):
        columns.append((left + across).remainder(width))
        rows.append((top + down).remainder(height))
        weights.append((right if across else 1 - right) * (low if down else 1 - low))
    return torch.stack(columns, -1).long(), torch.stack(rows, -1).long(), torch.stack(weights, -1)
