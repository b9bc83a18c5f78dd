"""Workers of one machine: shares of it, replacement of killed ones, an interrupted command that is given again."""

import logging
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from src.cli.launcher import sweep_option
from src.common.errors import InputError, SweepFailed
from src.config.composition import register
from src.config.schema import CONF
from src.sweep import launchers, process
from src.sweep.launchers import ProcessLauncher, shares
from src.sweep.process import WorkerProcess, supervise
from src.sweep.queue import Queue
from src.sweep.slurm import SlurmLauncher
from src.sweep.status import Status, seconds_between_looks
from tests.support import ROOT
from tests.sweep.contender import STEPS
from tests.sweep.test_queue import fill

CONTENDER = ("tests.sweep.contender",)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "MODULE", CONTENDER)
    monkeypatch.setattr(launchers, "seconds_between_looks", lambda took: 0.05)


def launch(queue: Queue, workers: int) -> list:
    """Let the launcher run the jobs of a queue that is written already."""
    launcher = ProcessLauncher(workers=workers, lease=20)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(queue.sweep)}}})
    launcher.queue = queue
    [listed] = queue.lists()
    launcher.keys = listed.keys
    launcher.write_queue = lambda overrides, first: listed
    launcher.configure_log = lambda: None
    return launcher.launch([job.overrides for job in listed.jobs], 0)


def test_killed_workers_are_replaced_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    queue = fill(tmp_path, 8, seconds=0.3)
    stop = threading.Event()

    def kill() -> None:
        for _ in range(2):
            while not (running := Status.of(queue).running_jobs) and not stop.is_set():
                time.sleep(0.01)
            os.kill(_pid(next(iter(running.values()))), signal.SIGKILL)
            time.sleep(0.3)

    thread = threading.Thread(target=kill)
    thread.start()
    with caplog.at_level(logging.INFO):
        try:
            assert len(launch(queue, workers=2)) == 8
        finally:
            stop.set()
            thread.join()
    assert sum("ended with status -9; starting another" in line for line in caplog.messages) == 2
    assert {(tmp_path / f"job{index}" / "count").read_text() for index in range(8)} == {str(STEPS)}
    assert not [*tmp_path.glob("overlap-*")] and not [*queue.workers.iterdir()]
    assert any("of 8 done" in line for line in caplog.messages)


def _pid(worker: str) -> int:
    listed = subprocess.run(["pgrep", "-f", f"name={worker}"], capture_output=True, text=True, check=True)
    return int(listed.stdout.split()[0])


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_their_command_and_the_same_command_goes_on(tmp_path: Path, number: int) -> None:
    queue = fill(tmp_path, 6, seconds=2.0)
    code = f"""
from pathlib import Path
from src.sweep import launchers, process
from tests.sweep.test_processes import CONTENDER, launch
from src.sweep.queue import Queue
process.MODULE = CONTENDER
launch(Queue(Path({str(tmp_path)!r})), 2)
"""
    driver = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while Status.of(queue).running < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(number)
    driver.wait()
    end = time.monotonic() + 20
    while [*queue.workers.iterdir()] and time.monotonic() < end:
        time.sleep(0.05)
    assert not [*queue.workers.iterdir()], "the workers have ended"
    found = queue.snapshot()
    assert Status.of(queue).left > 0 and all(
        found.attempts_that_count(key) == 0 for key in found.attempts if key not in found.ended
    )
    launch(queue, 2)
    assert Status.of(queue).done == 6
    assert not [*tmp_path.glob("overlap-*")]


def test_workers_that_cannot_start_end_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = fill(tmp_path, 2)
    monkeypatch.setenv("BROKEN", "1")
    with pytest.raises(SweepFailed, match=r"workers end with status 1 before their first job; see .*\.log"):
        launch(queue, 1)


def test_failed_jobs_are_listed_by_reason(tmp_path: Path) -> None:
    queue = fill(tmp_path, 3)
    queue.mark_failed("job1", "too large")
    with pytest.raises(SweepFailed) as failed:
        launch(queue, 1)
    assert str(failed.value).startswith(f"1 of 3 jobs failed in {tmp_path}:\n  too large: ")
    assert str(failed.value).endswith(f"python -m src.sweep retry {tmp_path}")


