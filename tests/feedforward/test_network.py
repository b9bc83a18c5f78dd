"""The feed-forward network: layout, conditional normalisation, tiles, files, ONNX."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F

from src.common.errors import InputError
from src.feedforward import SIZES, STRIDE
from src.feedforward.export import export_onnx
from src.feedforward.network import ConditionalInstanceNorm, StyleNetwork
from src.feedforward.tiles import padded_to_stride, resize_antialiased, stylise
from src.feedforward.weights import load_network
from tests.support.photographs import random_network, write_network


def _image(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("size", "weights"), [("small", 71_000), ("half", 420_000), ("johnson", 1_680_000)])
def test_sizes_have_the_weights_that_their_names_promise(size: str, weights: int) -> None:
    (full, half, quarter), blocks = SIZES[size]
    kernels = 81 * 3 * full * 2 + 9 * (full * half + half * quarter) * 2 + blocks * 2 * 9 * quarter**2 + 3
    norms = 2 * (2 * full + 2 * half + quarter + 2 * blocks * quarter)
    count = sum(each.numel() for each in StyleNetwork(size).parameters())
    assert count == kernels + norms and count == pytest.approx(weights, rel=0.03)


def test_a_mixture_normalises_by_the_weighted_mean_of_scales_and_shifts() -> None:
    norm = ConditionalInstanceNorm(4, 2)
    with torch.no_grad():
        norm.scale.normal_(), norm.shift.normal_()
    values = torch.randn(2, 4, 6, 5)
    found = norm(values, torch.tensor([[0.25, 0.75], [1.0, 0.0]]))
    for sample, (first, second) in enumerate(((0.25, 0.75), (1.0, 0.0))):
        scale, shift = (first * each[0] + second * each[1] for each in (norm.scale, norm.shift))
        mean, deviation = values[sample].mean((1, 2)), values[sample].var((1, 2), correction=0).add(1e-5).sqrt()
        expected = (values[sample] - mean[:, None, None]) / deviation[:, None, None]
        torch.testing.assert_close(found[sample], expected * scale[:, None, None] + shift[:, None, None])


def test_samples_of_a_batch_do_not_influence_one_another() -> None:
    network, images = random_network(3), torch.cat([_image(32, 40), _image(32, 40, 1)])
    shares = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.3, 0.7]])
    both = network(images, shares)
    assert both.shape == images.shape and both.min() >= 0 and both.max() <= 1
    for sample in range(2):
        alone = network(images[sample : sample + 1], shares[sample : sample + 1])
        torch.testing.assert_close(both[sample : sample + 1], alone, atol=1e-5, rtol=0)


def test_the_reach_covers_every_pixel_that_the_output_depends_on() -> None:
    """With the statistics held, the gradient of one output pixel is zero beyond the reach, and not before."""
    network = random_network(1)
    side = 2 * network.reach + 65
    image = _image(side - side % STRIDE, side - side % STRIDE).requires_grad_()
    shares, farthest = torch.ones(1, 1), 0
    with network.statistics_of(image.detach(), shares):
        for place in range(side // 2, side // 2 + STRIDE):  # positions differ by their place in a cell of the stride
            pixel = network(image, shares)[0, :, place, place].sum()
            (gradient,) = torch.autograd.grad(pixel, image)
            rows = gradient.abs().amax((0, 1, 3)).nonzero()
            farthest = max(farthest, place - int(rows.min()), int(rows.max()) - place)
    assert network.reach - STRIDE - 4 < farthest <= network.reach


def test_tiles_equal_the_whole_picture_with_the_same_statistics() -> None:
    network, image, shares = random_network(2), _image(150, 301), torch.tensor([[0.4, 0.6]])
    tile = 64
    with network.statistics_of(padded_to_stride(resize_antialiased(image, tile)), shares), torch.no_grad():
        whole = network(padded_to_stride(image), shares)[:, :, :150, :301]
    tiled = stylise(network, image, shares, tile)
    assert tiled.shape == image.shape
    torch.testing.assert_close(tiled, whole, atol=1e-5, rtol=0)
    untiled = stylise(network, image, shares, 1024)
    assert not torch.allclose(untiled, tiled, atol=1e-4), "a picture in one tile has statistics of its own"
    with torch.no_grad():
        torch.testing.assert_close(untiled, network(padded_to_stride(image), shares)[:, :, :150, :301])


def test_padding_repeats_the_border_up_to_the_stride() -> None:
    for height, padded_height in ((1, 8), (5, 8), (9, 12)):
        image = _image(height, 8)
        padded = padded_to_stride(image)
        assert padded.shape == (1, 3, padded_height, 8) and torch.equal(padded[:, :, :height], image)
        assert torch.equal(padded[:, :, height:], image[:, :, -1:].expand(1, 3, padded_height - height, 8))


@pytest.mark.parametrize(("height", "width", "tile"), [(1, 1, 64), (3, 40, 64), (4, 4, 64), (2, 3000, 64)])
def test_pictures_of_a_few_pixels_a_side_are_stylised(height: int, width: int, tile: int) -> None:
    image, shares = _image(height, width), torch.ones(1, 1)
    result = stylise(random_network(1), image, shares, tile)
    assert result.shape == image.shape and result.isfinite().all() and (result.std() > 0.01 or width < 4)


def test_a_file_keeps_weights_size_and_styles(tmp_path: Path) -> None:
    path = write_network(tmp_path / "net.safetensors", ["dots", "a b"])
    loaded = load_network(path)
    assert loaded.styles == ("dots", "a b") and loaded.network.size == "small" and not loaded.network.training
    expected = random_network(2).state_dict()
    assert all(torch.equal(value, expected[key].half().float()) for key, value in loaded.network.state_dict().items())
    assert loaded.shares("a b").tolist() == [[0, 1]] and loaded.shares().tolist() == [[1, 0]]
    assert loaded.shares(None, [1.0, 3.0]).tolist() == [[0.25, 0.75]]
    assert loaded.shares(None, [1e300, 3e300]).tolist() == [[0.25, 0.75]], "beyond float32"


def test_what_is_no_network_is_refused_in_one_line(tmp_path: Path) -> None:
    loaded = load_network(write_network(tmp_path / "net.safetensors", ["dots", "swell"]))
    shares = ([1.0], [0.0, 0.0], [2.0, -1.0], [math.inf, 1.0], [1.0, math.nan], [1e308, 1e308])
    for arguments in (("candy",), *((None, each) for each in shares)):
        with pytest.raises(InputError, match="dots, swell"):
            loaded.shares(*arguments)
    with pytest.raises(InputError, match="is no network"):
        load_network(tmp_path / "nothing.safetensors")
    state = load_network(tmp_path / "net.safetensors").network.state_dict()
    (tmp_path / "text.safetensors").write_text("text")
    safetensors.torch.save_file(state, tmp_path / "no-metadata.safetensors")
    safetensors.torch.save_file(state, tmp_path / "other.safetensors", {"network": "half", "styles": '["a", "b"]'})
    safetensors.torch.save_file(state, tmp_path / "styles.safetensors", {"network": "small", "styles": "[1, 2]"})
    for name in ("text", "no-metadata", "other", "styles"):
        with pytest.raises(InputError, match=r"is not a network that python -m src\.distill wrote"):
            load_network(tmp_path / f"{name}.safetensors")


def test_a_missing_onnx_is_an_error_of_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)  # as where it is not installed
    loaded = load_network(write_network(tmp_path / "net.safetensors", ["dots"]))
    with pytest.raises(InputError, match=r"pip install onnx .*\(the extra onnx\)$"):
        export_onnx(loaded, tmp_path / "net.onnx")
    assert not (tmp_path / "net.onnx").exists()


def test_export_does_not_need_what_runs_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    loaded = load_network(write_network(tmp_path / "net.safetensors", ["dots"]))
    with pytest.raises(InputError, match=r"pip install onnx onnxscript \(the extra onnx\)$"):
        export_onnx(loaded, tmp_path / "net.onnx")


@pytest.mark.slow
def test_onnx_equals_pytorch_at_sizes_it_was_not_exported_at(tmp_path: Path) -> None:
    """One file for all sizes and mixtures; onnxruntime gives the same picture to 1e-4."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    loaded = load_network(write_network(tmp_path / "net.safetensors", ["dots", "swell"]))
    export_onnx(loaded, tmp_path / "net.onnx")
    assert (tmp_path / "net.onnx").stat().st_size < 340_000, "weights alone, without the exporter's traces"
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    assert session.get_modelmeta().custom_metadata_map == {"styles": '["dots", "swell"]'}
    for height, width in ((32, 48), (64, 64), (132, 96), (256, 340)):
        image, shares = _image(height, width), loaded.shares(None, [height, width])
        (found,) = session.run(None, {"image": image.numpy(), "shares": shares.numpy()})
        assert found.shape == image.shape
        assert np.abs(found - loaded.network(image, shares).numpy()).max() < 1e-4


def test_upsampling_repeats_pixels() -> None:
    """Nearest-neighbour upsampling in front of a convolution, so that all outputs see kernels alike."""
    layer = random_network(1).up[0]
    values = torch.rand(1, 32, 4, 6)
    expected = F.conv2d(F.pad(values.repeat_interleave(2, 2).repeat_interleave(2, 3), (1, 1, 1, 1), mode="reflect"),
                        layer.convolution.weight)  # fmt: skip
    shares = torch.ones(1, 1)
    torch.testing.assert_close(layer(values, shares), layer.norm(expected, shares))
