"""Real workers on real runs: failing jobs, kills, signals, batches, and a lease that is lost in the middle of a run."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

from src.sweep.queue import FAILED, FINISHED, Queue
from src.tracking import record as records
from src.training.checkpoints import CHECKPOINT
from src.training.pair import Pair
from tests.conftest import SMALL
from tests.support.processes import started, wait_for

LONG = ("edge=96", "schedule=pyramid", "steps=40", "checkpoint_every=5", "captures=[20,40]", "logger=csv")


@pytest.fixture
def queued(command_here: Callable, tmp_path: Path) -> Callable[..., tuple[Queue, str]]:
    """Write the queue of a sweep of the small run; return it and its folder."""

    def write(*overrides: str, launcher: tuple[str, ...] = ()) -> tuple[Queue, str]:
        folder = tmp_path / "sweep"
        shown = command_here(
            "src.train", "-m", *SMALL, *overrides, "hydra/launcher=queue", *launcher, f"hydra.sweep.dir={folder}"
        )
        assert f"python -m src.sweep worker {folder}" in shown
        return Queue(folder), str(folder)

    return write


def same_runs(sweep: Path, reference: Path) -> None:
    """Every run of a sweep has the pictures, losses and image of the reference's."""
    found = list(records.scan(reference))
    assert found
    for folder, record in found:
        other = sweep / folder.name
        again = records.read(other)
        assert again.status == record.status
        for name in ("step", "losses", "ssim"):
            assert [getattr(each, name) for each in again.captures] == [getattr(each, name) for each in record.captures]
        if record.status == "finished":
            for picture in [folder / "image.png", *(folder / "captures").iterdir()]:
                assert (other / picture.relative_to(folder)).read_bytes() == picture.read_bytes()
            one, two = (torch.load(each / CHECKPOINT, weights_only=True)["state_dict"] for each in (folder, other))
            assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.slow
