"""Signals between two steps of a run."""

import io
import os
import signal
import sys

import pytest

from src.common.signals import Interrupts


def test_a_signal_in_the_middle_of_a_write_is_said_and_recorded(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffered stream cannot be written to by a handler that interrupts its flush: it raises RuntimeError."""

    class Interrupted(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            os.kill(os.getpid(), signal.SIGINT)
            return len(data)  # type: ignore[arg-type]

    stream = io.TextIOWrapper(io.BufferedWriter(Interrupted()), write_through=True)
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "stderr", stream)
    with Interrupts() as interrupts:
        print("progress", file=sys.stderr, flush=True)
        assert interrupts.received == signal.SIGINT and interrupts.requested()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "a second one ends the process"
    assert signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err.count("stopping after this step and saving the run") == 1
