"""Results as JSON: rows of figures, each with its device, and the sessions (machine, commit, command) they are from."""

import dataclasses
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.tracking.record import write_json

SCHEMA = 1
OUT_OF_MEMORY = "out of memory"  # note of a case that was tried and did not fit
Label = dict[str, str | int]


@dataclass(frozen=True)
class Row:
    """Figures of one case of a section.

    Attributes:
        case: identifies the case within its section.
        values: figures by name, in s, MiB, GFLOP/s, or as ratios; empty if the case was not measured.
        note: why it was not measured, or a remark.
        section, device, started: where it belongs, and when its session started; set by `Session.sign`.
    """

    case: Label
    values: dict[str, float] = field(default_factory=dict)
    note: str = ""
    section: str = ""
    device: str = ""
    started: str = ""

    @property
    def key(self) -> tuple[Any, ...]:
        """Return what identifies the case: a later row with the same key replaces this one."""
        return self.section, self.device, *sorted(self.case.items())


@dataclass(frozen=True)
class Session:
    """One run of the benchmark: when, where, and by which version of the program."""

    started: str
    device: str
    cores: int
    threads: int
    memory_gib: float
    versions: dict[str, str]
    commit: str | None
    command: str

    def sign(self, section: str, row: Row) -> Row:
        """Return a row of a section as measured by this session."""
        return dataclasses.replace(row, section=section, device=self.device, started=self.started)

    def described(self) -> str:
        """Return machine, date, versions, commit and command, without the names of result files, as one line."""
        versions = [f"{name} {self.versions[name]}" for name in ("torch", "python") if name in self.versions]
        commit = self.commit or ""
        at = [f"commit {commit[:12]}{'-dirty' * commit.endswith('-dirty')}"] if commit else []
        machine = f"{self.device}, {self.cores} cores, {self.memory_gib:.0f} GiB"
        command = re.sub(r" --(out|from)[ =]('[^']*'|\S+)", "", self.command)
        return ", ".join([machine, self.started[:10], *versions, *at, command])


@dataclass(frozen=True)
class Results:
    """Rows, and the sessions that measured them."""

    sessions: tuple[Session, ...] = ()
    rows: tuple[Row, ...] = ()

    def section(self, name: str, device: str) -> list[Row]:
        """Return the rows of a section on a device."""
        return [row for row in self.rows if (row.section, row.device) == (name, device)]

    @property
    def devices(self) -> list[str]:
        """Return the devices that have rows, in order of appearance."""
        return list(dict.fromkeys(row.device for row in self.rows))

    def sources(self, rows: Iterable[Row]) -> list[Session]:
        """Return the sessions that measured these rows."""
        wanted = {(row.started, row.device) for row in rows}
        return [each for each in self.sessions if (each.started, each.device) in wanted]

    def updated(self, later: "Results") -> "Results":
        """Return these results with later rows in place of earlier ones of the same case and device."""
        rows = tuple({row.key: row for row in (*self.rows, *later.rows)}.values())
        sessions = {(each.started, each.device): each for each in (*self.sessions, *later.sessions)}
        return Results(tuple(Results(tuple(sessions.values())).sources(rows)), rows)

    def write(self, path: Path) -> None:
        """Write the results as JSON, atomically."""
        write_json(path, {"schema": SCHEMA, **dataclasses.asdict(self)})


def read(path: Path) -> Results:
    """Return the results of a file.

    Raises:
        InputError: the file is missing or holds something else.
    """
    try:
        data = json.loads(path.read_text())
        if data["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {data['schema']}; this version reads {SCHEMA}")
        return Results(tuple(Session(**each) for each in data["sessions"]), tuple(Row(**each) for each in data["rows"]))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no results of this benchmark: {error!r}") from None
