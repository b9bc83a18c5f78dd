"""Convolutions in fewer multiplications: equal to PyTorch's in float64, values and gradients, at every odd size."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.config.schema import Backbone
from src.encoders.weights import build_extractor
from src.ops.kernels import build, winograd

needs_compiler = pytest.mark.skipif(build.find_compiler() is None, reason="no C compiler")


def _expected(values: Tensor, weight: Tensor, bias: Tensor, relu: bool, extend: bool) -> Tensor:
    padded = F.pad(values.double(), (1, 1, 1, 1), mode="replicate" if extend else "constant")
    found = F.conv2d(padded, weight.double(), bias.double())
    return found.relu() if relu else found


@needs_compiler
@pytest.mark.parametrize("extend", [False, True])
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
def test_values_and_gradients_equal_a_plain_convolution(shape: tuple[int, ...], relu: bool, extend: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(shape, generator=generator).requires_grad_()
    weight, bias = torch.randn(96, shape[1], 3, 3, generator=generator), torch.randn(96, generator=generator)
    exact = values.detach().double().requires_grad_()
    found = winograd.Filters(weight, extend)(values, bias, relu)
    expected = _expected(exact, weight, bias, relu, extend)
    assert found.is_contiguous(memory_format=torch.channels_last)
    _assert_near(found, expected)
    gradient = torch.randn(found.shape, generator=generator)
    found.backward(gradient)
    # which values pass is decided by those found: rounding may decide it otherwise
    linear = _expected(exact, weight, bias, False, extend)
    linear.backward(gradient.double() * ((found > 0) if relu else 1))
    _assert_near(values.grad, exact.grad)


@needs_compiler
@pytest.mark.parametrize("shape", [(1, 64, 190, 201), (1, 64, 9, 11)])
def test_any_number_of_threads_computes_the_same(shape: tuple[int, ...]) -> None:
    generator, before = torch.Generator().manual_seed(0), torch.get_num_threads()
    values, weight = torch.randn(shape, generator=generator), torch.randn(64, 64, 3, 3, generator=generator)
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(winograd.Filters(weight, False)(values, torch.zeros(64), False))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])


def _assert_near(found: Tensor, expected: Tensor) -> None:
    scale = expected.square().mean().sqrt()
    assert (found - expected).square().mean().sqrt() < 5e-6 * scale
    assert (found - expected).abs().max() < 2e-4 * scale  # of some million values


@needs_compiler
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # of torch's own check
def test_the_operator_keeps_its_promises_to_the_compiler() -> None:
    filters = winograd.Filters(torch.randn(32, 32, 3, 3), extend=True)
    values = torch.randn(1, 32, 9, 6).contiguous(memory_format=torch.channels_last).requires_grad_()
    sample = (values, filters.forward, filters.backward, torch.randn(32), True, True)
    torch.library.opcheck(torch.ops.style.convolve.default, sample)


@needs_compiler
@pytest.mark.parametrize("name", ["vgg19", "embedded"])
def test_a_network_sees_the_same_with_it(name: str) -> None:
    taps = ["relu1_1", "conv2_1", "relu3_2", "conv5_1"]
    weights = "trained" if name == "embedded" else "random"
    extractor, _ = build_extractor(Backbone(name, weights=weights, pool="blur"), taps)
    image = torch.randn(1, 3, 50, 67, generator=torch.Generator().manual_seed(0)).requires_grad_()
    plain = extractor(image)
    [plain_gradient] = torch.autograd.grad(sum(each.square().mean() for each in plain.values()), image)
    extractor.to(memory_format=torch.channels_last).speed_up()
    assert {"conv1_2", "conv2_1", "conv5_1"} <= set(extractor.fast) and "conv1_1" not in extractor.fast
    fast = extractor(image)
    [fast_gradient] = torch.autograd.grad(sum(each.square().mean() for each in fast.values()), image)
    for tap in taps:
        assert (fast[tap] - plain[tap]).norm() < 2e-5 * plain[tap].norm()
        assert (tap[:4] == "conv") == bool((fast[tap] < 0).any())
    assert (fast_gradient - plain_gradient).norm() < 3e-4 * plain_gradient.norm()


@needs_compiler
def test_a_nan_goes_through() -> None:
    values = torch.zeros(1, 32, 8, 8)
    values[0, 3, 2, 2] = float("nan")
    assert winograd.Filters(torch.randn(32, 32, 3, 3), False)(values, torch.zeros(32), True).isnan().any()


def test_without_a_compiler_there_is_one_line_and_plain_convolutions(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    build.load.cache_clear()
    winograd.available.cache_clear()
    try:
        with caplog.at_level("INFO"):
            assert not winograd.usable(torch.zeros(64, 64, 3, 3)) and not winograd.usable(torch.zeros(64, 64, 3, 3))
        assert [record.message.split(":")[0] for record in caplog.records] == ["no C compiler (CC, cc, gcc, clang)"]
    finally:
        build.load.cache_clear()
        winograd.available.cache_clear()


@needs_compiler
def test_a_compiler_that_fails_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\n[ \"$1\" = --version ] && exit 0\necho 'cannot find omp.h' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    build.load.cache_clear()
    try:
        with caplog.at_level("INFO"):
            assert build.load("winograd") is None
        assert "cannot find omp.h" in caplog.text and not list(tmp_path.rglob("*.so"))
    finally:
        build.load.cache_clear()


@needs_compiler
def test_few_channels_and_other_precisions_are_left_to_pytorch() -> None:
    assert winograd.usable(torch.zeros(64, 64, 3, 3))
    assert not winograd.usable(torch.zeros(64, 3, 3, 3)) and not winograd.usable(torch.zeros(48, 64, 3, 3))
    assert not winograd.usable(torch.zeros(64, 64, 3, 3).double())
