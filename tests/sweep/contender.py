"""A worker whose jobs take milliseconds, without PyTorch: `python -m tests.sweep.contender FOLDER OPTIONS`.

A job takes a lock that the system releases when the process dies, which shows whether another process is at the same
job; then it counts to `STEPS`, keeping its count in a file, as a run keeps checkpoints.
"""

import fcntl
import os
import signal
import sys
import time
from pathlib import Path

from src.common.files import check_write, guarded_writes, write_atomically
from src.sweep.process import end_with_parent
from src.sweep.queue import Claim, JobList, Queue
from src.sweep.worker import Lease, Worker, unique_name

STEPS = 5


class Contender(Worker):
    """Runs counting jobs."""

    def _work(self, listed: JobList, claims: list[Claim]) -> None:
        for claim in claims:
            folder = self.queue.sweep / claim.job.key
            folder.mkdir(exist_ok=True)
            with (folder / "lock").open("w") as file, guarded_writes(self.lease.check):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    (self.queue.sweep / f"overlap-{claim.job.key}").touch()
                self._count(folder, float(claim.job.overrides[0].partition("=")[2]))
            self.lease.check()
            self.queue.mark_finished(claim.job.key, 0.0)
            self.lease.open.remove(claim)

    def _count(self, folder: Path, seconds: float) -> None:
        path = folder / "count"
        for step in range(int(path.read_text()) if path.exists() else 0, STEPS):
            time.sleep(seconds / STEPS)
            write_atomically(path, str(step + 1).encode())
            check_write()
            with (folder / "steps").open("a") as file:
                file.write(f"{step} {self.lease.name}\n")


if __name__ == "__main__":
    options = dict(each.removeprefix("--").partition("=")[::2] for each in sys.argv[2:])
    if os.environ.get("BROKEN"):
        sys.exit(1)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # as `plain_errors`
    if "end-with-parent" in options:
        end_with_parent()
    with Lease(Queue(Path(sys.argv[1])), options.get("name", unique_name()), float(options["lease"])) as lease:
        Contender(lease, int(options.get("size", 1))).run()
