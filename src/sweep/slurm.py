"""`hydra/launcher=slurm`: workers as one Slurm array, submitted by submitit."""

import logging
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.common.errors import InputError, SweepFailed
from src.common.packages import require
from src.sweep.launchers import WorkerLauncher
from src.sweep.process import WorkerProcess, supervise
from src.sweep.queue import Queue

log = logging.getLogger(__name__)

SECONDS_BETWEEN_QUERIES = 30.0  # of squeue; clusters ask not to be queried every second
LONGEST_STOP = 600.0  # s; Slurm ends the job earlier


class SlurmWorker:
    """A task of the array: keeps a worker at work as a child process.

    The child ends at a time limit as it does at Ctrl-C: it saves its run and gives its jobs back.

    Args:
        sweep: the sweep folder.
        options: of `WorkerProcess`.
    """

    def __init__(self, sweep: str, **options: Any) -> None:
        self.sweep, self.options = sweep, options
        self._worker: WorkerProcess | None = None

    def __call__(self) -> None:
        """Work until all jobs have ended."""
        self._worker = WorkerProcess(Queue(Path(self.sweep)), **self.options)
        supervise(self._worker)

    def checkpoint(self) -> Any:
        """End the worker before Slurm does; return what submitit is to run after it has requeued this task."""
        from submitit.helpers import DelayedSubmission

        if self._worker:
            self._worker.stop()
            self._worker.wait(LONGEST_STOP)
        return DelayedSubmission(SlurmWorker(self.sweep, **self.options))


class SlurmLauncher(WorkerLauncher):
    """Workers in one Slurm array, which go on when this process ends.

    Args:
        time: limit of a worker, min.
        cpus, gpus: of a worker.
        memory: of a worker, GB.
        partition, constraint, account, qos: as for sbatch.
        signal_delay: seconds before its time limit at which a worker saves its run and ends.
        requeue: how often a worker may start again after its time limit.
        more: further options of sbatch, by name.
        options: as for `WorkerLauncher`.
    """

    def __init__(
        self,
        time: int = 240,
        cpus: int = 2,
        gpus: int | None = None,
        memory: float = 8,
        partition: str | None = None,
        constraint: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        signal_delay: int = 120,
        requeue: int = 1000,
        more: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.requeue = requeue
        given = {
            "time": time, "cpus_per_task": cpus, "gpus_per_node": gpus, "mem": f"{round(1024 * memory)}M",
            "partition": partition, "constraint": constraint, "account": account, "qos": qos,
            "signal_delay_s": signal_delay,
        }  # fmt: skip
        self.parameters = {key: value for key, value in given.items() if value is not None}
        self.more = {"requeue" if requeue else "no-requeue": True, **(more or {})}
        self._asked = 0.0

    def start(self, jobs: int) -> None:
        """Submit the array, unless that of an earlier command is still there."""
        require("hydra/launcher=slurm", "slurm", {"submitit": "'submitit>=1.5,<1.6'"})
        import submitit

        if shutil.which("sbatch") is None:
            raise InputError("hydra/launcher=slurm: there is no sbatch on this machine; run it on a login node")
        if active := self._active():
            ids = ",".join(self._ids())
            log.info("%d workers of an earlier command are still there: squeue --job %s", active, ids)
            return
        executor = submitit.SlurmExecutor(self.queue.folder / "slurm", max_num_timeout=self.requeue)
        executor.update_parameters(
            **self.parameters,
            job_name=self.folder.name,
            stderr_to_stdout=True,
            additional_parameters=self.more,
            srun_args=[f"--cpus-per-task={self.parameters['cpus_per_task']}"],  # srun does not take it from sbatch
        )
        worker = SlurmWorker(str(self.queue.sweep), **self.worker_options)
        try:
            submitted = executor.submit_array([worker] * min(self.workers, jobs))
        except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
            raise InputError(f"sbatch refused: {error}") from error
        array = submitted[0].job_id.partition("_")[0]
        (self.queue.folder / "slurm" / f"{array}.array").touch()
        log.info("%d workers submitted as job %s; their output: %s", len(submitted), array, self.queue.logs)
        self._asked = time.monotonic()

    def tend(self) -> None:
        """Check that Slurm still has workers."""
        if time.monotonic() - self._asked < SECONDS_BETWEEN_QUERIES:
            return
        self._asked = time.monotonic()
        if self._active() == 0 and self.left():
            raise SweepFailed(
                f"Slurm has no worker of this sweep left; cancelled, or failed: see {self.queue.folder}/slurm"
            )

    def finish(self) -> None:
        """Cancel workers that have not begun."""
        for array in self._ids():
            subprocess.run(["scancel", "--state=PENDING", array], capture_output=True, check=False)

    def stop(self) -> None:
        """Say how to end the workers."""
        if self._ids():
            log.warning("the workers go on in Slurm; to end them: scancel %s", " ".join(self._ids()))

    def _ids(self) -> list[str]:
        return sorted(path.stem for path in (self.queue.folder / "slurm").glob("*.array"))

    def _active(self) -> int | None:
        """Return the number of workers that run or wait in Slurm; None if it does not answer."""
        ids = self._ids()
        if not ids:
            return 0
        asked = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%F"], capture_output=True, text=True, check=False
        )
        return None if asked.returncode else sum(line.strip() in ids for line in asked.stdout.splitlines())
