"""Pretraining of the embedded backbone: crops, folding of batch norms, losses, resume, and refused input."""

import dataclasses
import itertools
import json
import math
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from src.common.errors import InputError, Interrupted, NonFiniteLoss
from src.common.signals import Interrupts
from src.config.schema import Backbone, Device, Logger
from src.data.folders import batches_from, find_pictures
from src.encoders.registry import VGGSpec, encoder_spec
from src.encoders.vgg import VGG
from src.encoders.weights import build_vgg
from src.pretrain.config import PretrainConfig, check
from src.pretrain.crops import Crops
from src.pretrain.inheritance import inherit, select_channels
from src.pretrain.module import PretrainModule
from src.pretrain.network import Trunk, layout_target, redundancy
from src.pretrain.record import FILE, PretrainRecord
from src.pretrain.run import WEIGHTS, pretrain
from src.training.checkpoints import CHECKPOINT
from src.training.networks import write_weights
from tests.support.processes import started, wait_for

PLAIN = PretrainConfig(size=16, zoom=[1.0, 2.0], rotation=0.0, jitter=0.0, noise=0.0, grey=0.0, edge=48)
PICTURES = 8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of eight pictures of blobs and a text file."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        small = np.random.default_rng(number).integers(0, 255, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(small).resize((64, 48), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    (folder / "README.md").write_text("not a picture")
    return folder


UNTAUGHT = {"teacher": "none", "texture": 1.0, "diversity": 0.5, "scene": 1.0, "layout": 1.0, "adversary": 3.0}
UNTAUGHT |= {"grey": 0.5, "rotation": 30.0, "lr": 0.002, "weight_decay": 0.05}


def _config(pictures: Path, **more: object) -> PretrainConfig:
    """Return a short training without a teacher."""
    options = UNTAUGHT | {"steps": 6, "batch_size": 4, "size": 32, "edge": 48, "log_every": 1, "checkpoint_every": 1}
    options |= {"precision": "32", "logger": Logger(name="csv"), "trainer": Device(accelerator="cpu", threads=1)}
    return PretrainConfig(images=str(pictures), **{**options, **more})  # type: ignore[arg-type]


def test_crops_are_windows_of_their_pictures(tmp_path: Path) -> None:
    """Red is x and green is y, so the colours of a crop give its position and size."""
    y, x = np.mgrid[0:64, 0:96]
    coordinates = np.stack([x / 95, y / 63, np.zeros_like(x)], -1)
    for name in ("a.png", "b.png"):
        Image.fromarray((coordinates * 255).round().astype(np.uint8)).save(tmp_path / name)
    crops = Crops(find_pictures(tmp_path), dataclasses.replace(PLAIN, batch_size=40, edge=64))
    images = crops[3].images
    assert images.shape == (40, 3, 16, 16)
    across, down = images[:, 0, :, -1] - images[:, 0, :, 0], images[:, 1, -1] - images[:, 1, 0]
    assert set(across.mean(1).sign().tolist()) == {-1.0, 1.0}, "some crops are mirrored"
    assert (down > 0).all(), "no crop is upside down"
    # the zoom, up to a stretch of a tenth in each direction
    zooms = (across.abs().mean(1) * 95 / 15 * down.mean(1) * 63 / 15).sqrt()
    assert 0.98 < zooms.min() < 1.2 and 1.7 < zooms.max() < 2.02
    centres = images[:, :2].mean((2, 3))
    assert (centres.amin(0) < 0.3).all() and (centres.amax(0) > 0.7).all(), "crops come from everywhere in the picture"


def test_batches_depend_on_their_number_alone_and_an_epoch_shows_every_picture(pictures: Path) -> None:
    paths = find_pictures(pictures)
    options = dataclasses.replace(PLAIN, rotation=15.0, jitter=0.2, noise=0.05, batch_size=4, seed=7)
    first, second = (Crops(paths, options) for _ in range(2))
    for number in range(3):
        first[number]
    assert all(torch.equal(a, b) for a, b in zip(first[5], second[5], strict=True))
    seen = torch.cat([first[number].instances for number in (4, 5)])
    assert sorted(seen.tolist()) == list(range(PICTURES)) and first.classes == 2 * PICTURES
    assert not torch.equal(seen, torch.cat([first[number].instances for number in (6, 7)])), "other order"


