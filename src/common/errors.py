"""The three ways a run ends that are no bug of this program.

All survive pickling (their arguments are their state), so that a launcher that runs jobs in other processes can
hand them back.
"""


class InputError(Exception):
    """What the user gave cannot be used: the message says what is wrong, and what would be right."""


class NonFiniteLoss(Exception):
    """The loss became NaN or infinite; the last finite image was kept."""


class Interrupted(BaseException):
    """SIGINT or SIGTERM ended the run after its picture and its checkpoint were written.

    `goes_on` is the command that goes on from there. A `BaseException`, like `KeyboardInterrupt`, so that a sweep
    stops at it instead of going on to the next job.
    """

    def __init__(self, signal_number: int, goes_on: str = "") -> None:
        super().__init__(signal_number, goes_on)
        self.signal_number = signal_number
        self.goes_on = goes_on

    @property
    def exit_status(self) -> int:
        """130 for Ctrl-C, 143 for SIGTERM: 128 plus the signal, as every shell has it."""
        return 128 + self.signal_number


class SweepFailed(Exception):
    """Some jobs of a sweep failed, after all of them had their turn; the message lists which, and why."""


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its kind where it has none."""
    return (str(error) or type(error).__name__).splitlines()[0]
