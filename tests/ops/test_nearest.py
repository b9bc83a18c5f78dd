"""Arg-max of products, by the C kernels and by PyTorch, against the whole matrix of products."""

from collections.abc import Iterator

import pytest
import torch

from src.ops import kernels
from src.ops.kernels import build
from src.ops.nearest import COLUMNS, ROWS, argmax_products, limited_argmax_products
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


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_column_is_taken_more_often_than_its_limit(most: int) -> None:
    generator = torch.Generator().manual_seed(0)
    mine, theirs = torch.randn(60, 4, generator=generator), torch.randn(60, 4, generator=generator)
    found = limited_argmax_products(mine, theirs, most)
    uses = found.bincount(minlength=60)
    assert uses.max() == most
    # no row prefers a column with room
    products = mine @ theirs.T
    for row, column in enumerate(found.tolist()):
        for better in (products[row] > products[row, column]).nonzero()[:, 0].tolist():
            assert uses[better] == most


@pytest.mark.usefixtures("implementation")
def test_rows_with_the_largest_products_get_a_column_first() -> None:
    columns = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    rows = torch.tensor([[1.0, 0.1], [3.0, 0.2], [2.0, 0.3], [4.0, 0.4]])
    assert limited_argmax_products(rows, columns, 2).tolist() == [1, 0, 1, 0]
    assert limited_argmax_products(torch.ones(5, 2), torch.ones(3, 2), 2).tolist() == [0, 0, 1, 1, 2]
    assert limited_argmax_products(rows, columns, 4).tolist() == argmax_products(rows, columns).tolist() == [0] * 4
