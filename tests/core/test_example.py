"""Patches of an example: one round against a search written out, coherence, and how a level carries on."""

import numpy as np
import pytest
import torch

from src.core.example import AROUND, RELUCTANCE, SIZE, STRIDE, ExamplePatches, carried
from tests.support.pictures import smooth_image


@pytest.mark.parametrize(("height", "width"), [(9, 12), (11, 8), (7, 7)])
def test_a_round_equals_one_written_out(height: int, width: int) -> None:
    style, image = smooth_image(0, 10, 11).double(), smooth_image(1, height, width).double()
    example = ExamplePatches(style)
    laid = example.lay(example.nearest(image, rescale=True), image)[0].numpy()

    theirs, mine = style[0].numpy(), image[0].numpy()
    patches = [theirs[:, y : y + SIZE, x : x + SIZE] for y in range(10 - SIZE + 1) for x in range(11 - SIZE + 1)]
    padded = np.pad(mine, ((0, 0), (AROUND, AROUND + 1), (AROUND, AROUND + 1)), mode="reflect")
    rows, columns = range(0, height + 1, STRIDE), range(0, width + 1, STRIDE)  # the last one reaches the border
    places = [(y, x) for y in rows for x in columns]
    queries = [padded[:, y : y + SIZE, x : x + SIZE] for y, x in places]
    distances = np.array([[((query - patch) ** 2).sum() for patch in patches] for query in queries])
    scaled = distances / (RELUCTANCE + distances.min(0))
    total, count = np.zeros_like(padded), np.zeros_like(padded)
    for (y, x), best in zip(places, scaled.argmin(1), strict=True):
        total[:, y : y + SIZE, x : x + SIZE] += patches[best]
        count[:, y : y + SIZE, x : x + SIZE] += 1
    inner = (slice(None), slice(AROUND, AROUND + height), slice(AROUND, AROUND + width))
    np.testing.assert_allclose(laid, total[inner] / count[inner], atol=1e-12)


@pytest.mark.parametrize("seed", [0, 1])
def test_coherence_finds_a_patch_from_near_it(seed: int) -> None:
    style = torch.rand(1, 3, 31, 30, generator=torch.Generator().manual_seed(seed))
    image = style[:, :, 5:25, 3:26]  # the place (y, x) has its patch at origin (2 + STRIDE y, STRIDE x)
    rows, columns = torch.meshgrid(torch.arange(11), torch.arange(12), indexing="ij")
    right = torch.stack([STRIDE * rows + 2, STRIDE * columns])
    inner = (slice(None), slice(2, 8), slice(2, 9))  # at the border the image is mirrored
    example = ExamplePatches(style)
    assert torch.equal(example.improved(right + torch.tensor([1, -1]).view(2, 1, 1), image)[inner], right[inner])
    wrong = right.clone()
    wrong[:, 4, 5] = 0
    assert torch.equal(example.improved(wrong, image)[inner], right[inner]), "a neighbour's patch goes on"
    torch.testing.assert_close(example.lay(right, image)[..., 5:15, 5:15], image[..., 5:15, 5:15])


@pytest.mark.parametrize("factor", [2, 1.5])
def test_a_finer_level_goes_on_in_the_same_places(factor: float) -> None:
    sizes = (40, 48)
    coarse, fine = torch.zeros(1, 3, *sizes), torch.zeros(1, 3, *(int(side * factor) for side in sizes))
    rows, columns = torch.meshgrid(torch.arange(21), torch.arange(25), indexing="ij")
    itself = STRIDE * torch.stack([rows, columns]) - AROUND  # every place lies on itself
    found = carried(itself, (coarse, coarse), (fine, fine))
    rows, columns = torch.meshgrid(torch.arange(found.shape[1]), torch.arange(found.shape[2]), indexing="ij")
    assert torch.equal(found, STRIDE * torch.stack([rows, columns]) - AROUND)
