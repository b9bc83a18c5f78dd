"""W&B logs a run and never stops it, asks a question or delays it by more than 10 s, whatever the server does."""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from src.common.errors import InputError
from src.config.schema import Logger
from src.tracking import record as records
from src.tracking.loggers import open_loggers
from src.tracking.sync import find_unsynced
from src.tracking.wandb_logger import group_of
from src.tracking.wandb_mode import wandb_mode
from tests.conftest import SMALL
from tests.support import ROOT, wandb_files
from tests.support.processes import started_anew, wait_for
from tests.support.wandb_server import WandbServer
from tests.tracking.records import ExampleRecord

TRACKED = (*SMALL, "logger=wandb")


@pytest.mark.long
def test_online_where_a_key_is_set_and_the_server_answers(tmp_path: Path) -> None:
    with WandbServer() as server:
        with started_anew(*TRACKED, f"hydra.run.dir={tmp_path}", environment=server.environment()) as process:
            output = process.communicate(timeout=300)[0]
        assert process.returncode == 0, output
        record = records.read(tmp_path)
        assert f"W&B: {server.url}" in output
        rows = server.history_rows(record.wandb_id)
        assert [row["step"] for row in rows] == [0, 2, 4, 6]
        assert rows[-1]["loss/total"] == record.captures[-1].losses["total"]
    assert wandb_files.find_runs(tmp_path) and not find_unsynced([tmp_path])


