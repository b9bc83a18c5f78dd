"""Patches of an example image: search against a brute-force one in NumPy, refinement, transfer to a finer level."""

import math

import numpy as np
import pytest
import torch

from src.ops.exemplar import DIVERSITY_OFFSET, HALF, SIZE, STRIDE, ExemplarPatches, upsample_origins
from tests.support.pictures import smooth_image


@pytest.mark.parametrize(("height", "width"), [(9, 12), (11, 8), (7, 7)])
def test_search_and_assembly_equal_brute_force(height: int, width: int) -> None:
    style, image = smooth_image(0, 10, 11).double(), smooth_image(1, height, width).double()
    example = ExemplarPatches(style)
    assembled = example.assemble(example.nearest(image, rescale=True), image)[0].numpy()

    theirs, mine = style[0].numpy(), image[0].numpy()
    patches = [theirs[:, y : y + SIZE, x : x + SIZE] for y in range(10 - SIZE + 1) for x in range(11 - SIZE + 1)]
    padded = np.pad(mine, ((0, 0), (HALF, HALF + 1), (HALF, HALF + 1)), mode="reflect")
    rows, columns = range(0, height + 1, STRIDE), range(0, width + 1, STRIDE)  # the last place is at the border
    places = [(y, x) for y in rows for x in columns]
    queries = [padded[:, y : y + SIZE, x : x + SIZE] for y, x in places]
    distances = np.array([[((query - patch) ** 2).sum() for patch in patches] for query in queries])
    measured = [number for number, (y, x) in enumerate(places) if y % (2 * STRIDE) == x % (2 * STRIDE) == 0]
    scaled = distances / (DIVERSITY_OFFSET + distances[measured].min(0))
    total, count = np.zeros_like(padded), np.zeros_like(padded)
    for (y, x), best in zip(places, scaled.argmin(1), strict=True):
        total[:, y : y + SIZE, x : x + SIZE] += patches[best]
        count[:, y : y + SIZE, x : x + SIZE] += 1
    inner = (slice(None), slice(HALF, HALF + height), slice(HALF, HALF + width))
    np.testing.assert_allclose(assembled, total[inner] / count[inner], atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_refinement_finds_a_patch_a_pixel_away_or_next_to_a_neighbours(seed: int) -> None:
    style = torch.rand(1, 3, 31, 30, generator=torch.Generator().manual_seed(seed))
    image = style[:, :, 5:25, 3:26]  # the patch at place (y, x) has the origin (2 + STRIDE y, STRIDE x)
    rows, columns = torch.meshgrid(torch.arange(11), torch.arange(12), indexing="ij")
    right = torch.stack([STRIDE * rows + 2, STRIDE * columns])
    inner = (slice(None), slice(2, 8), slice(2, 9))  # at the border the image is padded by reflection
    example = ExemplarPatches(style)
    assert torch.equal(example.refine(right + torch.tensor([1, -1]).view(2, 1, 1), image)[inner], right[inner])
    wrong = right.clone()
    wrong[:, 4, 5] = 0
    assert torch.equal(example.refine(wrong, image)[inner], right[inner]), "the neighbour's patch continues here"
    torch.testing.assert_close(example.assemble(right, image)[..., 5:15, 5:15], image[..., 5:15, 5:15])


def _expected_origin(origins: torch.Tensor, at: int, sizes: tuple[int, int], examples: tuple[int, int]) -> float:
    """Return the origin along one axis, before rounding, of the patch at a place of the finer level."""
    before, after = sizes
    parent = min(math.floor(((STRIDE * at + 0.5) * before / after - 0.5) / STRIDE + 0.5), len(origins) - 1)
    apart = STRIDE * at - ((STRIDE * parent + 0.5) * after / before - 0.5)
    return (origins[parent].item() + HALF + 0.5) * examples[1] / examples[0] - 0.5 + apart - HALF


@pytest.mark.parametrize(
    ("sizes", "examples"), [(((20, 31), (37, 61)), ((41, 18), (70, 35))), (((9, 60), (19, 83)), ((7, 50), (16, 71)))]
)
def test_image_and_example_may_grow_by_different_factors(
    sizes: tuple[tuple[int, int], tuple[int, int]], examples: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    coarse, fine, example, finer = (torch.zeros(1, 3, *size) for size in (*sizes, *examples))
    rows, columns = (
        torch.randint(0, side - SIZE + 1, (own // STRIDE + 1,), generator=torch.Generator().manual_seed(side))
        for side, own in zip(examples[0], sizes[0], strict=True)
    )
    origins = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    found = upsample_origins(origins, (coarse, example), (fine, finer))
    assert found.shape == (2, sizes[1][0] // STRIDE + 1, sizes[1][1] // STRIDE + 1)
    for axis, (each, line) in enumerate(((rows, found[0, :, 0]), (columns, found[1, 0]))):
        factors = ((sizes[0][axis], sizes[1][axis]), (examples[0][axis], examples[1][axis]))
        expected = torch.tensor([_expected_origin(each, at, *factors) for at in range(len(line))])
        assert (line - expected).abs().max() <= 0.501
    assert torch.equal(found[0], found[0, :, :1].expand_as(found[0]))


@pytest.mark.parametrize("factor", [2, 1.5])
def test_an_image_that_is_its_own_example_keeps_its_places_at_a_finer_level(factor: float) -> None:
    sizes = (40, 48)
    coarse, fine = torch.zeros(1, 3, *sizes), torch.zeros(1, 3, *(int(side * factor) for side in sizes))
    rows, columns = torch.meshgrid(torch.arange(21), torch.arange(25), indexing="ij")
    identity = STRIDE * torch.stack([rows, columns]) - HALF  # each place has the patch around itself
    found = upsample_origins(identity, (coarse, coarse), (fine, fine))
    rows, columns = torch.meshgrid(torch.arange(found.shape[1]), torch.arange(found.shape[2]), indexing="ij")
    assert torch.equal(found, STRIDE * torch.stack([rows, columns]) - HALF)
