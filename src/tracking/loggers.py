"""Open the loggers of a run, send them its rows, close them.

`logger=NAME` writes `metrics.csv` and, unless NAME is csv, also logs to a tracker: `open_logger` in
`src/tracking/NAME_logger.py`. A tracker is a Lightning `Logger` with two more methods, `begin` and `close`, and
`log_files` where it takes files; its `log_metrics` takes numbers and PIL images.
"""

import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from src.common.errors import first_line
from src.common.packages import require
from src.config import schema
from src.tracking.deadline import within
from src.tracking.names import CAPTURE

if TYPE_CHECKING:
    from pytorch_lightning.loggers import Logger

    from src.tracking.csv_logger import MetricsLogger

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
# Packages that a tracker needs beyond the dependencies: module -> name to install; an extra in pyproject.toml each.
OPTIONAL = {
    "tensorboard": {"tensorboard": "tensorboard"},
    "mlflow": {"mlflow": "mlflow-skinny", "sqlalchemy": "sqlalchemy", "alembic": "alembic"},
}


class Tracked(Protocol):
    """What loggers read of a record, be it of a style transfer, of a clip or of a pretraining."""

    status: str
    wandb_id: str | None
    versions: dict[str, str]
    commit: str | None

    def found(self) -> dict[str, Any]:
        """Return what the setup determined, such as device and image size."""

    def summary(self) -> dict[str, Any]:
        """Return the results; None for unknown ones."""


class RunLoggers:
    """The loggers of one run: `metrics.csv` and at most one tracker.

    A tracker that fails, or takes longer than `CALL_SECONDS`, is reported once and left out; the run continues. Where
    `metrics.csv` cannot be written the methods raise an `InputError`. The Trainer gets none of these loggers: it would
    finish them after each stage of a run.
    """

    def __init__(self, csv: "MetricsLogger | None" = None, tracker: "Logger | None" = None) -> None:
        self.csv = csv
        self.tracker = tracker
        self._failure: Exception | None = None
        self._pictures: dict[str, Path] = {}

    @property
    def last_step(self) -> int:
        """Step of the last row that a resumed run need not log again, -1 without one."""
        return self.csv.last_step if self.csv else -1

    def begin(self, record: Tracked, resume_step: int, pictures: Mapping[str, Path] | None = None) -> None:
        """Prepare for the first row.

        Args:
            record: what the setup determined, for the tracker's configuration.
            resume_step: rows after this step are dropped; -1 for a run from the start.
            pictures: name -> file, sent to the tracker with the first row.
        """
        if self.csv:
            self.csv.begin(resume_step)
        self._pictures = dict(pictures or {})
        self._call(lambda tracker: tracker.begin(record, resume_step))

    def log_point(self, values: dict[str, float], step: int, picture: Path | None = None) -> None:
        """Log one row, with the picture of that step as `capture`."""
        if self.csv:
            self.csv.log_metrics(values, step)
        files, self._pictures = {**self._pictures, **({CAPTURE: picture} if picture else {})}, {}

        def send(tracker: Any) -> None:
            from src.data.images import PREVIEW_EDGE, reduced

            tracker.log_metrics({**values, **{name: reduced(file, PREVIEW_EDGE) for name, file in files.items()}}, step)

        self._call(send)

    def log_files(self, files: Mapping[str, Path], step: int) -> None:
        """Send further files of the result by name, to a tracker that takes them; after the last row."""

        def send(tracker: Any) -> None:
            if hasattr(tracker, "log_files"):
                tracker.log_files(files, step)

        self._call(send)

    def close(self, record: Tracked) -> None:
        """Send summary and status and finish the tracker, also where a call failed."""
        if not isinstance(self._failure, TimeoutError):
            self._failure = None
        self._call(lambda tracker: tracker.close(record))

    def _call(self, action: Callable[[Any], object]) -> None:
        if self.tracker is None or self._failure:
            return
        try:
            within(CALL_SECONDS, lambda: action(self.tracker))
        except Exception as error:
            self._failure = error
            log.warning("%s failed (%s); the run continues without it", type(self.tracker).__name__, first_line(error))


def check_installed(name: str) -> None:
    """Check that the packages of `logger=NAME` are installed.

    Raises:
        InputError: one is missing; the message says how to install it.
    """
    require(f"logger={name}", name, OPTIONAL.get(name, {}))


def open_loggers(options: schema.Logger, folder: Path, record: Tracked, config: dict[str, Any], tag: str) -> RunLoggers:
    """Open the loggers of a run.

    Args:
        options: the configuration group `logger`.
        folder: the run folder.
        record: holds the W&B id of an earlier process of the same run, and receives it.
        config: the whole configuration as plain values.
        tag: a tag of the run, beside `options.tags`.

    Raises:
        InputError: the tracker's package is not installed.
    """
    if options.name == "none":
        return RunLoggers()
    from src.tracking.csv_logger import MetricsLogger

    check_installed(options.name)
    loggers = RunLoggers(MetricsLogger(folder))
    if options.name != "csv":
        try:
            module = importlib.import_module(f"src.tracking.{options.name}_logger")
            loggers.tracker = module.open_logger(options, folder, record, config, tag)
        except Exception as error:
            log.warning("logger=%s could not start (%s); the run continues without it", options.name, first_line(error))
    return loggers
