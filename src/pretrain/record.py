"""`pretrain.json`: the configuration of a pretraining and what was measured of it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from src.tracking.command_record import CommandRecord, read_record

FILE = "pretrain.json"


@dataclass(kw_only=True)
class PretrainRecord(CommandRecord):
    """All a model card needs to know of a pretraining.

    Attributes:
        step, batches: optimiser steps taken and batches used, over all resumes.
        pictures: number of pictures that could be read.
        parameters: of the network without its heads.
        teacher_sha256: checksum of the teacher's weights.
        inherited: by convolution, the unexplained fraction of variance of the fit to the teacher.
        values: metrics of the last logged step.
        weights_sha256: checksum of the weights file.
    """

    file: ClassVar[str] = FILE

    step: int = 0
    batches: int = 0
    pictures: int | None = None
    parameters: int | None = None
    teacher_sha256: str | None = None
    inherited: dict[str, float] | None = None
    values: dict[str, float] = field(default_factory=dict)
    threads: int | None = None
    weights_sha256: str | None = None

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
    return read_record(folder, PretrainRecord, "a pretraining", lambda record: isinstance(record.seconds, int | float))
