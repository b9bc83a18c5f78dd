"""The logs of runs that are at work together: one file each, as each would write it alone."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

# The folder of the run that is being worked on; none while all are.
AT_WORK: ContextVar[Path | None] = ContextVar("AT_WORK", default=None)


class _Own(logging.Filter):
    """Lets pass what is said of one run, or of all."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def filter(self, record: logging.LogRecord) -> bool:
        return AT_WORK.get() in (None, self.folder)


@contextmanager
def separate_logs(folders: Sequence[Path]) -> Iterator[None]:
    """Log to a file in each folder, after the model of the one file that is logged to so far, and in its place."""
    root = logging.getLogger()
    handlers = []
    for model in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(model)
        model.close()
        for folder in folders:
            handler = logging.FileHandler(folder / Path(model.baseFilename).name)
            handler.setFormatter(model.formatter)
            handler.addFilter(_Own(folder))
            handlers.append(handler)
            root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()
