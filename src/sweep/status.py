"""The state of a sweep in a few lines, from the queue and the records of what is running."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from src.common.errors import InputError
from src.sweep.queue import FAILED, Queue
from src.tracking import record as records

RECENT = 100  # the time left follows from this many of the last jobs
SHOWN = 20  # lines of running jobs, and of reasons


@dataclass
class Status:
    """How many jobs of a sweep are in which state.

    Attributes:
        jobs: all.
        done, failed, running: how many.
        running_jobs: key -> worker.
        reasons: jobs that failed, by reason.
        seconds: mean time of a recent job; None before the first.
    """

    sweep: Path
    jobs: int
    done: int
    failed: int
    running_jobs: dict[str, str]
    reasons: dict[str, list[str]]
    seconds: float | None

    @classmethod
    def of(cls, queue: Queue, keys: Collection[str] | None = None) -> Self:
        """Return the state of some jobs of a queue, or of all."""
        chosen = set(queue.jobs() if keys is None else keys)
        found = queue.snapshot()
        ended = {key: end for key, end in found.ended.items() if key in chosen}
        failed = [key for key, end in ended.items() if end == FAILED]
        reasons: dict[str, list[str]] = {}
        for key in sorted(failed):
            reasons.setdefault(queue.reason(key), []).append(key)
        running = {key: worker for key, worker in found.workers.items() if key in chosen}
        return cls(
            queue.sweep, len(chosen), len(ended) - len(failed), len(failed), running, reasons, _mean_seconds(queue)
        )

    @property
    def running(self) -> int:
        """The number of jobs that workers are running."""
        return len(self.running_jobs)

    @property
    def left(self) -> int:
        """The number of jobs that have not ended."""
        return self.jobs - self.done - self.failed

    def line(self) -> str:
        """Return the state as one line."""
        from src.cli.launcher import duration

        parts = [f"{self.done} of {self.jobs} done", f"{self.running} running"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        if self.seconds and self.running and self.left:
            rate = self.running / self.seconds
            waiting = self.left - self.running
            parts.append(f"{3600 * rate:.0f} jobs/h, about {duration((waiting + self.running / 2) / rate)} left")
        return ", ".join(parts)

    def text(self) -> str:
        """Return the state with the jobs that run and the reasons of those that failed."""
        lines = [f"{self.sweep}: {self.line()}, {self.left - self.running} waiting"]
        for key, worker in sorted(self.running_jobs.items())[:SHOWN]:
            lines.append(f"  running: {unquote(key)} ({_step(self.sweep / unquote(key))}{worker})")
        for reason, keys in [*self.reasons.items()][:SHOWN]:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            lines.append(f"  failed: {', '.join(map(unquote, keys[:3]))}{more}: {reason}")
        return "\n".join(lines)


def seconds_between_looks(took: float) -> float:
    """Return how long to wait before looking again, so that looking takes a few percent of the time."""
    return max(2.0, 30 * took)


def _step(folder: Path) -> str:
    try:
        record = records.read(folder)
    except InputError:
        return ""
    return f"step {record.step} of {record.config['steps']}, " if record and "steps" in record.config else ""


def _mean_seconds(queue: Queue) -> float | None:
    """Return the mean time of the last jobs that were not finished before."""
    from src.cli.launcher import SKIPPED

    seconds = [queue.seconds(key) for key in queue.last_finished(RECENT)]
    long = [each for each in seconds if each > SKIPPED]
    return sum(long) / len(long) if long else None