def test_a_worker_runs_what_the_sweep_would_and_status_and_retry_tell_of_it(
    queued: Callable, command_here: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sweep = ("style=dots,swell", "loss.beta=3,1e39")
    queue, folder = queued(*sweep)
    shown = command_here("src.sweep.__main__", "retry", folder)
    assert "0 jobs can be run again" in shown
    command_here("src.sweep.__main__", "worker", folder)
    with pytest.raises(SystemExit) as ended:
        command_here("src.sweep.__main__", "status", folder)
    assert ended.value.code == 1
    shown = capsys.readouterr().out
    assert f"{folder}: 2 of 4 done, 0 running, 2 failed, 0 waiting" in shown
    assert "failed: astronaut-dots-b-" in shown and "the loss was not finite at step 0" in shown
    with pytest.raises(SystemExit):
        command_here("src.train", "-m", *SMALL, *sweep, f"hydra.sweep.dir={tmp_path}/reference")
    same_runs(queue.sweep, tmp_path / "reference")
    assert "2 jobs can be run again" in command_here("src.sweep.__main__", "retry", folder)
    for key, end in queue.snapshot().ended.items():
        assert end == FINISHED and queue.outcome(key) == FINISHED
    command_here("src.sweep.__main__", "worker", folder)
    assert [*queue.snapshot().ended.values()].count(FAILED) == 2


@pytest.mark.long
def test_a_worker_goes_on_with_what_a_killed_one_left(
    queued: Callable, command_here: Callable, small: Callable, tmp_path: Path
) -> None:
    queue, folder = queued(*LONG, "style=dots,swell")
    with started("worker", folder, "--lease=3", module="src.sweep") as process:
        wait_for(lambda: any(queue.sweep.glob(f"*/{CHECKPOINT}")), process)
        process.kill()
        process.join()
    [(killed, _)] = records.scan(queue.sweep)
    [claim] = [path.name for path in queue.claims.iterdir()]
    assert claim == f"{killed.name}.1"
    command_here("src.sweep.__main__", "worker", folder, "--lease=3")
    assert {path.name for path in queue.claims.glob("*.[0-9]")} >= {f"{killed.name}.1", f"{killed.name}.2"}
    assert "resuming at step" in (killed / "train.log").read_text()
    command_here("src.sweep.__main__", "status", folder)  # status 0
    command_here("src.train", "-m", *SMALL, *LONG, "style=dots,swell", f"hydra.sweep.dir={tmp_path}/reference")
    same_runs(queue.sweep, tmp_path / "reference")


@pytest.mark.long
def test_sigterm_gives_the_job_back_after_its_checkpoint(queued: Callable, command_here: Callable) -> None:
    queue, folder = queued(*LONG, "style=dots")
    with started("worker", folder, module="src.sweep") as process:
        wait_for(lambda: any(queue.sweep.glob(f"*/{CHECKPOINT}")), process)
        process.send_signal(signal.SIGTERM)
        done = process.finish()
    assert done.returncode == 128 + signal.SIGTERM, done
    [(run, record)] = records.scan(queue.sweep)
    assert record.status == "interrupted"
    found = queue.snapshot()
    assert found.free(run.name) and found.attempts_that_count(run.name) == 0 and not [*queue.workers.iterdir()]
    command_here("src.sweep.__main__", "worker", folder)
    assert queue.outcome(run.name) == FINISHED and records.read(run).status == "finished"


@pytest.mark.long
def test_a_lease_that_is_lost_in_a_run_stops_it_without_another_word(
    queued: Callable, monkeypatch: pytest.MonkeyPatch, command_here: Callable, capsys: pytest.CaptureFixture
) -> None:
    queue, folder = queued("steps=30", "captures=[10,30]", "style=dots", "logger=csv")
    observe = Pair.observe

    def lose(self: Pair, values: dict[str, float], now: int, last_stage: bool) -> bool:
        if now == 20:
            for worker in queue.workers.iterdir():
                worker.unlink()
        return observe(self, values, now, last_stage)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(Pair, "observe", lose)
        patch.setattr("src.sweep.queue.SHORTEST_LEASE", 0)
        command_here("src.sweep.__main__", "worker", folder, "--lease=1e-6")
    assert ended.value.code == 2 and "its jobs were given to others" in capsys.readouterr().err
    [(run, record)] = records.scan(queue.sweep)
    assert record.status == "running" and [capture.step for capture in record.captures] == [10]
    assert torch.load(run / CHECKPOINT, weights_only=True)["step"] < 21
    steps = [int(line.split(",")[0]) for line in (run / "metrics.csv").read_text().splitlines()[1:]]
    assert max(steps) <= 20
    command_here("src.sweep.__main__", "worker", folder)
    assert queue.outcome(run.name) == FINISHED


@pytest.mark.parametrize("lease", ["0", "nan", "x"])
def test_a_lease_is_a_second_or_more(
    lease: str, command_here: Callable, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        command_here("src.sweep.__main__", "worker", str(tmp_path), f"--lease={lease}")
    assert ended.value.code == 2 and f"give a number of seconds, 1.0 or more, not {lease}" in capsys.readouterr().err


@pytest.mark.long
def test_batches_are_those_of_the_whole_sweep(queued: Callable, command_here: Callable) -> None:
    queue, folder = queued("style=dots,swell", "fit=keep,squash", "steps=2", launcher=("hydra.launcher.size=2",))
    command_here("src.sweep.__main__", "worker", folder, "--size=2")
    batches = [job.batch for _, job in queue.jobs().values()]
    assert batches == [0, 1, 0, 1]
    assert [(record.status, record.batch) for _, record in records.scan(queue.sweep)] == [("finished", 2)] * 4


def test_each_job_is_composed_once_and_not_again_by_the_same_command(
    queued: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose, composed = ConfigLoaderImpl.load_sweep_config, []

    def count(self: ConfigLoaderImpl, master: DictConfig, overrides: list[str]) -> DictConfig:
        composed.append(overrides)
        return compose(self, master, overrides)

    monkeypatch.setattr(ConfigLoaderImpl, "load_sweep_config", count)
    for _ in range(2):
        queue, _ = queued("style=dots,swell", "seed=1,2")
        assert len(composed) == len(queue.jobs()) == 4


def test_options_of_the_launcher_are_not_those_of_the_jobs(queued: Callable) -> None:
    queue, _ = queued("seed=1", "hydra.job.chdir=false", launcher=("++hydra.launcher.size=2",))
    [listed] = queue.lists()
    assert listed.overrides == ("hydra.job.chdir=false",)


def test_unfinished_jobs_of_another_sweep_in_the_folder_are_named(queued: Callable, command_here: Callable) -> None:
    queue, folder = queued("seed=1,2,3")
    first, *_ = queue.jobs()
    queue.mark_finished(first, 1.0)
    shown = command_here("src.train", "-m", *SMALL, "seed=3,4", "hydra/launcher=queue", f"hydra.sweep.dir={folder}")
    assert "2 jobs wait" in shown
    assert "the workers also take unfinished jobs (1) of other sweeps in the same folder" in shown


def test_a_job_that_cannot_be_composed_fails_when_it_is_queued(queued: Callable) -> None:
    queue, _ = queued("steps=0,2")
    [key] = queue.snapshot().ended
    assert key.startswith("job-") and queue.reason(key).startswith("steps")
