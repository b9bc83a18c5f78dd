"""Let Ctrl-C and SIGTERM end a run between two steps."""

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from src.common.errors import SAME_COMMAND, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAID = b"\nstopping after this step and saving the run; press Ctrl-C again to abort\n"


class Interrupts:
    """Record the first SIGINT or SIGTERM while entered; a second one kills the process at once.

    Signals reach only the main thread of a process; in other threads this does nothing.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.getsignal(number) for number in SIGNALS}
            self.listen()
        return self

    def listen(self) -> None:
        """Install the handlers; call again after a library installed its own."""
        if self._previous and self.received is None:
            for number in SIGNALS:
                signal.signal(number, self._receive)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        with suppress(OSError):  # stderr may be closed
            os.write(2, SAID)  # a logger's stream may be in the middle of a write, and raises if entered again
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)

    def requested(self) -> bool:
        """Return whether a signal was received."""
        return self.received is not None

    def check(self, resume_hint: str = SAME_COMMAND) -> None:
        """Raise `Interrupted` if a signal was received.

        Args:
            resume_hint: the command that resumes the work.
        """
        if self.received is not None:
            raise Interrupted(self.received, resume_hint)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
