"""Poolings: sizes, and the weight of each pixel."""

import numpy as np
import pytest
import torch
from torch import Tensor

from src.config.composition import compose
from src.encoders.pooling import POOLS, blur_pool
from src.encoders.registry import encoder_spec
from src.transfer.objective import build_objective
from src.transfer.terms.base import Inputs
from tests.support.pictures import smooth_image


@pytest.mark.parametrize("size", [(8, 6), (9, 6), (8, 7), (9, 7), (1, 1)])
def test_blur_pooling_equals_the_binomial_filter_at_every_second_position(size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = image.numpy()
    for axis, side in enumerate(size, 2):
        first = np.arange(0, side, 2) - 1
        places = [(first + offset).clip(0, side - 1) for offset in range(4)]
        expected = sum(
            weight / 8 * np.take(expected, place, axis) for weight, place in zip((1, 3, 3, 1), places, strict=True)
        )
    np.testing.assert_allclose(blur_pool(image), expected, rtol=1e-12)


@pytest.mark.parametrize(("pool", "size"), [("blur", (5, 4)), ("avg", (4, 3)), ("max", (4, 3))])
def test_odd_sizes_are_rounded_up_by_blur_pooling_alone(pool: str, size: tuple[int, int]) -> None:
    assert tuple(POOLS[pool](torch.rand(1, 2, 9, 7)).shape[2:]) == size
    config = compose([f"backbone.pool={pool}", "backbone.weights=random"])
    encoder, _ = encoder_spec("embedded").build(config.backbone, ["relu3_1"], None)
    image = torch.rand(1, 3, 45, 38)
    for tap, features in encoder.features(image, ["relu2_1", "relu3_1"]).items():
        assert encoder.feature_size((45, 38), tap) == tuple(features.shape[2:])


@pytest.mark.parametrize("height", range(60, 68))
def test_the_last_rows_have_as_much_gradient_as_the_others(height: int) -> None:
    """With a pooling that rounded down, the last row of an odd height had an eighth of it."""

    def rows(values: Tensor) -> Tensor:
        return values.square().mean((0, 1, 3)).sqrt()

    content, style = smooth_image(0, height, 64), smooth_image(1, 64, 64)
    config = compose([])
    taps = [*config.layers.style, config.layers.content]
    encoder, _ = encoder_spec("embedded").build(config.backbone, taps, None)
    image = smooth_image(2, height, 64).requires_grad_()
    loss = build_objective(config, encoder, Inputs.of(content, style))(image).total.sum()
    found = rows(torch.autograd.grad(loss, image)[0])
    assert found[-3:].min() > 0.5 * found[8:-8].median()
