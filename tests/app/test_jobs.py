"""The queue: one process at a time, across a restart, stopped, failed."""

import errno
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.app import jobs
from src.app.jobs import RunQueue
from tests.report.runs import write_run


@pytest.fixture
def queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunQueue]:
    """A queue whose processes run the Python code that their first argument is."""
    monkeypatch.setattr(jobs, "COMMAND", (sys.executable, "-c"))
    found = RunQueue(tmp_path)
    yield found
    for process in found._processes.values():
        process.kill()
        process.wait()


SLEEP = "import time; time.sleep(600)"


def until(queue: RunQueue, found: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not found():
        assert time.monotonic() < end, queue.jobs()
        queue.look()
        time.sleep(0.02)


def states(queue: RunQueue) -> list[str]:
    return [job.state for job in queue.jobs()]


def test_one_process_at_a_time_in_order(queue: RunQueue, tmp_path: Path) -> None:
    first = queue.add(tmp_path / "a", [SLEEP], "a", 10)
    queue.add(tmp_path / "b", [SLEEP], "b", 10)
    assert queue.add(tmp_path / "a", ["other"], "a", 10).number == first.number, "it is there already"
    for _ in range(3):
        queue.look()
    assert states(queue) == ["running", "waiting"]
    assert queue.stop(tmp_path / "a")
    until(queue, lambda: len(queue.jobs()) == 1 and states(queue) == ["running"])
    assert queue.jobs()[0].title == "b"
    assert not queue.stop(tmp_path / "a") and not queue.stop(tmp_path / "never")


def test_a_restarted_server_finds_the_run_at_work(queue: RunQueue, tmp_path: Path) -> None:
    queue.add(tmp_path / "a", [SLEEP], "a", 10)
    queue.add(tmp_path / "b", [SLEEP], "b", 10)
    queue.look()
    (pid,) = [job.pid for job in queue.jobs() if job.pid]
    again = RunQueue(tmp_path)
    again.look()
    assert [(job.title, job.state, job.pid) for job in again.jobs()] == [("a", "running", pid), ("b", "waiting", None)]
    assert again.stop(tmp_path / "b") and len(again.jobs()) == 1
    os.kill(pid, signal.SIGKILL)
    queue._processes[1].wait()
    again.look()
    assert states(again) == ["failed"] and "without a message" in str(again.jobs()[0].error)


def test_another_process_of_the_same_number_is_not_the_run(queue: RunQueue, tmp_path: Path) -> None:
    queue.add(tmp_path / "a", [SLEEP], "a", 10)
    queue.look()
    path = tmp_path / "000001.json"
    mine = json.loads(path.read_text())
    path.write_text(json.dumps({**mine, "pid": os.getpid()}))  # of this test, which began at another time
    again = RunQueue(tmp_path)
    assert again.stop(tmp_path / "a"), "no signal reaches this process"
    again.look()
    assert states(again) == ["failed"] or not states(again)


def test_the_error_of_a_run_without_a_record_is_kept_until_it_is_dismissed(queue: RunQueue, tmp_path: Path) -> None:
    code = "import sys; print('loading'); sys.exit('error: content.path: no such file: a.jpg')"
    queue.add(tmp_path / "a", [code], "a", 10)
    until(queue, lambda: states(queue) == ["failed"])
    assert queue.jobs()[0].error == "content.path: no such file: a.jpg"
    assert RunQueue(tmp_path).jobs()[0].error == queue.jobs()[0].error
    assert queue.stop(tmp_path / "a") and list(tmp_path.glob("0*")) == []


def test_a_run_with_a_record_leaves_nothing_in_the_queue(queue: RunQueue, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a")
    queue.add(tmp_path / "runs" / "a", ["pass"], "a", 10)
    until(queue, lambda: not queue.jobs())
    assert list(tmp_path.glob("0*")) == []


def test_a_run_that_refuses_to_go_on_says_why(queue: RunQueue, tmp_path: Path) -> None:
    write_run(tmp_path / "runs" / "a", status="interrupted")
    queue.add(tmp_path / "runs" / "a", ["import sys; print('error: content.path has changed'); sys.exit(2)"], "a", 10)
    until(queue, lambda: states(queue) == ["failed"])
    assert queue.jobs()[0].error == "content.path has changed"


def test_a_refusal_after_an_earlier_failure_is_kept(queue: RunQueue, tmp_path: Path) -> None:
    """The record is that of the run before; a server that was started again does not know the exit status."""
    write_run(tmp_path / "runs" / "a", status="failed", error="the loss was not finite")
    queue.add(tmp_path / "runs" / "a", ["import sys; print('error: style.path has changed'); sys.exit(2)"], "a", 10)
    queue.look()
    queue._processes[1].wait()
    again = RunQueue(tmp_path)
    for each in (queue, again):
        each.look()
        assert states(each) == ["failed"] and each.jobs()[0].error == "style.path has changed"


def test_a_run_that_was_killed_says_so_unless_it_was_stopped(queue: RunQueue, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "a"
    write_run(folder, status="running")
    code = f"import os, time; os.utime({str(folder / 'record.json')!r}); time.sleep(%d); os.kill(os.getpid(), 9)"
    queue.add(folder, [code % 0], "a", 10)
    until(queue, lambda: states(queue) == ["failed"])
    assert queue.jobs()[0].error == "killed (out of memory?); Resume continues from the last checkpoint"
    queue.add(
        folder,
        [f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {code % 1}"],
        "a",
        10,
    )
    queue.look()
    until(queue, lambda: "ready" in (tmp_path / "000001.log").read_text())
    assert queue.stop(folder)
    until(queue, lambda: not queue.jobs())


def test_a_run_that_waits_again_while_it_stops_can_be_taken_out(queue: RunQueue, tmp_path: Path) -> None:
    slow = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); {SLEEP}"
    queue.add(tmp_path / "a", [slow], "a", 10)
    queue.look()
    until(queue, lambda: "ready" in (tmp_path / "000001.log").read_text())
    assert queue.stop(tmp_path / "a") and queue.stop(tmp_path / "a"), "it is still there"
    assert queue.add(tmp_path / "a", [slow], "a", 10).number == 2
    assert queue.stop(tmp_path / "a") and [job.number for job in queue.jobs()] == [1]


def test_a_disk_error_does_not_end_the_watch(
    queue: RunQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks = threading.Semaphore(0)

    def full() -> None:
        looks.release()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jobs, "POLL", 0.001)
    monkeypatch.setattr(queue, "look", full)
    queue.start()
    assert all(looks.acquire(timeout=60) for _ in range(2))
    queue.close()
    assert "No space left on device" in caplog.text


def test_the_process_outlives_the_group_of_the_server(queue: RunQueue, tmp_path: Path) -> None:
    """Ctrl-C in the server's terminal reaches its process group alone."""
    queue.add(tmp_path / "a", [SLEEP], "a", 10)
    queue.look()
    (job,) = queue.jobs()
    assert job.pid and os.getpgid(job.pid) != os.getpgid(0) and os.getsid(job.pid) == job.pid
