"""Many pairs at once: each ends as it would alone, whatever becomes of the others."""

import csv
import itertools
import logging
import math
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from src.common.errors import InputError, NonFiniteLoss
from src.config.schedule import Stage
from src.config.schema import RunConfig, picture_name
from src.run import resume, run, run_batch
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training import callbacks, loop
from src.training.checkpoints import CHECKPOINT
from src.training.context import RunContext
from src.training.grouping import grouped
from src.training.logs import CURRENT_RUN
from src.training.loop import find_device
from src.training.module import StyleTransferModule
from src.training.setup import PreparedRun
from tests.conftest import SMALL
from tests.support import wandb_files
from tests.support.pictures import write_smooth_picture
from tests.support.processes import started, wait_for

# Pairs that share nothing but their size and their steps: weights of all kinds, styles of three shapes.
PAIRS = (
    ("style=dots", "loss.alpha=1", "loss.beta=10"),
    ("style=swell", "loss.alpha=3", "loss.beta=2", "layers.weights=[0.9,0.1]"),
    ("content=coffee", "fit=squash", "style=tesserae", "loss.alpha=0", "loss.beta=40"),
)
QUICK = ("edge=32", "fit=squash", "init=content", "log_every=10", "logger=csv", "checkpoint_every=100")
QUICK += ("optimizer.lr=0.01",)  # which does not make much of a rounding error


def _together(configs: Sequence[RunConfig], folder: Path) -> list[RunRecord | BaseException]:
    return run_batch([(config, folder / str(number)) for number, config in enumerate(configs)])


def _names(record: RunRecord) -> tuple[str, str]:
    return picture_name(record.options.content), picture_name(record.options.style)


