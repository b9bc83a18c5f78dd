"""What was measured, as JSON: rows that name their device, and the runs of the benchmark they come from."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.tracking.record import write_json

SCHEMA = 1
Label = dict[str, str | int]


@dataclass(frozen=True)
class Measured:
    """One case of one section.

    Attributes:
        case: what tells it from the others of its section.
        values: figures by name, in s, MiB, GFLOP/s, or as ratios; none where it could not be measured.
        note: why it could not be, or what else to know.
    """

    case: Label
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Row(Measured):
    """The same with where it comes from: section, device, and when the run that measured it was started."""

    section: str = ""
    device: str = ""
    started: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what a later measurement of the same has in common with it."""
        return self.section, self.device, *sorted(self.case.items())


@dataclass(frozen=True)
class Session:
    """A run of the benchmark: when, on what, and with what."""

    started: str
    device: str
    cores: int
    threads: int
    memory_gib: float
    versions: dict[str, str]
    commit: str | None
    command: str


@dataclass(frozen=True)
class Results:
    """Rows, and the sessions that they were measured in."""

    sessions: tuple[Session, ...] = ()
    rows: tuple[Row, ...] = ()

    def section(self, name: str, device: str) -> list[Row]:
        """Return the rows of a section on a device."""
        return [row for row in self.rows if (row.section, row.device) == (name, device)]

    @property
    def devices(self) -> list[str]:
        """Return the devices that have rows, in the order they came."""
        return list(dict.fromkeys(row.device for row in self.rows))

    def updated(self, later: "Results") -> "Results":
        """Return these with a later run's rows in the place of those of the same case and device."""
        rows = tuple({row.key: row for row in (*self.rows, *later.rows)}.values())
        used = {(row.started, row.device) for row in rows}
        sessions = {(each.started, each.device): each for each in (*self.sessions, *later.sessions)}
        return Results(tuple(each for key, each in sessions.items() if key in used), rows)

    def write(self, path: Path) -> None:
        """Write them as JSON, whole or not at all."""
        write_json(path, {"schema": SCHEMA, **dataclasses.asdict(self)})


def rows_of(session: Session, section: str, measured: Iterable[Measured]) -> tuple[Row, ...]:
    """Return what a session measured in a section as rows."""
    return tuple(Row(each.case, each.values, each.note, section, session.device, session.started) for each in measured)


def read(path: Path) -> Results:
    """Return the results of a file; none where there is no such file.

    Raises:
        InputError: it holds something else.
    """
    try:
        data = json.loads(path.read_text())
        if data["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {data['schema']}; this version reads {SCHEMA}")
        return Results(tuple(Session(**each) for each in data["sessions"]), tuple(Row(**each) for each in data["rows"]))
    except FileNotFoundError:
        return Results()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no results of this benchmark: {error!r}") from None
