"""Run the jobs of a sweep in this process, one by one or in batches."""

import logging
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from src.cli.errors import explain
from src.common.errors import InputError, Interrupted, InUse, SweepFailed, first_line, resumed_by
from src.config.composition import run_options
from src.config.grammar import override_value
from src.config.schema import RunConfig, typed
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training.grouping import grouped
from src.training.logs import CURRENT_RUN, separate_logs

log = logging.getLogger(__name__)

SKIPPED = 1.0  # s; a faster job was finished before: like a failed one, it does not count in the time left
ELSEWHERE = "running in another process"
REPORTED = ("train", "search", "mesh", "video")  # commands that `python -m src.report` knows


class SweepLauncher(Launcher):
    """Run all jobs of a sweep, log the progress, and raise at the end for those that failed.

    A job that fails does not stop the others; an interruption does, and lists the jobs not run. Hydra's own launcher
    with a callback would lose this: callbacks are not told how many jobs there are, nor how a sweep failed or stopped.

    Args:
        size: maximum batch size; 1 runs them one by one.
        at_once: jobs of a batch that are evaluated together; None is all on a GPU, and one on a CPU, where its results
            are then bit-identical to those of a run by itself.
    """

    def __init__(self, size: int = 1, at_once: int | None = None) -> None:
        for name, number in (("size", size), ("at_once", 1 if at_once is None else at_once)):
            if not isinstance(number, int) or number < 1:
                raise InputError(f"hydra.launcher.{name} is a number of jobs, 1 or more, not {number}")
        super().__init__()
        self.size = size
        self.at_once = at_once
        self._composed: dict[int, DictConfig] = {}  # by job number, where they had to be known in advance
        self._repeated = Repeated()
        self.config: DictConfig
        self.hydra_context: HydraContext
        self.task_function: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep what Hydra gives to every launcher."""
        self.config = config
        self.hydra_context = hydra_context
        self.task_function = task_function

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run all jobs.

        Raises:
            SweepFailed: one or more of them failed.
        """
        setup_globals()
        folder = Path(str(self.config.hydra.sweep.dir))
        names = differences([filter_overrides(overrides) for overrides in job_overrides])
        count = len(names)
        self.configure_log()
        log.info("%d jobs in %s", count, folder)
        jobs = [SweepJob(initial_job_idx + index, overrides) for index, overrides in enumerate(job_overrides)]
        returns: dict[int, JobReturn] = {}
        batches = self._batches(jobs)
        begun = time.monotonic()
        pace: list[float] = []  # s a job
        failed: dict[str, list[str]] = {}  # names of jobs by reason
        for position, batch in enumerate(batches):
            described = ", ".join(names[index] for index in batch)
            log.info("[%s/%d] %s%s", ranges(batch), count, described, time_left(pace, count - len(returns)))
            started = time.monotonic()
            try:
                with resumed_by(f"repeat the command with {sweep_option(folder)}"):
                    returns |= zip(batch, self.run_jobs([jobs[index] for index in batch]), strict=True)
            except BaseException:
                self.configure_log()
                log.warning("interrupted in job %s of %d: %s", ranges(batch), count, described)
                if left := [f"\n  {names[index]}" for later in batches[position + 1 :] for index in later]:
                    log.warning("not run:%s", "".join(left))
                raise
            self.configure_log()
            took = time.monotonic() - started
            if took > SKIPPED and any(returns[index].status == JobStatus.COMPLETED for index in batch):
                pace += [took / len(batch)] * len(batch)
            for index in batch:
                if isinstance(returns[index]._return_value, InUse):
                    log.info("[%d/%d] skipped, running in another process: %s", index + 1, count, names[index])
                    returns[index].status, returns[index].return_value = JobStatus.COMPLETED, ELSEWHERE
                elif returns[index].status == JobStatus.FAILED:
                    reason = reason_of(returns[index])
                    shown = f"as {failed[reason][0]}" if reason in failed else reason
                    log.error("[%d/%d] failed: %s", index + 1, count, shown)
                    failed.setdefault(reason, []).append(names[index])
        number = sum(map(len, failed.values()))
        elsewhere = sum(each._return_value == ELSEWHERE for each in returns.values())
        finished = count - number - elsewhere
        log.info("%d of %d jobs finished in %s", finished, count, duration(time.monotonic() - begun))
        if finished and self.config.hydra.job.config_name in REPORTED:
            log.info("report: python -m src.report %s", shlex.quote(str(folder)))
        if failed:
            raise SweepFailed(f"{number} of {count} jobs failed in {folder}:{by_reason(failed)}")
        return [returns[index] for index in range(count)]

    def compose(self, job: "SweepJob") -> DictConfig:
        """Return the configuration of a job.

        Raises:
            HydraException, OmegaConfBaseException: an override cannot be used.
        """
        config: Any = self.hydra_context.config_loader.load_sweep_config(self.config, list(job.overrides))
        with open_dict(config):
            config.hydra.job.id = str(job.number)
            config.hydra.job.num = job.number
        return config

    def _batches(self, jobs: Sequence["SweepJob"]) -> list[list[int]]:
        """Return the indices of the jobs that run together, in the order of their first ones."""
        if self.size == 1:
            return [[index] for index in range(len(jobs))]
        if self.config.hydra.job.config_name != "train":
            raise InputError("hydra/launcher=batch is for runs: python -m src.train")
        self._composed = {job.number: self.compose(job) for job in jobs}
        groups = grouped([unfinished(config) for config in self._composed.values()], self.size)
        for reason in dict.fromkeys(groups.reasons.values()):
            log.info("not in a batch: %s (%d jobs)", reason, list(groups.reasons.values()).count(reason))
        return sorted([*groups.together, *([index] for index in groups.alone)])

    def run_jobs(self, jobs: Sequence["SweepJob"]) -> list[JobReturn]:
        """Run jobs, in one batch if there are several; errors are in what is returned."""
        if len(jobs) == 1:
            return [self._run_job(jobs[0], self.task_function)]
        from src.run import run_batch

        given: list[tuple[RunConfig, Path]] = []

        def take(options: DictConfig) -> None:
            given.append((typed(options), Path(HydraConfig.get().runtime.output_dir)))

        returns = [self._run_job(job, take) for job in jobs]
        taken = [each for each in returns if each.status == JobStatus.COMPLETED]
        with separate_logs([folder for _, folder in given]):
            results = run_batch(given, self.at_once)
        if stop := next((each for each in results if isinstance(each, Interrupted)), None):
            raise stop
        for each, result in zip(taken, results, strict=True):
            each.status = JobStatus.COMPLETED if isinstance(result, RunRecord) else JobStatus.FAILED
            each.return_value = result.status if isinstance(result, RunRecord) else result
        return returns

    def _run_job(self, job: "SweepJob", task: TaskFunction) -> JobReturn:
        """Let Hydra create a job's folder and log, and call the task there."""
        state = Singleton.get_state()
        self._repeated.job += 1

        def quiet(options: DictConfig) -> Any:  # once Hydra has set up the job's logging
            for handler in logging.getLogger().handlers:
                if not isinstance(handler, logging.FileHandler):  # the job's own log file keeps every line
                    handler.addFilter(self._repeated)
            return task(options)

        try:
            return run_job(
                hydra_context=self.hydra_context,
                task_function=quiet,
                config=self._composed[job.number] if job.number in self._composed else self.compose(job),
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        except Exception as error:  # before its task began: options or folder cannot be used
            failed = JobReturn()
            failed.status, failed.return_value = JobStatus.FAILED, error
            return failed
        finally:
            Singleton.set_state(state)

    def configure_log(self) -> None:
        """Log as Hydra's launcher, no longer to the file of a job."""
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)


