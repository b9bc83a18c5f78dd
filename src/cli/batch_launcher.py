"""A sweep in batches: `python -m src.train -m hydra/launcher=batch hydra.launcher.size=16 ...`."""

import logging
from collections.abc import Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from src.cli.launchers import Job, SequentialLauncher
from src.common.errors import InputError
from src.config.composition import run_options
from src.config.schema import RunConfig, typed
from src.tracking import record as records
from src.tracking.record import RunRecord
from src.training.grouping import grouped
from src.training.logs import separate_logs

log = logging.getLogger(__name__)


class BatchLauncher(SequentialLauncher):
    """Runs the jobs that may go together in batches, and the others by themselves.

    To each job it makes no difference but in time: folder, record, log, trackers and failures are its own.

    Args:
        size: pairs in a batch at most.
        at_once: how many of them are evaluated together; None is all on a GPU, and one on a CPU, where a pair is then
            what it would be alone, to the bit.
    """

    def __init__(self, size: int = 16, at_once: int | None = None) -> None:
        super().__init__()
        if size < 1:
            raise InputError(f"hydra.launcher.size is the number of pairs in a batch, 1 or more, not {size}")
        if at_once is not None and at_once < 1:
            raise InputError(f"hydra.launcher.at_once is a number of pairs, 1 or more, or null, not {at_once}")
        self.size = size
        self.at_once = at_once
        self._composed: dict[int, DictConfig] = {}

    def compose(self, job: Job) -> DictConfig:
        """Return a job's whole configuration; that it was composed once already is enough."""
        return self._composed.pop(job.number, None) or super().compose(job)

    def turns(self, jobs: Sequence[Job]) -> list[list[int]]:
        """Return batches and single jobs, in the order of their first jobs."""
        self._composed = {job.number: super(BatchLauncher, self).compose(job) for job in jobs}
        groups = grouped([_unfinished(self._composed[job.number]) for job in jobs], self.size)
        for reason in dict.fromkeys(groups.reasons.values()):
            some = [index for index, each in groups.reasons.items() if each == reason]
            log.info("not in a batch: %s (%d jobs)", reason, len(some))
        return sorted([*groups.together, *([index] for index in groups.alone)])

    def run(self, jobs: Sequence[Job]) -> list[JobReturn]:
        """Run the jobs of a turn: in one batch where there are several."""
        if len(jobs) == 1:
            return super().run(jobs)
        from src.run import run_batch

        given: dict[int, tuple[RunConfig, Path]] = {}
        returns = []
        for place, job in enumerate(jobs):

            def take(options: DictConfig, place: int = place) -> None:
                given[place] = typed(options), Path(HydraConfig.get().runtime.output_dir)

            returns.append(self.run_job(job, self.compose(job), take))
        with separate_logs([folder for _, folder in given.values()]):
            results = run_batch(list(given.values()), self.at_once)
        for place, result in zip(given, results, strict=True):
            returns[place].status = JobStatus.COMPLETED if isinstance(result, RunRecord) else JobStatus.FAILED
            returns[place].return_value = result.status if isinstance(result, RunRecord) else result
        return returns


def _unfinished(composed: DictConfig) -> RunConfig | None:
    """Return a job's options; None where it is finished, or where something is wrong that it will say itself."""
    try:
        record = records.read(Path(composed.hydra.sweep.dir) / composed.hydra.sweep.subdir)
        return None if record and record.status == "finished" else run_options(composed)
    except (InputError, OmegaConfBaseException):
        return None
