"""Upload offline runs with the real `wandb` to a stand-in server on this machine."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from src.sync import main
from src.tracking.sync import HEADER, UNFINISHED, complete_length, find_unsynced, marker, problems
from tests.support.wandb_files import find_runs, load
from tests.support.wandb_server import WandbServer

REPOSITORY = Path(__file__).resolve().parents[2]

# One run that finishes, and one in two parts whose process is killed during the second.
WRITE_RUNS = """
import os, signal, sys, time
from pathlib import Path
import numpy as np, wandb

def start(name, **more):
    folder = Path(sys.argv[1], name)
    folder.mkdir(exist_ok=True)
    settings = wandb.Settings(x_transaction_log_flush_interval=1, x_disable_stats=True, silent=True)
    return wandb.init(mode="offline", dir=folder, id=name, name="the " + name, project="style", group="two",
                      tags=["small"], config={"loss": {"beta": 0.5}}, settings=settings, **more)

run = start("broken")
for step in range(100):
    run.log({"loss": 1 / (1 + step)}, step=step)
run.finish()
ended = time.time()
run = start("whole")
for step in range(5):
    run.log({"loss": 1 / (1 + step)}, step=step)
run.log({"image": wandb.Image(np.zeros((8, 8, 3), dtype=np.uint8))}, step=5)
run.finish()
time.sleep(max(0, ended + 1.1 - time.time()))  # the folders of the parts are named by the second
run = start("broken", resume="allow")
for step in range(100, 120):
    run.log({"loss": 1 / (1 + step)}, step=step)
