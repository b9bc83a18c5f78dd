"""Log to TensorBoard: `tensorboard --logdir multirun`."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger

from src.config import schema
from src.tracking.loggers import Tracked


class RunTensorBoardLogger(TensorBoardLogger):
    """Lightning's logger, with pictures and a resume that replaces the rows after its step."""

    def __init__(self, folder: Path, config: dict[str, Any]) -> None:
        super().__init__(folder / "tensorboard", name="", version="", default_hp_metric=False, flush_secs=1)
        self._config = config

    def begin(self, record: Tracked, resume_step: int) -> None:
        """Open the event file; TensorBoard hides the rows after `resume_step` of earlier files."""
        self._kwargs["purge_step"] = resume_step + 1
        self._config = {**self._config, **record.found()}

    def log_metrics(self, metrics: dict[str, Any], step: int | None = None) -> None:  # type: ignore[override]
        """Log numbers as scalars and PIL images as images."""
        pictures = {key: value for key, value in metrics.items() if isinstance(value, Image.Image)}
        super().log_metrics({key: value for key, value in metrics.items() if key not in pictures}, step)
        for key, picture in pictures.items():
            self.experiment.add_image(key, np.asarray(picture), step, dataformats="HWC")

    def close(self, record: Tracked) -> None:
        """Log configuration and results as hyperparameters, and close the event file."""
        summary = record.summary()
        numbers = {f"final/{key}": value for key, value in summary.items() if isinstance(value, int | float)}
        self.log_hyperparams({**self._config, "status": record.status}, metrics=numbers)
        self.finalize("success" if record.status == "finished" else "failed")


def open_logger(
    options: schema.Logger, folder: Path, record: Tracked, config: dict[str, Any], tag: str
) -> RunTensorBoardLogger:
    """Return the logger of a run; its arguments are those of `open_loggers`."""
    return RunTensorBoardLogger(folder, {**config, "tags": ", ".join([*options.tags, tag]), "commit": record.commit})
