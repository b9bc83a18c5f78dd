"""The search for the nearest, against all products at once; sides longer than a part, and shorter."""

from collections.abc import Callable

import pytest
import torch

from src.ops.kernels import build, products
from src.ops.nearest import COLUMNS, ROWS, largest_products, smallest_products


@pytest.fixture(params=["in C", "PyTorch's"])
def searched(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search by our own products, or by PyTorch's."""
    if request.param == "in C" and build.find_compiler() is None:
        pytest.skip("no C compiler")
    if request.param != "in C":
        monkeypatch.setattr(products, "usable", lambda rows, columns: False)


@pytest.mark.usefixtures("searched")
@pytest.mark.parametrize("depth", [11, 5000])
@pytest.mark.parametrize(("rows", "columns"), [(ROWS + 3, 2 * COLUMNS + 5), (1, COLUMNS), (7, 1), (ROWS, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_parts_find_what_the_whole_has(rows: int, columns: int, depth: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(rows + columns)
    rows, columns = (min(count, 10**6 // depth) for count in (rows, columns))
    mine, theirs = (torch.randn(count, depth, generator=generator).to(dtype) for count in (rows, columns))
    whole = (mine @ theirs.T).float()
    found = largest_products(mine, theirs)
    # a product of another size may be rounded in another way
    near: Callable = torch.testing.assert_close
    near(
        whole.gather(1, found[:, None])[:, 0], whole.amax(1), rtol=1e-5 if dtype == torch.float32 else 0.016, atol=1e-4
    )
    near(
        smallest_products(mine, theirs).float(),
        whole.amin(0),
        rtol=1e-5 if dtype == torch.float32 else 0.016,
        atol=1e-4,
    )


@pytest.mark.usefixtures("searched")
def test_of_equal_ones_the_first_is_taken() -> None:
    rows, columns = torch.ones(2, 3), torch.ones(COLUMNS + 2, 3)
    columns[0] = 0
    assert largest_products(rows, columns).tolist() == [1, 1]


@pytest.mark.usefixtures("searched")
def test_products_may_all_be_negative() -> None:
    assert largest_products(torch.ones(1, 3), -torch.arange(9.0, 0, -1).view(3, 3)).tolist() == [2]


@pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")
def test_any_number_of_threads_finds_the_same() -> None:
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    rows, columns = torch.randn(100, 64, generator=generator), torch.randn(9000, 64, generator=generator)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append((largest_products(rows, columns), smallest_products(rows, columns)))
    finally:
        torch.set_num_threads(before)
    for places, least in found:
        assert torch.equal(places, found[0][0]) and torch.equal(least, found[0][1])
