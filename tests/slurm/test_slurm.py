"""A sweep under a real Slurm of one node: a failing job, a time limit, kills, a driver that starts again, scancel.

`make test-long` runs them: they take some minutes, and Debian's Slurm packages have to be installed.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.sweep.queue import FAILED, FINISHED, Queue
from src.sweep.status import Status
from src.tracking import record as records
from tests.conftest import SMALL
from tests.support import wandb_files
from tests.support.processes import started_anew, wait_for
from tests.sweep.test_worker import same_runs

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).parent / "cluster.sh"
JOB = ("edge=96", "schedule=pyramid", "checkpoint_every=20", "captures=[0.5,1.0]", "log_every=50", "logger=wandb")
BETAS = "loss.beta=3,4,5,6,7,8,9,10,11,12,13,1e39"
SECONDS = 20.0  # of a job: the sweep must outlast the time limit of a task on any machine
RESOURCES = ("hydra.launcher.cpus=1", "hydra.launcher.memory=2", "hydra.launcher.signal_delay=40")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A Slurm of one node."""
    pytest.importorskip("submitit")
    if os.geteuid() != 0 or not (shutil.which("slurmctld") or shutil.which("apt-get")):
        pytest.skip("Slurm needs root, and Debian's packages slurm-wlm and munge")
    subprocess.run([SCRIPT, "up", tmp_path / "slurm"], check=True)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm/slurm.conf"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    try:
        yield
    finally:
        subprocess.run([SCRIPT, "down", tmp_path / "slurm"], check=True)


def started_sweep(folder: Path, workers: int, *overrides: str):
    return started_anew(
        "-m", *SMALL, *overrides, "hydra/launcher=slurm", f"hydra.launcher.workers={workers}", *RESOURCES,
        f"hydra.sweep.dir={folder}",
    )  # fmt: skip


def wait(found: Callable[[], bool], driver: subprocess.Popen) -> None:
    wait_for(found, driver, seconds=600)


def tasks() -> dict[str, str]:
    """Return the state of each task of the array that Slurm knows."""
    asked = ["squeue", "--noheader", "--array", "--format=%i %T"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in listed.splitlines())


def process_of(worker: str) -> int:
    found = subprocess.run(["pgrep", "--full", f"name={worker}"], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def test_a_sweep_survives_kills_a_time_limit_and_the_loss_of_its_driver(
    slurm: None, tmp_path: Path, command: Callable
) -> None:
    sweep = tmp_path / "sweep"
    queue = Queue(sweep)
    command("src.train", *SMALL, *JOB, "steps=250", "logger=none", f"hydra.run.dir={tmp_path}/timed")
    timed = records.read(tmp_path / "timed")
    assert timed is not None
    steps = round(250 * max(1.0, SECONDS / timed.seconds))
    jobs = (*JOB, f"steps={steps}", BETAS)
    with started_sweep(sweep, 3, *jobs) as driver:
        wait(lambda: Status.of(queue).running == 3, driver)
        [array] = {task.partition("_")[0] for task in tasks()}
        # Slurm sends a signal 40 s before the limit, or up to a minute earlier
        subprocess.run(["scontrol", "update", f"JobId={array}_2", "TimeLimit=2"], check=True)
        wait(lambda: Status.of(queue).done >= 1 and Status.of(queue).running > 0, driver)
        key, worker = next(iter(Status.of(queue).running_jobs.items()))
        wait((sweep / key / "last.ckpt").exists, driver)
        wait(lambda: wandb_files.begun(sweep / key), driver)
        os.kill(process_of(worker), signal.SIGKILL)
        wait(lambda: not (queue.workers / worker).exists(), driver)
        driver.kill()
        driver.wait()
    assert Status.of(queue).left > 0
    with started_sweep(sweep, 3, *jobs) as driver:
        requeued = False
        while driver.poll() is None:
            if not requeued and tasks().get(f"{array}_2") == "PENDING":
                # by default Slurm waits for two minutes
                subprocess.run(["scontrol", "update", f"JobId={array}_2", "StartTime=now"], check=True)
                requeued = True
            time.sleep(0.5)
        shown = driver.stdout.read()
    assert driver.returncode == 1 and requeued, shown
    assert "3 workers of an earlier command are still there" in shown
    assert "11 of 12 jobs finished in " in shown and "1 of 12 jobs failed" in shown and "not finite" in shown
    printed = "".join(path.read_text() for path in (queue.folder / "slurm").glob("*_log.*"))
    assert "this job is" in printed and f"Requeued job {array}_2" in printed
    assert printed.count(f"worker {worker} ended with status -9; starting another") == 1

    found = queue.snapshot()
    assert sorted(found.ended.values()) == [FAILED, *[FINISHED] * 11]
    owners = {queue.owner(key, attempt + 1) for key, attempts in found.attempts.items() for attempt in range(attempts)}
    logs = [(queue.logs / f"{name}.log").read_text() for name in owners]
    assert len(owners) >= 4, "three, and those that took the place of the killed one and of the one at its time limit"
    assert all(log.count("loading PyTorch") == 1 for log in logs), "one import in the life of a worker"
    assert sum(log.count(" finished in ") for log in logs) == 11

    reference = tmp_path / "reference"
    command(
        "src.train", "-m", *SMALL, *jobs, "logger=none", f"hydra.sweep.dir={reference}", status=1,
    )  # fmt: skip
    same_runs(sweep, reference)
    for folder, record in records.scan(sweep):
        for each in wandb_files.find_runs(folder):
            seen = wandb_files.load(each)
            assert seen.run_id == record.wandb_id
            assert not seen.history or seen.history[0]["step"] <= steps


def test_scancel_ends_the_driver(slurm: None, tmp_path: Path) -> None:
    queue = Queue(tmp_path / "sweep")
    with started_sweep(queue.sweep, 2, *JOB, BETAS, "steps=5000") as driver:
        wait(lambda: Status.of(queue).running == 2, driver)
        [array] = {task.partition("_")[0] for task in tasks()}
        subprocess.run(["scancel", array], check=True)
        assert driver.wait(90) == 1
        shown = driver.stdout.read()
    assert "Slurm has no worker of this sweep left" in shown and f"hydra.sweep.dir={queue.sweep}" in shown
    found = queue.snapshot()
    assert not found.workers and all(found.attempts_that_count(key) == 0 for key in found.attempts), "given back"


def test_ctrl_c_leaves_the_workers_and_says_how_to_end_them(slurm: None, tmp_path: Path) -> None:
    queue = Queue(tmp_path / "sweep")
    with started_sweep(queue.sweep, 1, *JOB, BETAS, "steps=1000") as driver:
        wait(lambda: Status.of(queue).running == 1, driver)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(30) == 128 + signal.SIGINT
        shown = driver.stdout.read()
    [array] = {task.partition("_")[0] for task in tasks()}
    assert f"the workers go on in Slurm; to end them: scancel {array}" in shown
    time.sleep(2)
    assert Status.of(queue).running == 1
