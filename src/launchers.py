"""How the jobs of a sweep are run: one after the other in this process, each told which of how many it is."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from hydra.core.plugins import Plugins
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, configure_log, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.errors import SweepFailed, first_line

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
        configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
        names = _differences([filter_overrides(overrides) for overrides in job_overrides])
        log.info("%d jobs in %s", len(names), folder)
        returns: list[JobReturn] = []
        for index, overrides in enumerate(job_overrides):
            log.info("[%d/%d] %s", index + 1, len(names), names[index])
            try:
                returns.append(self._run(overrides, initial_job_idx + index))
            except BaseException:
                configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
                left = "\n".join(f"  {name}" for name in names[index + 1 :])
                log.warning("interrupted in job %d of %d: %s", index + 1, len(names), names[index])
                if left:
                    log.warning("not run:\n%s", left)
                log.warning("the same command with hydra.sweep.dir=%s goes on from here", folder)
                raise
            configure_log(self.config.hydra.hydra_logging, self.config.hydra.verbose)
            if returns[-1].status == JobStatus.FAILED:
                log.error("[%d/%d] failed: %s", index + 1, len(names), _reason(returns[-1]))
        failed = [(name, done) for name, done in zip(names, returns, strict=True) if done.status == JobStatus.FAILED]
        if failed:
            lines = "\n".join(f"  {name}: {_reason(done)}" for name, done in failed)
            raise SweepFailed(f"{len(failed)} of {len(names)} jobs failed in {folder}:\n{lines}")
        return returns

    def _run(self, overrides: Sequence[str], number: int) -> JobReturn:
        config: Any = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = str(number)
            config.hydra.job.num = number
        state = Singleton.get_state()
        try:
            return run_job(
                hydra_context=self.hydra_context,
                task_function=self.task_function,
                config=config,
                job_dir_key="hydra.sweep.dir",
                job_subdir_key="hydra.sweep.subdir",
            )
        finally:
            Singleton.set_state(state)


def _differences(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Name each job by the overrides that not all jobs share."""
    shared = set(jobs[0]).intersection(*jobs[1:]) if len(jobs) > 1 else set()
    return [" ".join(each for each in job if each not in shared) or "the same again" for job in jobs]


def _reason(done: JobReturn) -> str:
    return first_line(done._return_value)  # the property prints to stderr


def register() -> None:
    """Make the launcher known to Hydra, under the name that conf/hydra/launcher/sequential.yaml gives.

    Hydra takes launchers from the namespace package `hydra_plugins` alone. This module joins it under the name
    `hydra_plugins.sequential`, beside whatever launchers are installed there.
    """
    try:
        import hydra_plugins
    except ModuleNotFoundError:
        hydra_plugins = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        hydra_plugins.__path__ = []
    name = "hydra_plugins.sequential"
    hydra_plugins.sequential = sys.modules[name] = sys.modules[__name__]
    SequentialLauncher.__module__ = name
    Plugins.instance().register(SequentialLauncher)
