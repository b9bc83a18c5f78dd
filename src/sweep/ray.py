"""`hydra/launcher=ray`: workers as Ray actors, which Ray starts again on other nodes when theirs are lost."""

import logging
import os
from pathlib import Path
from typing import Any

from src.common.errors import InputError, SweepFailed, first_line
from src.common.packages import require
from src.sweep.launchers import WorkerLauncher, cpu_share
from src.sweep.process import WorkerProcess, python_path, supervise
from src.sweep.queue import Queue

log = logging.getLogger(__name__)


class RayWorker:
    """An actor: keeps a worker at work as a child process, which ends when the actor does.

    Args:
        sweep: the sweep folder, which all nodes share.
        options: of `WorkerProcess`.
    """

    def __init__(self, sweep: str, options: dict[str, Any]) -> None:
        self.worker = WorkerProcess(Queue(Path(sweep)), **options)

    def work(self) -> None:
        """Work until all jobs have ended."""
        supervise(self.worker)


class RayLauncher(WorkerLauncher):
    """Workers on a Ray cluster, which end with this process.

    Args:
        cpus, gpus: of a worker.
        address: of the cluster; null is that of RAY_ADDRESS, or a cluster of this machine alone.
        options: as for `WorkerLauncher`.
    """

    def __init__(self, cpus: int = 1, gpus: float = 0, address: str | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.cpus, self.gpus, self.address = cpus, gpus, address
        self._tasks: list[Any] = []  # still at work

    def start(self, jobs: int) -> None:
        """Start the actors."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        require("hydra/launcher=ray", "ray", {"ray": "'ray>=2.50,<3'"})
        import ray

        try:
            environment = {"env_vars": python_path()}
            ray.init(self.address, runtime_env=environment, log_to_driver=False, ignore_reinit_error=True)
        except (ConnectionError, ValueError) as error:
            raise InputError(f"hydra/launcher=ray: no cluster at {self.address}: {first_line(error)}") from error
        # an actor on a lost node starts again on another one, and its call is made again
        given: dict[str, Any] = {
            "num_cpus": self.cpus,
            "num_gpus": self.gpus,
            "max_restarts": -1,
            "max_task_retries": -1,
        }
        actor: Any = ray.remote(**given)(RayWorker)
        options = {**self.worker_options, "environment": cpu_share(str(self.cpus))}
        actors = [actor.remote(str(self.queue.sweep), options) for _ in range(min(self.workers, jobs))]
        self._tasks = [each.work.remote() for each in actors]
        log.info("%d Ray actors; the output of their workers: %s", len(actors), self.queue.logs)

    def tend(self) -> None:
        """Check that actors are left."""
        import ray

        ended, self._tasks = ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0) if self._tasks else ([], [])
        errors = []
        for each in ended:
            try:
                ray.get(each)
            except ray.exceptions.RayError as error:
                errors.append(first_line(error))
        if errors:
            log.warning("a Ray actor ended: %s", errors[0])
        if not self._tasks and self.left():
            raise SweepFailed(f"no Ray actor of this sweep is left; see {self.queue.logs}")

    def finish(self) -> None:
        """Leave the cluster."""
        import ray

        ray.shutdown()

    def stop(self) -> None:
        """Leave the cluster, which ends the actors; their workers save their runs."""
        if self._tasks:
            log.warning("stopping the workers, which save their runs")
            self.finish()
