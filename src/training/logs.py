"""Log files of runs that share a process: each run's file holds what concerns that run or all of them."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

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
