"""The networks: taps against torchvision, random weights, files, downloads."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import VGG19_Weights
from torchvision.models.vgg import cfgs, make_layers

from src.common.errors import InputError
from src.config.schema import Backbone
from src.encoders import weights
from src.encoders.registry import ARCHITECTURES, architecture
from src.encoders.vgg import Extractor
from src.encoders.weights import EMBEDDED, _random_weights, build_extractor, torchvision_indices

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
def test_taps_equal_torchvision_layer_by_layer(features: nn.Sequential, weights_file: Path, pool: str) -> None:
    extractor, _ = build_extractor(Backbone(name="vgg19", weights=str(weights_file), pool=pool), TAPS)
    image = torch.rand(2, 3, 32, 40)
    found = extractor(image)
    values, expected = image, {}
    names = {index: name for name, index in torchvision_indices(architecture("vgg19")).items()}
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
    assert (found["conv1_1"] < 0).any(), "a tap before the ReLU was overwritten by it"


def test_published_indices_are_the_programs() -> None:
    """Torchvision's features 0, 5, 10, 19, 28 are the first convolutions of the five blocks."""
    indices = torchvision_indices(architecture("vgg19"))
    assert [indices[f"conv{block}_1"] for block in range(1, 6)] == [0, 5, 10, 19, 28]
    assert len(indices) == 16


def test_addresses_are_torchvisions() -> None:
    known = ARCHITECTURES["vgg19"]
    assert known.url == VGG19_Weights.IMAGENET1K_V1.url
    assert known.sha256 in known.url


def test_random_weights_have_unit_variance_and_do_not_depend_on_the_cut() -> None:
    deep, digest = build_extractor(Backbone(name="vgg19", weights="random", pool="avg"), ["conv3_1"])
    _, same = build_extractor(Backbone(name="vgg19", weights="random", pool="avg"), ["conv3_1"])
    shallow, _ = build_extractor(Backbone(name="vgg19", weights="random", pool="avg"), ["conv2_1"])
    other, different = build_extractor(Backbone(name="vgg19", weights="random", pool="avg", seed=1), ["conv3_1"])
    assert digest == same != different
    assert len(shallow.convolutions) == 3 < len(deep.convolutions) == 5
    for name, convolution in shallow.convolutions.items():
        torch.testing.assert_close(convolution.weight, deep.convolutions[name].weight, rtol=0, atol=0)
    assert not torch.equal(other.convolutions["conv1_1"].weight, deep.convolutions["conv1_1"].weight)
    noise = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    assert deep(noise)["conv3_1"].std().item() == pytest.approx(1, abs=1e-3)
    weight = deep.convolutions["conv2_1"].weight.flatten(1)
    product = weight @ weight.T
    torch.testing.assert_close(product, torch.eye(128) * product[0, 0], atol=1e-5, rtol=0)


def test_random_weights_do_not_depend_on_the_threads() -> None:
    digests = set()
    threads = torch.get_num_threads()
    for number in (1, 2):
        torch.set_num_threads(number)
        _random_weights.cache_clear()
        digests.add(build_extractor(Backbone(name="vgg19", weights="random"), ["conv3_1"])[1])
        assert torch.get_num_threads() == number
    torch.set_num_threads(threads)
    assert len(digests) == 1


def test_the_embedded_network_ships_with_its_weights_pinned() -> None:
    known = architecture("embedded")
    assert hashlib.sha256(EMBEDDED.read_bytes()).hexdigest() == known.sha256
    assert EMBEDDED.stat().st_size <= 12e6
    taps = [f"relu{block}_1" for block in range(1, 6)]
    extractor, digest = build_extractor(Backbone(), taps)
    assert digest == known.sha256
    found = extractor(extractor.normalize(torch.rand(2, 3, 64, 80)))
    for block, (tap, width) in enumerate(zip(taps, (32, 64, 128, 256, 256), strict=True)):
        assert found[tap].shape == (2, width, 64 >> block, 80 >> block)
        assert 0.05 < found[tap].mean() < 5, "no tap is dead, none has run away"


def test_the_border_of_a_plain_picture_is_like_its_middle() -> None:
    """Zeros beyond the border would be seen as dark edges, which draw a rim."""
    extractor, _ = build_extractor(Backbone(), ["relu3_1"])
    found = extractor(extractor.normalize(torch.full((1, 3, 64, 64), 0.7)))["relu3_1"]
    torch.testing.assert_close(found, found[..., 8:9, 8:9].expand_as(found), rtol=1e-4, atol=1e-4)


