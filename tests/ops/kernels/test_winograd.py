"""Winograd convolutions: values and gradients against PyTorch's in float64, at sizes that no tile divides."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.config.schema import Backbone
from src.encoders.registry import encoder_spec
from src.encoders.vgg import VGG
from src.ops.kernels import build, use, winograd
from tests.support.threads import with_threads

needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")


def _expected(values: Tensor, weight: Tensor, bias: Tensor, relu: bool, replicate: bool) -> Tensor:
    padded = F.pad(values.double(), (1, 1, 1, 1), mode="replicate" if replicate else "constant")
    found = F.conv2d(padded, weight.double(), bias.double())
    return found.relu() if relu else found


@needs_compiler
@pytest.mark.parametrize("replicate", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize(
    "shape",
    [
        (2, 32, 13, 22),
        (1, 96, 8, 5),
        (1, 64, 2, 3),
        (1, 32, 1, 1),
        (1, 32, 4, 131),
        (1, 512, 33, 61),
        (1, 32, 190, 201),
    ],
)
def test_values_and_gradients_equal_a_plain_convolution(shape: tuple[int, ...], relu: bool, replicate: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator).requires_grad_()
    weight, bias = torch.randn(96, shape[1], 3, 3, generator=generator), torch.randn(96, generator=generator)
    exact = values.detach().double().requires_grad_()
    found = winograd.Convolution(weight, replicate)(values, bias, relu)
    expected = _expected(exact, weight, bias, relu, replicate)
    assert found.is_contiguous(memory_format=torch.channels_last)
    _assert_near(found, expected)
    gradient = torch.randn(found.shape, generator=generator)
    found.backward(gradient)
    # the ReLU's mask is taken from `found`: rounding can change it
    linear = _expected(exact, weight, bias, False, replicate)
    linear.backward(gradient.double() * ((found > 0) if relu else 1))
    _assert_near(values.grad, exact.grad)


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 64, 190, 201), (1, 64, 9, 11)])
def test_result_does_not_depend_on_the_number_of_threads(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    values, weight = torch.randn(shape, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
    one, two, three = with_threads(lambda: winograd.Convolution(weight, False)(values, torch.zeros(64), False))
    assert torch.equal(one, two) and torch.equal(one, three)


def _assert_near(found: Tensor, expected: Tensor) -> None:
    scale = expected.square().mean().sqrt()
    assert (found - expected).square().mean().sqrt() < 5e-6 * scale
    assert (found - expected).abs().max() < 2e-4 * scale  # the largest of some million values


@needs_compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # raised by opcheck itself
def test_the_operator_passes_opcheck() -> None:
    convolution = winograd.Convolution(torch.randn(32, 32, 3, 3), replicate=True)
    values = torch.randn(1, 32, 9, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    sample = (values, convolution.forward, convolution.backward, torch.randn(32), True, True)
    torch.library.opcheck(torch.ops.style.convolve.default, sample)


@needs_compiler
@pytest.mark.parametrize("name", ["vgg19", "embedded"])
def test_a_network_has_the_same_taps_and_gradient_with_the_kernel(name: str) -> None:
    taps = ["relu1_1", "conv2_1", "relu3_2", "conv5_1"]
    weights = "trained" if name == "embedded" else "random"
    encoder, _ = encoder_spec(name).build(Backbone(name, weights=weights, pool="blur"), taps, None)
    assert isinstance(encoder, VGG)
    image = torch.rand(1, 3, 50, 67, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plain = encoder.features(image, taps)
    [plain_gradient] = torch.autograd.grad(sum(each.square().mean() for each in plain.values()), image)
    assert encoder.to(memory_format=torch.channels_last).use_kernels()
    assert {"conv1_2", "conv2_1", "conv5_1"} <= set(encoder.winograd) and "conv1_1" not in encoder.winograd
    fast = encoder.features(image, taps)
    [fast_gradient] = torch.autograd.grad(sum(each.square().mean() for each in fast.values()), image)
    for tap in taps:
        assert (fast[tap] - plain[tap]).norm() < 2e-5 * plain[tap].norm()
        assert (tap[:4] == "conv") == bool((fast[tap] < 0).any())
    assert (fast_gradient - plain_gradient).norm() < 3e-4 * plain_gradient.norm()


@needs_compiler
def test_a_nan_is_propagated() -> None:
    values = torch.zeros(1, 32, 8, 8)
    values[0, 3, 2, 2] = float("nan")
    assert winograd.Convolution(torch.randn(32, 32, 3, 3), False)(values, torch.zeros(32), True).isnan().any()


@needs_compiler
@pytest.mark.parametrize("replicate", [False, True])
def test_while_switched_off_a_convolution_is_pytorchs(replicate: bool) -> None:
    """Even one that was made before: a network may be shared by runs with the kernels and without."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(1, 32, 9, 6, generator=generator).requires_grad_()
    weight, bias = torch.randn(32, 32, 3, 3, generator=generator), torch.randn(32, generator=generator)
    convolution = winograd.Convolution(weight, replicate)
    with use(False):
        assert not winograd.usable(weight)
        found = convolution(values, bias, True)
    padded = F.pad(values, (1, 1, 1, 1), mode="replicate" if replicate else "constant")
    torch.testing.assert_close(found, F.conv2d(padded, weight, bias).relu())
    assert "style" not in type(found.grad_fn).__name__.lower() and winograd.usable(weight)


@needs_compiler
def test_few_channels_and_other_dtypes_are_left_to_pytorch() -> None:
    assert winograd.usable(torch.zeros(64, 64, 3, 3))
    assert not winograd.usable(torch.zeros(64, 3, 3, 3)) and not winograd.usable(torch.zeros(48, 64, 3, 3))
    assert not winograd.usable(torch.zeros(64, 64, 3, 3).double())
