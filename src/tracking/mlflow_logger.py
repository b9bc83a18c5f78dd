"""Log to MLflow: the server of `MLFLOW_TRACKING_URI`, else a database in the run folder.

`mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db` shows the latter.
"""

import logging
import os
from pathlib import Path
from typing import Any

from PIL import Image
from pytorch_lightning.loggers import MLFlowLogger

from src.common.files import write_atomically
from src.config import schema
from src.tracking.deadline import within
from src.tracking.loggers import Tracked

START_SECONDS = 8.0  # for a server; MLflow itself retries for minutes
STATUS = {"finished": "FINISHED", "interrupted": "KILLED"}


class RunMLFlowLogger(MLFlowLogger):
    """Lightning's logger, with pictures; a resumed run continues the same MLflow run."""

    def begin(self, record: Tracked, resume_step: int) -> None:
        """Log what the setup found as tags: unlike parameters, they may change on a resume."""
        self._set_tags(record.found())

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        """Log numbers as metrics and PIL images as images."""
        pictures = {key: value for key, value in metrics.items() if isinstance(value, Image.Image)}
        super().log_metrics({key: value for key, value in metrics.items() if key not in pictures}, step)
        for key, picture in pictures.items():
            self.experiment.log_image(self.run_id, picture, key=key, step=step)

    def close(self, record: Tracked) -> None:
        """Log results as metrics and tags, and set the status of the run."""
        summary = {key: value for key, value in record.summary().items() if value is not None}
        numbers = {key: value for key, value in summary.items() if isinstance(value, int | float)}
        super().log_metrics({f"final/{key}": float(value) for key, value in numbers.items()})
        self._set_tags({key: value for key, value in summary.items() if key not in numbers})
        self.finalize(STATUS.get(record.status, "FAILED"))

    def _set_tags(self, values: dict[str, Any]) -> None:
        """Set tags in one request."""
        from mlflow.entities import RunTag

        tags = [RunTag(key, str(value)) for key, value in values.items() if value is not None]
        self.experiment.log_batch(self.run_id, tags=tags)


def open_logger(
    options: schema.Logger, folder: Path, record: Tracked, config: dict[str, Any], tag: str
) -> RunMLFlowLogger:
    """Return the logger of a run; its arguments are those of `open_loggers`.

    Raises:
        TimeoutError: the server does not answer in time.
    """
    import mlflow  # noqa: F401  takes seconds and sets the level of its loggers

    for name in ("mlflow.store.db.utils", "pytorch_lightning.loggers.mlflow"):
        logging.getLogger(name).setLevel(logging.ERROR)  # each new database is announced in three lines
    home = folder.resolve() / "mlflow"
    home.mkdir(exist_ok=True)
    held = home / "run_id"
    server = os.environ.get("MLFLOW_TRACKING_URI")
    tracker = RunMLFlowLogger(
        experiment_name=options.project,
        run_name=folder.name,
        tracking_uri=server or f"sqlite:///{home / 'mlflow.db'}",
        artifact_location=None if server else str(home / "artifacts"),
        tags={"tags": ", ".join([*options.tags, tag]), "folder": str(folder), "commit": str(record.commit)},
        run_id=held.read_text() if held.exists() else None,
    )

    def start() -> None:
        if held.exists():
            tracker.experiment.update_run(tracker.run_id, status="RUNNING")
        else:
            tracker.log_hyperparams(config)

    if server:
        within(START_SECONDS, start)
    else:
        start()
    write_atomically(held, str(tracker.run_id).encode())
    return tracker
