"""Real processes of the commands, watched from outside.

They are forked from a server that has imported the libraries, because importing them takes most of a short run's time.
Tests whose runs log to W&B start Python anew, since rows were lost in forked ones; so do
`test_a_new_python_exits_with_status_2` and a few others.
"""

import atexit
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from pathlib import Path

from tests.support import ROOT

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload([__name__, "src.cli.command", "src.cli.launcher", "src.training.loop"])


class Process(FORKED.Process):
    """`python -m MODULE ARGUMENTS`, run in the project's root."""

    def __init__(self, module: str, arguments: Sequence[str], environment: dict[str, str], folder: str) -> None:
        """Prepare it.

        Args:
            module: name of a module or package.
            arguments: its command line.
            environment: all its environment variables.
            folder: where its output goes.
        """
        super().__init__()
        self.module, self.arguments, self.environment = module, arguments, environment
        self.outputs = [f"{folder}/stdout", f"{folder}/stderr"]

    def run(self) -> None:
        """Do what Python does after its start, in the new process."""
        for descriptor, path in enumerate([os.devnull, *self.outputs]):
            file = os.open(path, os.O_RDWR | os.O_CREAT)
            os.dup2(file, descriptor)
            os.close(file)
        os.chdir(ROOT)
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv[:] = [self.module, *self.arguments]
        sys.stdin = open(0)  # noqa: SIM115
        try:
            runpy.run_module(self.module, run_name="__main__", alter_sys=True)
        finally:
            atexit._run_exitfuncs()

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def poll(self) -> int | None:
        """Return the exit status, None while the process runs."""
        return self.exitcode

    def finish(self, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Wait for the end; return status and output."""
        self.join(timeout)
        assert self.exitcode is not None, f"still running after {timeout} s"
        return subprocess.CompletedProcess(
            [self.module, *self.arguments], self.exitcode, *(Path(path).read_text() for path in self.outputs)
        )


@contextmanager
def started(*arguments: str, module: str = "src.train", environment: dict[str, str] | None = None) -> Iterator[Process]:
    """Start `python -m MODULE ARGUMENTS`; it is killed where the block leaves it running."""
    with tempfile.TemporaryDirectory() as folder:
        process = Process(module, arguments, {**os.environ, **(environment or {})}, folder)
        with chdir(ROOT):  # where the server, which starts with the first process, finds `src`
            process.start()
        try:
            yield process
        finally:
            process.kill()
            process.join()


@contextmanager
def started_anew(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start `python -m src.train ARGUMENTS` in a new Python; it is killed where the block leaves it running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "src.train", *arguments], cwd=ROOT, env={**os.environ, **(environment or {})}, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def wait_for(found: Callable[[], bool], process: Process | subprocess.Popen[str], seconds: float = 120) -> None:
    """Wait until the process has come as far as `found` says."""
    end = time.monotonic() + seconds
    while not found():
        assert process.poll() is None, f"it ended with status {process.poll()}"
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.002)


def new_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Start Python anew, as a user does, in the project's root."""
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
