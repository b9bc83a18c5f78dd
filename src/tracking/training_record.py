"""What the records of trained networks have in common: pretrainings and distillations."""

from dataclasses import dataclass, field
from typing import Any

from src.tracking.command_record import CommandRecord


@dataclass(kw_only=True)
class TrainingRecord(CommandRecord):
    """Configuration and progress of the training of a network.

    Attributes:
        step, batches: optimiser steps taken and batches used, over all resumes.
        pictures: number of pictures that could be read.
        pictures_sha256: checksum of the names and bytes of all of them.
        parameters: of the network.
        values: metrics of the last logged step.
        weights_sha256: checksum of the weights file.
    """

    step: int = 0
    batches: int = 0
    pictures: int | None = None
    pictures_sha256: str | None = None
    parameters: int | None = None
    values: dict[str, float] = field(default_factory=dict)
    threads: int | None = None
    weights_sha256: str | None = None

    def found(self) -> dict[str, Any]:
        """Return what is known before the first step, for the loggers."""
        return super().found() | {key: getattr(self, key) for key in ("pictures", "parameters", "threads")}

    def summary(self) -> dict[str, Any]:
        """Return the result, for the loggers."""
        return {**self.values, **super().summary(), "weights_sha256": self.weights_sha256}
