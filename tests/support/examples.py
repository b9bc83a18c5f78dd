"""Records without a run."""

from src.config.schema import RunConfig
from src.tracking.record import RunRecord
from src.training.context import new_record


def example_record() -> RunRecord:
    """Return the record of the default run as it is at its start."""
    return new_record(RunConfig())
