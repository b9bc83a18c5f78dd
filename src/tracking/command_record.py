"""What the records of commands that are no single run have in common: clips and trainings of networks."""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from src.common.errors import InputError, outcome
from src.config.schema import Logger
from src.tracking import provenance
from src.tracking.loggers import RunLoggers, open_loggers
from src.tracking.record import add_former_defaults, parse, read_json, write_json


@dataclass(kw_only=True)
class CommandRecord:
    """Configuration, status and provenance of a command, in a JSON file of its folder.

    Attributes:
        file: name of the JSON file.
        kind: what it is a record of, for errors.
        seconds: wall time over all resumes.
    """

    file: ClassVar[str]
    kind: ClassVar[str]

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

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Return the record of a folder, None if it has none. Every field is checked against its type.

        Raises:
            InputError: the file is not such a record.
        """
        path = folder / cls.file
        try:
            if not path.exists():
                return None
            record: Self = parse(cls, read_json(path))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is not a record of {cls.kind}: {error}") from None
        add_former_defaults(record.config)
        return record

    def write(self, folder: Path) -> None:
        """Write the file of the record."""
        write_json(folder / self.file, dataclasses.asdict(self))

    def found(self) -> dict[str, Any]:
        """Return what is known before the first row, for the loggers."""
        return {"device": self.device}

    def summary(self) -> dict[str, Any]:
        """Return the results, for the loggers."""
        return {key: getattr(self, key) for key in ("status", "error", "seconds")}


@contextmanager
def recorded(record: CommandRecord, folder: Path) -> Iterator[ExitStack]:
    """Record that a command runs and, at the end of the block, how it ended: finished, interrupted or failed.

    Yields:
        An `ExitStack`; its callbacks run after the record is written, even if writing fails.
    """
    record.status, record.error, record.ended = "running", None, None
    record.versions, record.commit = provenance.versions(), provenance.commit()
    record.write(folder)
    with ExitStack() as afterwards:
        try:
            yield afterwards
            record.status, record.error = outcome(None)
        except BaseException as error:
            record.status, record.error = outcome(error)
            raise
        finally:
            record.ended = provenance.timestamp()
            record.write(folder)


@contextmanager
def tracked(options: Logger, folder: Path, record: CommandRecord, tag: str) -> Iterator[RunLoggers]:
    """Open the loggers of a command; at the end, record how it ended, and close them.

    Args:
        options: the configuration group `logger`.
        folder: of the command.
        record: of the command.
        tag: of the run in the tracker, in addition to `logger.tags`.
    """
    with recorded(record, folder) as afterwards:
        loggers = open_loggers(options, folder, record, record.config, tag)
        afterwards.callback(loggers.close, record)
        yield loggers
