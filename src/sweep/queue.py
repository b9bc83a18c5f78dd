"""The queue of a sweep: small files in `queue/` of the sweep folder, by which workers on any machine claim jobs.

    queue/jobs-DIGEST.json      a list of jobs, written once by the command that started the sweep
    queue/workers/NAME          the lease of a worker, touched every few seconds while it lives
    queue/claims/JOB.N          attempt N at a job: a symbolic link to the name of its worker
    queue/claims/JOB.N.released the worker gave the job back; the attempt does not count
    queue/claims/JOB.finished   the job has ended; its run folder holds the rest
    queue/claims/JOB.failed     the reason

Two rules make the claims exclusive without locks, which network folders may lack:

- Attempt N is whoever creates `JOB.N`, which one process can. Attempt N + 1 may begin when N is released, or when the
  lease of its worker is gone. Claims are never deleted, so an old listing cannot bring one back.
- A lease is gone when its file is deleted. A worker deletes its own at its end. Others delete it when its time of
  modification has not changed for as long as the lease says, by their own clocks: times of different machines are
  never compared. A worker that was suspended finds its file missing, and writes nothing more.
"""

import hashlib
import heapq
import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path

from src.common.errors import InputError
from src.common.files import write_atomically, write_error

QUEUE = "queue"
MAX_ATTEMPTS = 3  # a job whose workers die may itself be the cause, for example by taking too much memory
SHORTEST_LEASE = 1.0  # s; with less, a worker at work would be taken for dead
LEASE = 120.0  # s; twice the time for which NFS clients cache attributes by default
FINISHED, FAILED, RELEASED = "finished", "failed", "released"


@dataclass(frozen=True)
class Job:
    """A job of a sweep.

    Attributes:
        key: name of its run folder, with / and % quoted: the same for the same run.
        number: in Hydra's count.
        overrides: all its overrides.
        batch: jobs with the same number may be optimised in one batch.
        error: why it cannot be run, if that was known when it was listed.
    """

    key: str
    number: int
    overrides: tuple[str, ...]
    batch: int | None = None
    error: str | None = None


