"""Report errors of the command line in one line, with an exit status: 2 for bad input, 1 for a failed run or sweep."""

import errno
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from src.common.errors import InputError, Interrupted, NonFiniteLoss, SweepFailed, shortened
from src.config.composition import explain_composition
from src.config.schema import RunConfig

FAILED, BAD_INPUT = 1, 2
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
WRITES = (*NO_SPACE, errno.EROFS)  # only a write can end with these


@contextmanager
def plain_errors(schema: type = RunConfig, tracebacks: bool = False) -> Iterator[None]:
    """Turn user errors into a line on stderr and an exit status; bugs keep their traceback.

    Exit status: 2 for bad input, 1 for a run or sweep that failed, 130 and 143 for signals.

    Args:
        schema: the options to list where one is misspelt.
        tracebacks: show the traceback of every error.
    """
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except Interrupted as stop:
        _exit(f"interrupted; to resume: {stop.resume_hint}", stop.exit_status)
    except KeyboardInterrupt:
        _exit("interrupted", 128 + signal.SIGINT)
    except Exception as error:
        if tracebacks:
            raise
        message = explain(error, schema)
        if message is None:
            traceback.print_exc()
        failed = message is None or isinstance(error, NonFiniteLoss | SweepFailed)
        _exit(message and f"error: {message}", FAILED if failed else BAD_INPUT)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def _exit(message: str | None, status: int) -> None:
    if message:
        print(shortened(message), file=sys.stderr)
    sys.exit(status)


def explain(error: BaseException, schema: type = RunConfig) -> str | None:
    """Return the message of a user error; None for a bug.

    Args:
        error: what was raised.
        schema: the options to list where one is misspelt.
    """
    if isinstance(error, InputError | NonFiniteLoss | SweepFailed):
        return str(error)
    written = isinstance(error, ValueError) and isinstance(error.__cause__, OSError)  # logging, on train.log
    if written:
        error = error.__cause__  # type: ignore[assignment]
    if isinstance(error, OSError) and (error.filename or error.errno in NO_SPACE):
        verb = "write" if written or error.errno in WRITES else "use"
        return f"cannot {verb} {error.filename or 'the run folder'}: {error.strerror}"
    if isinstance(error, ValueError) and str(error).startswith("Only one of --run"):
        return "-m and --cfg do not go together: --cfg job shows the configuration that a sweep starts from"
    if isinstance(error, HydraException | OmegaConfBaseException) or str(error).startswith("Config group override"):
        return explain_composition(error, schema)
    return None