time.sleep(1.3)
os.kill(os.getpid(), signal.SIGKILL)
"""


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return the environment without this machine's W&B settings."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("WANDB_", "NETRC"))}
    places = {f"WANDB_{kind}_DIR": str(home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
    return {**kept, "HOME": str(home), **places, "WANDB_ERROR_REPORTING": "false", **more}


def sync(*folders: Path, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m src.sync FOLDER ...` for at most a minute."""
    return subprocess.run(
        [sys.executable, "-m", "src.sync", *map(str, folders)],
        cwd=REPOSITORY,
        env=clean_environment(home, **environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the runs `whole` and `broken`, written once for all tests."""
    folder, home = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-c", WRITE_RUNS, str(folder)],
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == -9, done.stdout
    return folder


@pytest.fixture
def runs(written: Path, tmp_path: Path) -> Path:
    """A copy of these runs, in which the first part of `broken` ends inside a row."""
    shutil.copytree(written, tmp_path / "runs", symlinks=True)
    first = part_files(tmp_path / "runs", "broken")[0]
    whole_rows = complete_length(first.read_bytes()[: first.stat().st_size * 2 // 3])
    os.truncate(first, whole_rows + 5)
    assert HEADER < complete_length(first.read_bytes()) < first.stat().st_size
    return tmp_path / "runs"


def part_files(folder: Path, run_id: str) -> list[Path]:
    return [file for run in find_runs(folder) for file in run.glob(f"run-{run_id}.wandb")]


def markers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.synced") if not path.parent.is_symlink()]


# Contents of the files


@pytest.mark.slow
def test_offline_files_are_read_back(runs: Path) -> None:
    (whole,) = (load(file) for file in part_files(runs, "whole"))
    assert (whole.run_id, whole.name, whole.group, whole.tags) == ("whole", "the whole", "two", ["small"])
    assert whole.config["loss"] == {"beta": 0.5}
    assert [row["_step"] for row in whole.history] == list(range(6))
    assert whole.history[5]["image._type"] == "image-file"
    assert whole.exit_code == 0
    first, second = (load(file) for file in part_files(runs, "broken"))
    assert 0 < len(first.history) < 100
    assert first.exit_code is None  # cut off
    assert [row["_step"] for row in second.history] == list(range(100, 119))  # a row is written with the next one
    assert second.exit_code is None  # killed


@pytest.mark.slow
def test_complete_length_at_every_cut(runs: Path) -> None:
    data = part_files(runs, "whole")[0].read_bytes()
    assert complete_length(data) == len(data)
    ends = {complete_length(data[:size]) for size in range(len(data) + 1)}
    assert all(complete_length(data[:end]) == end for end in ends if end > HEADER)
    assert complete_length(data + bytes(500)) == len(data)  # as after a power cut
    assert complete_length(b"") == complete_length(data[:20]) == HEADER


def test_complete_length_in_blocks() -> None:
    def piece(kind: int, length: int) -> bytes:
        return bytes(4) + length.to_bytes(2, "little") + bytes([kind]) + b"x" * length

    # A block of 32 KiB: the file header, a record, the first piece of another, 3 bytes too few for a header.
    block = bytes(7) + piece(1, 1000) + piece(2, 32768 - 7 - 1007 - 7 - 3) + bytes(3)
    assert len(block) == 32768
    assert complete_length(block) == 7 + 1007
    assert complete_length(block + piece(3, 32768 - 7)) == 7 + 1007
    whole = block + piece(3, 32768 - 7) + piece(4, 10)
    assert complete_length(whole) == len(whole)
    assert complete_length(whole[:-1]) == 7 + 1007


# Search


@pytest.mark.slow
def test_find_unsynced(runs: Path) -> None:
    found = find_unsynced([runs, runs / "whole"])
    assert {run_id: len(files) for run_id, files in found.items()} == {"broken": 2, "whole": 1}
    assert found["broken"] == part_files(runs, "broken")
    first, second = found["broken"]
    first.with_name(first.name + ".synced").touch()
    assert find_unsynced([runs])["broken"] == [second]
    os.truncate(second, 30)  # killed before the first record was written
    assert "broken" not in find_unsynced([runs])


@pytest.mark.slow
def test_parts_tracked_online_wait_unless_a_later_part_has_arrived(runs: Path) -> None:
    parts = [file.parent for file in part_files(runs, "broken")]
    online = [part.rename(part.with_name(part.name.removeprefix("offline-"))) for part in parts]
    first, second = (part / "run-broken.wandb" for part in online)
    for part in (first, second):
        marker(part, UNFINISHED).touch()
    assert find_unsynced([runs])["broken"] == [first, second]
    marker(second, UNFINISHED).unlink()
    assert "broken" not in find_unsynced([runs])


def test_nothing_to_sync(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing to sync\n"


def test_files_that_are_no_runs_are_left_out_in_a_line_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def part(name: str) -> Path:
        folder = tmp_path / f"offline-run-20260101_00000{name}"
        folder.mkdir()
        return folder / f"run-{name}.wandb"

    os.mkfifo(part("1"))
    part("2").mkdir()
    part("3").write_bytes(os.urandom(5000))
    part("4").symlink_to(tmp_path / "offline-run-20260101_000001" / "run-gone.wandb")
    part("5").write_bytes(b"")  # killed at its start: nothing to upload
    assert main([str(tmp_path)]) == 1
    *left_out, summary = capsys.readouterr().out.splitlines()
    names = ["run-1.wandb", "run-2.wandb", "run-3.wandb", "run-gone.wandb"]
    assert sorted(Path(line.split(": ")[0]).name for line in left_out) == names
    assert all(re.fullmatch(r"left out /.*: not a W&B file; delete it", line) for line in left_out)
    assert summary == "nothing to sync"


@pytest.mark.slow
def test_damaged_records_are_reported_by_wandb(runs: Path, tmp_path: Path) -> None:
    file = part_files(runs, "whole")[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    file.write_bytes(data)
    with WandbServer() as server:
        done = sync(runs / "whole", home=tmp_path, **server.environment())
    failure, summary = done.stdout.splitlines()
    assert failure.startswith("FAILED whole: ") and "checksum mismatch" in failure and summary == "1 failed"
    assert done.returncode == 1 and not markers(runs)


def test_missing_folder_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main([str(tmp_path / "none")])
    assert error.value.code == 2
    assert "no such folder" in capsys.readouterr().err


@pytest.mark.slow
def test_live_run_is_left_alone(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Any] = []

    def no_upload(files: Sequence[Path], options: Sequence[str]) -> str:
        tried.append((len(files), options))
        return ""

    monkeypatch.setattr("src.sync.sync_run", no_upload)
    (runs / "whole" / "run.lock").touch()  # left behind by a finished run
    with (runs / "broken" / "run.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main([str(runs), "--project", "other", "-e", "team"]) == 0
    assert tried == [(1, ["--project=other", "--entity=team"])]
    assert capsys.readouterr().out.splitlines() == [
        "skipped broken: still running",
        "synced whole (1 part)",
        "1 still running, 1 synced",
    ]


# Output of wandb


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ("wandb: [p/incomplete record] Finished syncing ERROR/Failed\nwandb:   Failed/run-a.wandb", ""),
        ("Failed to export metrics batch code: 500", ""),
        ("wandb: WARNING Failed to read netrc file", ""),
        (
            "wandb: ERROR Find detailed error logs at: x\nError: No API key configured.",
            "No API key configured.",
        ),
        (
            'wandb: ERROR Failed to sync all data from "a": the file',
            'Failed to sync all data from "a": the file',
        ),
        ("wandb: ERROR Fatal error. Some run data will be lost\n" * 2, "Fatal error."),
    ],
)
def test_problems(output: str, reason: str) -> None:
    assert problems(output) == reason


# Uploads


@pytest.mark.slow
def test_all_parts_arrive(runs: Path, tmp_path: Path) -> None:
    expected = {name: [row for f in part_files(runs, name) for row in load(f).history] for name in ("broken", "whole")}
    before = {file: file.read_bytes() for run in find_runs(runs) for file in run.glob("*.wandb")}
    with WandbServer() as server:
        done = sync(runs, home=tmp_path, **server.environment())
        assert done.stdout.splitlines() == ["synced broken (2 parts)", "synced whole (1 part)", "2 synced"]
        assert done.returncode == 0
        for name, rows in expected.items():
            arrived = server.history_rows(name)
            assert [row["_step"] for row in arrived] == [row["_step"] for row in rows]
            assert [row.get("loss") for row in arrived] == [row.get("loss") for row in rows]
        assert any(name.startswith("media/images/image_") for name in server.files("whole"))
        requests = len(server.requests)
        done = sync(runs, home=tmp_path, **server.environment())
        assert (done.returncode, done.stdout) == (0, "nothing to sync\n")
        assert len(server.requests) == requests
    assert {file: file.read_bytes() for file in before} == before
    assert len(markers(runs)) == 3


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["closed", "HTTP 500"])
def test_server_that_does_not_work(runs: Path, tmp_path: Path, fault: str) -> None:
    # Whole numbers, and not zero: that would mean the defaults, which are long.
    short = {f"WANDB__GRAPHQL_RETRY_{name}": "1" for name in ("MAX", "WAIT_MIN_SECONDS", "WAIT_MAX_SECONDS")}
    with WandbServer(fail_with=500) as server:
        if fault == "closed":
            server.kill()
        done = sync(runs, home=tmp_path, **server.environment(), **short)
    failure, summary = done.stdout.splitlines()
    assert failure.startswith("FAILED broken: Error initializing run:")
    assert ("connection refused" if fault == "closed" else fault) in failure
    assert summary == "1 failed, 1 not tried"
    assert done.returncode == 1
    assert not markers(runs)


@pytest.mark.slow
def test_what_the_server_refuses_stays_unsynced(runs: Path, tmp_path: Path) -> None:
    """`wandb sync` alone exits with 0 and marks the run in both cases."""
    with WandbServer(fail_with=403, fail_on="file_stream") as server:
        done = sync(runs / "whole", home=tmp_path, **server.environment())
        assert "FAILED whole: [style/whole] Fatal error while uploading data." in done.stdout
        assert done.returncode == 1
        server.fail_on = "/upload/"
        done = sync(runs / "whole", home=tmp_path, **server.environment())
        assert "file(s) not uploaded: status: 403 Forbidden" in done.stdout
        assert done.returncode == 1
    assert not markers(runs)


@pytest.mark.slow
def test_no_key(runs: Path, tmp_path: Path) -> None:
    done = sync(runs, home=tmp_path)
    assert done.stdout == "no W&B API key: run `wandb login` or set WANDB_API_KEY, then start this again\n"
    assert done.returncode == 1
