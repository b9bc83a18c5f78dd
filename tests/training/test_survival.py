"""Kills, signals and sweeps that are started again: with real processes and real signals."""

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from src.common.errors import InputError
from src.config.schema import picture_name
from src.data.images import read_image
from src.run import resume, run
from src.tracking import record as records
from src.training.checkpoints import CHECKPOINT
from tests.conftest import SMALL
from tests.support import ROOT
from tests.support.processes import started, wait_for
from tests.support.runs import signalled_at_the_end

# Slow enough to be caught in the middle: some 20 ms a step, at two sizes.
LONG = ("edge=96", "schedule=pyramid", "steps=80", "checkpoint_every=7", "captures=[20,80]", "logger=csv")


def _same_end(folder: Path, reference: Path) -> None:
    """The pictures, the losses and the optimiser's state are bit-identical."""
    assert (folder / "image.png").read_bytes() == (reference / "image.png").read_bytes()
    one, two = (torch.load(each / CHECKPOINT, weights_only=True) for each in (folder, reference))
    assert one["state_dict"].keys() == two["state_dict"].keys()
    assert all(torch.equal(value, two["state_dict"][name]) for name, value in one["state_dict"].items())
    assert one["step"] == two["step"] and one["counters"]["evaluations"] == two["counters"]["evaluations"]
    first, second = records.read(folder), records.read(reference)
    for name in ("step", "losses", "ssim"):
        values = [[getattr(each, name) for each in record.captures] for record in (first, second)]
        assert values[0] == values[1]
    assert first.status == second.status == "finished"
    rows = [
        [line.split(",")[:4] for line in (each / "metrics.csv").read_text().split()] for each in (folder, reference)
    ]
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_kill_9_and_resume_end_bit_identical(small: Callable, command: Callable, tmp_path: Path) -> None:
    overrides = (*LONG, "init=recolored")
    folder = tmp_path / "killed"
    with started(*SMALL, *overrides, f"hydra.run.dir={folder}") as process:
        wait_for((folder / CHECKPOINT).exists, process)
        process.kill()
        process.join()
    assert json.loads((folder / "record.json").read_text())["status"] == "running"
    assert "resuming at step" in command("src.train", f"resume={folder}").stdout
    assert not (ROOT / "outputs").exists()
    run(small(*overrides), tmp_path / "whole")
    _same_end(folder, tmp_path / "whole")


