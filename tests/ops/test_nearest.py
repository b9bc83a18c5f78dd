"""Arg-max of products, by the C kernels and by PyTorch, against the whole matrix of products."""

from collections.abc import Iterator

import pytest
import torch

from src.ops import kernels
from src.ops.kernels import build
from src.ops.nearest import COLUMNS, ROWS, argmax_products
from tests.support.threads import with_threads


@pytest.fixture(params=["C kernels", "PyTorch"])
def implementation(request: pytest.FixtureRequest) -> Iterator[None]:
    """Search with the C kernels, then with PyTorch."""
    if request.param == "C kernels" and build.find_compiler() is None:
        pytest.skip("no C compiler")
    with kernels.use(request.param == "C kernels"):
        yield


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("depth", [11, 5000])
@pytest.mark.parametrize(("rows", "columns"), [(ROWS + 3, 2 * COLUMNS + 5), (1, COLUMNS), (7, 1), (ROWS, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_blocks_find_what_the_whole_matrix_has(rows: int, columns: int, depth: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(rows + columns)
    rows, columns = (min(count, 10**6 // depth) for count in (rows, columns))
    mine, theirs = (torch.randn(count, depth, generator=generator).to(dtype) for count in (rows, columns))
    whole = (mine @ theirs.T).float()
    found = argmax_products(mine, theirs)
    tolerance = {"rtol": 1e-5 if dtype == torch.float32 else 0.016, "atol": 1e-4}  # a block is rounded differently
    torch.testing.assert_close(whole.gather(1, found[:, None])[:, 0], whole.amax(1), **tolerance)


@pytest.mark.usefixtures("implementation")
def test_of_equal_products_the_first_is_found() -> None:
    rows, columns = torch.ones(2, 3), torch.ones(COLUMNS + 2, 3)
    columns[0] = 0
    assert argmax_products(rows, columns).tolist() == [1, 1]


@pytest.mark.usefixtures("implementation")
def test_the_largest_of_negative_products_is_found() -> None:
    assert argmax_products(torch.ones(1, 3), -torch.arange(9.0, 0, -1).view(3, 3)).tolist() == [2]


@pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")
def test_result_does_not_depend_on_the_number_of_threads() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.randn(100, 64, generator=generator), torch.randn(9000, 64, generator=generator)
    one, *others = with_threads(lambda: argmax_products(rows, columns))
    assert all(torch.equal(places, one) for places in others)
