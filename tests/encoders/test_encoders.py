"""Encoders: taps against torchvision, random weights, weights files and downloads."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from src.common.errors import InputError
from src.config.schema import Backbone, Layers, RunConfig
from src.encoders import weights
from src.encoders.registry import VGGSpec, check_backbone, encoder_spec
from src.encoders.vgg import VGG
from src.encoders.weights import EMBEDDED, _random_weights, build_vgg, torchvision_indices


def _spec(name: str) -> VGGSpec:
    spec = encoder_spec(name)
    assert isinstance(spec, VGGSpec)
    return spec


def _build(backbone: Backbone, taps: list[str], mirror: str | None = None) -> tuple[VGG, str]:
    return build_vgg(_spec(backbone.name), backbone, taps, mirror)


TAPS = ["conv1_1", "relu1_1", "conv1_2", "relu2_1", "conv3_1", "relu3_1"]


@pytest.fixture(scope="module")
def features() -> nn.Sequential:
    """Torchvision's own VGG-19 features, seeded."""
    torch.manual_seed(0)
    return make_layers(cfgs["E"])


@pytest.fixture(scope="module")
def weights_file(features: nn.Sequential, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "whole.pth"
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("pool", ["max", "avg"])
def test_taps_equal_torchvisions_layers(features: nn.Sequential, weights_file: Path, pool: str) -> None:
    encoder, _ = _build(Backbone(name="vgg19", weights=str(weights_file), pool=pool), TAPS)
    image = torch.rand(2, 3, 32, 40)
    found = encoder.features(image, TAPS)
    values, expected = encoder.normalize(image), {}
    names = {index: name for name, index in torchvision_indices(_spec("vgg19")).items()}
    for index, layer in enumerate(features[:12]):
        if isinstance(layer, nn.ReLU):
            values = torch.relu(values)
            expected[names[index - 1].replace("conv", "relu")] = values
        elif isinstance(layer, nn.MaxPool2d):
            values = layer(values) if pool == "max" else nn.functional.avg_pool2d(values, 2)
        else:
            values = layer(values)
            expected[names[index]] = values
    assert list(found) == TAPS
    for tap in TAPS:
        torch.testing.assert_close(found[tap], expected[tap])
    assert (found["conv1_1"] < 0).any(), "the ReLU overwrote a tap that lies before it"


def test_the_published_programs_layers_begin_the_blocks() -> None:
    """Torchvision's features 0, 5, 10, 19, 28 are the first convolutions of the five blocks."""
    indices = torchvision_indices(_spec("vgg19"))
    assert [indices[f"conv{block}_1"] for block in range(1, 6)] == [0, 5, 10, 19, 28]
    assert len(indices) == 16


def test_weights_are_downloaded_from_torchvisions_address() -> None:
    known = _spec("vgg19")
    assert known.url == VGG19_Weights.IMAGENET1K_V1.url
    assert known.sha256 in known.url
    assert all(_spec(name).sha256 in _spec(name).url for name in ("vgg16", "vgg16_caffe", "vgg19_caffe"))


def test_random_weights_have_unit_variance_and_do_not_depend_on_the_depth() -> None:
    deep, digest = _build(Backbone(name="vgg19", weights="random", pool="avg"), ["conv3_1"])
    _, same = _build(Backbone(name="vgg19", weights="random", pool="avg"), ["conv3_1"])
    shallow, _ = _build(Backbone(name="vgg19", weights="random", pool="avg"), ["conv2_1"])
    other, different = _build(Backbone(name="vgg19", weights="random", pool="avg", seed=1), ["conv3_1"])
    assert digest == same != different
    assert len(shallow.convolutions) == 3 < len(deep.convolutions) == 5
    for name, convolution in shallow.convolutions.items():
        torch.testing.assert_close(convolution.weight, deep.convolutions[name].weight, rtol=0, atol=0)
    assert not torch.equal(other.convolutions["conv1_1"].weight, deep.convolutions["conv1_1"].weight)
    noise = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    found = deep.features(noise * deep.std + deep.mean, ["conv3_1"])
    assert found["conv3_1"].std().item() == pytest.approx(1, abs=1e-3)
    weight = deep.convolutions["conv2_1"].weight.flatten(1)
    product = weight @ weight.T
    torch.testing.assert_close(product, torch.eye(128) * product[0, 0], atol=1e-5, rtol=0)


def test_random_weights_do_not_depend_on_the_number_of_threads() -> None:
    digests = set()
    threads = torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        _random_weights.cache_clear()
        digests.add(_build(Backbone(name="vgg19", weights="random"), ["conv3_1"])[1])
        assert torch.get_num_threads() == number
    torch.set_num_threads(threads)
    assert len(digests) == 1


def test_the_embedded_networks_weights_match_their_checksum() -> None:
    known = _spec("embedded")
    assert hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() == known.sha256
    assert EMBEDDED.stat().st_size <= 12e6
    taps = [f"relu{block}_1" for block in range(1, 6)]
    encoder, digest = _build(Backbone(), taps)
    assert digest == known.sha256
    assert _build(Backbone(sha256=digest[:8]), taps)[1] == digest
    with pytest.raises(InputError, match="sha256"):
        _build(Backbone(sha256="00"), taps)
    found = encoder.features(torch.rand(2, 3, 64, 80), taps)
    for block, (tap, width) in enumerate(zip(taps, (32, 64, 128, 256, 256), strict=True)):
        assert found[tap].shape == (2, width, 64 >> block, 80 >> block)
        assert 0.05 < found[tap].mean() < 5, "activations neither vanish nor explode"


def test_features_of_a_uniform_image_are_the_same_at_the_border() -> None:
    """The embedded network pads by replication; zeros would look like dark edges and draw a rim."""
    encoder, _ = _build(Backbone(), ["relu3_1"])
    found = encoder.features(torch.full((1, 3, 64, 64), 0.7), ["relu3_1"])["relu3_1"]
    torch.testing.assert_close(found, found[..., 8:9, 8:9].expand_as(found), rtol=1e-4, atol=1e-4)


def test_damaged_embedded_weights_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "embedded.safetensors").write_bytes(EMBEDDED.read_bytes()[:-1])
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path / "embedded.safetensors")
    with pytest.raises(InputError, match=r"has sha256 .* expected .*: another file, or a damaged one"):
        _build(Backbone(), ["relu1_1"])


