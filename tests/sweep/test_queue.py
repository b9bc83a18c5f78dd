"""The claims of a queue: real processes that race, die and are suspended."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

import pytest

from src.common.errors import InputError, InUse
from src.common.files import guarded_writes, write_atomically
from src.sweep.__main__ import main
from src.sweep.queue import FAILED, FINISHED, MAX_ATTEMPTS, Job, JobList, Queue, key_of
from src.sweep.status import Status
from src.sweep.worker import Lease, Worker
from tests.support import ROOT
from tests.sweep.contender import STEPS


def fill(folder: Path, jobs: int, seconds: float = 0.02, batch: int | None = None) -> Queue:
    """Write a queue of jobs that take so long."""
    queue = Queue(folder)
    listed = tuple(Job(f"job{index}", index, (f"seconds={seconds}",), batch) for index in range(jobs))
    queue.add(
        queue.path_of([job.overrides for job in listed], [], str(folder), False), JobList(listed, (), str(folder))
    )
    return queue


@contextmanager
def contenders(folder: Path, count: int, lease: float) -> Iterator[list[subprocess.Popen]]:
    """Start workers; they are killed where the block leaves them running."""
    processes = [contender(folder, lease) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def contender(folder: Path, lease: float, name: str | None = None) -> subprocess.Popen:
    named = [f"--name={name}"] if name else []
    command = [sys.executable, "-m", "tests.sweep.contender", str(folder), f"--lease={lease}", *named]
    return subprocess.Popen(command, cwd=ROOT)


def steps_of(folder: Path) -> list[int]:
    return [int(line.split()[0]) for line in (folder / "steps").read_text().splitlines()]


def test_each_job_is_run_once_by_workers_that_race(tmp_path: Path) -> None:
    queue = fill(tmp_path, 60, seconds=0.005)
    with contenders(tmp_path, 4, lease=20) as processes:
        assert [process.wait(60) for process in processes] == [0] * 4
    assert Status.of(queue).done == 60
    owners = set()
    for index in range(60):
        assert steps_of(tmp_path / f"job{index}") == [*range(STEPS)]
        assert len([*queue.claims.glob(f"job{index}.[0-9]")]) == 1
        owners |= {line.split()[1] for line in (tmp_path / f"job{index}" / "steps").read_text().splitlines()}
    assert len(owners) > 1 and not [*tmp_path.glob("overlap-*")] and not [*queue.workers.iterdir()]


@pytest.mark.long
def test_kills_at_random_moments(tmp_path: Path) -> None:
    """Ten workers of four at a time are killed; nothing runs twice at once, and each job ends."""
    queue, chance = fill(tmp_path, 24, seconds=0.3), random.Random(24)
    with contenders(tmp_path, 0, lease=4) as processes:
        names = [f"worker{number}" for number in range(14)]
        processes += [contender(tmp_path, 4, name) for name in names[:4]]
        for number in range(10):
            time.sleep(chance.uniform(0.05, 0.4))
            victim = chance.choice([index for index, process in enumerate(processes) if process.poll() is None])
            processes[victim].kill()
            processes[victim].wait()
            if number % 3:  # as the process that started it does; of the others the leases lapse
                queue.remove_worker(names[victim])
            processes.append(contender(tmp_path, 4, names[number + 4]))
        end = time.monotonic() + 60
        while any(process.poll() is None for process in processes) and time.monotonic() < end:
            time.sleep(0.05)
        assert {process.returncode for process in processes} == {0, -signal.SIGKILL}
    status = Status.of(queue)
    assert status.left == 0 and status.done >= 22
    assert all("workers died with it" in reason for reason in status.reasons)
    assert not [*tmp_path.glob("overlap-*")]
    for key, end in queue.snapshot().ended.items():
        if end == FINISHED:  # a step may be repeated that was counted but not yet noted
            assert sorted(set(steps_of(tmp_path / key))) == steps_of(tmp_path / key)


def test_a_suspended_worker_notices_before_it_writes(tmp_path: Path) -> None:
    queue = fill(tmp_path, 1, seconds=1.5)
    with contenders(tmp_path, 1, lease=0.5) as processes:
        [first] = processes
        while not (tmp_path / "job0" / "steps").exists():
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        (tmp_path / "job0" / "lock").unlink()  # as on another machine, where locks may not be seen
        processes.append(contender(tmp_path, 0.5))
        assert processes[1].wait(30) == 0
        first.send_signal(signal.SIGCONT)
        assert first.wait(30) == 1, "InUse"
    assert queue.outcome("job0") == FINISHED
    lines = (tmp_path / "job0" / "steps").read_text().splitlines()
    names = [line.split()[1] for line in lines]
    assert len(set(names)) == 2 and names == sorted(names, key=[*dict.fromkeys(names)].index), (
        "none after the take-over"
    )
    assert (tmp_path / "job0" / "count").read_text() == str(STEPS)


def test_nothing_is_written_once_the_lease_is_gone(tmp_path: Path) -> None:
    queue = fill(tmp_path, 1)
    with Lease(queue, "one", seconds=1e-6) as lease, guarded_writes(lease.check):
        write_atomically(tmp_path / "file", b"before")
        queue.remove_worker("one")
        with pytest.raises(InUse, match="its jobs were given to others"):
            write_atomically(tmp_path / "file", b"after")
        assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["file"], "no temporary file is left"
    assert (tmp_path / "file").read_bytes() == b"before"


@pytest.mark.parametrize("minutes", [-1, 1])
def test_clocks_may_differ(tmp_path: Path, minutes: int) -> None:
    """Only changes of the time of modification count, not how it compares with this machine's clock."""
    queue, other = fill(tmp_path, 1), Queue(tmp_path)
    worker = queue.workers / "far"
    worker.write_text("0.05")
    for beat in range(4):
        time.sleep(0.03)
        os.utime(worker, (0, time.time() + 60 * minutes + beat))
        other.remove_lapsed()
        assert worker.exists()
    for _ in range(3):
        time.sleep(0.03)
        other.remove_lapsed()
    assert not worker.exists()


