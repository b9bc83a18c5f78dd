import torch
from torch.autograd import gradcheck

from src.ops.sampling import Sampling, bilinear_taps

HEIGHT, WIDTH = 5, 7


def _sampling(dtype: torch.dtype = torch.float64) -> Sampling:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 20, (11, 6), generator=generator)  # pixels from 20 on are in no sample
    weights = torch.rand(11, 6, generator=generator, dtype=dtype)
    weights[3] = 0
    return Sampling(pixels, weights, HEIGHT * WIDTH)


def test_samples_are_weighted_sums_of_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 20, (11, 6), generator=generator)
    weights = torch.rand(11, 6, generator=generator, dtype=torch.float64)
    weights[3] = 0
    image = torch.rand(2, 3, HEIGHT, WIDTH, dtype=torch.float64)
    expected = (image.flatten(2)[:, :, pixels] * weights).sum(3)
    torch.testing.assert_close(_sampling()(image), expected)


def test_gradient() -> None:
    image = torch.rand(2, 3, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    assert gradcheck(_sampling(), (image,))


def test_pixels_in_no_sample_have_no_gradient() -> None:
    sampling, image = _sampling(), torch.rand(1, 3, HEIGHT, WIDTH, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(sampling(image).square().sum(), image)
    seen = (sampling.shares > 0).view(HEIGHT, WIDTH)
    assert 0 < seen.sum() <= 20
    assert (gradient[0, :, ~seen] == 0).all() and (gradient[0, :, seen] != 0).all()


def test_bilinear_taps_agree_with_grid_sample_and_repeat_at_borders() -> None:
    image = torch.rand(1, 1, HEIGHT, WIDTH, dtype=torch.float64)
    repeated = image.repeat(1, 1, 3, 3)
    x, y = (torch.rand(200, dtype=torch.float64) * 2 - 0.5 for _ in range(2))  # in the image's width and height
    size = torch.tensor(WIDTH), torch.tensor(HEIGHT)
    columns, rows, weights = bilinear_taps(x * WIDTH, y * HEIGHT, *size)
    found = (image[0, 0][rows, columns] * weights).sum(1)
    grid = torch.stack([(x + 1) / 3 * 2 - 1, (y + 1) / 3 * 2 - 1], 1)[None, None]
    expected = torch.nn.functional.grid_sample(repeated, grid, mode="bilinear", align_corners=False)[0, 0, 0]
    torch.testing.assert_close(found, expected)
    assert columns.min() >= 0 and columns.max() < WIDTH and rows.min() >= 0 and rows.max() < HEIGHT


def test_a_place_at_a_centre_is_that_pixel() -> None:
    columns, rows, weights = bilinear_taps(torch.tensor([2.5]), torch.tensor([1.5]), torch.tensor(7), torch.tensor(5))
    assert weights[0].tolist() == [1, 0, 0, 0] and (columns[0, 0], rows[0, 0]) == (2, 1)
