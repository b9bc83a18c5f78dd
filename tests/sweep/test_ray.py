"""A real Ray cluster of four nodes on this machine, of which one is lost in the middle of a sweep."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from src.sweep.queue import FINISHED, Queue
from src.sweep.status import Status
from tests.conftest import SMALL
from tests.support.processes import started_anew, wait_for
from tests.sweep.test_worker import same_runs

JOBS = ("edge=96", "schedule=pyramid", "steps=60", "checkpoint_every=7", "loss.beta=3,4,5,6,7,8,9,10")


@pytest.mark.long
def test_a_node_is_lost_in_the_middle_of_a_sweep(
    tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray_cluster = pytest.importorskip("ray.cluster_utils", reason="ray is not installed")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")  # by default 15: on a busy machine they would hardly run
    queue = Queue(tmp_path / "sweep")
    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = ray_cluster.Cluster(initialize_head=True, head_node_args={**node, "num_cpus": 0, "dashboard_port": 0})
    try:
        nodes = [cluster.add_node(**node) for _ in range(3)]
        cluster.wait_for_nodes()
        with started_anew(
            "-m", *SMALL, *JOBS, "hydra/launcher=ray", "hydra.launcher.workers=3", "hydra.launcher.lease=60",
            f"hydra.launcher.address={cluster.address}", f"hydra.sweep.dir={queue.sweep}",
        ) as driver:  # fmt: skip
            wait_for(lambda: Status.of(queue).running == 3, driver, seconds=600)
            before = set(Status.of(queue).running_jobs.values())
            cluster.remove_node(nodes[0], allow_graceful=False)
            cluster.add_node(**node)
            assert driver.wait(900) == 0, driver.stdout.read()
            assert "8 of 8 jobs finished in " in driver.stdout.read()
    finally:
        cluster.shutdown()
    found = queue.snapshot()
    assert [*found.ended.values()] == [FINISHED] * 8
    owners = {queue.owner(key, attempt) for key, attempt in found.attempts.items()}
    assert before - owners or max(found.attempts.values()) > 1, "the job of the lost worker was claimed again"
    command("src.train", "-m", *SMALL, *JOBS, f"hydra.sweep.dir={tmp_path}/reference")
    same_runs(queue.sweep, tmp_path / "reference")


@pytest.mark.parametrize(
    ("launcher", "package", "shown"),
    [("ray", "ray", "make ray, or pip install 'ray"), ("slurm", "submitit", "pip install 'submitit")],
)
def test_without_its_package_a_launcher_says_what_to_install(
    launcher: str, package: str, shown: str, command_here: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SystemExit, match="2"):
        command_here("src.train", "-m", *SMALL, f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}")
    assert f"error: hydra/launcher={launcher} needs packages that are not installed: {shown}" in capsys.readouterr().err
