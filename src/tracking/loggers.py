"""Stub until the tracking branch is merged."""

from pathlib import Path
from typing import Any

from src.tracking.wandb_logger import open_trackers


class RunLoggers:
    """The loggers of one run."""

    def __init__(self, trackers: Any) -> None:
        self.trackers = trackers

    @property
    def last_step(self) -> int:
        return max([-1, *(tracker.last_step for tracker in self.trackers)])

    def begin(self, record: Any, resume_step: int) -> None:
        for tracker in self.trackers:
            tracker.begin(record, resume_step)

    def log_point(self, values: dict[str, float], step: int, picture: Path | None = None) -> None:
        for tracker in self.trackers:
            tracker.log_point(values, step, picture)

    def close(self, record: Any) -> None:
        for tracker in self.trackers:
            tracker.close(record)


def open_loggers(options: Any, folder: Path, record: Any, config: dict[str, Any], tag: str) -> RunLoggers:
    return RunLoggers(open_trackers(options, folder, record, config, tag))