@dataclass(frozen=True)
class JobList:
    """The jobs of one command.

    Attributes:
        overrides: of Hydra's own options, which all jobs share.
        cwd: the folder that relative paths in overrides start from.
        usable: whether this machine can enter that folder.
    """

    jobs: tuple[Job, ...]
    overrides: tuple[str, ...]
    cwd: str

    @property
    def usable(self) -> bool:
        return Path(self.cwd).is_dir() and os.access(self.cwd, os.X_OK)

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The keys of its jobs, each once."""
        return tuple(dict.fromkeys(job.key for job in self.jobs))


@dataclass(frozen=True)
class Claim:
    """Attempt number `attempt` at a job."""

    job: Job
    attempt: int


@dataclass
class Snapshot:
    """The state of all claims at one time.

    Attributes:
        ended: FINISHED or FAILED by job.
        attempts: the number of the last claim by job.
        released: claims that were given back.
        workers: by job that is running.
    """

    ended: dict[str, str] = field(default_factory=dict)
    attempts: dict[str, int] = field(default_factory=dict)
    released: set[tuple[str, int]] = field(default_factory=set)
    workers: dict[str, str] = field(default_factory=dict)

    def free(self, key: str) -> bool:
        """Return whether a job can be claimed."""
        return key not in self.ended and key not in self.workers

    def attempts_that_count(self, key: str) -> int:
        """Return how many attempts count against `MAX_ATTEMPTS`: all that no worker gave back."""
        numbers = range(1, self.attempts.get(key, 0) + 1)
        return sum((key, number) not in self.released for number in numbers)


def key_of(subdir: str) -> str:
    """Return the key of a job whose run folder has this name in the sweep folder; `unquote` is the inverse."""
    return subdir.replace("%", "%25").replace("/", "%2F")


class Queue:
    """The queue of a sweep folder.

    Args:
        sweep: the sweep folder.
    """

    def __init__(self, sweep: Path) -> None:
        self.sweep = sweep.absolute()
        self.folder = self.sweep / QUEUE
        self.claims, self.workers, self.logs = (self.folder / name for name in ("claims", "workers", "logs"))
        self._lists: dict[str, JobList] = {}
        self._seen: dict[str, tuple[int, float]] = {}  # by worker: its file's time, and when we first saw that

    @classmethod
    def existing(cls, sweep: Path) -> "Queue":
        """Return the queue of a folder that has one.

        Raises:
            InputError: it has none.
        """
        queue = cls(sweep)
        if not queue.lists():
            raise InputError(
                f"{sweep} holds no queue, as sweeps with hydra/launcher=processes, queue, slurm or ray do; the runs of "
                f"others: python -m src.report {sweep}"
            )
        return queue

    def prepare(self) -> None:
        """Create the folders.

        Raises:
            InputError: the sweep folder cannot be written to.
        """
        for folder in (self.claims, self.workers, self.logs):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise write_error(folder, error) from error

    def path_of(self, overrides: Sequence[Sequence[str]], common: Sequence[str], cwd: str, batches: bool) -> Path:
        """Return the file of a list of jobs; another for other overrides, another folder, or with batches."""
        text = json.dumps([[list(each) for each in overrides], list(common), cwd, batches])
        return self.folder / f"jobs-{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"

    def add(self, path: Path, jobs: JobList) -> None:
        """Write a list of jobs; those that cannot be run fail at once."""
        self.prepare()
        write_atomically(path, json.dumps(asdict(jobs), indent=1).encode())
        for job in jobs.jobs:
            if job.error:
                self.mark_failed(job.key, job.error)

    def read(self, path: Path) -> JobList | None:
        """Return a list of jobs; None where there is no such file.

        Raises:
            InputError: the file is damaged.
        """
        if path.name not in self._lists:
            try:
                data = json.loads(path.read_text())
                jobs = tuple(Job(**{**job, "overrides": tuple(job["overrides"])}) for job in data["jobs"])
                self._lists[path.name] = JobList(jobs, tuple(data["overrides"]), data["cwd"])
            except FileNotFoundError:
                return None
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(f"{path} is not a list of jobs: {error}") from None
        return self._lists[path.name]

    def lists(self) -> list[JobList]:
        """Return all lists of jobs: those that are usable here first, and of these those with batches."""
        found = [self.read(path) for path in sorted(self.folder.glob("jobs-*.json"))]

        def order(listed: JobList) -> tuple[bool, bool]:
            return not listed.usable, all(job.batch is None for job in listed.jobs)

        return sorted((each for each in found if each), key=order)

    def jobs(self) -> dict[str, tuple[JobList, Job]]:
        """Return each job once, with its list, by key."""
        found: dict[str, tuple[JobList, Job]] = {}
        for jobs in self.lists():
            for job in jobs.jobs:
                found.setdefault(job.key, (jobs, job))
        return found

    def snapshot(self) -> Snapshot:
        """Return the state of all claims."""
        found = Snapshot()
        for entry in _entries(self.claims):
            stem, _, suffix = entry.name.rpartition(".")
            if suffix in (FINISHED, FAILED):
                found.ended[stem] = suffix
            elif suffix == RELEASED:
                released, _, attempt = stem.rpartition(".")
                found.released.add((released, int(attempt)))
            elif suffix.isdecimal():  # others are files being written
                found.attempts[stem] = max(int(suffix), found.attempts.get(stem, 0))
        alive: dict[str, bool] = {}
        for key, number in found.attempts.items():
            if key in found.ended or (key, number) in found.released:
                continue
            worker = self.owner(key, number)
            if worker not in alive:
                alive[worker] = (self.workers / worker).exists()
            if alive[worker]:
                found.workers[key] = worker
        return found

    def owner(self, key: str, attempt: int) -> str:
        """Return the name of the worker that made an attempt at a job."""
        return str(self._path(key, attempt).readlink())

    def claim(self, job: Job, attempt: int, worker: str) -> Claim | None:
        """Claim a job for a worker whose lease is held; None if another has it, or if the job has ended.

        Args:
            job: to claim.
            attempt: one more than the number of its last claim, which must be free.
            worker: a name that no other process ever has.
        """
        path = self._path(job.key, attempt)
        try:
            path.symlink_to(worker)  # the claim and its owner in one step
        except FileExistsError:
            # a network file system may repeat a request whose answer was lost
            if self.owner(job.key, attempt) != worker:
                return None
        except OSError as error:
            raise write_error(path, error) from error
        # ended between the listing that showed it free and the claim
        return None if self.outcome(job.key) else Claim(job, attempt)

    def has_claimed(self, worker: str) -> bool:
        """Return whether a worker has ever claimed a job."""
        return any(link.is_symlink() and str(link.readlink()) == worker for link in self.claims.iterdir())

    def release(self, key: str, attempt: int) -> None:
        """Give a job back, so that another worker can claim it at once; the attempt does not count."""
        self._path(key, attempt, RELEASED).touch()

    def outcome(self, key: str) -> str | None:
        """Return how a job ended; None before its end."""
        return next((end for end in (FINISHED, FAILED) if (self.claims / f"{key}.{end}").exists()), None)

    def mark_finished(self, key: str, seconds: float) -> None:
        """Record the end of a job that took so long."""
        self._write(f"{key}.{FINISHED}", {"seconds": round(seconds, 2)})

    def mark_failed(self, key: str, reason: str) -> None:
        """Record why a job failed."""
        self._write(f"{key}.{FAILED}", {"reason": reason})

    def _write(self, name: str, value: dict[str, object]) -> None:
        # the name says what counts; an atomic write, which waits for the disk, would take several times as long
        path = self.claims / name
        try:
            path.write_text(json.dumps(value))
        except OSError as error:
            raise write_error(path, error) from error

    def reason(self, key: str) -> str:
        """Return why a job failed."""
        return str(self._read(f"{key}.{FAILED}").get("reason", "unknown"))

    def seconds(self, key: str) -> float:
        """Return how long a finished job took."""
        return float(self._read(f"{key}.{FINISHED}").get("seconds", 0.0))

    def last_finished(self, count: int) -> list[str]:
        """Return the keys of the jobs that finished last."""
        ended = f".{FINISHED}"
        found = ((entry.stat().st_mtime, entry.name) for entry in _entries(self.claims) if entry.name.endswith(ended))
        return [name.removesuffix(ended) for _, name in heapq.nlargest(count, found)]

    def _read(self, name: str) -> dict[str, float | str]:
        try:
            found: dict[str, float | str] = json.loads((self.claims / name).read_text())
        except (OSError, ValueError):
            return {}
        return found

    def retry(self) -> list[str]:
        """Let the jobs that failed be claimed again; return their keys. Their attempts are counted anew."""
        found = self.snapshot()
        failed = [key for key, end in found.ended.items() if end == FAILED]
        for key in failed:
            for attempt in range(1, found.attempts.get(key, 0) + 1):
                self.release(key, attempt)
            (self.claims / f"{key}.{FAILED}").unlink(missing_ok=True)
        return failed

    def remove_worker(self, name: str) -> None:
        """End the lease of a worker that is known to have died."""
        (self.workers / name).unlink(missing_ok=True)

    def remove_lapsed(self) -> None:
        """End the leases of workers that have missed their heartbeat for as long as their leases say."""
        now = time.monotonic()
        for name in [entry.name for entry in _entries(self.workers)]:
            path = self.workers / name
            try:
                with path.open() as file:  # opening makes a network file system ask its server
                    changed = os.fstat(file.fileno()).st_mtime_ns
                    text = file.read()
            except OSError:
                continue  # it has ended
            before, since = self._seen.get(name, (None, now))
            if before != changed:
                self._seen[name] = (changed, now)
            elif now - since > float(text or LEASE):
                self.remove_worker(name)

    def _path(self, key: str, attempt: int, suffix: str = "") -> Path:
        return self.claims / ".".join(filter(None, (key, str(attempt), suffix)))


def is_lease(seconds: float) -> bool:
    """Return whether a lease may last this many seconds without a heartbeat."""
    return SHORTEST_LEASE <= seconds < math.inf


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        yield from entries