def test_random_weights_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    _build(Backbone(name="vgg19", weights="random", seed=5), ["conv1_1"])
    assert torch.equal(torch.rand(1), expected)


def test_layers_behind_the_deepest_tap_are_neither_built_nor_run() -> None:
    encoder = VGG(_spec("vgg16"), ["relu2_1", "relu1_1"], "max")
    assert list(encoder.convolutions) == ["conv1_1", "conv1_2", "conv2_1"]
    ran: list[str] = []
    for name, convolution in encoder.convolutions.items():
        convolution.register_forward_hook(lambda *_, name=name: ran.append(name))
    encoder.features(torch.rand(1, 3, 16, 16), ["relu1_1"])
    assert ran == ["conv1_1"]


def test_a_weights_file_without_the_classifier_is_read_and_its_checksum_checked(
    features: nn.Sequential, tmp_path: Path
) -> None:
    path = tmp_path / "features.pth"
    torch.save(features.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    encoder, found = _build(Backbone(name="vgg19", weights=str(path), sha256=digest[:12]), ["relu1_1"])
    assert found == digest
    torch.testing.assert_close(encoder.convolutions["conv1_1"].weight, features[0].weight)
    with pytest.raises(InputError, match="expected 0000"):
        _build(Backbone(name="vgg19", weights=str(path), sha256="0000"), ["relu1_1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a file of PyTorch weights"),
        (b"not weights at all", "is not a file of PyTorch weights"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "features.0.bias .* is missing"),
        ({"0.weight": torch.zeros(64, 3, 5, 5), "0.bias": torch.zeros(64)}, r"and is \(64, 3, 5, 5\)"),
        ([1, 2], "holds no state dict"),
        ({0: torch.zeros(64, 3, 3, 3)}, "holds no state dict"),
        ({"0.weight": torch.zeros(64, 3, 3, 3).to_sparse(), "0.bias": torch.zeros(64)}, "weights|dense"),
        ({"0.weight": "text"}, "holds no state dict"),
    ],
)
def test_a_file_without_the_weights_of_a_vgg_is_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        _build(Backbone(name="vgg19", weights=str(path)), ["relu1_1"])


def test_errors_for_unknown_names_list_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"no layer 'relu9_9'.*relu1_1, relu1_2, relu2_1.*conv instead of relu"):
        check_backbone(RunConfig(layers=Layers(content="relu9_9")))
    with pytest.raises(InputError, match="embedded, vgg19, vgg16"):
        encoder_spec("vgg11")
    with pytest.raises(InputError, match="no such file; use trained, random or a file's path"):
        _build(Backbone(name="vgg19", weights="trainedd"), ["relu1_1"])


def test_imagenet_weights_are_downloaded_checked_and_cached(
    file_server: tuple[str, Path], weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = file_server
    (served / "vgg.pth").write_bytes(weights_file.read_bytes())
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    backbone = Backbone(name="vgg19", weights="trained", url=f"{address}/vgg.pth", sha256=digest)
    assert _build(backbone, ["relu1_1"])[1] == digest
    assert (tmp_path / "cache/weights/vgg19-dcbb9e9d.pth").is_file()
    (served / "vgg.pth").unlink()
    assert _build(backbone, ["relu1_1"])[1] == digest, "the second build reads the cache"


def test_a_download_with_a_wrong_checksum_is_not_kept(
    file_server: tuple[str, Path], weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = file_server
    (served / "vgg.pth").write_bytes(b"something else")
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="expected dcbb9e9d; nothing was kept"):
        _build(Backbone(name="vgg19", weights="trained", url=f"{address}/vgg.pth"), ["relu1_1"])
    assert not list((tmp_path / "cache").rglob("*.pth*"))


def test_the_error_for_a_failed_download_lists_the_alternatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError) as caught:
        _build(Backbone(name="vgg19", weights="trained", url="http://127.0.0.1:9/vgg19.pth"), ["relu1_1"])
    message = str(caught.value)
    for needed in (
        "http://127.0.0.1:9/vgg19.pth",
        "dcbb9e9d",
        str(tmp_path / "cache/weights/vgg19-dcbb9e9d.pth"),
        "mirror=DIR",
        "backbone.weights=PATH",
        "backbone=embedded",
    ):
        assert needed in message
    assert "\n" not in message


def test_weights_are_read_from_the_mirror(weights_file: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/vgg19-dcbb9e9d.pth").write_bytes(weights_file.read_bytes())
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    backbone = Backbone(name="vgg19", weights="trained", sha256=digest)
    assert _build(backbone, ["relu1_1"], mirror=str(tmp_path))[1] == digest