@pytest.mark.long
def test_a_server_that_dies_during_a_run_stops_nothing(tmp_path: Path) -> None:
    arguments = (*TRACKED, "steps=120", "edge=96", f"hydra.run.dir={tmp_path}")
    with WandbServer() as server, started_anew(*arguments, environment=server.environment()) as process:
        wait_for((tmp_path / "last.ckpt").exists, process)
        server.kill()
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    record = records.read(tmp_path)
    assert record.status == "finished" and record.step == 120
    [offline] = wandb_files.find_runs(tmp_path)
    assert wandb_files.load(offline).history[-1]["step"] == 120
    assert "`make sync` uploads it later" in output
    with WandbServer() as server:
        done = subprocess.run(
            [sys.executable, "-m", "src.sync", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, **server.environment()},
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.stdout.endswith("1 synced\n"), done.stdout
        assert server.history_rows(record.wandb_id)[-1]["step"] == 120
    assert not find_unsynced([tmp_path])


@pytest.mark.long
def test_kill_9_loses_no_more_than_the_last_second(tmp_path: Path) -> None:
    with started_anew(*TRACKED, "steps=100000", f"hydra.run.dir={tmp_path}") as process:
        wait_for((tmp_path / "last.ckpt").exists, process)
        time.sleep(0.5)
        rows = (tmp_path / "metrics.csv").read_text().splitlines()
        logged = {int(row.split(",")[0]) for row in rows[1:-1]}  # two seconds before the kill
        time.sleep(2)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    [offline] = wandb_files.find_runs(tmp_path)
    kept = {row["step"] for row in wandb_files.load(offline).history}
    assert logged and logged <= kept


# Faults of a server that a question before the run finds, and what is reported of it.
REFUSED = [
    ({"nonsense": b"null"}, "gives no valid answer"),
    ({"nonsense": b"{}"}, "gives no valid answer"),
    ({"nonsense": b'{"data": {"viewer": [1]}}'}, "gives no valid answer"),
    ({"nonsense": b"<html>"}, "gives no valid answer"),
    ({"nonsense": b'{"data": {"viewer": null}}'}, "does not accept the API key"),
    ({"fail_with": 500}, "gives no valid answer"),
    ({"drip": 0.5}, "does not answer within 2 s"),
]
# Faults of a server, whether the run starts online, and what is reported.
HOSTILE = [
    *((fault, False, reported) for fault, reported in REFUSED),
    ({"fail_on": "runresumestatus", "nonsense": b"<html>"}, False, "the server did not take the run"),
    ({"fail_on": "upsertbucket", "nonsense": b"[]"}, False, "the server did not take the run"),
    ({"fail_on": "upsertbucket", "drip": 0.5}, False, "the server did not take the run"),
    ({"fail_on": "file_stream", "drip": 0.5}, True, "RunWandbLogger failed"),
    # wandb's service process crashes on this answer; slow, so that the rows are written before
    ({"fail_on": "createrunfiles", "nonsense": b"null", "drip": 0.02}, True, "RunWandbLogger failed"),
    ({}, True, "W&B: http"),
]


@pytest.mark.parametrize(("fault", "reported"), REFUSED, ids=str)
def test_a_server_without_a_valid_answer_is_not_used(
    fault: dict, reported: str, monkeypatch: pytest.MonkeyPatch, wandb_settings: None
) -> None:
    with WandbServer(**fault) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        mode, reason = wandb_mode(Logger())
    assert mode == "offline" and reported in reason


@pytest.mark.long
def test_hostile_servers(tmp_path: Path) -> None:
    """One process logs a run to each: none ends it, each costs less than 10 s, and all rows are on disk."""
    with ExitStack() as stack:
        servers = [stack.enter_context(WandbServer(**fault)) for fault, *_ in HOSTILE]
        done = subprocess.run(
            [sys.executable, "-m", "tests.tracking.client", str(tmp_path), *(server.url for server in servers)],
            cwd=ROOT,
            env={**os.environ, **servers[0].environment()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert done.returncode == 0 and "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    spent = re.findall(r"^run \d+: ([\d.]+) ([\d.]+) ([\d.]+)$", done.stdout, re.MULTILINE)
    assert len(spent) == len(HOSTILE)
    texts = re.split(r"^run \d+: .*\n", done.stdout, flags=re.MULTILINE)
    for number, (_, online, reported) in enumerate(HOSTILE):
        assert reported in texts[number], number
        runs = [wandb_files.load(run) for run in wandb_files.find_runs(tmp_path / str(number))]
        logged = [[row["step"] for row in run.history] for run in runs if run.history]
        assert logged == [[0, 2, 4, 6]], number
        offline = wandb_files.find_runs(tmp_path / str(number))
        assert online == (not any("offline-run" in run.name for run in offline)), number
        if number:  # the first imports everything
            delay = float(spent[number][0]) + float(spent[number][2])
            assert delay < 10, (number, spent[number])


def test_a_key_without_a_server_is_offline_within_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, wandb_settings: None
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    with caplog.at_level(logging.INFO):
        opened = open_loggers(Logger(), tmp_path, ExampleRecord(), {}, "tag")
    opened.close(ExampleRecord())
    said = [line for line in caplog.messages if "W&B" in line]
    assert len(said) == 1 and "offline" in said[0] and "127.0.0.1 does not answer" in said[0] and "make sync" in said[0]


def test_one_row_a_step_with_its_pictures(tmp_path: Path, wandb_settings: None) -> None:
    import wandb

    Image.new("RGB", (40, 20)).save(tmp_path / "a.png")
    Image.new("I;16", (3000, 20)).save(tmp_path / "b.tif")
    record = ExampleRecord()
    opened = open_loggers(Logger(tags=["mine"]), tmp_path, record, {"steps": 6, "precision": "auto"}, "tag")
    opened.begin(record, -1, {"content": tmp_path / "a.png", "style": tmp_path / "b.tif"})
    opened.log_point({"loss/total": 1.0}, 0)
    opened.log_point({"loss/total": 0.5}, 3, tmp_path / "a.png")
    record.status = "interrupted"
    opened.close(record)
    opened = open_loggers(Logger(tags=["mine"]), tmp_path, record, {"steps": 6}, "tag")
    opened.begin(record, 0)
    opened.log_point({"loss/total": 0.25}, 3)
    opened.close(record)
    wandb.teardown()  # waits until the files are complete
    first, second = (wandb_files.load(run) for run in wandb_files.find_runs(tmp_path))
    assert first.run_id == second.run_id == record.wandb_id
    assert [(row["step"], row["_step"]) for row in first.history] == [(0, 0), (3, 3)]
    assert [(row["step"], row["_step"]) for row in second.history] == [(3, 3)]
    start, capture = first.history
    assert (start["content.width"], start["style.width"]) == (40, 1600), "previews, once"
    assert capture["capture.caption"] == "step 3" and "content.width" not in {**capture, **second.history[0]}
    assert first.config["precision"] == "32" and first.config["device"] == "cpu", "as resolved by the setup"
    assert first.tags == ["mine", "tag"] and first.exit_code == 1
    assert first.summary["ssim"] == 0.5 and "score" not in first.summary


def test_the_mode_is_decided_without_a_question(monkeypatch: pytest.MonkeyPatch, wandb_settings: None) -> None:
    assert wandb_mode(Logger(mode="offline")) == ("offline", "as asked")
    assert wandb_mode(Logger())[0] == "offline"
    assert wandb_mode(Logger(mode="online")) == ("offline", "no API key is configured")
    monkeypatch.setenv("WANDB_MODE", "online")
    assert wandb_mode(Logger())[0] == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert wandb_mode(Logger())[0] == "disabled"
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert wandb_mode(Logger())[0] == "offline"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("WANDB_MODE", "maybe"), ("WANDB_BASE_URL", "not an address"), ("WANDB_BASE_URL", "ftp://x")],
)
def test_an_invalid_setting_is_an_error_of_one_line(
    variable: str,
    value: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wandb_settings: None,
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InputError) as error:
        wandb_mode(Logger())
    assert len(str(error.value).splitlines()) == 1
    assert open_loggers(Logger(), tmp_path, ExampleRecord(), {}, "tag").tracker is None, "no tracker stops a run"
    assert len(caplog.messages) == 1


def test_a_key_in_netrc_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wandb_settings: None) -> None:
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login user password {'a' * 40}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with WandbServer() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        assert wandb_mode(Logger()) == ("online", "")


def test_the_group_is_the_sweep() -> None:
    assert group_of(Path("/x/multirun/2026-01-02/03-04-05/a-b-c")) == "2026-01-02_03-04-05"
    assert group_of(Path("/data/my sweep/a-b-c")) == "my sweep"
