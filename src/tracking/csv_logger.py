"""Log to `metrics.csv`, which a resumed run continues."""

import csv
import io
import logging
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.common.files import check_write, write_atomically, write_error
from src.tracking.names import METRICS

log = logging.getLogger(__name__)


class MetricsLogger:
    """Append rows to `metrics.csv` in the run folder, each as soon as it is logged.

    Lightning's CSVLogger deletes the file when a run is resumed.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []

    @property
    def last_step(self) -> int:
        """Step of the last row, -1 without rows."""
        return int(self.rows[-1]["step"]) if self.rows else -1

    def begin(self, resume_step: int) -> None:
        """Keep the rows up to the step that the run resumes from (-1: none) and rewrite the file.

        Damaged rows are left out. A file without a column `step` is renamed to `metrics.csv.damaged`.

        Raises:
            InputError: the path is not a regular file, or the file cannot be read or written.
        """
        if self.path.exists() and not self.path.is_file():
            raise InputError(f"{self.path} is not a regular file; remove it")
        if resume_step >= 0 and self.path.exists():
            self._read(resume_step)
        self._rewrite()

    def _read(self, resume_step: int) -> None:
        try:
            text = self.path.read_text(errors="replace")
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror}") from error
        header, *lines = [line.split(",") for line in text.split("\n")[:-1]] or [[]]  # a kill may cut the last line
        if text and "step" not in header:
            log.warning("%s has no column `step`; renamed to %s.damaged", self.path, METRICS)
            self.path.replace(self.path.with_name(f"{METRICS}.damaged"))
            return
        damaged = 0
        for cells in lines:
            row = dict(zip(header, cells, strict=False))
            try:
                step = int(row["step"])
                _ = [float(cell) for cell in cells if cell]
            except (ValueError, KeyError):
                step = -1
            if step <= self.last_step or len(cells) != len(header):
                damaged += 1
            elif step <= resume_step:
                self.rows.append(row)
        if damaged:
            log.warning("%s has damaged rows; %d left out", self.path, damaged)
        self.columns = header if self.rows else []

    def log_metrics(self, metrics: dict[str, Any], step: int) -> None:
        """Append a row, or add to the last one if it is of this step; a new column rewrites the file.

        Raises:
            InputError: the file cannot be written, for instance because the disk is full.
        """
        row = {"step": step, **metrics}
        new = [key for key in row if key not in self.columns]
        again = step == self.last_step
        if again:
            self.rows[-1] |= row
        else:
            self.rows.append(row)
        if new or again:
            self.columns += new
            self._rewrite()
            return
        check_write()
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
