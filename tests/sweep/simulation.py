"""Claim and end many jobs without running them: `python -m tests.sweep.simulation JOBS FOLDER`."""

import statistics
import sys
import time
from pathlib import Path

from src.sweep.queue import Job, JobList, Queue
from src.sweep.status import Status
from src.sweep.worker import Lease, Worker


def main(count: int, folder: Path) -> None:
    """Print the time of a claim and of a status, and the memory of the process, at every fifth of the jobs."""
    queue = Queue(folder)
    jobs = tuple(
        Job(f"astronaut-{i % 135}-e-{i:08x}", i, (f"style=name{i % 135}", f"loss.beta={i}")) for i in range(count)
    )
    queue.add(queue.path_of([job.overrides for job in jobs], [], "/", False), JobList(jobs, (), "/"))
    times: list[float] = []
    print(f"before: {memory():.0f} MiB")
    with Lease(queue, "simulation") as lease:
        worker = Worker(lease)
        while True:
            begun = time.perf_counter()
            claimed = worker.next_claims()
            if claimed is None:
                break
            times.append(time.perf_counter() - begun)
            [claim] = claimed[1]
            if len(times) % 50:
                queue.mark_finished(claim.job.key, 12.5)
            else:
                queue.mark_failed(claim.job.key, f"reason {len(times) % 7}")
            lease.open.remove(claim)
            if len(times) % (count // 5) == 0:
                begun = time.perf_counter()
                line = Status.of(Queue(folder)).line()
                print(f"{line}: status {time.perf_counter() - begun:.2f} s, {memory():.0f} MiB")
    print(f"claim: {1e3 * statistics.mean(times):.2f} ms on average, {1e3 * max(times):.1f} at most")


def memory() -> float:
    """Return the resident memory of this process, MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4 / 1024


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
