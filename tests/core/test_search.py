"""The search for the nearest, against all products at once; sides longer than a part, and shorter."""

import pytest
import torch

from src.core.search import COLUMNS, ROWS, largest_products, smallest_products


@pytest.mark.parametrize(("rows", "columns"), [(ROWS + 3, 2 * COLUMNS + 5), (1, COLUMNS), (7, 1), (ROWS, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_parts_find_what_the_whole_has(rows: int, columns: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(rows + columns)
    mine, theirs = (torch.randn(count, 11, generator=generator).to(dtype) for count in (rows, columns))
    whole = (mine @ theirs.T).float()
    found = largest_products(mine, theirs)
    # a product of another size may be rounded in another way
    torch.testing.assert_close(whole.gather(1, found[:, None])[:, 0], whole.amax(1))
    torch.testing.assert_close(smallest_products(mine, theirs).float(), whole.amin(0))


def test_of_equal_ones_the_first_is_taken() -> None:
    rows, columns = torch.ones(2, 3), torch.ones(COLUMNS + 2, 3)
    columns[0] = 0
    assert largest_products(rows, columns).tolist() == [1, 1]
