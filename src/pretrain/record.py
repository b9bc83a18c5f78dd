"""`pretrain.json`: the configuration of a pretraining and what was measured of it."""

from dataclasses import dataclass
from typing import ClassVar

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
    kind: ClassVar[str] = "a pretraining"

    teacher_sha256: str | None = None
    inherited: dict[str, float] | None = None
