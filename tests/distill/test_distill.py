"""Training of feed-forward networks: objective, data, resuming, evaluation, refused input."""

import dataclasses
import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.common.errors import InputError, Interrupted, NonFiniteLoss
from src.common.signals import Interrupts
from src.config.composition import compose
from src.config.schema import Logger, Loss, Picture, RunConfig, Trainer, known_picture
from src.data.folders import find_pictures
from src.data.images import read_image
from src.data.sources import sha256_of
from src.distill.config import DistillConfig, check, job_folder, objective_run, style_names
from src.distill.evaluation import evaluate
from src.distill.module import DistillModule, batch_losses
from src.distill.photographs import Photographs
from src.distill.record import FILE, DistillRecord
from src.distill.run import WEIGHTS, distill
from src.encoders.registry import encoder_spec
from src.feedforward.network import StyleNetwork
from src.feedforward.weights import load_network
from src.ops import kernels
from src.run import run
from src.training.checkpoints import CHECKPOINT
from src.transfer.objective import build_objective, used_taps
from src.transfer.terms.base import Inputs
from tests.support import wandb_files
from tests.support.photographs import write_network, write_photographs
from tests.support.processes import started, wait_for

PAINTED = ("dots", "swell")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six pictures of blobs."""
    return write_photographs(tmp_path_factory.mktemp("photographs"))


def _config(photographs: Path, **more: object) -> DistillConfig:
    """Return a training of a few seconds: a small layer set, crops of 64 px."""
    layers = compose(["layers=b", "layers.content=relu2_1"]).layers
    options: dict = {"style": known_picture("style", "dots"), "layers": layers, "logger": Logger(name="csv")}
    options |= {"trainer": Trainer(accelerator="cpu", threads=1), "precision": "32", "held_out": 0}
    options |= {"steps": 4, "batch_size": 2, "size": 64, "edge": 80, "log_every": 1, "checkpoint_every": 1}
    return DistillConfig(images=str(photographs), **{**options, **more})


@pytest.mark.parametrize(
    "loss",
    [
        Loss(),
        Loss(name="patches", patches=0.2),
        Loss(name="normalized", palette=0.0, block_weights=None, tv=0.1),
        Loss(terms=["sliced_wasserstein", "nearest"]),
        Loss(self_similarity=3.0),
    ],
    ids=["moments", "patches", "normalized", "searching", "self_similarity"],
)
def test_the_loss_of_a_batch_is_that_of_each_run(loss: Loss, photographs: Path) -> None:
    """Each image has the objective that a run of its content and style has."""
    config = _config(photographs, loss=loss)
    styles, contents = torch.rand(2, 1, 3, 64, 80), torch.rand(3, 3, 64, 64)
    images, run = torch.rand(3, 3, 64, 64), objective_run(config, config.style)
    encoder, _ = encoder_spec("embedded").build(run.backbone, used_taps(run), None)
    blank = torch.full((1, 3, 64, 64), 0.5)
    objectives = [build_objective(run, encoder, Inputs.of(blank, style)) for style in styles]
    order = [1, 0, 1]
    found = batch_losses([objectives[style] for style in order], contents, images)
    for sample, style in enumerate(order):
        one = slice(sample, sample + 1)
        alone = build_objective(run, encoder, Inputs.of(contents[one], styles[style]))(images[one])
        torch.testing.assert_close(found.total[one], alone.total, rtol=1e-4, atol=1e-5)
        assert set(alone.terms) == set(found.terms)


def test_crops_are_parts_of_their_pictures_and_depend_on_their_number_alone(photographs: Path) -> None:
    paths = find_pictures(photographs)
    first, second = (Photographs(paths, 80, 64, 3, seed=5) for _ in range(2))
    first[0], first[1]
    assert torch.equal(first[7], second[7]) and not torch.equal(first[7], first[8])
    assert first[7].shape == (3, 3, 64, 64) and first[7].min() >= 0 and first[7].max() <= 1
    whole = Photographs(paths[:2], 64, 64, 8, seed=0)  # the crop is as high as the picture: only x and mirroring vary
    for crop in whole[0]:
        sources = [torch.cat([each, each.flip(3)])[..., at : at + 64].float() / 255 for each in whole.pictures
                   for at in range(each.shape[3] - 63)]  # fmt: skip
        assert min(float((crop - source).abs().amax((1, 2, 3)).min()) for source in sources) < 0.01


def test_a_training_learns_and_draws_what_it_was_not_trained_on(photographs: Path, tmp_path: Path) -> None:
    config = _config(photographs, steps=40, held_out=2, compare=3, log_every=10, checkpoint_every=100, lr=0.01)
    record = distill(config, tmp_path)
    assert record.status == "finished" and (record.pictures, record.step, record.styles) == (4, 40, ["dots"])
    losses = [float(row.split(",")[1]) for row in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert losses[-1] < 0.8 * losses[0]
    assert {row["photograph"] for row in record.held_out} == {"1", "4"}
    for row in record.held_out:
        image = read_image(tmp_path / f"held_out/{row['photograph']}-dots.png")
        run = json.loads((tmp_path / f"held_out/{row['photograph']}-dots-3/record.json").read_text())
        assert image.size == (80, 67) and (run["width"], run["height"]) == image.size
        assert row["run"] == pytest.approx(run["captures"][-1]["losses"]["total"], rel=0.05), "measured alike"
    assert read_image(tmp_path / "held_out.jpg").width > 3 * 236
    longer = distill(dataclasses.replace(config, compare=4), tmp_path)
    assert [row["network"] for row in longer.held_out] == [row["network"] for row in record.held_out]
    assert all(row["run"] < before["run"] for row, before in zip(longer.held_out, record.held_out, strict=True))
    again = distill(dataclasses.replace(config, compare=0), tmp_path)
    assert [row["network"] for row in again.held_out] == [row["network"] for row in record.held_out]
    assert again.weights_sha256 == record.weights_sha256 and {row["run"] for row in again.held_out} == {None}
    loaded = load_network(tmp_path / WEIGHTS)
    assert loaded.styles == ("dots",) and record.parameters == sum(p.numel() for p in loaded.network.parameters())


def test_several_styles_take_turns_and_resume_to_the_same_weights(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(photographs, styles=["swell"], consistency=1.0)
    whole = distill(config, tmp_path / "whole")
    calls = iter(range(100))
    with monkeypatch.context() as patch:
        patch.setattr(Interrupts, "requested", lambda self: setattr(self, "received", 15) or next(calls) >= 1)
        with pytest.raises(Interrupted) as caught:
            distill(config, tmp_path / "parts")
    half = DistillRecord.read(tmp_path / "parts")
    assert caught.value.exit_status == 143 and half is not None and (half.status, half.step) == ("interrupted", 2)
    assert not (tmp_path / "parts" / WEIGHTS).exists()
    parts = distill(config, tmp_path / "parts")
    assert parts.styles == whole.styles == list(PAINTED)
    states = [load_network(tmp_path / each / WEIGHTS).network.state_dict() for each in ("whole", "parts")]
    for key, value in states[0].items():  # equal but for the rounding of sums in another order
        torch.testing.assert_close(states[1][key], value, atol=1e-3, rtol=1e-2, msg=key)
    assert "loss/consistency" in parts.values
    network = load_network(tmp_path / "parts" / WEIGHTS).network
    scales = network.first.norm.scale
    assert not torch.equal(scales[0], scales[1]), "each style has learned parameters of its own"
    state = torch.load(tmp_path / "parts" / CHECKPOINT, weights_only=True)["state_dict"]
    assert all(key == "batches" or key.startswith("network.") for key in state), "no encoder, no targets"
    assert distill(config, tmp_path / "parts").ended == parts.ended, "a finished training is left as it is"
    with pytest.raises(InputError, match=r"differs in consistency, styles.*hydra\.run\.dir"):
        distill(_config(photographs), tmp_path / "parts")


def test_a_training_may_start_from_another_network(photographs: Path, tmp_path: Path) -> None:
    distill(_config(photographs, steps=2), tmp_path / "first")
    start = str(tmp_path / "first" / WEIGHTS)
    swell = _config(photographs, style=known_picture("style", "swell"), start=start, lr=1e-9)
    distill(swell, tmp_path / "second")
    pair = [load_network(tmp_path / each / WEIGHTS) for each in ("first", "second")]
    assert pair[1].styles == ("swell",)
    weights = [each.network.first.convolution.weight for each in pair]
    torch.testing.assert_close(weights[1], weights[0], atol=1e-4, rtol=1e-2)
    with pytest.raises(InputError, match="is a network=small of 1 styles; this one is network=small of 2"):
        distill(_config(photographs, styles=["swell"], start=start), tmp_path / "third")


def test_noise_consistency_lowers_the_difference_that_noise_makes(photographs: Path) -> None:
    crops = torch.rand(2, 3, 64, 64)
    config = _config(photographs, consistency=10.0)
    module = DistillModule(config, StyleNetwork("small"), [])
    first, second = module._noise(crops), module._noise(crops)
    assert torch.equal(first, second) and first.std() == pytest.approx(1, abs=0.05)
    module.batches += 1
    assert not torch.equal(module._noise(crops), first)


def test_a_style_image_that_changed_ends_a_resumed_training(photographs: Path, tmp_path: Path) -> None:
    style = write_photographs(tmp_path / "styles", 2) / "0.png"
    config = _config(photographs, style=Picture(path=str(style)), steps=1)
    distill(config, tmp_path / "run")
    data = json.loads((tmp_path / "run" / FILE).read_text())
    (tmp_path / "run" / FILE).write_text(json.dumps({**data, "status": "interrupted"}))
    style.write_bytes((tmp_path / "styles/1.png").read_bytes())
    with pytest.raises(InputError, match=r"style image .*0\.png has changed since this run began"):
        distill(config, tmp_path / "run")


@pytest.mark.parametrize("log_every", [1, 100])
def test_a_loss_that_is_not_finite_fails_the_training(log_every: int, photographs: Path, tmp_path: Path) -> None:
    options = {"lr": 1000.0, "warmup": 0.0, "loss": Loss(beta=1e39), "log_every": log_every}
    with pytest.raises(NonFiniteLoss, match="not finite at step"):
        distill(_config(photographs, **options), tmp_path)
    record = DistillRecord.read(tmp_path)
    assert record is not None and record.status == "failed" and not (tmp_path / WEIGHTS).exists()
    assert not (tmp_path / CHECKPOINT).exists()


def _evaluated(config: DistillConfig, paths: list[Path], folder: Path, interrupts: Interrupts) -> list[str]:
    """Evaluate a random network on photographs; return the names of those that are in the result."""
    weights, run = write_network(folder / WEIGHTS, ["dots"]), objective_run(config, config.style)
    encoder, _ = encoder_spec("embedded").build(run.backbone, used_taps(run), None)
    rows = evaluate(config, weights, paths, [torch.rand(1, 3, 64, 80)], encoder, folder, interrupts)
    return [row["photograph"] for row in rows]


def test_held_out_photographs_of_one_name_have_pictures_of_their_own(photographs: Path, tmp_path: Path) -> None:
    other = (write_photographs(tmp_path / "other", 2) / "1.png").rename(tmp_path / "other/0.png")
    names = _evaluated(_config(photographs), [photographs / "0.png", other], tmp_path, Interrupts())
    first, second = ((tmp_path / f"held_out/{name}-dots.png").read_bytes() for name in names)
    assert first != second


def test_held_out_photographs_that_cannot_be_used_are_left_out(
    photographs: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    (odd / "damaged.png").write_bytes((photographs / "0.png").read_bytes()[:200])
    Image.new("RGB", (1200, 900)).save(odd / "large.png")
    Image.new("RGB", (200, 16)).save(odd / "narrow.png")
    config, paths = _config(photographs, max_megapixels=1.0), [*sorted(odd.iterdir()), photographs / "0.png"]
    assert _evaluated(config, paths, tmp_path, Interrupts()) == ["0"]
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    reasons = {
        "damaged": "damaged or truncated",
        "large": "the limit is 1",
        "narrow": "the content image would be 80x6 px",
    }
    assert len(warned) == len(reasons)
    for line, (name, reason) in zip(warned, reasons.items(), strict=True):
        assert f"{name}.png left out: " in line and reason in line and "\n" not in line
    large = _config(photographs, edge=100, compare=2)  # whose runs begin at 71 px
    Image.new("RGB", (300, 28)).save(odd / "narrow.png")
    assert _evaluated(dataclasses.replace(large, compare=0), [odd / "narrow.png"], tmp_path, Interrupts()) == ["narrow"]
    assert _evaluated(large, [odd / "narrow.png"], tmp_path, Interrupts()) == []


def test_a_comparison_run_that_diverges_is_left_out(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def diverging(options: RunConfig, folder: Path, progress: bool) -> None:
        if folder.name.startswith("1-"):
            raise NonFiniteLoss("the loss is not finite at step 1")
        run(options, folder, progress=progress)

    monkeypatch.setattr("src.distill.evaluation.run", diverging)
    record = distill(_config(photographs, steps=1, held_out=2, compare=1), tmp_path / "run")
    assert {row["photograph"]: row["run"] is None for row in record.held_out} == {"1": True, "4": False}
    assert "left out of the comparison: the loss is not finite at step 1" in caplog.text


def test_results_inside_the_folder_of_photographs_are_not_trained_on(photographs: Path, tmp_path: Path) -> None:
    shutil.copytree(photographs, tmp_path / "images")
    config = _config(tmp_path / "images", steps=1, held_out=1)
    record = distill(config, tmp_path / "images" / "run")
    assert (tmp_path / "images/run/held_out.jpg").exists()
    assert distill(config, tmp_path / "images" / "run").ended == record.ended  # finished
    resumed = distill(dataclasses.replace(config, compare=1), tmp_path / "images" / "run")  # reads the folder again
    assert resumed.pictures_sha256 == record.pictures_sha256 and resumed.held_out[0]["run"] is not None
    with pytest.raises(InputError, match=r"images=.* is the folder of the results; choose another folder"):
        distill(config, tmp_path / "images")
    assert not (tmp_path / "images" / FILE).exists()


def test_a_signal_after_the_last_step_ends_the_command(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = Interrupts()
    stopped.received = 2
    with pytest.raises(Interrupted):
        _evaluated(_config(photographs), find_pictures(photographs), tmp_path, stopped)
    config = _config(photographs, steps=1)
    with monkeypatch.context() as patch:  # after the last photograph
        patch.setattr("src.distill.run.evaluate", lambda *_: signal.raise_signal(signal.SIGINT) or [])
        with pytest.raises(Interrupted) as caught:
            distill(config, tmp_path / "run")
    assert caught.value.exit_status == 130
    record = DistillRecord.read(tmp_path / "run")
    assert record is not None and record.status == "finished" and (tmp_path / "run" / WEIGHTS).exists()
    assert distill(config, tmp_path / "run").ended == record.ended


def test_weights_of_another_training_are_not_taken_for_the_result(photographs: Path, tmp_path: Path) -> None:
    config, run = _config(photographs, steps=1), tmp_path / "run"
    foreign = write_network(tmp_path / WEIGHTS, ["dots"], seed=1).read_bytes()
    with pytest.raises(InputError, match=rf"holds {WEIGHTS} of another training; choose another folder"):
        distill(config, tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == foreign and not (tmp_path / FILE).exists()
    weights_sha256 = distill(config, run).weights_sha256
    expected = load_network(run / WEIGHTS).network.state_dict()
    data = json.loads((run / FILE).read_text())
    # killed between weights and record; weights replaced by others; weights deleted
    for recorded, present in ((None, (run / WEIGHTS).read_bytes()), (weights_sha256, foreign), (weights_sha256, None)):
        (run / WEIGHTS).unlink()
        if present is not None:
            (run / WEIGHTS).write_bytes(present)
        (run / FILE).write_text(json.dumps({**data, "status": "interrupted", "weights_sha256": recorded}))
        assert distill(config, run).weights_sha256 == sha256_of(run / WEIGHTS)
        # by tensors: safetensors writes its metadata in any order
        torch.testing.assert_close(load_network(run / WEIGHTS).network.state_dict(), expected, rtol=0, atol=0)


def test_other_photographs_are_refused_when_a_training_resumes(photographs: Path, tmp_path: Path) -> None:
    config = _config(photographs)
    record = DistillRecord(config=dataclasses.asdict(config), status="interrupted", pictures_sha256="0" * 64)
    record.write(tmp_path)
    with pytest.raises(InputError, match=r"the pictures in images=.* are not those that this training began with"):
        distill(config, tmp_path)


def test_a_network_that_ships_may_be_the_start() -> None:
    named = {"style": known_picture("style", "dots"), "styles": ["swell", "brushwork", "tesserae"]}
    check(DistillConfig(images="x", start="own", **named))  # type: ignore[arg-type]


def test_names_and_objective_are_those_of_the_styles() -> None:
    config = DistillConfig(style=known_picture("style", "dots"), styles=["swell", "my/new.jpg"], loss=Loss(beta=9.0))
    assert style_names(config) == ["dots", "swell", "new"]
    run = objective_run(config, config.style)
    assert (run.loss.beta, run.style.name, run.steps) == (9.0, "dots", 150)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": None}, "images=FOLDER is needed"),
        ({"steps": 0}, "steps must be positive, not 0"),
        ({"network": "large"}, "network=large is unknown; one of: small, half, johnson"),
        ({"size": 66}, "size must be a multiple of 4 of at least 64 px, not 66"),
        ({"size": 400}, "size=400 must not be above edge=356"),
        ({"styles": ["nothing"]}, "styles: nothing is unknown; a file, or one of: brushwork"),
        ({"styles": ["dots"]}, "need different names, not dots, dots"),
        (
            {"start": "/nowhere.safetensors"},
            "start=/nowhere.safetensors is no network: give a file that src.distill wrote",
        ),
        ({"style": Picture(name="dots", mask="0")}, "style.mask limits the style of a single run"),
        ({"consistency": -1.0}, "consistency must be zero or positive"),
        ({"loss": Loss(name="nothing")}, "loss=nothing is unknown"),
        ({"trainer": Trainer(threads=0)}, r"trainer\.threads must be in"),
        ({"trainer": Trainer(compile="always")}, r"trainer\.compile=always is for the runs of compare=STEPS"),
        ({"trainer": Trainer(memory="tiled")}, r"trainer\.memory=tiled is for the runs of compare=STEPS"),
    ],
)
def test_bad_options_are_refused(change: dict[str, object], message: str) -> None:
    known = DistillConfig(images="x", style=known_picture("style", "dots"))
    with pytest.raises(InputError, match=message):
        check(dataclasses.replace(known, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_kernels_are_chosen_for_the_training(
    choice: str, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    monkeypatch.setattr("src.distill.run._distill", lambda *_: found.append(kernels.enabled()))
    trainer = Trainer(accelerator="cpu", threads=1, kernels=choice)
    distill(_config(photographs, trainer=trainer), tmp_path)
    assert found == [choice == "auto"]


def test_too_few_photographs_are_refused(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="held_out=5 leaves fewer than two of 6 photographs"):
        distill(_config(photographs, held_out=5), tmp_path)
    assert not (tmp_path / FILE).exists()


@pytest.mark.long
def test_the_command_resumes_after_a_kill_and_is_tracked(
    command: Callable[..., subprocess.CompletedProcess[str]], command_here: Callable[..., str],
    refused_here: Callable[..., str], photographs: Path, tmp_path: Path,
) -> None:  # fmt: skip
    """Killed by the system, then repeated: one W&B run with every row."""
    arguments = (
        *(f"images={photographs}", f"hydra.run.dir={tmp_path}", "style=dots", "layers=b", "layers.content=relu2_1"),
        *("steps=60", "batch_size=2", "size=64", "edge=80", "held_out=1", "log_every=1", "checkpoint_every=1"),
        *("logger.mode=offline", "trainer=cpu", "trainer.threads=1", "precision=32"),
    )
    with started(*arguments, module="src.distill") as process:
        wait_for((tmp_path / CHECKPOINT).exists, process)
        wait_for(lambda: wandb_files.begun(tmp_path), process)
        process.kill()
        process.join()
    assert json.loads((tmp_path / FILE).read_text())["status"] == "running"
    done = command("src.distill", *arguments)
    assert "resuming at step" in done.stdout and WEIGHTS in done.stdout
    steps = [int(row.split(",")[0]) for row in (tmp_path / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == list(range(1, 61))
    logged = [wandb_files.load(path) for path in wandb_files.find_runs(tmp_path)]
    assert len({each.run_id for each in logged}) == 1 and logged[-1].exit_code == 0
    assert {"loss/total", "loss/content", "loss/style", "lr"} <= set(logged[-1].history[-1])
    assert logged[-1].summary["weights_sha256"] == json.loads((tmp_path / FILE).read_text())["weights_sha256"]
    refused = refused_here("src.distill.__main__", f"images={photographs}", "stlye=dots")
    assert refused.startswith("error: there is no option stlye; did you mean style")
    assert "network=small" in command_here("src.distill.__main__", "--help")


def test_trainings_that_differ_in_an_option_have_folders_of_their_own() -> None:
    one = DistillConfig(images="photos", style=Picture(name="dots"))
    name = job_folder(one)
    assert name.startswith("dots-small-") and job_folder(dataclasses.replace(one, compare=9)) == name
    assert job_folder(dataclasses.replace(one, loss=dataclasses.replace(one.loss, beta=5.0))) != name
