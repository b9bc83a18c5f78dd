"""The ways a run ends that are not bugs of this program.

All survive pickling (their arguments are their state), so that launchers with worker processes can return them.
"""

from collections.abc import Iterator
from contextlib import contextmanager

LONGEST_LINE = 1000


class InputError(Exception):
    """The user's input cannot be used: the message says what is wrong and what would be right."""


class InUse(InputError):
    """Another process works in the run folder."""


class NonFiniteLoss(Exception):
    """The loss became NaN or infinite; the last finite image was kept."""


SAME_COMMAND = "run the same command again"  # how to resume what a folder holds
OTHER_FOLDER = "choose another folder with hydra.run.dir=DIR, or hydra.sweep.dir=DIR with -m"


class Interrupted(BaseException):
    """SIGINT or SIGTERM ended the run after its image and checkpoint were written.

    A `BaseException`, like `KeyboardInterrupt`, so that a sweep stops instead of running its next job.

    Attributes:
        signal_number: the signal received.
        resume_hint: the command that resumes the run.
    """

    def __init__(self, signal_number: int, resume_hint: str = "") -> None:
        super().__init__(signal_number, resume_hint)
        self.signal_number = signal_number
        self.resume_hint = resume_hint

    @property
    def exit_status(self) -> int:
        """128 plus the signal number, as shells report it: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signal_number


@contextmanager
def resumed_by(resume_hint: str) -> Iterator[None]:
    """Give an `Interrupted` of the block the hint of a larger command, which the block is a part of."""
    try:
        yield
    except Interrupted as stop:
        raise Interrupted(stop.signal_number, resume_hint) from None


class SweepFailed(Exception):
    """Some jobs of a sweep failed; the message lists them by reason."""


def outcome(error: BaseException | None) -> tuple[str, str | None]:
    """Return the status (finished, interrupted or failed) and the error message that a record keeps."""
    if error is None:
        return "finished", None
    if isinstance(error, Interrupted | KeyboardInterrupt):
        return "interrupted", f"signal {error.signal_number if isinstance(error, Interrupted) else 2}"
    if isinstance(error, SystemExit):
        return "interrupted", f"exit status {error.code}"
    told = str(error) or type(error).__name__
    return "failed", told if isinstance(error, InputError | NonFiniteLoss) else f"{type(error).__name__}: {told}"


def shortened(text: str, longest: int = LONGEST_LINE) -> str:
    """Return text whose lines have at most `longest` characters, the middle of longer ones left out."""
    lines = text.splitlines()
    keep = longest // 2 - 10
    return "\n".join(line if len(line) <= longest else f"{line[:keep]} [...] {line[-keep:]}" for line in lines)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, shortened; its type where there is no message."""
    return shortened((str(error) or type(error).__name__).splitlines()[0])
