"""What the records of commands that are no single run have in common: clips and pretrainings."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from src.common.errors import InputError
from src.tracking import provenance
from src.tracking.record import write_json

Record = TypeVar("Record", bound="CommandRecord")


@dataclass(kw_only=True)
class CommandRecord:
    """Configuration, status and provenance of a command, in a JSON file of its folder.

    Attributes:
        file: name of the JSON file.
        seconds: wall time over all resumes.
    """

    file: ClassVar[str]

    status: str = "running"
    error: str | None = None
    seconds: float = 0.0
    device: str | None = None
    wandb_id: str | None = None
    config: dict[str, Any]
    versions: dict[str, str] = field(default_factory=provenance.versions)
    commit: str | None = field(default_factory=provenance.commit)
    command: str = field(default_factory=provenance.command)
    started: str = field(default_factory=provenance.timestamp)
    ended: str | None = None

    def write(self, folder: Path) -> None:
        """Write the file of the record."""
        write_json(folder / self.file, dataclasses.asdict(self))


def read_record(folder: Path, schema: type[Record], kind: str, valid: Callable[[Record], bool]) -> Record | None:
    """Return the record of a folder, None if it has none.

    Args:
        folder: of the command.
        schema: class of the record.
        kind: what it is a record of, for the error.
        valid: returns whether fields have the right types; a ValueError or TypeError in it counts as False.

    Raises:
        InputError: the file is not such a record.
    """
    path = folder / schema.file
    try:
        record = schema(**json.loads(path.read_text()))
        if not isinstance(record.config, dict) or not valid(record):
            raise TypeError("a field has the wrong type")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is not a record of {kind}: {error}") from None
    return record
