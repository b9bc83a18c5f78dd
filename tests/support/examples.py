"""Records without a run."""

from src.config import RunConfig
from src.records import RunRecord
from src.session import new_record


def example_record() -> RunRecord:
    """Return the record of the default run as it is at its start."""
    return new_record(RunConfig())
