"""Hydra launchers that write a queue, start workers, and watch until all jobs have ended."""

import glob
import hashlib
import logging
import os
import shlex
import sys
import time
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, setup_globals
from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from src.cli.launcher import (
    SweepJob,
    SweepLauncher,
    by_reason,
    differences,
    duration,
    one_line,
    sweep_option,
    unfinished,
)
from src.common.errors import InputError, SweepFailed
from src.config.schema import RunConfig
from src.sweep.process import WorkerProcess
from src.sweep.queue import LEASE, SHORTEST_LEASE, Job, JobList, Queue, is_lease, key_of
from src.sweep.status import Status, seconds_between_looks
from src.training.grouping import grouped

log = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 15.0
# Options of the command that starts a sweep; workers need none of them.
DRIVER_OPTIONS = ("hydra/launcher", "hydra.launcher", "hydra.sweep.dir", "hydra.mode", "hydra/sweeper", "hydra.sweeper")


class QueueWriter(SweepLauncher):
    """Writes the queue of a sweep."""

    queue: Queue
    keys: tuple[str, ...] = ()

    def left(self) -> int:
        """Return how many jobs have not ended."""
        return Status.of(self.queue, self.keys).left

    @property
    def folder(self) -> Path:
        """The sweep folder."""
        return Path(str(self.config.hydra.sweep.dir))

    def tell_of_others(self) -> None:
        """Say how many unfinished jobs of other commands the workers will take besides those of this one."""
        others = self.queue.jobs().keys() - set(self.keys)
        if left := Status.of(self.queue, others).left:
            log.info("the workers also take unfinished jobs (%d) of other sweeps in the same folder", left)

    def write_queue(self, job_overrides: Sequence[Sequence[str]], first: int) -> JobList:
        """Return the list of the jobs, as an earlier command wrote it, or written now."""
        setup_globals()
        if self.config.hydra.job.config_name != "train":
            raise InputError("launchers of workers are for runs: python -m src.train")
        self.configure_log()
        self.queue = Queue(self.folder)
        given: list[str] = list(self.config.hydra.overrides.hydra)
        common = [each for each in given if not each.lstrip("+").startswith(DRIVER_OPTIONS)]
        cwd = str(Path.cwd())
        path = self.queue.path_of(job_overrides, common, cwd, self.size > 1)
        if (listed := self.queue.read(path)) is None:
            self.queue.add(path, self._checked(job_overrides, first, common, cwd))
            listed = self.queue.read(path)
            assert listed is not None
        self.keys = listed.keys
        return listed

    def _checked(self, job_overrides: Sequence[Sequence[str]], first: int, common: Sequence[str], cwd: str) -> JobList:
        """Return the list of the jobs, with the errors of those that cannot be run."""
        log.info("checking %d jobs", len(job_overrides))
        checked = [self._check(SweepJob(first + index, each)) for index, each in enumerate(job_overrides)]
        batches: dict[int, int] = {}
        if self.size > 1:
            groups = grouped([options for _, _, options in checked], self.size)
            batches = {index: number for number, batch in enumerate(groups.together) for index in batch}
        jobs = tuple(
            Job(key, first + index, tuple(job_overrides[index]), batches.get(index), error)
            for index, (key, error, _) in enumerate(checked)
        )
        return JobList(jobs, tuple(common), cwd)

    def _check(self, job: SweepJob) -> tuple[str, str | None, RunConfig | None]:
        """Return the key of a job, the error of one that cannot be run, and the options of one not yet finished."""
        try:
            config: DictConfig = self.compose(job)
            key = key_of(str(OmegaConf.select(config, "hydra.sweep.subdir")))
            return key, None, unfinished(config) if self.size > 1 else None
        except Exception as error:  # as `run_jobs`, which returns it as that of the job
            digest = hashlib.sha256(" ".join(job.overrides).encode()).hexdigest()[:8]
            return f"job-{digest}", one_line(error), None


class QueueLauncher(QueueWriter):
    """Write the queue of a sweep and say how to start workers, by whatever means."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Write the queue."""
        listed = self.write_queue(job_overrides, initial_job_idx)
        folder, size = shlex.quote(str(self.queue.sweep)), f" --size {self.size}" if self.size > 1 else ""
        log.info("%d jobs wait in %s", self.left(), self.folder)
        self.tell_of_others()
        log.info("start workers, anywhere: python -m src.sweep worker %s%s", folder, size)
        log.info("watch them: python -m src.sweep status --watch %s", folder)
        return [JobReturn(status=JobStatus.COMPLETED, _return_value="queued") for _ in listed.jobs]