@pytest.mark.long
def test_kill_9_before_the_first_checkpoint_starts_again(small: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    overrides = (*LONG, "steps=20", "captures=[10,20]", "checkpoint_every=15")
    with started(*SMALL, *overrides, f"hydra.run.dir={folder}") as process:
        wait_for((folder / "record.json").exists, process)
        process.kill()
        process.join()
    assert not (folder / CHECKPOINT).exists()
    # Killed a moment earlier still, all there is is what Hydra wrote.
    shutil.copytree(folder / ".hydra", tmp_path / "earlier" / ".hydra")
    for each in (folder, tmp_path / "earlier"):
        assert resume(each).status == "finished"
    _same_end(folder, tmp_path / "earlier")
    run(small(*overrides), tmp_path / "whole")
    _same_end(folder, tmp_path / "whole")


@pytest.mark.long
def test_sigterm_keeps_picture_and_checkpoint(small: Callable, command: Callable, tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    with started(*SMALL, *LONG, f"hydra.run.dir={folder}") as process:
        wait_for((folder / CHECKPOINT).exists, process)
        process.send_signal(signal.SIGTERM)
        done = process.finish()
    assert done.returncode == 128 + signal.SIGTERM, done
    record = records.read(folder)
    assert record.status == "interrupted" and record.error == "signal 15"
    assert 7 <= record.step < 80 and record.captures[-1].step == record.step
    assert (folder / record.captures[-1].file).is_file()
    assert read_image(folder / "image.png").size == (96, 96), "the size of the result, whatever the stage's"
    assert torch.load(folder / CHECKPOINT, weights_only=True)["step"] == record.step
    assert f"resume={folder}" in done.stderr and "Traceback" not in done.stdout + done.stderr
    resume(folder)
    run(small(*LONG), tmp_path / "whole")
    _same_end(folder, tmp_path / "whole")


@pytest.mark.long
@pytest.mark.parametrize("launcher", ["sequential", "batch"])
def test_a_signal_while_a_run_is_finished_stops_the_sweep_after_it(
    launcher: str, command_here: Callable, tmp_path: Path
) -> None:
    sweep = ("-m", *SMALL, "steps=1", "style=dots,swell,tesserae", f"hydra.sweep.dir={tmp_path}")
    options = (f"hydra/launcher={launcher}", *(["hydra.launcher.size=2"] if launcher == "batch" else []))
    with signalled_at_the_end(signal.SIGTERM), pytest.raises(SystemExit) as ended:
        command_here("src.train", *sweep, *options)
    assert ended.value.code == 128 + signal.SIGTERM
    first = ["dots"] if launcher == "sequential" else ["dots", "swell"]
    found = {picture_name(record.options.style): record.status for _, record in records.scan(tmp_path)}
    assert found == dict.fromkeys(first, "finished")
    assert "already finished" in command_here("src.train", *sweep, *options)
    assert [record.status for _, record in records.scan(tmp_path)] == ["finished"] * 3


@pytest.mark.long
def test_ctrl_c_in_a_sweep_lists_the_rest_and_the_same_command_goes_on(command_here: Callable, tmp_path: Path) -> None:
    sweep = (*SMALL, *LONG, "steps=40", "captures=[20,40]", "style=dots,swell,tesserae", f"hydra.sweep.dir={tmp_path}")

    def second_job_is_at_work() -> bool:
        return any(path.parent.name.startswith("astronaut-swell") for path in tmp_path.glob(f"*/{CHECKPOINT}"))

    with started("-m", *sweep) as process:
        wait_for(second_job_is_at_work, process)
        process.send_signal(signal.SIGINT)
        done = process.finish()
    assert done.returncode == 128 + signal.SIGINT, done
    assert "[2/3]" in done.stdout
    assert done.stderr.splitlines()[-1] == f"interrupted; to resume: repeat the command with hydra.sweep.dir={tmp_path}"
    rest = (done.stdout + done.stderr).partition("not run:")[2]
    assert "style=tesserae" in rest and "style=dots" not in rest
    statuses = {picture_name(record.options.style): record.status for _, record in records.scan(tmp_path)}
    assert statuses == {"dots": "finished", "swell": "interrupted"}
    finished = next(folder for folder, record in records.scan(tmp_path) if picture_name(record.options.style) == "dots")
    before = (finished / "record.json").read_bytes()

    shown = command_here("src.train", "-m", *sweep)
    assert "already finished" in shown and "resuming at step" in shown
    assert {picture_name(record.options.style): record.status for _, record in records.scan(tmp_path)} == {
        "dots": "finished", "swell": "finished", "tesserae": "finished",
    }  # fmt: skip
    assert (finished / "record.json").read_bytes() == before


def test_a_checkpoint_of_another_size_is_refused_in_one_line(small: Callable, tmp_path: Path) -> None:
    run(small("steps=3", "stop_at_loss=1e-9"), tmp_path)
    state = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    state["state_dict"]["image.changes.0"] = state["state_dict"]["image.changes.0"][..., 1:-1, 1:-1]
    state["step"] = 2
    torch.save(state, tmp_path / CHECKPOINT)
    record = json.loads((tmp_path / "record.json").read_text())
    (tmp_path / "record.json").write_text(json.dumps({**record, "status": "running", "step": 2}))
    with pytest.raises(InputError, match=r"last.ckpt cannot be used \(.*size mismatch.*\); delete it"):
        resume(tmp_path)
