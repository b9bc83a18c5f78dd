"""A worker: imports the libraries once, claims jobs of a queue, runs them, and ends when all jobs have ended."""

import errno
import logging
import os
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from src.common.errors import InputError, InUse
from src.common.files import guarded_writes, write_error
from src.sweep.queue import LEASE, MAX_ATTEMPTS, Claim, Job, JobList, Queue

log = logging.getLogger(__name__)

BEATS = 12  # signs of life during a lease
LONGEST_WAIT = 15.0  # s between two looks for jobs that others give back


def unique_name() -> str:
    """Return a name that no other worker ever has."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Lease:
    """The lease of a worker: a file that a thread touches, and the claims that are open.

    Args:
        queue: of the sweep.
        name: of the worker.
        seconds: after which others may take the worker for dead.

    Raises:
        InUse: by `check`; the lease has been ended by others.
    """

    def __init__(self, queue: Queue, name: str, seconds: float = LEASE) -> None:
        self.queue, self.name, self.seconds = queue, name, seconds
        self.open: list[Claim] = []
        self._path = queue.workers / name
        self._lost = False
        self._renewed = 0.0
        self._stop = threading.Event()

    def __enter__(self) -> Self:
        self.queue.prepare()
        try:
            with self._path.open("x") as file:
                file.write(str(self.seconds))
        except OSError as error:
            raise write_error(self._path, error) from error
        self._renewed = _clock()
        threading.Thread(target=self._keep, daemon=True).start()
        return self

    def _keep(self) -> None:
        while not self._stop.wait(self.seconds / BEATS):
            try:
                self._renew()
                self.queue.remove_lapsed()
            except OSError as error:
                log.warning("cannot renew the lease of this worker: %s", error)

    def _renew(self) -> None:
        begun = _clock()
        try:
            os.utime(self._path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ESTALE):
                raise
            self._lost = True
        else:
            self._renewed = begun

    def check(self) -> None:
        """Check that the lease is held, before something is written.

        Raises:
            InUse: it is not: others may have claimed the jobs of this worker.
        """
        # others wait for twice as long before they end a lease
        if _clock() - self._renewed > self.seconds / 2:
            try:
                self._renew()
            except OSError as error:
                raise write_error(self._path, error) from error
        if self._lost:
            raise InUse(
                f"this worker missed its heartbeat for {self.seconds:.0f} s, so its jobs were given to others; "
                "start it again to claim new ones"
            )

    def claim(self, job: Job, attempt: int) -> Claim | None:
        """Claim a job; None if another worker has it, or if it has ended."""
        self.check()
        claim = self.queue.claim(job, attempt, self.name)
        if claim:
            self.open.append(claim)
        return claim

    def release(self, claim: Claim) -> None:
        """Give a job back."""
        self.queue.release(claim.job.key, claim.attempt)
        self.open.remove(claim)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        with suppress(OSError):  # what cannot be written now, others find out when the lease lapses
            self._renew()
            if not self._lost:
                # after an error the attempt counts, or workers would fail with the same job for ever
                for claim in [] if isinstance(error, Exception) else [*self.open]:
                    self.release(claim)
                self.queue.remove_worker(self.name)


class Worker:
    """Runs the jobs of a queue, in batches where the list of jobs says so.

    Args:
        lease: held.
        size: maximum batch size.
        at_once: pairs of a batch evaluated together; None is all on a GPU and one on a CPU.
    """

    def __init__(self, lease: Lease, size: int = 1, at_once: int | None = None) -> None:
        self.lease, self.queue = lease, lease.queue
        self.size, self.at_once = size, at_once
        self._free: deque[tuple[JobList, Job, int, int]] = deque()  # with the next attempt, and how many count
        self._not_before: dict[str, float] = {}
        self._runners: dict[int, Runner] = {}

    def run(self) -> None:
        """Run jobs until all have ended, here or elsewhere.

        Raises:
            InUse: the lease was lost.
            Interrupted: SIGINT or SIGTERM; picture and checkpoint of the run are written.
        """
        wait = 1.0
        while True:
            if claims := self.next_claims():
                self._work(*claims)
                wait = 1.0
                continue
            if self._all_ended():
                return
            time.sleep(wait)  # for jobs of workers that die
            wait = min(1.5 * wait, self.lease.seconds / BEATS, LONGEST_WAIT)

    def next_claims(self) -> tuple[JobList, list[Claim]] | None:
        """Claim the next free job, and others of its batch; None where there is none.

        Raises:
            InputError: this machine lacks the folders that relative paths of all free jobs start from.
        """
        if not self._free:
            self._list_free()
        while self._free:
            listed, job, attempt, counted = self._free.popleft()
            if counted >= MAX_ATTEMPTS:
                self._give_up(job)
                continue
            if claim := self.lease.claim(job, attempt):
                return listed, [claim, *(self._others(listed, job) if counted == 0 else [])]
        return None

    def _list_free(self) -> None:
        found, now, unusable = self.queue.snapshot(), time.monotonic(), None
        for listed, job in self.queue.jobs().values():
            if not found.free(job.key) or self._not_before.get(job.key, 0.0) > now:
                continue
            if listed.usable:
                self._free.append((listed, job, found.attempts.get(job.key, 0) + 1, found.attempts_that_count(job.key)))
            else:
                unusable = listed
        if unusable and not self._free:
            raise InputError(
                f"the sweep was started in {unusable.cwd}, which {socket.gethostname()} cannot enter: relative paths "
                "of the jobs start there; start the sweep in a folder that all its machines share"
            )

    def _others(self, listed: JobList, first: Job) -> list[Claim]:
        """Claim free jobs for a batch with the first one, without those that a worker died with."""
        claims: list[Claim] = []
        if self.size == 1 or first.batch is None:
            return claims
        for each in [*self._free]:
            _, job, attempt, counted = each
            if each[0] is listed and job.batch == first.batch and counted == 0 and len(claims) < self.size - 1:
                self._free.remove(each)
                if claim := self.lease.claim(job, attempt):
                    claims.append(claim)
        return claims

    def _give_up(self, job: Job) -> None:
        found = self.queue.snapshot()  # the listing may be minutes old
        if found.free(job.key) and found.attempts_that_count(job.key) >= MAX_ATTEMPTS:
            worker = self.queue.owner(job.key, found.attempts[job.key])
            output = self.queue.logs / f"{worker}.log"  # only of workers that a launcher started
            hint = f"see {output} of the last" if output.exists() else "it may take too much memory"
            self.queue.mark_failed(job.key, f"{MAX_ATTEMPTS} workers died with it; {hint}")

    def _all_ended(self) -> bool:
        ended = self.queue.snapshot().ended
        return all(key in ended for key in self.queue.jobs())

    def _work(self, listed: JobList, claims: Sequence[Claim]) -> None:
        from hydra.core.utils import JobStatus

        from src.cli.launcher import SKIPPED, duration, reason_of

        if id(listed) not in self._runners:
            self._runners[id(listed)] = Runner(self.queue, listed, self.size, self.at_once)
        begun = time.monotonic()
        with guarded_writes(self.lease.check):
            returns = self._runners[id(listed)].run([claim.job for claim in claims])
        took = time.monotonic() - begun
        for claim, result in zip(claims, returns, strict=True):
            self.lease.check()
            key, value = claim.job.key, result._return_value
            if isinstance(value, InUse):
                log.info("%s is running in another process; left for later", key)
                self._not_before[key] = time.monotonic() + self.lease.seconds
                self.lease.release(claim)
                continue
            if result.status == JobStatus.FAILED:
                log.error("%s failed: %s", key, reason_of(result))
                self.queue.mark_failed(key, reason_of(result))
            else:
                if took > SKIPPED:
                    log.info("%s finished in %s", key, duration(took))
                self.queue.mark_finished(key, took)
            self.lease.open.remove(claim)


class Runner:
    """Runs jobs of one list by the in-process launcher.

    Args:
        queue: of the sweep.
        listed: the list.
        size, at_once: as for `Worker`.
    """

    def __init__(self, queue: Queue, listed: JobList, size: int, at_once: int | None) -> None:
        from hydra import initialize_config_dir
        from hydra._internal.callbacks import Callbacks
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig
        from hydra.core.override_parser.types import Quote, QuotedString
        from hydra.core.utils import setup_globals
        from hydra.types import HydraContext, RunMode
        from omegaconf import DictConfig

        from src.cli.command import register_schema
        from src.cli.launcher import SweepLauncher, register
        from src.config.schema import CONF, RunConfig
        from src.run import run, run_folder

        def job(options: DictConfig) -> str:
            return run(options, Path(HydraConfig.get().runtime.output_dir), progress=False).status

        self.cwd = listed.cwd
        register_schema("train", RunConfig, run_folder)
        register()
        setup_globals()
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3", job_name="train"):
            loader = GlobalHydra.instance().config_loader()
            folder = QuotedString(str(queue.sweep), Quote.double).with_quotes()
            overrides = [*listed.overrides, f"hydra.sweep.dir={folder}"]
            config = loader.load_configuration("train", overrides, RunMode.MULTIRUN, from_shell=False)
        self._launcher = SweepLauncher(size, at_once)
        context = HydraContext(config_loader=loader, callbacks=Callbacks())
        self._launcher.setup(hydra_context=context, task_function=job, config=config)

    def run(self, jobs: Sequence[Job]) -> list:
        """Run jobs, in one batch if there are several; return a `JobReturn` for each."""
        from src.cli import launcher

        os.chdir(self.cwd)
        self._launcher.configure_log()
        for job in jobs:
            log.info("%s: %s", job.key, " ".join(job.overrides))
        try:
            return self._launcher.run_jobs([launcher.SweepJob(job.number, job.overrides) for job in jobs])
        finally:
            self._launcher.configure_log()


def _clock() -> float:
    """Return seconds of a clock that goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