class WorkerLauncher(QueueWriter):
    """Write the queue of a sweep, start workers, and show one line over all of them until all jobs have ended.

    It may be killed and started again by the same command.

    Args:
        workers: how many.
        size, at_once: as for `SweepLauncher`.
        lease: seconds without a heartbeat after which a worker is presumed dead.
    """

    def __init__(self, workers: int = 2, size: int = 1, at_once: int | None = None, lease: float = LEASE) -> None:
        super().__init__(size, at_once)
        if not isinstance(workers, int) or workers < 1:
            raise InputError(f"hydra.launcher.workers is a number of workers, 1 or more, not {workers}")
        if not isinstance(lease, int | float) or not is_lease(lease):
            raise InputError(f"hydra.launcher.lease is a number of seconds, {SHORTEST_LEASE} or more, not {lease}")
        self.workers, self.lease = workers, lease

    @abstractmethod
    def start(self, jobs: int) -> None:
        """Start workers for `jobs` jobs."""

    @abstractmethod
    def tend(self) -> None:
        """Look after the workers.

        Raises:
            SweepFailed: there are none left.
        """

    def finish(self) -> None:
        """Let go of the workers, once all jobs have ended."""

    @abstractmethod
    def stop(self) -> None:
        """End the workers, or say how to, after the command was interrupted."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs.

        Raises:
            SweepFailed: one or more of them failed.
        """
        listed, folder = self.write_queue(job_overrides, initial_job_idx), self.folder
        names = dict(
            zip((job.key for job in listed.jobs), differences([*map(filter_overrides, job_overrides)]), strict=True)
        )
        begun = time.monotonic()
        status = Status.of(self.queue, names)
        log.info("%d jobs in %s (%d done)", status.jobs, folder, status.done)
        if status.left:
            self.tell_of_others()
        try:
            if status.left:
                self.start(status.left)
                self._watch()
                self.finish()
        except BaseException:
            self.stop()
            log.warning("to resume, repeat the command with %s", sweep_option(folder))
            raise
        status = Status.of(self.queue, names)
        log.info("%d of %d jobs finished in %s", status.done, status.jobs, duration(time.monotonic() - begun))
        if status.done:
            log.info("report: python -m src.report %s", shlex.quote(str(folder)))
        if status.failed:
            failed = {reason: [names[key] for key in keys] for reason, keys in status.reasons.items()}
            raise SweepFailed(
                f"{status.failed} of {status.jobs} jobs failed in {folder}:{by_reason(failed)}\n"
                f"to try them again: python -m src.sweep retry {shlex.quote(str(folder))}"
            )
        return [JobReturn(status=JobStatus.COMPLETED, _return_value="finished") for _ in listed.jobs]

    def _watch(self) -> None:
        """Show the state of the jobs until all have ended."""
        shown, last = "", 0.0
        with tqdm(bar_format="{desc}", dynamic_ncols=True, leave=False, disable=not sys.stderr.isatty()) as line:
            while True:
                begun = time.monotonic()
                self.tend()
                self.queue.remove_lapsed()
                status = Status.of(self.queue, self.keys)
                if not line.disable:
                    line.set_description_str(status.line())
                elif status.line() != shown and (begun - last > SECONDS_BETWEEN_LINES or not status.left):
                    shown, last = status.line(), begun
                    log.info("%s", shown)
                if not status.left:
                    return
                time.sleep(seconds_between_looks(time.monotonic() - begun))

    @property
    def worker_options(self) -> dict[str, Any]:
        """The options of each `WorkerProcess`."""
        return {"size": self.size, "at_once": self.at_once, "lease": self.lease}


class ProcessLauncher(WorkerLauncher):
    """Workers on this machine, which share its cores and GPUs, and end with this process."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._workers: list[WorkerProcess] = []

    def start(self, jobs: int) -> None:
        """Start the workers."""
        for environment in shares(min(self.workers, jobs)):
            worker = WorkerProcess(self.queue, **self.worker_options, environment=environment)
            worker.start()
            self._workers.append(worker)
        log.info("%d workers; their output: %s", len(self._workers), self.queue.logs)

    def tend(self) -> None:
        """Replace workers that died."""
        for worker in self._workers:
            worker.tend()
        if all(worker.ended for worker in self._workers) and self.left():
            raise SweepFailed(
                f"all workers have exited; to resume, repeat the command with {sweep_option(self.queue.sweep)}"
            )

    def finish(self) -> None:
        """Wait for the workers, which end by themselves."""
        for worker in self._workers:
            worker.wait()

    def stop(self) -> None:
        """Let the workers finish their steps and save their runs; a second Ctrl-C kills them."""
        log.warning("stopping the workers, which save their runs; press Ctrl-C again to abort")
        try:
            for worker in self._workers:
                worker.stop()
            self.finish()
        except KeyboardInterrupt:
            for worker in self._workers:
                worker.kill()


def cpu_share(threads: str) -> dict[str, str]:
    """Return the environment variables that give a worker so many CPU threads, inside a Slurm allocation as well."""
    return {"OMP_NUM_THREADS": threads, "SLURM_CPUS_PER_TASK": threads}


def shares(workers: int) -> list[dict[str, str]]:
    """Return the environment variables that share out the cores and GPUs of this machine to workers."""
    threads = str(max(1, len(os.sched_getaffinity(0)) // workers))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = [str(index) for index in range(len(glob.glob("/dev/nvidia[0-9]*")))]  # noqa: PTH207
    gpus = found if visible is None else list(filter(None, visible.split(",")))
    return [
        {**cpu_share(threads), **({"CUDA_VISIBLE_DEVICES": gpus[index % len(gpus)]} if gpus else {})}
        for index in range(workers)
    ]


class PlainSweeper(BasicSweeper):
    """Hydra's own sweeper, without its check of all jobs where the launcher makes it, once a sweep."""

    def __init__(self, max_batch_size: int | None = None, params: dict[str, str] | None = None) -> None:
        # Hydra executes the modules of its plugins again when it lists them; then the initialiser of the class that was
        # imported here takes no objects of subclasses
        basic: Any = Plugins.instance().class_name_to_class["hydra._internal.core_plugins.basic_sweeper.BasicSweeper"]
        vars(self).update(vars(basic(max_batch_size, params)))

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Compose all jobs, which takes a tenth of a second each, unless the launcher does."""
        if not isinstance(self.launcher, QueueWriter):
            super().validate_batch_is_legal(batch)


def register() -> None:
    """Make the launchers and the sweeper known to Hydra, as `cli.launcher.register`."""
    from src.sweep.ray import RayLauncher
    from src.sweep.slurm import SlurmLauncher

    for kind in (PlainSweeper, QueueLauncher, ProcessLauncher, SlurmLauncher, RayLauncher):
        Plugins.instance().class_name_to_class[f"hydra_plugins.neural_style.{kind.__name__}"] = kind
