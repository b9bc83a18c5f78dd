"""Several references merged into one."""

import torch

from src.ops.references import merged, squared_distance


def test_merged_references_have_the_same_distance() -> None:
    generator = torch.Generator().manual_seed(0)
    images = [torch.rand(2, 3, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    weights = [torch.rand(2, 1, 5, 4, generator=generator, dtype=torch.float64) for _ in range(3)]
    for weight in weights:
        weight[..., 0, :] = 0  # a row that no reference has
    x = torch.rand(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    image, weight, constant = merged(images, weights)
    expected = sum((each * (x - one).square()).sum((1, 2, 3)) for one, each in zip(images, weights, strict=True))
    torch.testing.assert_close(squared_distance(x, image, weight) + constant, expected)
    assert bool(image.isfinite().all()) and not bool(weight[..., 0, :].any())


def test_one_reference_is_kept_as_it_is() -> None:
    image = torch.rand(1, 3, 4, 4)
    found, weight, constant = merged([image], [torch.full((1, 1, 4, 4), 0.25)])
    torch.testing.assert_close(found, image)
    assert torch.equal(weight, torch.full((1, 1, 4, 4), 0.25)) and float(constant) < 1e-12