def test_other_processes_make_the_same_batches_in_order(pictures: Path) -> None:
    crops = Crops(find_pictures(pictures), dataclasses.replace(PLAIN, noise=0.05, batch_size=4))
    found = list(itertools.islice(batches_from(crops, 2, torch.device("cuda")), 7))
    for number, batch in enumerate(found, start=2):
        assert torch.equal(batch.images, crops[number].images) and torch.equal(batch.instances, crops[number].instances)


def test_grey_crops_have_their_own_classes_and_equal_brightness(pictures: Path) -> None:
    paths = find_pictures(pictures)
    colour, grey = (
        Crops(paths, dataclasses.replace(PLAIN, grey=share, batch_size=PICTURES))[0] for share in (0.0, 1.0)
    )
    assert torch.equal(grey.instances, colour.instances + PICTURES)
    assert torch.equal(grey.images[:, 0], grey.images[:, 2])
    means = grey.images.mean((1, 2, 3))
    assert means.std() < 0.03 < colour.images.mean((1, 2, 3)).std()


def test_mixed_crops_are_blends_that_keep_the_class_of_the_larger_part(pictures: Path) -> None:
    plain = _config(pictures, noise=0.0, jitter=0.0, grey=0.0)  # nothing is clamped
    pure, mixed = (Crops(find_pictures(pictures), dataclasses.replace(plain, mix=share))[2] for share in (0.0, 1.0))
    assert torch.equal(mixed.instances, pure.instances)
    change, other = mixed.images - pure.images, pure.images.roll(1, 0) - pure.images
    share = (change * other).sum((1, 2, 3)) / other.square().sum((1, 2, 3))
    assert share.min() >= 0 and share.max() <= 0.5 and share.std() > 0.01
    torch.testing.assert_close(change, share.view(-1, 1, 1, 1) * other, atol=1e-5, rtol=0)


def test_blurred_crops_are_smoother_and_as_bright(tmp_path: Path) -> None:
    for number in range(2):
        noise = np.random.default_rng(number).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.png")
    plain = _config(tmp_path, noise=0.0, batch_size=16)
    sharp, blurred = (
        Crops(find_pictures(tmp_path), dataclasses.replace(plain, blur=sigma))[0].images for sigma in (0.0, 3.0)
    )
    slopes = [each.diff(dim=3).square().mean((1, 2, 3)) for each in (sharp, blurred)]
    assert (slopes[1] < 1.001 * slopes[0]).all() and slopes[1].median() < 0.2 * slopes[0].median()
    torch.testing.assert_close(blurred.mean((1, 2, 3)), sharp.mean((1, 2, 3)), atol=0.03, rtol=0)


def test_folded_batch_norms_equal_unfolded_ones() -> None:
    known = dataclasses.replace(encoder_spec("embedded"), padding="zeros")  # as during training
    torch.manual_seed(0)
    trunk = Trunk(known)
    for norm in trunk.norms.values():
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        torch.nn.init.uniform_(norm.weight, 0.5, 2)
        torch.nn.init.normal_(norm.bias)
    trunk.eval()
    taps = [f"relu{block}_{index}" for block in range(1, 6) for index in (1, 2)]
    encoder = VGG(known, taps, "blur")
    for key, value in trunk.folded().items():
        encoder.convolutions.get_parameter(key).data.copy_(value)
    image = torch.rand(2, 3, 40, 48)
    with torch.no_grad():
        expected, found = trunk(image), encoder.features(image, taps)
    for tap in taps:
        torch.testing.assert_close(found[tap], expected[tap], rtol=1e-4, atol=1e-4)


