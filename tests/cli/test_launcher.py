"""What a sweep logs: ranges, times, each message once."""

import logging
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from src.cli.launcher import Repeated, SweepJob, SweepLauncher, duration, ranges, time_left
from src.common.errors import InputError, SweepFailed
from src.training.logs import CURRENT_RUN


def test_indices_as_ranges() -> None:
    assert ranges([0]) == "1"
    assert ranges([0, 1, 2, 3, 5]) == "1-4,6"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_time_left() -> None:
    assert time_left([], 5) == ""
    assert time_left([10, 14], 5) == " (about 1 min 0 s left)"


def test_a_failed_job_says_nothing_of_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def run(jobs: Sequence[SweepJob]) -> list[JobReturn]:
        failed = jobs[0].number == 0
        status = JobStatus.FAILED if failed else JobStatus.COMPLETED
        return [JobReturn(status=status, _return_value=InputError("wrong") if failed else "finished")]

    launcher = SweepLauncher()
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": "sweep"}, "job": {"config_name": "train"}}})
    monkeypatch.setattr(launcher, "configure_log", lambda: None)
    monkeypatch.setattr(launcher, "run_jobs", run)
    monkeypatch.setattr("src.cli.launcher.time", SimpleNamespace(monotonic=count(0, 10).__next__))  # 10 s a job
    with caplog.at_level(logging.INFO), pytest.raises(SweepFailed, match="1 of 3 jobs failed"):
        launcher.launch([["seed=1"], ["seed=2"], ["seed=3"]], 0)
    assert [line for line in caplog.messages if "seed" in line] == [
        "[1/3] seed=1", "[2/3] seed=2", "[3/3] seed=3 (about 10 s left)",
    ]  # fmt: skip


def test_messages_of_other_jobs_are_dropped(tmp_path: Path) -> None:
    shown = Repeated()

    def passes(text: str) -> bool:
        return shown.filter(logging.LogRecord("x", logging.INFO, "", 0, "W&B is %s", (text,), None))

    assert passes("offline") and passes("offline"), "a job may repeat itself"
    shown.job += 1
    assert not passes("offline") and passes("online")
    token = CURRENT_RUN.set(tmp_path)  # in a batch
    assert not passes("online") and passes("new")
    CURRENT_RUN.reset(token)


def test_memory_is_told_once_whatever_is_free() -> None:
    shown = Repeated()

    def passes(free: str, peak: str = "1.2") -> bool:
        record = logging.LogRecord("x", logging.INFO, "", 0, "%s GiB free", (free,), None)
        record.repeats = f"memory: {peak} GiB"
        shown.job += 1
        return shown.filter(record)

    assert passes("19.4") and not passes("19.5") and passes("19.5", peak="2.0")


@pytest.mark.parametrize("size", [0, 1.5, "x"])
def test_batches_have_a_size(size: int) -> None:
    with pytest.raises(InputError, match=r"hydra\.launcher\.size is a number of jobs"):
        SweepLauncher(size=size)
