"""Smoothing of activations against NumPy, and its effect on the entropy of a ResNet's."""

import math

import numpy as np
import pytest
import torch

from src.config.schema import Backbone
from src.encoders.registry import encoder_spec
from src.ops.smoothing import released_activation, softmax_activation
from tests.support.pictures import smooth_image


def test_softmax_is_over_all_channels_and_positions_of_a_sample() -> None:
    features = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 4
    found = softmax_activation(features).numpy()
    for mine, given in zip(found, features.numpy(), strict=True):
        np.testing.assert_allclose(mine, np.exp(given) / np.exp(given).sum() * given.size, rtol=1e-12)


def test_softmax_is_finite_for_large_values_and_in_bfloat16() -> None:
    large = softmax_activation(torch.tensor([1e4, 0.0, -1e4, 1e4]).view(1, 1, 2, 2))
    assert large.flatten().tolist() == [2, 0, 0, 2]
    assert softmax_activation(torch.zeros(1, 2, 3, 3, dtype=torch.bfloat16)).dtype == torch.float32


def test_gradients_of_the_softmax() -> None:
    features = torch.randn(
        1, 2, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    assert torch.autograd.gradcheck(softmax_activation, (features,))


def test_the_released_program_scales_the_last_two_stages() -> None:
    features = torch.rand(1, 2, 3, 3)
    assert released_activation(features, 3) is features
    torch.testing.assert_close(released_activation(features, 4), features / 1000)


@pytest.mark.parametrize("seed", [0, 1])
def test_smoothing_raises_the_entropy_of_every_tap_of_a_resnet(seed: int) -> None:
    backbone = Backbone(name="resnet50", weights="random", pool="own", seed=seed)
    encoder, _ = encoder_spec("resnet50").build(backbone, ["stage5"], None)
    for values in encoder.features(smooth_image(0, 96, 96), encoder.taps).values():
        assert _entropy(softmax_activation(values)) > 1.02 * _entropy(values)
        large = 4 * values / values.std()  # a softmax of large values is nearly all in one place
        assert _entropy(softmax_activation(large)) < 0.7 * _entropy(large)


def _entropy(values: torch.Tensor) -> float:
    """Return the entropy of values >= 0 as a distribution, relative to that of equal ones."""
    shares = (values / values.sum()).flatten()
    return float(-torch.special.xlogy(shares, shares).sum()) / math.log(len(shares))


@pytest.mark.parametrize("swag", ["off", "paper", "released"])
def test_an_encoder_smooths_what_the_losses_read(swag: str) -> None:
    backbone = Backbone(weights="random")
    encoder, _ = encoder_spec("embedded").build(backbone, ["relu4_1"], None)
    image = torch.rand(1, 3, 32, 32)
    plain = encoder.features(image, ["relu3_1", "relu4_1"])
    encoder.swag = swag
    found = encoder.features(image, ["relu3_1", "relu4_1"])
    expected = {"off": plain["relu4_1"], "released": plain["relu4_1"] / 1000}
    torch.testing.assert_close(found["relu4_1"], expected.get(swag, softmax_activation(plain["relu4_1"])))
    expected = {"paper": softmax_activation(plain["relu3_1"])}
    torch.testing.assert_close(found["relu3_1"], expected.get(swag, plain["relu3_1"]))