def _rows(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def _curves(folder: Path) -> list[dict[str, str]]:
    told = ("step", "loss", "eval")
    return [{key: value for key, value in row.items() if key.startswith(told)} for row in _rows(folder)]


def _same(one: Path, other: Path) -> None:
    """Bit for bit: picture, losses, curves, and what a resumed run would go on from."""
    assert (one / "image.png").read_bytes() == (other / "image.png").read_bytes()
    first, second = records.read(one), records.read(other)
    assert first and second
    for name in ("status", "stopped", "error", "step", "evaluations", "initial_loss", "ssim", "gram_distance"):
        assert getattr(first, name) == getattr(second, name), name
    for name in ("step", "losses", "ssim"):
        assert [getattr(each, name) for each in first.captures] == [getattr(each, name) for each in second.captures]
    if (one / "metrics.csv").exists() and (other / "metrics.csv").exists():
        curves = [
            [
                {key: value for key, value in row.items() if key.startswith(("step", "loss", "eval"))}
                for row in _rows(each)
            ]
            for each in (one, other)
        ]
        assert curves[0] == curves[1]
    assert (one / CHECKPOINT).exists() == (other / CHECKPOINT).exists()
    if (one / CHECKPOINT).exists():
        states = [torch.load(each / CHECKPOINT, weights_only=True) for each in (one, other)]
        assert states[0].keys() == states[1].keys()
        assert states[0]["step"] == states[1]["step"]
        for name in ("evaluations", "initial_loss"):
            assert states[0]["counters"][name] == states[1]["counters"][name]
        tensors = [
            [*state["state_dict"].values(), *(each for taps in state["search"].values() for each in taps.values())]
            + [value for part in state["optimizer_states"][0]["state"].values() for value in part.values()]
            for state in states
        ]
        assert all(torch.equal(*pair) for pair in zip(*tensors, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "precision", "steps", "tolerance"),
    [
        ("patches", "64", 6, 1e-6),  # two of the style's patches may all but tie
        ("moments", "64", 10, 1e-6),  # the palette term sorts values that may all but tie
        *((loss, "64", 10, 1e-8) for loss in ("normalized", "equations", "published")),
    ],
)
def test_a_batch_evaluated_as_one_equals_single_runs(
    loss: str, precision: str, steps: int, tolerance: float, small: Callable, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """What a GPU does, which evaluates all samples together. In float64 nothing is left to blame on rounding."""
    monkeypatch.setattr(loop, "default_at_once", lambda device, pairs: 8)
    space = "canvas.space=normalized" if loss == "published" else "canvas.space=laplacian"
    configs = [
        small(*QUICK, f"loss={loss}", space, *pair, f"steps={steps}", f"precision={precision}") for pair in PAIRS
    ]
    together = _together(configs, tmp_path)
    for number, config in enumerate(configs):
        alone = run(config, tmp_path / f"alone{number}")
        record = together[number]
        assert isinstance(record, RunRecord) and record.batch == 3 and alone.batch == 1
        assert record.status == "finished" and record.evaluations == alone.evaluations == steps
        for mine, theirs in zip(record.captures, alone.captures, strict=True):
            assert mine.step == theirs.step
            assert mine.losses["total"] == pytest.approx(theirs.losses["total"], rel=tolerance)
            assert mine.losses["content"] == pytest.approx(
                theirs.losses["content"], rel=max(1e-6, 10 * tolerance)
            )  # patches may all but tie
        mine, theirs = _rows(tmp_path / str(number)), _rows(tmp_path / f"alone{number}")
        assert [row["step"] for row in mine] == [row["step"] for row in theirs]
        assert mine[0].keys() == theirs[0].keys(), "the columns are those of its own weights"
    assert len({record.captures[-1].losses["total"] for record in together}) == 3


def test_on_a_cpu_a_pair_is_what_it_would_be_alone_to_the_bit(small: Callable, tmp_path: Path) -> None:
    more = ("schedule=pyramid", "schedule.sizes=2", "edge=96", "steps=24", "captures=[0,5,24]", "checkpoint_every=7")
    configs = [small(*QUICK, *more, *pair) for pair in PAIRS]
    together = _together(configs, tmp_path)
    for number, config in enumerate(configs):
        run(config, tmp_path / f"alone{number}")
        assert isinstance(together[number], RunRecord)
        _same(tmp_path / str(number), tmp_path / f"alone{number}")


def _explode(monkeypatch: pytest.MonkeyPatch, sample: int) -> None:
    """Make the gradient of one sample NaN at the third step."""
    steps, evaluate = itertools.count(), StyleTransferModule._forward_backward

    def exploding(self: StyleTransferModule) -> Any:
        found = evaluate(self)
        if next(steps) == 2:
            for parameter in self.image.parameters():
                parameter.grad[sample] = math.nan
        return found

    monkeypatch.setattr(StyleTransferModule, "_forward_backward", exploding)


def test_a_loss_that_is_not_finite_after_a_change_of_size_keeps_the_last_picture(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image is first judged by the next stage, which has another size."""
    base = ("edge=96", "schedule=pyramid", "schedule.sizes=2", "steps=6", "captures=[1,6]")
    _explode(monkeypatch, sample=0)  # in the last step of the first stage
    with pytest.raises(NonFiniteLoss, match="not finite at step 3; the picture of step 1 is kept"):
        run(small(*base), tmp_path / "run")
    picture = (tmp_path / "run/image.png").read_bytes()
    with pytest.raises(NonFiniteLoss):  # goes on from the checkpoint at the end of the stage
        run(small(*base), tmp_path / "run")
    assert (tmp_path / "run/image.png").read_bytes() == picture


@pytest.mark.long
@pytest.mark.parametrize("at_once", [1, 8])
def test_those_that_end_leave_the_others_as_they_would_be_alone(
    at_once: int, small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One goes non-finite, one reaches its loss, one has no picture, one's disk is full; two go on to the end."""
    monkeypatch.setattr(loop, "default_at_once", lambda device, pairs: at_once)
    base = (*QUICK, "loss=equations", "steps=12", "captures=[6,12]")
    reached = run(small(*base, "style=swell"), tmp_path / "whole").captures[0].losses["total"] * 1.0001
    missing = ("content=file", f"content.path={tmp_path}/missing.png")
    jobs = [
        small(*base, "style=dots"),
        small(*base, "loss.alpha=3"),
        small(*base, "style=swell", f"stop_at_loss={reached}"),
        small(*base, *missing),
        small(*base, "style=tesserae", "loss.beta=1"),
        small(*base, "style=tesserae"),
    ]
    capture = callbacks.capture

    def full(module: StyleTransferModule, sample: int, run: PreparedRun) -> None:
        if run.context.folder.name == "5":
            raise InputError("cannot write: No space left on device")
        capture(module, sample, run)

    monkeypatch.setattr(callbacks, "capture", full)
    _explode(monkeypatch, sample=1)
    found = _together(jobs, tmp_path)
    assert [type(each) for each in found] == [RunRecord, NonFiniteLoss, RunRecord, InputError, RunRecord, InputError]
    assert "not finite at step 3; the picture of step 2 is kept" in str(found[1])
    assert "no such file" in str(found[3]) and "No space left" in str(found[5])
    assert found[2].stopped == "loss reached" and found[2].step == found[2].evaluations < 12
    statuses = [records.read(tmp_path / str(number)).status for number in (0, 1, 2, 4, 5)]
    assert statuses == ["finished", "failed", "finished", "finished", "failed"]
    assert not (tmp_path / "3").exists(), "a missing file is reported before the folder exists"
    for number in (0, 2, 4):
        folder = tmp_path / f"alone{number}"
        run(jobs[number], folder)
        if at_once == 1:
            _same(tmp_path / str(number), folder)
        else:
            losses = [records.read(each).captures[-1].losses["total"] for each in (tmp_path / str(number), folder)]
            # Adam amplifies the rounding of float32
            assert losses[0] == pytest.approx(losses[1], rel=1e-3) and math.isfinite(losses[0])


def test_noise_is_drawn_from_the_seed_of_each_pair(small: Callable, tmp_path: Path) -> None:
    common = ("edge=32", "fit=squash", "init=noise", "steps=3")
    own = (("style=dots", "loss.beta=1"), ("style=dots", "loss.beta=9"), ("style=swell",), ("style=dots", "seed=4"))
    jobs = [small(*common, *each) for each in own]
    found = run_batch([(job, tmp_path / str(number)) for number, job in enumerate(jobs)], at_once=2)
    for number, job in enumerate(jobs):
        assert isinstance(found[number], RunRecord)
        alone = run(job, tmp_path / f"alone{number}")
        assert found[number].initial_loss == pytest.approx(alone.initial_loss, rel=1e-5)
        assert found[number].captures[-1].losses["total"] == pytest.approx(alone.captures[-1].losses["total"], rel=1e-4)


def test_an_error_of_a_batch_is_logged_once_for_each_run(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the device is gone")

    monkeypatch.setattr(loop, "_build_module", broken)
    folders = [tmp_path / str(number) for number in range(3)]
    logged: list[tuple[str, Path | None]] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            logged.append((record.getMessage(), CURRENT_RUN.get()))

    handler = Kept(logging.ERROR)
    logging.getLogger().addHandler(handler)
    try:
        ended = run_batch([(small(*QUICK, "style=dots"), folder) for folder in folders])
    finally:
        logging.getLogger().removeHandler(handler)
    assert [str(error) for error in ended] == ["the device is gone"] * 3
    assert logged == [("the run failed", folder) for folder in folders], "each in the log of its own run"


def test_targets_are_measured_once_for_each_picture(small: Callable, tmp_path: Path) -> None:
    configs = [small(*QUICK, *pair) for pair in (*PAIRS[:2], ("style=swell", "content=coffee", "loss.beta=1"))]
    shared, objectives = None, []
    for number, config in enumerate(configs):
        context = RunContext(config, tmp_path / str(number))
        context.check()
        prepared = PreparedRun(context, find_device(config.trainer), shared)
        shared = prepared.shared
        prepared.enter(Stage(32, 0, 6), None, fresh=True)
        objectives.append(prepared.pair.objective)
    first, second, third = ({name: term.target for name, term in each.terms.items()} for each in objectives)
    assert first["content"] is second["content"] is not third["content"]
    for name in ("style", "patches", "palette"):
        assert second[name] is third[name] is not first[name]
    assert objectives[0].encoder is objectives[2].encoder


def test_what_goes_together(small: Callable, tmp_path: Path) -> None:
    wide, tall = tmp_path / "wide.png", tmp_path / "tall.png"
    write_smooth_picture(wide, 48, 64)
    write_smooth_picture(tall, 64, 48)
    own = ("loss.alpha=2", "seed=5", "layers.weights=[1,0]", "stop_at_loss=0.1", "logger=csv")
    jobs = [
        small(),
        small("optimizer=lbfgs"),
        small("style=dots", *own),
        small("steps=7"),
        small("content=file", f"content.path={wide}"),
        small("content=file", f"content.path={tall}"),
        None,
        small("content=file", f"content.path={tmp_path}/missing.png"),
        small("content=file", f"content.path={wide}", "loss.beta=3"),
        small(),
        small("loss.tv=1"),
        small("style=swell"),
        small("optimizer=lbfgs", "style=dots"),
        small("trainer.memory=tiled", "style=tesserae"),
        small("trainer.memory=tiled", "style=dots"),
    ]
    found = grouped(jobs, size=16)
    assert found.together == [[0, 2, 11], [4, 8], [13, 14]]
    assert found.alone == [1, 3, 5, 6, 7, 9, 10, 12], "the same again waits for the first of its kind"
    assert set(found.reasons) == {1, 12}
    assert grouped(jobs, size=2).together == [[0, 2], [4, 8], [13, 14]]
    assert grouped(jobs, size=1).together == []


@pytest.mark.long
def test_a_sweep_in_batches(
    command_here: Callable, small: Callable, tmp_path: Path, capsys: pytest.CaptureFixture, wandb_settings: None
) -> None:
    import wandb

    for number, name in enumerate(("a", "b")):
        write_smooth_picture(tmp_path / f"{name}.png", 48, 64, seed=number)
    folder = tmp_path / "sweep"
    batch = ("hydra/launcher=batch", "hydra.launcher.size=4", f"hydra.sweep.dir={folder}")

    def sweep(*names: str) -> tuple[str, ...]:
        paths = ",".join(f"{tmp_path}/{name}.png" for name in names)
        return ("-m", *SMALL, "logger=wandb", "content=file", f"content.path={paths}", "style=dots,swell", *batch)

    with pytest.raises(SystemExit) as ended:
        command_here("src.train", *sweep("a", "missing", "b"))
    printed = capsys.readouterr()
    assert ended.value.code == 1, printed
    assert "[1-2,5-6/6]" in printed.out and "[3/6]" in printed.out
    assert printed.err.startswith("error: 2 of 6 jobs failed") and printed.err.count("no such file") == 1
    wandb.teardown()  # waits until the files are complete
    runs = list(records.scan(folder))
    assert [record.batch for _, record in runs] == [4] * 4, "a missing file leaves nothing that looks like a run"
    for path, record in runs:
        [offline] = wandb_files.find_runs(path)
        seen = wandb_files.load(offline)
        assert (seen.run_id, seen.name, seen.group) == (record.wandb_id, path.name, "sweep")
        assert (path / ".hydra" / "overrides.yaml").is_file()
        log = (path / "train.log").read_text()
        assert record.status == "finished" and seen.exit_code == 0 and seen.config["batch"] == record.batch
        assert [row["step"] for row in seen.history] == [0, 2, 4, 6]
        assert [row["loss/total"] for row in seen.history[1:]] == [each.losses["total"] for each in record.captures]
        content, style = _names(record)
        assert log.count(" in the style of ") == 1 and f"{content} in the style of {style}" in log
    alone = run(small("content=file", f"content.path={tmp_path}/b.png", "style=swell"), tmp_path / "alone")
    [same] = [
        path
        for path, record in runs
        if (picture_name(record.options.content), picture_name(record.options.style)) == ("b", "swell")
    ]
    assert alone.status == "finished"
    _same(same, tmp_path / "alone")
    assert command_here("src.train", *sweep("a", "b")).count("already finished") == 4


# Slow enough to be caught in the middle: some 20 ms a step of each pair, at two sizes.
LONG = ("edge=96", "schedule=pyramid", "schedule.sizes=2", "steps=30", "checkpoint_every=7", "captures=[20,30]")
SWEEP = (*SMALL, *LONG, "logger=csv", "init=content", "style=dots,swell,tesserae")


def _alone(small: Callable, style: str, folder: Path) -> Path:
    run(small(*LONG, "logger=csv", "init=content", f"style={style}"), folder)
    return folder


@pytest.mark.long
def test_kill_9_in_a_batch_and_each_goes_on_from_its_own_checkpoint(
    small: Callable, command_here: Callable, tmp_path: Path
) -> None:
    sweep = ("-m", *SWEEP, "hydra/launcher=batch", f"hydra.sweep.dir={tmp_path}/sweep")
    with started(*sweep) as process:
        wait_for(lambda: len(list(tmp_path.glob(f"sweep/*/{CHECKPOINT}"))) == 3, process)
        process.kill()
        process.join()
    folders = {picture_name(record.options.style): path for path, record in records.scan(tmp_path / "sweep")}
    assert {records.read(folder).status for folder in folders.values()} == {"running"}
    assert resume(folders["dots"]).batch == 1
    shown = command_here("src.train", *sweep)
    assert "already finished" in shown and shown.count("resuming at step") == 2
    assert records.read(folders["swell"]).batch == 2
    for style in ("dots", "swell"):
        _same(folders[style], _alone(small, style, tmp_path / style))


@pytest.mark.long
def test_ctrl_c_in_a_batch_keeps_all_and_the_same_command_goes_on(
    small: Callable, command_here: Callable, tmp_path: Path
) -> None:
    sweep = ("-m", *SWEEP, "hydra/launcher=batch", "hydra.launcher.size=2", f"hydra.sweep.dir={tmp_path}/sweep")
    with started(*sweep) as process:
        wait_for(lambda: len(list(tmp_path.glob(f"sweep/*/{CHECKPOINT}"))) == 2, process)
        process.send_signal(signal.SIGINT)
        done = process.finish()
    assert done.returncode == 128 + signal.SIGINT, done
    output = done.stdout + done.stderr
    assert "interrupted in job 1-2 of 3" in output and "style=tesserae" in output.partition("not run:")[2]
    assert "Traceback" not in output
    for path, record in records.scan(tmp_path / "sweep"):
        assert record.status == "interrupted" and record.captures[-1].step == record.step < 30
        assert torch.load(path / CHECKPOINT, weights_only=True)["step"] == record.step
    shown = command_here("src.train", *sweep)
    assert shown.count("resuming at step") == 2 and "[3/3]" in shown
    folders = {picture_name(record.options.style): path for path, record in records.scan(tmp_path / "sweep")}
    _same(folders["swell"], _alone(small, "swell", tmp_path / "swell"))


def test_networks_with_sizes_of_their_own_share_batches_of_equal_styles_alone(small: Callable, tmp_path: Path) -> None:
    for side in (48, 60):
        Image.new("RGB", (64, side), "teal").save(tmp_path / f"{side}.png")
    styles = [f"style.path={tmp_path / f'{side}.png'}" for side in (48, 60, 60)]
    options = ("backbone=squeezenet", "backbone.weights=random", "layers=d", "edge=64", "style=file")
    for loss, together in (("patches", [[1, 2]]), ("moments", [[0, 1, 2]])):
        jobs = [small(*options, f"loss={loss}", style, f"seed={seed}") for seed, style in enumerate(styles)]
        assert grouped(jobs, 8).together == together
