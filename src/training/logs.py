"""Log files of runs that share a process: each run's file holds what concerns that run or all of them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

log = logging.getLogger(__name__)

# Folder of the run that log lines concern at the moment; None for lines that concern all runs.
CURRENT_RUN: ContextVar[Path | None] = ContextVar("CURRENT_RUN", default=None)


class _OwnLines(logging.Filter):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def filter(self, record: logging.LogRecord) -> bool:
        return CURRENT_RUN.get() in (None, self.folder)


@contextmanager
def separate_logs(folders: Sequence[Path]) -> Iterator[None]:
    """Replace the root logger's file by one of the same name and format in each folder."""
    root = logging.getLogger()
    handlers = []
    for model in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(model)
        model.close()
        for folder in folders:
            handler = logging.FileHandler(folder / Path(model.baseFilename).name)
            handler.setFormatter(model.formatter)
            handler.addFilter(_OwnLines(folder))
            handlers.append(handler)
            root.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def log_to_file(message: str) -> None:
    """Write an error to the log files alone: the command prints it at its end, or the sweep beside its job."""
    record = log.makeRecord(log.name, logging.ERROR, "", 0, message, (), None)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)
