"""`pretrain.json`: what a pretraining was, and what came of it."""

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
    """Everything about a pretraining that its model card needs.

    `values` are those of the last logged step; `seconds` is the wall time over all resumes; `weights_sha256` is the
    checksum of the file that was written.
    """

    status: str = "running"
    error: str | None = None
    step: int = 0
    batches: int = 0
    pictures: int | None = None
    parameters: int | None = None
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
        """Return what the preparation found, for the trackers."""
        return {key: getattr(self, key) for key in ("pictures", "parameters", "device", "threads")}

    def summary(self) -> dict[str, Any]:
        """Return what came of the training, for the trackers."""
        return {**self.values, **{key: getattr(self, key) for key in ("status", "error", "seconds", "weights_sha256")}}


def read(folder: Path) -> PretrainRecord | None:
    """Return the record of a folder, None where there is none.

    Raises:
        InputError: the file is no such record.
    """
    try:
        return PretrainRecord(**json.loads((folder / FILE).read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{folder / FILE} is no record of a pretraining: {error}") from None
