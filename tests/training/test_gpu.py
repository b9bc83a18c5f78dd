"""A GPU gives the results of the CPU, one pair or a batch at a time, and stops and resumes as the CPU does."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from src.config.schema import Backbone, Logger, RunConfig, Trainer
from src.data.images import read_image
from src.encoders.registry import encoder_spec
from src.encoders.weights import build_vgg
from src.pretrain.config import PretrainConfig
from src.pretrain.run import pretrain
from src.run import resume, run, run_batch
from src.tracking.record import RunRecord
from tests.support.pictures import write_smooth_picture
from tests.support.runs import metric_rows, run_until

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")

# Six steps in float64 leave no difference to rounding; the palette term and the patch search may break ties otherwise.
EXACT = ("precision=64", "optimizer.lr=0.01", "logger=csv")
LOSSES = {"patches": 1e-5, "moments": 1e-6, "normalized": 1e-8, "equations": 1e-8, "published": 1e-8}


def _total(record: RunRecord) -> float:
    return record.captures[-1].losses["total"]


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_equal_the_cpus(loss: str, small: Callable[..., RunConfig], tmp_path: Path) -> None:
    ours = run(small(f"loss={loss}", *EXACT, "trainer=gpu"), tmp_path / "gpu")
    theirs = run(small(f"loss={loss}", *EXACT), tmp_path / "cpu")
    assert ours.device == torch.cuda.get_device_name() and ours.initial_loss == pytest.approx(
        theirs.initial_loss, rel=1e-9
    )
    for mine, other in zip(ours.captures, theirs.captures, strict=True):
        assert mine.losses == pytest.approx(other.losses, rel=LOSSES[loss], abs=1e-12)
        assert mine.ssim == pytest.approx(other.ssim, abs=1e-4)
    assert read_image(tmp_path / "gpu/image.png").size == read_image(tmp_path / "cpu/image.png").size


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("compile", ["never", "always"])
def test_precision_and_compilation_change_little(
    precision: str, compile: str, small: Callable[..., RunConfig], tmp_path: Path
) -> None:
    more = ("loss=moments", "canvas.space=pixel", "steps=20", "optimizer.lr=0.01")
    reference = run(small(*more, "precision=64"), tmp_path / "cpu")
    found = run(small(*more, "trainer=gpu", f"precision={precision}", f"trainer.compile={compile}"), tmp_path / "gpu")
    assert _total(found) == pytest.approx(_total(reference), rel=0.03 if precision == "bf16" else 2e-3)


@pytest.mark.parametrize("memory", ["checkpointed", "tiled"])
def test_saving_memory_changes_no_result(memory: str, small: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = small(*EXACT, "loss=moments", "edge=160", "trainer=gpu")
    whole = run(config, tmp_path / "whole")
    saving = run(
        small(*EXACT, "loss=moments", "edge=160", "trainer=gpu", f"trainer.memory={memory}"), tmp_path / memory
    )
    assert _total(saving) == pytest.approx(_total(whole), rel=1e-6)
    assert (saving.peak_mib or 0) < (whole.peak_mib or 0)


@pytest.mark.parametrize("space", ["pixel", "laplacian"])
@pytest.mark.parametrize("init", ["recolored", "noise"])
def test_each_size_of_a_pyramid_goes_on_from_the_one_before(
    init: str, space: str, small: Callable[..., RunConfig], tmp_path: Path
) -> None:
    """Between two sizes the picture is resized on the device, after Lightning has moved its module to the CPU."""
    pyramid = ("schedule=pyramid", "schedule.sizes=2", "edge=128", "steps=9", f"init={init}", f"canvas.space={space}")
    ours = run(small(*EXACT, *pyramid, "loss=moments", "trainer=gpu"), tmp_path / "gpu")
    theirs = run(small(*EXACT, *pyramid, "loss=moments"), tmp_path / "cpu")
    assert ours.width == theirs.width == 128 and len(ours.memory) == 2
    assert _total(ours) == pytest.approx(_total(theirs), rel=1e-5)


def test_a_batch_equals_single_runs(small: Callable[..., RunConfig], tmp_path: Path) -> None:
    """All pairs are evaluated together."""
    more = (*EXACT, "loss=moments", "fit=squash", "trainer=gpu", "steps=12")
    configs = [small(*more, f"style={style}") for style in ("dots", "swell", "tesserae")]
    together = run_batch([(config, tmp_path / str(number)) for number, config in enumerate(configs)])
    for number, (config, record) in enumerate(zip(configs, together, strict=True)):
        assert isinstance(record, RunRecord) and record.batch == 3
        alone = run(config, tmp_path / f"alone{number}")
        assert _total(record) == pytest.approx(_total(alone), rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(
    optimizer: str, small: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = small(*EXACT, "loss=normalized", f"optimizer={optimizer}", "trainer=gpu", "steps=8")
    whole = run(config, tmp_path / "whole")
    run_until(3, config, tmp_path / "parts")
    parts = resume(tmp_path / "parts")
    assert parts.evaluations == whole.evaluations
    assert _total(parts) == pytest.approx(_total(whole), rel=1e-9)
    steps = [[row["step"] for row in metric_rows(tmp_path / name)] for name in ("whole", "parts")]
    assert steps[0] == steps[1]


def test_the_embedded_backbone_is_taught_as_on_the_cpu(tmp_path: Path) -> None:
    """Batches come from other processes there, in the same order."""
    (tmp_path / "pictures").mkdir()
    for number in range(6):
        write_smooth_picture(tmp_path / "pictures" / f"{number}.png", 64, 64, number)
    weights = tmp_path / "vgg16.safetensors"
    encoder, _ = build_vgg(encoder_spec("vgg16"), Backbone(name="vgg16", weights="random"), ["relu5_3"])
    safetensors.torch.save_file(encoder.convolutions.state_dict(), weights)
    small = {"steps": 4, "batch_size": 3, "size": 32, "inherit": 20, "precision": "32", "logger": Logger(name="none")}
    values = []
    for accelerator in ("cpu", "gpu"):
        config = PretrainConfig(
            images=str(tmp_path / "pictures"), teacher_weights=str(weights), trainer=Trainer(accelerator), **small
        )
        values.append(pretrain(config, tmp_path / accelerator).values["train/loss"])
    assert values[1] == pytest.approx(values[0], rel=0.02)