def test_redundancy_counts_independent_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    independent = torch.randn(4, 2, 5000, generator=generator)
    features = torch.cat([independent, 3 * independent[:, :1] + 2, -independent[:, :1]], 1)  # 2 of 4 independent
    mean, moment = features.mean(2), features @ features.mT / 5000
    # three channels correlate fully with each other, the fourth with none: sum r^2 = 9 + 1
    assert redundancy(mean, moment).item() == pytest.approx(math.log(10 / 4), abs=0.01)
    assert redundancy(mean[:, :2], moment[:, :2, :2]).item() == pytest.approx(0, abs=0.01)


def test_the_layout_target_depends_on_edges_and_not_on_contrast_or_colour() -> None:
    image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    target = layout_target(image, (16, 16))
    assert target.shape == (1, 1, 16, 16)
    darker = 0.5 + 0.4 * (image - 0.5)
    permuted = image[:, [2, 0, 1]]
    torch.testing.assert_close(layout_target(permuted, (16, 16)), target)
    similarity = torch.cosine_similarity(layout_target(darker, (16, 16)).flatten(), target.flatten(), dim=0)
    assert similarity > 0.99
    assert torch.cosine_similarity(layout_target(image.flip(-1), (16, 16)).flatten(), target.flatten(), dim=0) < 0.5


def test_adversarial_steps_begin_at_adversary_from(pictures: Path, tmp_path: Path) -> None:
    record = pretrain(_config(pictures, steps=5, adversary_from=0.4), tmp_path)
    # steps 1 and 2 use one batch each; then each batch has two steps, and the last step is cut off
    assert (record.step, record.batches) == (5, 4)
    assert "adversarial/loss" in record.values
    assert "adversarial/loss" not in pretrain(_config(pictures, steps=2, adversary=0.0), tmp_path / "none").values


@pytest.mark.long
def test_training_learns_to_tell_pictures_apart(pictures: Path, tmp_path: Path) -> None:
    config = _config(pictures, steps=60, batch_size=8, adversary=0.0, grey=0.0, log_every=60, checkpoint_every=60)
    record = pretrain(config, tmp_path)
    assert record.values["train/accuracy/relu3_1"] >= 0.75


def test_an_interrupted_training_resumes_to_the_same_weights(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(pictures)
    whole = pretrain(config, tmp_path / "whole")
    calls = iter(range(100))
    with monkeypatch.context() as patch:
        patch.setattr(Interrupts, "requested", lambda self: setattr(self, "received", 15) or next(calls) >= 1)
        with pytest.raises(Interrupted) as caught:
            pretrain(config, tmp_path / "parts")
    assert caught.value.exit_status == 143
    half = PretrainRecord.read(tmp_path / "parts")
    assert half is not None and half.status == "interrupted" and 0 < half.step < config.steps
    assert not (tmp_path / "parts" / WEIGHTS).exists()
    parts = pretrain(config, tmp_path / "parts")
    assert parts.weights_sha256 == whole.weights_sha256
    assert (parts.status, parts.step, parts.batches) == ("finished", config.steps, whole.batches)
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "parts")]
    assert [row.split(",")[0] for row in rows[0]] == [row.split(",")[0] for row in rows[1]]
    assert pretrain(config, tmp_path / "parts").ended == parts.ended, "a finished training is left as it is"


