"""How the jobs of a sweep are run: one after the other in this process, each told which of how many it is."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.common.errors import SweepFailed, first_line

log = logging.getLogger(__name__)


class SequentialLauncher(Launcher):
    """Hydra's basic launcher, with what it lacks: progress, a list of what failed and of what has not run.

    A failing job does not stop the others. An interruption does, and lists the rest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.config: DictConfig
        self.hydra_context: HydraContext
        self.task_function: TaskFunction

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives to every launcher."""
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
        self._speak()
        names = _differences([filter_overrides(overrides) for overrides in job_overrides])
        log.info("%d jobs in %s", len(names), folder)
        jobs = [Job(initial_job_idx + index, overrides) for index, overrides in enumerate(job_overrides)]
        turns = self.turns(jobs)
        returns: dict[int, JobReturn] = {}
        for position, turn in enumerate(turns):
            told = ", ".join(names[index] for index in turn)
            log.info("[%s/%d] %s", ranges(turn), len(names), told)
            try:
                returns |= zip(turn, self.run([jobs[index] for index in turn]), strict=True)
            except BaseException:
                self._speak()
                left = "\n".join(f"  {names[index]}" for later in turns[position + 1 :] for index in later)
                log.warning("interrupted in job %s of %d: %s", ranges(turn), len(names), told)
                if left:
                    log.warning("not run:\n%s", left)
                log.warning("the same command with hydra.sweep.dir=%s goes on from here", folder)
                raise
            self._speak()
            for index in turn:
                if returns[index].status == JobStatus.FAILED:
                    log.error("[%d/%d] failed: %s", index + 1, len(names), _reason(returns[index]))
        done = [returns[index] for index in range(len(names))]
        failed = [(name, each) for name, each in zip(names, done, strict=True) if each.status == JobStatus.FAILED]
        if failed:
            lines = "\n".join(f"  {name}: {_reason(each)}" for name, each in failed)
            raise SweepFailed(f"{len(failed)} of {len(names)} jobs failed in {folder}:\n{lines}")
        return done

    def turns(self, jobs: Sequence["Job"]) -> list[list[int]]:
        """Return which jobs are run at a time, by their places among all; each has one turn."""
        return [[index] for index in range(len(jobs))]

    def run(self, jobs: Sequence["Job"]) -> list[JobReturn]:
        """Run the jobs of a turn; what they failed of is in what is returned."""
        return [self.run_job(job, self.compose(job), self.task_function) for job in jobs]

    def compose(self, job: "Job") -> DictConfig:
        """Return a job's whole configuration."""
        config: Any = self.hydra_context.config_loader.load_sweep_config(self.config, list(job.overrides))
        with open_dict(config):
            config.hydra.job.id = str(job.number)
            config.hydra.job.num = job.number
        return config

    def run_job(self, job: "Job", config: DictConfig, task: TaskFunction) -> JobReturn:
        """Let Hydra make a job's folder and its log, and do a task there."""
        state = Singleton.get_state()
        try:
            return run_job(
                hydra_context=self.hydra_context,
                task_function=task,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        finally:
            Singleton.set_state(state)

    def _speak(self) -> None:
        """Log as the launcher, no longer as a job."""
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)


@dataclass(frozen=True)
class Job:
    """A job of a sweep: its number in Hydra's count, and what it overrides."""

    number: int
    overrides: Sequence[str]


def ranges(indices: Sequence[int]) -> str:
    """Return places, ascending, as people count them: 1-4,6."""
    parts: list[list[int]] = []
    for index in indices:
        if parts and parts[-1][-1] == index:
            parts[-1][-1] = index + 1
        else:
            parts.append([index + 1, index + 1])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in parts)


def _differences(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by the overrides that not all jobs share."""
    shared = set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else set()
    return [" ".join(each for each in job if each not in shared) or "the same again" for job in jobs]


def _reason(done: JobReturn) -> str:
    return first_line(done._return_value)  # the property prints to stderr


def register(name: str, launcher: type[Launcher]) -> None:
    """Make a launcher known to Hydra, under the name that conf/hydra/launcher/NAME.yaml gives.

    Hydra takes launchers from the namespace package `hydra_plugins` alone. Their modules join it under the names
    `hydra_plugins.NAME`, beside whatever launchers are installed there.
    """
    try:
        import hydra_plugins
    except ModuleNotFoundError:
        hydra_plugins = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        hydra_plugins.__path__ = []
    module = sys.modules[launcher.__module__]
    launcher.__module__ = f"hydra_plugins.{name}"
    setattr(hydra_plugins, name, module)
    sys.modules[launcher.__module__] = module
    Plugins.instance().register(launcher)