def test_a_job_fails_after_three_workers_died_with_it_and_can_be_retried(tmp_path: Path) -> None:
    queue = fill(tmp_path, 1)
    for number in range(MAX_ATTEMPTS):
        with Lease(queue, f"worker{number}") as lease:
            [claim] = Worker(lease).next_claims()[1]
            assert claim.attempt == number + 1
            queue.remove_worker(lease.name)  # as after a kill
    queue.logs.mkdir(exist_ok=True)
    (queue.logs / "worker2.log").touch()  # as of a worker that a launcher started
    with Lease(queue, "last") as lease:
        assert Worker(lease).next_claims() is None
        assert queue.outcome("job0") == FAILED
        assert queue.reason("job0").startswith("3 workers died with it; see ") and "worker2.log" in queue.reason("job0")
        assert queue.retry() == ["job0"]
        assert Worker(lease).next_claims()[1][0].attempt == MAX_ATTEMPTS + 1
    assert queue.snapshot().attempts_that_count("job0") == 0, "given back at the end of the block"


@pytest.mark.parametrize(("error", "counted"), [(ValueError, 1), (KeyboardInterrupt, 0), (SystemExit, 0)])
def test_an_attempt_counts_unless_the_worker_was_asked_to_end(
    tmp_path: Path, error: type[BaseException], counted: int
) -> None:
    queue = fill(tmp_path, 1)
    with pytest.raises(error), Lease(queue, "one") as lease:
        assert Worker(lease).next_claims()
        raise error
    found = queue.snapshot()
    assert found.free("job0") and found.attempts_that_count("job0") == counted


def test_a_batch_takes_jobs_of_one_number_and_none_that_a_worker_died_with(tmp_path: Path) -> None:
    queue = fill(tmp_path, 5, batch=7)
    with Lease(queue, "dies") as lease:
        assert len(Worker(lease).next_claims()[1]) == 1
        queue.remove_worker("dies")
    with Lease(queue, "one") as lease:
        worker = Worker(lease, size=3)
        assert [claim.job.key for claim in worker.next_claims()[1]] == ["job0"]
        assert [claim.job.key for claim in worker.next_claims()[1]] == ["job1", "job2", "job3"]
        assert [claim.job.key for claim in worker.next_claims()[1]] == ["job4"]
        assert worker.next_claims() is None


@pytest.mark.parametrize("subdir", ["cat-swell-e-3fa81c2d", "a/100%/b.3", "猫-é"])
def test_a_key_is_a_file_name_and_names_the_folder(tmp_path: Path, subdir: str) -> None:
    key = key_of(subdir)
    assert unquote(key) == subdir and "/" not in key
    queue = Queue(tmp_path)
    queue.prepare()
    claim = queue.claim(Job(key, 0, ()), 1, "worker")
    assert queue.snapshot().attempts == {key: 1}
    queue.release(key, claim.attempt)
    assert queue.snapshot().released == {(key, 1)}


def test_watching_ends_when_its_reader_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with `| head`, although jobs are left."""
    fill(tmp_path, 1)
    monkeypatch.setattr(sys, "argv", ["sweep", "status", "--watch", str(tmp_path)])
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe, monkeypatch.context() as patch, pytest.raises(SystemExit, match="1"):
        patch.setattr(sys, "stdout", pipe)
        main()


def test_a_worker_without_the_folder_of_the_command_claims_nothing(tmp_path: Path) -> None:
    """Three attempts that fail for this would end every job."""
    queue = Queue(tmp_path)
    queue.add(tmp_path / "queue/jobs-1.json", JobList((Job("job0", 0, ()),), (), str(tmp_path / "elsewhere")))
    refused = pytest.raises(InputError, match=r"was started in .*/elsewhere, which .* cannot enter")
    with refused, Lease(queue, "one") as lease:
        Worker(lease).run()
    assert [*queue.claims.iterdir()] == [*queue.workers.iterdir()] == []
    usable = JobList((Job("job0", 0, ("seed=1",)),), (), str(tmp_path))  # the same sweep, from another folder
    queue.add(tmp_path / "queue/jobs-2.json", usable)
    queue.add(tmp_path / "queue/jobs-3.json", JobList((Job("job1", 0, ()),), (), str(tmp_path / "elsewhere")))
    with Lease(queue, "one") as lease:
        listed, [claim] = Worker(lease).next_claims() or (None, [None])
        assert listed == usable and claim and claim.job.key == "job0"
        lease.release(claim)


def test_a_folder_without_queue(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"holds no queue, as sweeps with .* do; the runs of others: python -m src.report"
    ):
        Queue.existing(tmp_path)
    (tmp_path / "queue").mkdir()
    (tmp_path / "queue" / "jobs-1.json").write_text("{")
    with pytest.raises(InputError, match="is not a list of jobs"):
        Queue.existing(tmp_path)
