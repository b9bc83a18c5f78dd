"""`pretrain.json`: the configuration of a pretraining and what was measured of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from src.tracking.command_record import read_record
from src.tracking.training_record import TrainingRecord

FILE = "pretrain.json"


@dataclass(kw_only=True)
class PretrainRecord(TrainingRecord):
    """All a model card needs to know of a pretraining.

    Attributes:
        teacher_sha256: checksum of the teacher's weights.
        inherited: by convolution, the unexplained fraction of variance of the fit to the teacher.
    """

    file: ClassVar[str] = FILE

    teacher_sha256: str | None = None
    inherited: dict[str, float] | None = None


def read(folder: Path) -> PretrainRecord | None:
    """Return the record of a folder, None if it has none.

    Raises:
        InputError: the file is not a record of a pretraining.
    """
    return read_record(folder, PretrainRecord, "a pretraining")
