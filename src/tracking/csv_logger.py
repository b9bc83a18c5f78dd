"""What takes the points of a run: the form of a tracker, and the one that writes `metrics.csv`."""

import csv
import io
from pathlib import Path
from typing import Any, Protocol

from src.common.files import write_atomically, write_error

METRICS = "metrics.csv"


class Tracked(Protocol):
    """What a tracker wants to know of a record, of a style transfer or of a pretraining."""

    status: str
    wandb_id: str | None
    versions: dict[str, str]
    commit: str | None

    def found(self) -> dict[str, Any]:
        """Return what the preparation found."""

    def summary(self) -> dict[str, Any]:
        """Return what came of the run; None for what is not known."""


class Tracker:
    """Takes whole points, picture included, one call a step.

    Not a Lightning logger: those know no pictures, delete their file on a resume (CSV), never finish their run and
    count its steps from 0 again (W&B).
    """

    @property
    def last_step(self) -> int:
        """Return the step of the last point that is not to be made again; -1 without one."""
        return -1

    def begin(self, record: Tracked, resume_step: int) -> None:
        """Learn, before the first point, what the preparation found, and where the run goes on (-1: at the start)."""

    def log_point(self, values: dict[str, float], step: int, picture: Path | None = None) -> None:
        """Take one point."""
        raise NotImplementedError

    def close(self, record: Tracked) -> None:
        """Finish, with the record's last word on the run."""


class CsvHistory(Tracker):
    """Appends rows to `metrics.csv`; a resumed run goes on in the same file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def begin(self, record: Tracked, resume_step: int) -> None:
        """Keep the rows up to the step where the run goes on; it makes the others again."""
        if resume_step >= 0 and self.path.exists():
            with self.path.open(newline="") as file:
                for row in csv.DictReader(file):
                    # a line cut by a kill has a cell too few, which DictReader fills with None
                    if None not in row.values() and int(row["step"]) <= resume_step:
                        self.rows.append(row)
            self.columns = list(self.rows[0]) if self.rows else []
        self._rewrite()

    @property
    def last_step(self) -> int:
        """Return the step of the last row kept; -1 without one."""
        return int(self.rows[-1]["step"]) if self.rows else -1

    def log_point(self, values: dict[str, float], step: int, picture: Path | None = None) -> None:
        """Append a row; a column seen for the first time makes the file be written anew."""
        row = {"step": step, **values}
        self.rows.append(row)
        fresh = [key for key in row if key not in self.columns]
        if fresh:
            self.columns += fresh
            self._rewrite()
            return
        try:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)
        except OSError as error:
            raise write_error(self.path, error) from error

    def _rewrite(self) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        if self.columns:
            writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, text.getvalue().encode())