@dataclass(frozen=True)
class SweepJob:
    """A job of a sweep: its number in Hydra's count, and its overrides."""

    number: int
    overrides: Sequence[str]


class Repeated(logging.Filter):
    """Drop messages that another job of the sweep has logged, such as the state of W&B.

    Messages count as the same if their `repeats` agree, where a log call gives it as `extra`, or else their texts.
    """

    def __init__(self) -> None:
        super().__init__()
        self.job = 0
        self._first: dict[str, tuple[int, Path | None]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message is new, or repeated by the job that logged it first."""
        here = (self.job, CURRENT_RUN.get())
        return self._first.setdefault(getattr(record, "repeats", record.getMessage()), here) == here


def time_left(pace: Sequence[float], jobs: int) -> str:
    """Return the time left for jobs in brackets, given the seconds that earlier ones took; nothing without any."""
    return f" (about {duration(sum(pace) / len(pace) * jobs)} left)" if pace else ""


def duration(seconds: float) -> str:
    """Return seconds as text: 45 s, 3 min 20 s, 2 h 5 min."""
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def ranges(indices: Sequence[int]) -> str:
    """Return ascending indices as ranges counted from 1: 1-4,6."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and parts[-1][-1] == index:
            parts[-1][-1] = index + 1
        else:
            parts.append([index + 1, index + 1])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def differences(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by the overrides that not all jobs share."""
    shared = set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else set()
    return [" ".join(each for each in job if each not in shared) or "no difference" for job in jobs]


def by_reason(failed: Mapping[str, Sequence[str]]) -> str:
    """Return a line for each reason with the names of its jobs."""
    return "".join(f"\n  {reason}: {_listed(names)}" for reason, names in failed.items())


def _listed(names: Sequence[str], most: int = 10) -> str:
    more = f"; and {len(names) - most} more" if len(names) > most else ""
    return "; ".join(names[:most]) + more


def sweep_option(folder: Path) -> str:
    """Return `hydra.sweep.dir=FOLDER` as it stands in a command, quoted for Hydra and the shell where needed."""
    plain = re.fullmatch(r"[\w./-]+", str(folder), re.ASCII)
    return f"hydra.sweep.dir={folder}" if plain else shlex.quote(f"hydra.sweep.dir={override_value(str(folder))}")


def reason_of(failed: JobReturn) -> str:
    """Return in one line why a job failed."""
    return one_line(failed._return_value)  # the property raises it


def one_line(error: BaseException) -> str:
    """Return an error in one line."""
    return (explain(error) or f"{type(error).__name__}: {first_line(error)}").splitlines()[0]


def unfinished(composed: DictConfig) -> RunConfig | None:
    """Return the options of a job; None if it is finished, or if they cannot be used, which the job reports itself."""
    try:
        record = records.read(Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir)
        return None if record and record.status == "finished" else run_options(composed)
    except (InputError, OmegaConfBaseException):
        return None


def register() -> None:
    """Make the launcher known to Hydra by the `_target_` of conf/hydra/launcher."""
    # Plugins.register would enter it as src.cli.launcher, but Hydra takes only targets that begin with hydra_plugins
    Plugins.instance().class_name_to_class["hydra_plugins.neural_style.SweepLauncher"] = SweepLauncher
