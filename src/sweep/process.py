"""Workers as child processes, which end when their parent does, and are replaced when they are killed."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from src.common.errors import SweepFailed
from src.config.schema import CONF
from src.sweep.queue import LEASE, Queue
from src.sweep.worker import unique_name

log = logging.getLogger(__name__)

ROOT = CONF.parent
MODULE = ("src.sweep", "worker")
ENDED_BY_SIGNAL = (128 + signal.SIGINT, 128 + signal.SIGTERM)
# Give up the sweep after this many worker deaths in a row without a claim: the cause is not a job.
MAX_ERRORS, MAX_KILLS = 3, 20


def python_path() -> dict[str, str]:
    """Return the environment variable by which a Python of any folder finds this checkout."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def end_with_parent() -> None:
    """Send SIGTERM to this process when its standard input, a pipe of its parent, is closed."""

    def watch() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def ignore_time_limit() -> None:
    """Ignore the signals by which Slurm announces a time limit: the parent, which gets them as well, sends SIGTERM."""
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


class WorkerProcess:
    """A worker as a child process.

    Args:
        queue: of the sweep.
        size, at_once, lease: of the worker.
        environment: variables on top of those of this process.
    """

    def __init__(
        self,
        queue: Queue,
        size: int = 1,
        at_once: int | None = None,
        lease: float = LEASE,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.queue = queue
        self.options = [f"--size={size}", f"--lease={lease}", *([f"--at-once={at_once}"] if at_once else [])]
        self.environment = dict(environment or {})
        self.name = ""
        self.ended = False
        self._deaths: list[int] = []  # statuses, since a worker last claimed something
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the worker, or another one in its place."""
        self.queue.prepare()
        self.name = unique_name()
        command = [sys.executable, "-m", *MODULE, str(self.queue.sweep), f"--name={self.name}"]
        with self.log.open("wb") as file:
            self._process = subprocess.Popen(
                [*command, "--end-with-parent", *self.options],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **python_path(), **self.environment},
                start_new_session=True,  # Ctrl-C reaches it through its parent alone
            )

    @property
    def log(self) -> Path:
        """The file with the output of the worker."""
        return self.queue.logs / f"{self.name}.log"

    def tend(self) -> None:
        """Start another worker where this one has died.

        Raises:
            SweepFailed: workers die again and again before they claim a job.
        """
        status = None if self.ended or self._process is None else self._process.poll()
        if status is None:
            return
        self._close()
        if status == 0 or status in ENDED_BY_SIGNAL:
            self.ended = True
            return
        self.queue.remove_worker(self.name)
        if self.queue.has_claimed(self.name):
            self._deaths.clear()
        self._deaths.append(status)
        if len(self._deaths) >= MAX_KILLS or sum(each > 0 for each in self._deaths) >= MAX_ERRORS:
            raise SweepFailed(f"workers end with status {status} before their first job; see {self.log}")
        log.warning("worker %s ended with status %d; starting another", self.name, status)
        self.start()

    def stop(self) -> None:
        """Let the worker finish its step and save its run."""
        self.ended = True
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the worker to end, but no longer than so many seconds."""
        if self._process:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(seconds)
                self._close()

    def kill(self) -> None:
        """Kill the worker and end its lease."""
        self.ended = True
        if self._process:
            self._process.kill()
            self.wait()
            self.queue.remove_worker(self.name)

    def _close(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()


def supervise(worker: WorkerProcess) -> None:
    """Keep one worker at work until it ends by itself or is stopped."""
    worker.start()
    while not worker.ended:
        time.sleep(0.5)
        worker.tend()
