"""`distill.json`: the configuration of the training of a feed-forward network and what was measured of it."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from src.tracking.training_record import TrainingRecord

FILE = "distill.json"


@dataclass(kw_only=True)
class DistillRecord(TrainingRecord):
    """All a model card needs to know of a network.

    Attributes:
        styles: names of its styles.
        style_sha256: checksum of each style image.
        backbone_sha256: checksum of the backbone's weights.
        kernels: whether compiled CPU kernels were used.
        held_out: the total loss of the network by held-out photograph and style, and of a run where `compare` asks for
            it: rows of {photograph, style, network, run}.
    """

    file: ClassVar[str] = FILE
    kind: ClassVar[str] = "the training of a network"

    styles: list[str] = field(default_factory=list)
    style_sha256: list[str] = field(default_factory=list)
    backbone_sha256: str | None = None
    kernels: bool = False
    held_out: list[dict[str, Any]] = field(default_factory=list)
