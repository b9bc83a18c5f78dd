"""Real workers of one machine, of which ten are killed at random moments."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.sweep.queue import FINISHED, Queue
from src.sweep.status import Status
from tests.conftest import SMALL
from tests.support.processes import started_anew
from tests.sweep.test_worker import same_runs

JOBS = ("edge=96", "schedule=pyramid", "steps=60", "checkpoint_every=7", "captures=[20,60]")
JOBS += ("style=dots,swell,tesserae,brushwork", "loss.beta=3,4,5,6,7,8")


@pytest.mark.long
def test_24_jobs_and_ten_kills(tmp_path: Path, command: Callable) -> None:
    queue, chance, killed = Queue(tmp_path / "sweep"), random.Random(24), set()
    sweep = ("-m", *SMALL, *JOBS, "hydra/launcher=processes", "hydra.launcher.workers=2")
    with started_anew(*sweep, f"hydra.sweep.dir={queue.sweep}") as driver:
        while len(killed) < 10 and driver.poll() is None:
            time.sleep(chance.uniform(0, 1))
            if Status.of(queue).done < 2 * len(killed):  # kills are spread over the sweep, however fast the machine
                continue
            names = {path.stem for path in queue.logs.glob("*.log")} - killed
            found = [(name, pid) for name in sorted(names) for pid in _processes(name)]
            if found and Status.of(queue).left:
                name, pid = chance.choice(found)
                os.kill(pid, signal.SIGKILL)
                killed.add(name)
        shown = driver.communicate(timeout=900)[0]
    status = Status.of(queue)
    assert status.left == 0, shown
    assert all("workers died with it" in reason for reason in status.reasons)
    assert driver.returncode == (1 if status.failed else 0), shown
    if status.failed:  # three of the kills may have hit the same job
        command("src.sweep", "retry", str(queue.sweep))
        command("src.sweep", "worker", str(queue.sweep))
    assert [*queue.snapshot().ended.values()] == [FINISHED] * 24
    assert len(killed) == 10 and shown.count("starting another") == 10
    assert all(path.read_text().count("loading PyTorch") <= 1 for path in queue.logs.iterdir())
    command("src.train", "-m", *SMALL, *JOBS, f"hydra.sweep.dir={tmp_path}/reference")
    same_runs(queue.sweep, tmp_path / "reference")


def _processes(worker: str) -> list[int]:
    listed = subprocess.run(["pgrep", "--full", f"name={worker}"], capture_output=True, text=True, check=False)
    return [int(line) for line in listed.stdout.split()]
