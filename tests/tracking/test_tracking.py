"""Trackers watch; they never stop a run, ask, or make it wait."""

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from src.config.schema import Logger
from src.run import run
from src.tracking import record as records
from src.tracking import wandb_logger as tracking
from src.tracking.csv_logger import CsvHistory
from src.tracking.wandb_logger import group_of, wandb_mode
from tests.conftest import SMALL
from tests.support import wandb_files
from tests.support.examples import example_record
from tests.support.processes import started, wait_for
from tests.support.wandb_server import WandbServer

TRACKED = (*SMALL, "logger=wandb")


def test_online_when_a_key_is_set_and_the_server_answers(command: Callable, tmp_path: Path) -> None:
    with WandbServer() as server:
        done = command("src.train", *TRACKED, f"hydra.run.dir={tmp_path}", environment=server.environment())
        record = records.read(tmp_path)
        assert f"W&B: {server.url}" in done.stdout
        rows = server.history_rows(record.wandb_id)
        assert [row["step"] for row in rows] == [0, 2, 4, 6]
        assert rows[-1]["loss/total"] == record.captures[-1].loss_total


def test_a_server_that_dies_in_mid_run_stops_nothing(tmp_path: Path) -> None:
    arguments = (*TRACKED, "steps=120", "edge=96", f"hydra.run.dir={tmp_path}")
    with WandbServer() as server, started(*arguments, environment=server.environment()) as process:
        wait_for((tmp_path / "last.ckpt").exists, process)
        server.kill()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    record = records.read(tmp_path)
    assert record.status == "finished" and record.step == 120
    [offline] = wandb_files.find_runs(tmp_path)
    assert wandb_files.load(offline).history[-1]["step"] == 120, "the rows stay on disk for a later sync"


def test_a_key_without_a_server_is_offline_within_seconds(
    small: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    import wandb

    wandb.teardown()  # forget the settings of an earlier test
    with caplog.at_level(logging.INFO):
        record = run(small("logger=wandb"), tmp_path)
    wandb.teardown()
    assert record.status == "finished"
    said = [line for line in caplog.messages if "W&B" in line]
    assert len(said) == 1 and "offline" in said[0] and "127.0.0.1 does not answer" in said[0] and "make sync" in said[0]


def test_kill_9_loses_no_more_than_the_last_moment(tmp_path: Path) -> None:
    with started(*TRACKED, "steps=100000", f"hydra.run.dir={tmp_path}") as process:
        wait_for((tmp_path / "last.ckpt").exists, process)
        time.sleep(4)
        rows = (tmp_path / "metrics.csv").read_text().splitlines()
        logged = {int(row.split(",")[0]) for row in rows[1:-1]}  # as it stood two seconds before the kill
        time.sleep(2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    [offline] = wandb_files.find_runs(tmp_path)
    kept = {row["step"] for row in wandb_files.load(offline).history}
    assert logged and logged <= kept


def test_the_mode_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wandb_mode(Logger(mode="offline")) == ("offline", "as asked")
    assert wandb_mode(Logger())[0] == "offline"
    assert wandb_mode(Logger(mode="online")) == ("offline", "no API key is configured")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb_mode(Logger())[0] == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode(Logger())[0] == "disabled"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert wandb_mode(Logger())[0] == "offline"


def test_a_tracker_that_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def __init__(self) -> None:
            self.finished = False
            self.summary: dict[str, object] = {}

        def log(self, *_: object, **__: object) -> None:
            raise RuntimeError("the disk of the server is full\nwith a long story")

        def finish(self, exit_code: int) -> None:
            self.finished = True

    broken = Broken()
    tracker = tracking.WandbTracker(broken)
    for step in range(3):
        tracker.log_point({"loss/total": 1.0}, step)
    assert [line.count("disk of the server") for line in caplog.messages] == [1]
    assert "story" not in caplog.text
    tracker.close(example_record())
    assert broken.finished


def test_history_goes_on_after_a_cut(tmp_path: Path) -> None:
    first = CsvHistory(tmp_path)
    first.begin(example_record(), -1)
    for step in (0, 2, 4):
        first.log_point({"loss": step / 3}, step)
    first.log_point({"loss": 2.0, "ssim": 0.5}, 5)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("6,0.1")  # a kill in the middle of a line
    second = CsvHistory(tmp_path)
    second.begin(example_record(), 4)
    assert second.last_step == 4
    second.log_point({"loss": 9.0}, 6)
    assert (tmp_path / "metrics.csv").read_text().splitlines() == [
        "step,loss,ssim", "0,0.0,", "2,0.6666666666666666,", "4,1.3333333333333333,", "6,9.0,",
    ]  # fmt: skip
    CsvHistory(tmp_path).begin(example_record(), -1)
    assert (tmp_path / "metrics.csv").read_text() == ""


def test_the_group_is_the_sweep() -> None:
    assert group_of(Path("/x/multirun/2026-01-02/03-04-05/a-b-c")) == "2026-01-02_03-04-05"
    assert group_of(Path("/data/my sweep/a-b-c")) == "my sweep"