def test_a_signal_after_the_last_step_ends_the_command(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written(*arguments: object) -> None:
        write_weights(*arguments)  # type: ignore[arg-type]
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("src.pretrain.run.write_weights", written)
    with pytest.raises(Interrupted) as caught:
        pretrain(_config(pictures, steps=1), tmp_path)
    assert caught.value.exit_status == 130 and (tmp_path / WEIGHTS).exists()
    record = PretrainRecord.read(tmp_path)
    assert record is not None and record.status == "finished"


@pytest.mark.parametrize(
    ("begun", "message"),
    [
        ({"teacher_sha256": "0" * 64}, "teacher_weights=trained has changed since this run began"),
        ({"pictures_sha256": "0" * 64}, "the pictures in images=.* are not those that this training began with"),
    ],
)
def test_another_teacher_or_other_pictures_are_refused_when_a_training_resumes(
    begun: dict[str, str], message: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(pictures, teacher="vgg16")
    PretrainRecord(config=dataclasses.asdict(config), status="interrupted", **begun).write(tmp_path)  # type: ignore[arg-type]
    monkeypatch.setattr("src.pretrain.run.build_teacher", lambda *_: (None, "1" * 64))
    with pytest.raises(InputError, match=message):
        pretrain(config, tmp_path)


def test_weights_of_another_training_are_kept(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(b"of another training")
    with pytest.raises(InputError, match=rf"holds {WEIGHTS} of another training"):
        pretrain(_config(pictures), tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == b"of another training"


def test_the_weights_load_as_a_backbone(pictures: Path, tmp_path: Path) -> None:
    record = pretrain(_config(pictures, steps=1), tmp_path)
    state = safetensors.torch.load_file(tmp_path / WEIGHTS)
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert record.parameters and record.pictures == PICTURES
    encoder, digest = encoder_spec("embedded").build(Backbone(weights=str(tmp_path / WEIGHTS)), ["relu3_1"], None)
    assert digest == record.weights_sha256
    torch.testing.assert_close(encoder.convolutions["conv3_1"].bias.half(), state["conv3_1.bias"])


def test_a_different_recipe_in_the_same_folder_is_refused(pictures: Path, tmp_path: Path) -> None:
    pretrain(_config(pictures, steps=1), tmp_path)
    with pytest.raises(InputError, match=r"differs in lr, steps.*hydra\.run\.dir"):
        pretrain(_config(pictures, steps=2, lr=0.1), tmp_path)
    pretrain(_config(pictures, steps=1, log_every=7), tmp_path)
    data = json.loads((tmp_path / FILE).read_text())
    del data["config"]["blur"]  # as written before there was such an option
    (tmp_path / FILE).write_text(json.dumps(data))
    pretrain(_config(pictures, steps=1), tmp_path)


def test_the_learning_rate_rises_and_falls(pictures: Path) -> None:
    config = _config(pictures, steps=100, lr=1.0, warmup=0.1)
    module = PretrainModule(encoder_spec("embedded"), config, classes=16)
    assert [module.learning_rate(step) for step in (0, 9, 10)] == pytest.approx([0.1, 1.0, 1.0])
    assert module.learning_rate(55) == pytest.approx(0.5)
    assert module.learning_rate(100) == pytest.approx(0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images=FOLDER is needed"),
        ({"steps": 0}, "steps must be positive, not 0"),
        ({"noise": -1.0}, "noise must be zero or positive"),
        ({"warmup": 1.5}, r"warmup must be in \[0, 1\], not 1.5"),
        ({"size": 16}, "size must be a multiple of 16 of at least 32"),
        ({"size": 72}, "size must be a multiple of 16 of at least 32 px, .*; not 72$"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"zoom": [2.0, 1.0]}, "the smaller first"),
        ({"precision": "16"}, "one of: bf16, 32"),
        ({"seed": 9223372036854775807}, r"seed must be at most 4294967295"),
        ({"lr": 1e308}, r"lr must be at most 1000, not 1e\+308"),
        ({"steps": 10**20}, r"steps must be at most 10000000"),
        ({"seed": -1}, "seed must be zero or positive, not -1"),
        ({"trainer": Device(threads=0)}, r"trainer\.threads must be in 1\.\.1024, not 0"),
        ({"trainer": Device(threads=99999999999)}, r"trainer\.threads must be in 1\.\.1024"),
        ({"trainer": Device(accelerator="tpx")}, r"trainer\.accelerator=tpx is unknown; one of: auto, cpu"),
        ({"blur": -1.0}, "blur must be zero or positive, not -1"),
        ({"mix": 2.0}, r"mix must be in \[0, 1\], not 2.0"),
        ({"mix": 0.3, "teacher": "none", "texture": 1.0}, "mix=0.3 needs a teacher"),
        ({"outputs": -1.0}, "outputs must be zero or positive"),
        ({"logger": Logger(name="paper")}, "logger=paper is unknown; one of: csv"),
        ({"logger": Logger(mode="on")}, r"logger\.mode=on is unknown; one of: auto, online, offline"),
        ({"logger": Logger(tags=["x" * 65])}, r"logger\.tags: W&B takes tags of 1 to 64 characters"),
        ({"logger": Logger(project="a/b")}, r"logger\.project='a/b'"),
    ],
)
def test_bad_options_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(dataclasses.replace(PretrainConfig(images="x"), **change))  # type: ignore[arg-type]


def test_folders_without_two_pictures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_pictures(tmp_path / "nothing")
    Image.new("RGB", (20, 20)).save(tmp_path / "one.png")
    with pytest.raises(InputError, match="needs two or more readable pictures; found 1"):
        find_pictures(tmp_path)
    for name in ("~nobody/pictures", "x" * 5000):
        with pytest.raises(InputError, match="no such folder"):
            find_pictures(name)


def test_pipes_broken_links_and_damaged_pictures_are_left_out(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in pictures.glob("[01].png"):
        shutil.copy(path, tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "damaged.png").write_bytes((tmp_path / "0.png").read_bytes()[:100])
    paths = find_pictures(tmp_path)
    assert [path.name for path in paths] == ["0.png", "1.png", "damaged.png"]
    assert len(Crops(paths, PLAIN).pictures) == 2
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("left out: ") and "damaged.png" in line and "\n" not in line
    with pytest.raises(InputError, match="found 1"):
        Crops(paths[1:], PLAIN)


def test_a_damaged_checkpoint_or_record_is_one_line(pictures: Path, tmp_path: Path) -> None:
    config = _config(pictures, steps=1)
    pretrain(config, tmp_path)
    data = json.loads((tmp_path / FILE).read_text())
    (tmp_path / FILE).write_text(json.dumps({**data, "status": "running"}))
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    for damaged in ({**state, "state_dict": {}}, {**state, "optimizer_states": [{"state": {}, "param_groups": []}]}):
        torch.save(damaged, tmp_path / CHECKPOINT)
        with pytest.raises(InputError, match=r"last\.ckpt cannot be used \(.*\); delete it to start"):
            pretrain(config, tmp_path)
    for record in ([], {"config": 1}, {**data, "seconds": "long"}):
        (tmp_path / FILE).write_text(json.dumps(record))
        with pytest.raises(InputError, match="is not a record of a pretraining"):
            pretrain(config, tmp_path)


def test_a_loss_that_is_not_finite_fails_the_training(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(NonFiniteLoss, match="not finite at step"):
        pretrain(_config(pictures, lr=1000.0, warmup=0.0, weight_decay=1e30), tmp_path)
    record = PretrainRecord.read(tmp_path)
    assert record is not None and record.status == "failed" and not (tmp_path / WEIGHTS).exists()


def test_pictures_are_checked_before_a_record_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        pretrain(_config(tmp_path / "nothing"), tmp_path / "run")
    assert not (tmp_path / "run" / FILE).exists()


@pytest.mark.long
def test_the_command_resumes_after_a_kill(
    command_here: Callable[..., str], refused_here: Callable[..., str], pictures: Path, tmp_path: Path
) -> None:
    arguments = (
        *(f"images={pictures}", f"hydra.run.dir={tmp_path}", "steps=12", "batch_size=4", "size=32", "edge=48"),
        *("checkpoint_every=1", "log_every=1", "logger=csv", "trainer=cpu", "trainer.threads=1", "precision=32"),
        *(f"{name}={value}" for name, value in UNTAUGHT.items()),
    )
    with started(*arguments, module="src.pretrain") as process:
        wait_for((tmp_path / CHECKPOINT).exists, process)
        process.kill()
        process.join()
    assert json.loads((tmp_path / FILE).read_text())["status"] == "running"
    shown = command_here("src.pretrain.__main__", *arguments)
    assert "resuming at step" in shown and WEIGHTS in shown
    refused = refused_here("src.pretrain.__main__", f"images={pictures}", "lerning_rate=1")
    assert refused.startswith("error: there is no option lerning_rate") and "label_smoothing" in refused
    shown = command_here("src.pretrain.__main__", "--help")
    assert "images=null" in shown and "trainer.threads=null" in shown
    assert not any(f"trainer.{name}" in shown for name in ("compile", "memory", "kernels")), "they have no effect"


def test_the_selected_channels_explain_the_others() -> None:
    """Of four independent channels and four mixtures of two of them, the greedy choice spans all eight."""
    basis = torch.rand(500, 4, generator=torch.Generator().manual_seed(0))
    values = torch.cat([basis, basis[:, :2] @ torch.rand(2, 4, generator=torch.Generator().manual_seed(1))], 1)
    chosen = select_channels(values.T @ values / 500, 4)
    assert len(set(chosen.tolist())) == 4 and torch.linalg.matrix_rank(values[:, chosen]) == 4
    assert {2, 3} <= set(chosen.tolist())


def test_a_student_as_wide_as_its_teacher_inherits_it_exactly() -> None:
    spec = VGGSpec("embedded", ((4, 4), (6, 6)), None, "", padding="zeros")
    teacher, _ = build_vgg(spec, Backbone(name="embedded", weights="random", pool="blur"), list(spec.taps))
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(8, 3, 32, 32, generator=generator) for _ in range(4)]
    trunk = Trunk(spec)
    unexplained = inherit(trunk, teacher, batches)
    assert list(unexplained) == list(spec.channels) and max(unexplained.values()) < 1e-3
    with torch.no_grad():
        found, expected = trunk.eval()(batches[0]), teacher.features(batches[0], ["relu2_2"])["relu2_2"]
    scale = (expected * found["relu2_2"]).sum() / expected.square().sum()
    assert scale > 0 and (found["relu2_2"] - scale * expected).norm() < 0.03 * found["relu2_2"].norm()


@pytest.mark.long
def test_a_student_learns_its_teachers_activations(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher is not in the checkpoint, and a resumed training ends with the same weights."""
    spec = encoder_spec("vgg16")
    encoder, _ = build_vgg(spec, Backbone(name="vgg16", weights="random"), ["relu5_3"])  # type: ignore[arg-type]
    safetensors.torch.save_file(
        {key.removeprefix("convolutions."): value for key, value in encoder.convolutions.state_dict().items()},
        tmp_path / "vgg16.safetensors",
    )
    options = {"teacher": "vgg16", "teacher_weights": str(tmp_path / "vgg16.safetensors"), "inherit": 20, "steps": 4}
    config = _config(pictures, **options, texture=0.0, scene=0.0, layout=0.0, diversity=0.0, adversary=0.0)
    record = pretrain(config, tmp_path / "whole")
    assert record.status == "finished" and record.teacher_sha256 and record.inherited
    assert 0 < record.inherited["conv1_2"] < 0.5
    unexplained = [value for key, value in record.values.items() if key.startswith("train/unexplained/")]
    assert len(unexplained) == 12 and max(unexplained) < 1.0
    state = torch.load(tmp_path / "whole" / CHECKPOINT, weights_only=True)["state_dict"]
    assert not any("teacher" in key for key in state) and "matching.projections.relu5_1.weight" in state
    monkeypatch.setattr("src.pretrain.run.inherit", None)  # a resumed training does not fit again
    interrupted = tmp_path / "resumed"
    shutil.copytree(tmp_path / "whole", interrupted)
    (interrupted / FILE).write_text((interrupted / FILE).read_text().replace('"finished"', '"interrupted"'))
    assert pretrain(config, interrupted).status == "finished"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"teacher": "vgg12"},
            "teacher=vgg12 is unknown; did you mean vgg1.* one of: vgg16, vgg19, efficientnet_lite0, none",
        ),
        ({"texture": 0.0, "diversity": 0.0, "scene": 0.0, "layout": 0.0}, "nothing to learn"),
        ({"teacher_weights": "w.pth"}, "teacher_weights=w.pth needs a teacher"),
        ({"inherit": -1}, "inherit"),
    ],
)
def test_a_teacher_that_cannot_be_used_is_refused(pictures: Path, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check(_config(pictures, **options))
