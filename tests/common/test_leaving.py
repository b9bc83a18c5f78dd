"""The end of a process: its status, what it printed, and what was left for the end to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PROGRAM = """
import atexit, sys
from pathlib import Path
from src.common.leaving import run_and_leave
atexit.register(lambda: Path(sys.argv[1]).write_text("done"))
def main():
    print("printed")
    {last}
run_and_leave(main)
"""


def _left(last: str, note: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROGRAM.format(last=last), str(note)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    ("last", "status", "error"),
    [
        ("pass", 0, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit(130)", 130, ""),
        ("sys.exit('what is wrong')", 1, "what is wrong"),
        ("raise ValueError('a bug')", 1, "ValueError: a bug"),
    ],
)
def test_status_output_and_what_was_registered(last: str, status: int, error: str, tmp_path: Path) -> None:
    left = _left(last, tmp_path / "note")
    assert (left.returncode, left.stdout) == (status, "printed\n")
    assert error in left.stderr and (error or not left.stderr)
    assert (tmp_path / "note").read_text() == "done"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is full")
def test_output_that_cannot_be_written_is_no_success(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM.format(last="pass"), str(tmp_path / "note")]
    with Path("/dev/full").open("w") as full:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        assert subprocess.run(command, cwd=ROOT, stdout=full, env=environment, timeout=60).returncode == 120
