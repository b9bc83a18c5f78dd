"""The queue: runs as processes of their own, one at a time. Its state is in files, so it outlives the server."""

import json
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from src.app.addresses import version_of
from src.common.errors import InputError, shortened
from src.common.files import write_atomically
from src.common.tables import plain_text
from src.tracking import record as records

log = logging.getLogger(__name__)

POLL = 0.2  # seconds between two looks at the processes
COMMAND = (sys.executable, "-m", "src.train")
KILLED, RESUMES = "killed (out of memory?)", "; Resume continues from the last checkpoint"


@dataclass
class QueuedRun:
    """A run that waits, is at work, or failed without an error in its record.

    Attributes:
        number: in the order of the queue.
        folder: the run folder.
        arguments: of `python -m src.train`.
        title: names of content and style.
        steps: optimiser steps of the run.
        content: file of the content picture, to be shown until there is a record.
        state: waiting | running | failed.
        before: version of the folder's record before the process began; None without one.
        pid, born: the process, and its start time in the kernel's clock, which tells it from a later one of its pid.
        stopped: whether it was asked to stop.
        error: one line on why it failed.
    """

    number: int
    folder: str
    arguments: list[str]
    title: str
    steps: int
    content: str | None = None
    state: str = "waiting"
    before: str | None = None
    pid: int | None = None
    born: str | None = None
    stopped: bool = False
    error: str | None = None


class RunQueue:
    """The jobs of a folder. One process may have it at a time.

    Args:
        folder: a file for each job, NUMBER.json, and what its process says, NUMBER.log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._jobs: dict[int, QueuedRun] = {}
        for path in sorted(folder.glob("*.json")):
            try:
                job = QueuedRun(**json.loads(path.read_text()))
            except (OSError, ValueError, TypeError) as error:
                log.warning("left out: %s: %s", path, error)
                continue
            self._jobs[job.number] = job

    def start(self) -> None:
        """Begin to start and watch processes, in a thread of its own."""
        threading.Thread(target=self._watch, name="queue", daemon=True).start()

    def close(self) -> None:
        """Stop watching; a run in progress continues."""
        self._closed.set()

    def jobs(self) -> list[QueuedRun]:
        """Return all jobs in order."""
        with self._lock:
            return [QueuedRun(**asdict(job)) for _, job in sorted(self._jobs.items())]

    def add(
        self, folder: Path, arguments: Sequence[str], title: str, steps: int, content: Path | None = None
    ) -> QueuedRun:
        """Add a run at the end, unless its folder waits or is at work already; return its job."""
        with self._lock:
            for job in self._jobs.values():
                if job.folder == str(folder) and job.state != "failed" and not job.stopped:
                    return job
            self._forget([job.number for job in self._jobs.values() if job.folder == str(folder) and _failed(job)])
            shown = str(content) if content else None
            job = QueuedRun(max(self._jobs, default=0) + 1, str(folder), list(arguments), title, steps, shown)
            self._keep(job)
            return job

    def stop(self, folder: Path) -> bool:
        """Ask the run of a folder to save and end, or take it out of the queue; return whether there was one."""
        with self._lock:
            own = [job for job in self._jobs.values() if job.folder == str(folder)]
            for job in own:
                if job.stopped:
                    continue
                if job.state != "running":
                    self._forget([job.number])
                    return True
                if self._alive(job):
                    job.stopped = True
                    self._keep(job)
                    assert job.pid is not None
                    with suppress(ProcessLookupError):
                        os.kill(job.pid, signal.SIGTERM)
                return True
        return bool(own)

    def _watch(self) -> None:
        while not self._closed.wait(POLL):
            try:
                self.look()
            except (InputError, OSError) as error:  # the disk is full, say
                log.error("%s", error)

    def look(self) -> None:
        """Close the job whose process has ended, and start the next one."""
        with self._lock:
            for job in list(self._jobs.values()):
                if job.state == "running" and not self._alive(job):
                    self._end(job)
            waiting = [job for _, job in sorted(self._jobs.items()) if job.state == "waiting"]
            if waiting and not any(job.state == "running" for job in self._jobs.values()):
                self._begin(waiting[0])

    def _begin(self, job: QueuedRun) -> None:
        command, job.before = [*COMMAND, *job.arguments], version_of(_record_of(job))
        try:
            with self._log_of(job).open("wb") as output:
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
        except OSError as error:
            job.state, job.error = "failed", f"cannot start: {error.strerror}"
        else:
            self._processes[job.number] = process
            job.state, job.pid, job.born = "running", process.pid, _born(process.pid)
        self._keep(job)

    def _alive(self, job: QueuedRun) -> bool:
        if process := self._processes.get(job.number):
            return process.poll() is None
        return job.pid is not None and job.born is not None and _born(job.pid) == job.born

    def _end(self, job: QueuedRun) -> None:
        process = self._processes.pop(job.number, None)
        try:
            record = records.read(Path(job.folder))
        except InputError:
            record = None
        # a run that could not go on, such as one whose picture has changed, leaves its record as it was
        failed = process is None or process.returncode != 0
        refused = failed and record and record.status != "finished" and version_of(_record_of(job)) == job.before
        killed = process is not None and process.returncode == -signal.SIGKILL
        if killed and not job.stopped and (record is None or record.status != "finished"):
            job.state, job.error = "failed", KILLED + (RESUMES if record else "")
            self._keep(job)
        elif job.stopped or (record and not refused):  # the record says how it ended
            self._forget([job.number])
        else:
            job.state, job.error = "failed", self._last_line(job)
            self._keep(job)

    def _last_line(self, job: QueuedRun) -> str:
        with suppress(OSError):
            lines = self._log_of(job).read_text(errors="replace").splitlines()
            errors = [line for line in lines if line.startswith("error: ")] or [line for line in lines if line.strip()]
            if errors:
                return shortened(plain_text(errors[-1].removeprefix("error: ")))
        return "the process ended without a message"

    def _keep(self, job: QueuedRun) -> None:
        self._jobs[job.number] = job
        write_atomically(self.folder / f"{job.number:06d}.json", json.dumps(asdict(job)).encode())

    def _forget(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            job = self._jobs.pop(number)
            (self.folder / f"{number:06d}.json").unlink(missing_ok=True)
            self._log_of(job).unlink(missing_ok=True)

    def _log_of(self, job: QueuedRun) -> Path:
        return self.folder / f"{job.number:06d}.log"


def _record_of(job: QueuedRun) -> Path:
    return Path(job.folder) / records.FILE


def _failed(job: QueuedRun) -> bool:
    return job.state == "failed"


def _born(pid: int) -> str | None:
    """Return when a process started, in the kernel's clock; None without a living one (proc(5), field 22)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
