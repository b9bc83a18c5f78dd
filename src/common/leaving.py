"""The end of a command's process."""

import atexit
import os
import sys
from collections.abc import Callable

UNWRITTEN = 120  # what Python itself exits with where the last of the output could not be written


def run_and_leave(main: Callable[[], None]) -> None:
    """Run a command, and end the process with its exit status.

    What was registered for the end is done, and what was printed is written; but the objects of the libraries are not
    freed one by one, for which Python takes longer than a second.
    """
    status = 0
    try:
        main()
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):  # a message, which Python prints
            raise
        status = stop.code or 0
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        status = status or UNWRITTEN
    os._exit(status)
