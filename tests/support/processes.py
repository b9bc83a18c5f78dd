"""Real processes of the command, watched from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.conftest import ROOT


@contextmanager
def started(
    *arguments: str, module: str = "src.train", environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m MODULE ARGUMENTS`; it is killed where the block leaves it running."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], cwd=ROOT, env={**os.environ, **(environment or {})}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def wait_for(found: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until the process has come as far as `found` says."""
    end = time.monotonic() + 120
    while not found():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)
