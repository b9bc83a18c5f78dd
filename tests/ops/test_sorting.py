"""Sorting of rows: values and gradients equal those of torch.sort."""

import pytest
import torch
from torch import Tensor

from src.ops.sorting import sort_rows


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 5, 1000), (1, 13, 333)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_equal_torch_sort(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype).mul(3).requires_grad_()
    weights = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)
    expected = values.sort(-1).values
    [theirs] = torch.autograd.grad((expected * weights).sum(), values)
    found = sort_rows(values)
    [mine] = torch.autograd.grad((found * weights).sum(), values)
    assert torch.equal(found, expected) and torch.equal(mine, theirs)


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor([[0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38]]),
        torch.tensor([[float("inf"), 1.0, float("-inf"), -1.0]]),
        torch.zeros(2, 9),
    ],
)
def test_extreme_and_equal_values_are_sorted(values: Tensor) -> None:
    assert torch.equal(sort_rows(values), values.sort(-1).values)


def test_non_contiguous_rows_are_sorted() -> None:
    values = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)).T
    assert torch.equal(sort_rows(values), values.sort(-1).values)


def test_a_nan_is_kept() -> None:
    assert sort_rows(torch.tensor([[1.0, float("nan"), -1.0]])).isnan().sum() == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # raised by opcheck itself
def test_the_operator_passes_opcheck() -> None:
    values = torch.randn(3, 40, generator=torch.Generator().manual_seed(0)).requires_grad_()
    torch.library.opcheck(torch.ops.style.sort_rows.default, (values,))
