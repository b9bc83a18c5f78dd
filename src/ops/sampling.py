"""Sample an image at scattered places by a sparse matrix of weights."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Sampling:
    """A linear map from the pixels of an image to P samples, each a weighted sum of some pixels.

    Any filter is a choice of weights, so the footprint of a sample may have any shape and never mixes in pixels that
    it does not cover. The gradient is the product with the transposed matrix: 0 for pixels without a weight.

    Args:
        pixels: (P, T), numbers of the pixels (row x width + column) that a sample consists of.
        weights: (P, T), of these pixels; of the dtype that images have.
        count: of the pixels of an image.
        device: of the images; None is the CPU.

    Attributes:
        shares: (count,), the sum of the weights of each pixel over all samples.
    """

    def __init__(self, pixels: Tensor, weights: Tensor, count: int, device: torch.device | None = None) -> None:
        from scipy.sparse import csr_array

        samples, taps = pixels.shape
        starts = np.arange(0, pixels.numel() + 1, taps)
        matrix = csr_array((weights.flatten().numpy(), pixels.flatten().numpy(), starts), (samples, count), copy=True)
        matrix.sum_duplicates()
        matrix.eliminate_zeros()
        self.matrix, self.transposed = (_tensor(each, device) for each in (matrix, matrix.T.tocsr()))
        self.shares = torch.from_numpy(matrix.sum(0)).to(device)

    def __call__(self, image: Tensor) -> Tensor:
        """Return the samples of images, (B, C, H, W) to (B, C, P); differentiable."""
        return _Product.apply(image.flatten(2), self.matrix, self.transposed)


def _tensor(matrix: "csr_array", device: torch.device | None) -> Tensor:
    """Return a SciPy matrix as a sparse CSR tensor with int32 indices, which CPU kernels use without conversion."""
    rows, columns = (
        torch.from_numpy(each).to(device=device, dtype=torch.int32) for each in (matrix.indptr, matrix.indices)
    )
    values = torch.from_numpy(matrix.data).to(device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(rows, columns, values, matrix.shape, check_invariants=False)


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