def test_damaged_embedded_weights_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "embedded.safetensors").write_bytes(EMBEDDED.read_bytes()[:-1])
    monkeypatch.setattr(weights, "EMBEDDED", tmp_path / "embedded.safetensors")
    with pytest.raises(InputError, match=r"has sha256 .* expected .*: another file, or a damaged one"):
        build_extractor(Backbone(), ["relu1_1"])


def test_seeding_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    build_extractor(Backbone(name="vgg19", weights="random", seed=5), ["conv1_1"])
    assert torch.equal(torch.rand(1), expected)


def test_nothing_above_the_deepest_tap_is_built_or_run() -> None:
    extractor = Extractor(architecture("vgg16"), ["relu2_1", "relu1_1"], "max")
    assert list(extractor.convolutions) == ["conv1_1", "conv1_2", "conv2_1"]
    ran: list[str] = []
    for name, convolution in extractor.convolutions.items():
        convolution.register_forward_hook(lambda *_, name=name: ran.append(name))
    extractor(torch.rand(1, 3, 16, 16), ["relu1_1"])
    assert ran == ["conv1_1"]


def test_a_features_only_file_and_checksums(features: nn.Sequential, tmp_path: Path) -> None:
    path = tmp_path / "features.pth"
    torch.save(features.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    extractor, found = build_extractor(Backbone(name="vgg19", weights=str(path), sha256=digest[:12]), ["relu1_1"])
    assert found == digest
    torch.testing.assert_close(extractor.convolutions["conv1_1"].weight, features[0].weight)
    with pytest.raises(InputError, match="expected 0000"):
        build_extractor(Backbone(name="vgg19", weights=str(path), sha256="0000"), ["relu1_1"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no file of PyTorch weights"),
        (b"not weights at all", "no file of PyTorch weights"),
        ({"features.0.weight": torch.zeros(64, 3, 3, 3)}, "features.0.bias .* is missing"),
        ({"0.weight": torch.zeros(64, 3, 5, 5), "0.bias": torch.zeros(64)}, r"shape \(64, 3, 5, 5\)"),
        ([1, 2], "no state dict"),
    ],
)
def test_a_file_that_is_no_vgg_is_refused(content: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=message):
        build_extractor(Backbone(name="vgg19", weights=str(path)), ["relu1_1"])


def test_unknown_names_list_the_right_ones() -> None:
    with pytest.raises(InputError, match=r"relu1_1, relu1_2, relu2_1.*conv for relu"):
        architecture("vgg19").check("relu9_9")
    with pytest.raises(InputError, match="embedded, vgg19, vgg16"):
        architecture("resnet50")
    with pytest.raises(InputError, match="neither trained, nor random, nor a file"):
        build_extractor(Backbone(name="vgg19", weights="trainedd"), ["relu1_1"])


def test_imagenet_weights_are_downloaded_checked_and_cached(
    file_server: tuple[str, Path], weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = file_server
    (served / "vgg.pth").write_bytes(weights_file.read_bytes())
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    backbone = Backbone(name="vgg19", weights="trained", url=f"{address}/vgg.pth", sha256=digest)
    assert build_extractor(backbone, ["relu1_1"])[1] == digest
    assert (tmp_path / "cache/weights/vgg19-dcbb9e9d.pth").is_file()
    (served / "vgg.pth").unlink()
    assert build_extractor(backbone, ["relu1_1"])[1] == digest, "the second time comes from the cache"


def test_a_download_with_another_checksum_is_not_kept(
    file_server: tuple[str, Path], weights_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, served = file_server
    (served / "vgg.pth").write_bytes(b"something else")
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="expected dcbb9e9d; nothing was kept"):
        build_extractor(Backbone(name="vgg19", weights="trained", url=f"{address}/vgg.pth"), ["relu1_1"])
    assert not list((tmp_path / "cache").rglob("*.pth*"))


def test_an_impossible_download_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STYLE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError) as caught:
        build_extractor(Backbone(name="vgg19", weights="trained", url="http://127.0.0.1:9/vgg19.pth"), ["relu1_1"])
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


def test_weights_may_come_from_the_mirror(weights_file: Path, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/vgg19-dcbb9e9d.pth").write_bytes(weights_file.read_bytes())
    digest = hashlib.sha256(weights_file.read_bytes()).hexdigest()
    backbone = Backbone(name="vgg19", weights="trained", sha256=digest)
    assert build_extractor(backbone, ["relu1_1"], mirror=str(tmp_path))[1] == digest
