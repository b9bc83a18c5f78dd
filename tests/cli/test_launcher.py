"""What a sweep logs: ranges, times, each message once."""

import logging

import pytest

from src.cli import launcher
from src.cli.launcher import Clock, Repeated, SweepLauncher, duration, ranges
from src.common.errors import InputError


def test_indices_as_ranges() -> None:
    assert ranges([0]) == "1"
    assert ranges([0, 1, 2, 3, 5]) == "1-4,6"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (45, "45 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_time_left_leaves_out_jobs_that_were_finished_before(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(launcher.time, "monotonic", lambda: now[0])
    clock = Clock(6)
    assert clock.left() == ""
    now[0] += 0.1
    clock.tick(1)
    assert clock.left() == ""
    now[0] += 20
    clock.tick(2)
    assert clock.left() == " (about 30 s left)", "10 s a job, three to go"
    assert clock.elapsed() == pytest.approx(20.1)


def test_messages_of_earlier_jobs_are_dropped() -> None:
    shown = Repeated()

    def passes(text: str) -> bool:
        return shown.filter(logging.LogRecord("x", logging.INFO, "", 0, "W&B is %s", (text,), None))

    assert passes("offline") and passes("offline"), "one job may repeat itself"
    shown.earlier |= shown.logged
    assert not passes("offline") and passes("online")


@pytest.mark.parametrize("size", [0, 1.5, "x"])
def test_batches_have_a_size(size: int) -> None:
    with pytest.raises(InputError, match=r"hydra\.launcher\.size is a number of jobs"):
        SweepLauncher(size=size)
