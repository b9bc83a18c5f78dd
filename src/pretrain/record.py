"""`pretrain.json`: the configuration of a pretraining and what was measured of it."""

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.tracking import provenance
from src.tracking.record import write_json

FILE = "pretrain.json"


@dataclass(kw_only=True)
class PretrainRecord:
    """All a model card needs to know of a pretraining.

    Attributes:
        step, batches: optimiser steps taken and batches used, over all resumes.
        pictures: number of pictures that could be read.
        parameters: of the network without its heads.
        teacher_sha256: checksum of the teacher's weights.
        inherited: by convolution, the unexplained fraction of variance of the fit to the teacher.
        values: metrics of the last logged step.
        seconds: wall time over all resumes.
        weights_sha256: checksum of the weights file.
    """

    status: str = "running"
    error: str | None = None
    step: int = 0
    batches: int = 0
    pictures: int | None = None
    parameters: int | None = None
    teacher_sha256: str | None = None
    inherited: dict[str, float] | None = None
    values: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    device: str | None = None
    threads: int | None = None
    weights_sha256: str | None = None
    wandb_id: str | None = None
    config: dict[str, Any]
    versions: dict[str, str] = field(default_factory=provenance.versions)
    commit: str | None = field(default_factory=provenance.commit)
    command: str = field(default_factory=provenance.command)
    started: str = field(default_factory=provenance.timestamp)
    ended: str | None = None

    def write(self, folder: Path) -> None:
        """Write `folder/pretrain.json`."""
        write_json(folder / FILE, dataclasses.asdict(self))

    def found(self) -> dict[str, Any]:
        """Return what is known before the first step, for the loggers."""
        return {key: getattr(self, key) for key in ("pictures", "parameters", "device", "threads")}

    def summary(self) -> dict[str, Any]:
        """Return the result, for the loggers."""
        return {**self.values, **{key: getattr(self, key) for key in ("status", "error", "seconds", "weights_sha256")}}


def read(folder: Path) -> PretrainRecord | None:
    """Return the record of a folder, None if it has none.

    Raises:
        InputError: the file is not a record of a pretraining.
    """
    path = folder / FILE
    try:
        record = PretrainRecord(**json.loads(path.read_text()))
        if not isinstance(record.config, dict) or not isinstance(record.seconds, int | float):
            raise TypeError("a field has the wrong type")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not a record of a pretraining: {error}") from None
    return record