def test_a_supervised_worker_ends_when_it_is_stopped(tmp_path: Path) -> None:
    queue = fill(tmp_path, 4, seconds=2)
    worker = WorkerProcess(queue)
    thread = threading.Thread(target=supervise, args=[worker])
    thread.start()
    while not Status.of(queue).running:
        time.sleep(0.02)
    worker.stop()
    thread.join(20)
    worker.wait()
    assert not thread.is_alive() and Status.of(queue).running == 0 and not [*queue.workers.iterdir()]
    assert Queue(tmp_path).snapshot().attempts_that_count("job0") == 0


def test_cores_and_gpus_are_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    assert [share["OMP_NUM_THREADS"] for share in shares(4)] == ["1"] * 4
    assert [share["CUDA_VISIBLE_DEVICES"] for share in shares(3)] == ["2", "5", "2"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert shares(2) == [{"OMP_NUM_THREADS": "3", "SLURM_CPUS_PER_TASK": "3"}] * 2, "also inside an allocation of 6"


def test_srun_is_told_of_the_cores_of_a_slurm_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not take them from sbatch; further options of sbatch may be given or not."""
    submitit = pytest.importorskip("submitit")
    scripts: list[str] = []

    def submit(executor: Any, workers: list[object]) -> list[SimpleNamespace]:
        executor.folder.mkdir()
        scripts.append(executor._make_submission_file_text("work", "name"))
        return [SimpleNamespace(job_id="7_0")] * len(workers)

    monkeypatch.setattr("shutil.which", lambda name: name)
    monkeypatch.setattr(submitit.SlurmExecutor, "submit_array", submit)
    for more in (None, {"nice": 100}):
        launcher = SlurmLauncher(cpus=3, more=more)
        launcher.queue = fill(tmp_path / str(bool(more)), 1)
        launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(launcher.queue.sweep)}}})
        launcher.start(1)
    for script in scripts:
        [line] = [line for line in script.splitlines() if line.startswith("srun ")]
        assert "--cpus-per-task=3" in line and "#SBATCH --cpus-per-task=3" in script
    assert ["--nice=100" in script for script in scripts] == [False, True]


def test_further_options_of_sbatch_compose() -> None:
    register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = ["hydra/launcher=slurm", "hydra.launcher.more={nice: 100}"]
        assert compose("train", given, return_hydra_config=True).hydra.launcher.more == {"nice": 100}
        assert compose("train", given[:1], return_hydra_config=True).hydra.launcher.more is None


def test_folders_in_commands_to_copy_are_quoted() -> None:
    assert sweep_option(Path("/a/multirun-2/2026.11")) == "hydra.sweep.dir=/a/multirun-2/2026.11"
    [option] = shlex.split(sweep_option(Path("it's a, sweep")))
    assert option == 'hydra.sweep.dir="it\'s a, sweep"'


def test_options_of_the_launchers_are_checked(command_here: Callable, tmp_path: Path) -> None:
    for workers in (0, 1.5, "x"):
        with pytest.raises(InputError, match=r"hydra\.launcher\.workers is a number of workers"):
            ProcessLauncher(workers=workers)
    for lease in (0, -1, "x", math.nan, math.inf):
        with pytest.raises(InputError, match=r"hydra\.launcher\.lease is a number of seconds, 1\.0 or more"):
            ProcessLauncher(lease=lease)
    launcher = ProcessLauncher()
    launcher.config = OmegaConf.create({"hydra": {"job": {"config_name": "search"}}})
    with pytest.raises(InputError, match=r"are for runs: python -m src\.train"):
        launcher.write_queue([], 0)


def test_time_left() -> None:
    status = Status(Path("x"), jobs=20, done=8, failed=1, running_jobs={"a": "1", "b": "2"}, reasons={}, seconds=30.0)
    assert status.line() == "8 of 20 done, 2 running, 1 failed, 240 jobs/h, about 2 min 30 s left"
    assert seconds_between_looks(0.01) == 2.0 and seconds_between_looks(1.0) == 30.0
