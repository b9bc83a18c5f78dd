"""What the page shows of the runs below a folder, read from their records."""

import csv
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from src.app.addresses import Addresses, version_of
from src.app.jobs import QueuedRun
from src.common.errors import InputError
from src.common.files import expanded, is_locked
from src.common.tables import plain_text
from src.config.schedule import stages
from src.config.schema import PREVIEW, SUFFIXES, Picture, RunConfig, blended, picture_name, result_file
from src.data.sources import find_picture
from src.tracking import clip_record, names
from src.tracking import record as records
from src.tracking.points import numbers, read_lines
from src.tracking.record import RunRecord

CARD_EDGE, SHOWN_EDGE = 420, 1600  # px, long sides of the pictures of cards and of the slider's left side
MOST_POINTS = 200  # of a curve
RECENT = 8  # logged points that the time left is estimated from


@dataclass(kw_only=True)
class Details:
    """What the page shows of one run, as JSON; the defaults are those of a run without a record.

    Attributes:
        id: stands for the run in addresses.
        status: waiting | running | finished | interrupted | failed.
        step, steps: taken, and of the whole run.
        left: estimated time until the last step, s.
        place: in the queue, from 1.
        stoppable: whether the page has started it, or is to start it.
        stopping: whether it was asked to stop.
        picture, content: addresses.
        width, height: of the result, px.
        curve: losses by term, and the steps.
        facts: names and values for reading.
    """

    id: str
    title: str
    status: str
    error: str | None
    steps: int
    place: int | None
    stopping: bool
    content: str | None
    step: int = 0
    left: float | None = None
    stoppable: bool = True
    picture: str | None = None
    width: int | None = None
    height: int | None = None
    curve: dict[str, list[float | None]] | None = None
    resumable: bool = False
    facts: list[tuple[str, str]] = field(default_factory=list)


class Runs:
    """The runs below a folder. Records are read again only where they have changed.

    Args:
        folder: searched with all folders below it.
        addresses: for their pictures.
    """

    def __init__(self, folder: Path, addresses: Addresses) -> None:
        self.folder, self.addresses = folder, addresses
        self._read: dict[Path, tuple[str, RunRecord | None, str]] = {}  # version, record, title
        self._folders: dict[str, Path] = {}

    def token(self, folder: Path) -> str:
        """Return what stands for a run in addresses."""
        token = self.addresses.token("run", folder.absolute())
        self._folders[token] = folder
        return token

    def folder_of(self, token: str) -> Path | None:
        """Return the folder that a token stands for."""
        return self._folders.get(token)

    def record(self, folder: Path) -> RunRecord | None:
        """Return the record of a run; None without one that can be read."""
        version = version_of(folder / records.FILE)
        if version is None:
            return None
        if folder not in self._read or self._read[folder][0] != version:
            try:
                found = records.read(folder)
            except InputError:
                found = None
            if found and found.options.format not in SUFFIXES:  # of another version
                found = None
            self._read[folder] = version, found, title(found.options) if found else ""
        return self._read[folder][1]

    def cards(self, jobs: list[QueuedRun]) -> list[dict[str, Any]]:
        """Return what the gallery shows of each run, the newest first."""
        at_work = {job.folder: job for job in reversed(jobs)}  # the first one of a folder
        found = []
        for folder in _run_folders(self.folder):
            if record := self.record(folder):
                status = _status(folder, record, at_work.get(str(folder)))
                picture = self.addresses.of(folder / result_file(record.options), CARD_EDGE)
                if picture is None and (content := _content(record)):
                    picture = self.addresses.of(content, CARD_EDGE)
                found.append(
                    {
                        "id": self.token(folder),
                        "title": self._read[folder][2],
                        "status": status,
                        "note": _note(record, status),
                        "started": record.started or "",
                        "picture": picture,
                    }
                )
        return sorted(found, key=lambda card: card["started"], reverse=True)

    def detail(self, folder: Path, jobs: list[QueuedRun]) -> dict[str, Any] | None:
        """Return everything that the page shows of one run; None where it has neither a record nor a job."""
        job = next((job for job in jobs if job.folder == str(folder)), None)
        record = self.record(folder)
        if record is None:
            return None if job is None else self._before_its_record(folder, job, jobs)
        options = record.options
        status = _status(folder, record, job)
        rows = _logged(folder / names.METRICS)
        step = max([record.step, *(row["step"] for row in rows[-1:])])
        picture = folder / result_file(options)
        # a picture of an earlier process may be older than the preview
        shown = max((folder / PREVIEW, picture), key=_modified) if status == "running" else picture
        content = _content(record)
        found = Details(
            id=self.token(folder),
            title=self._read[folder][2],
            status=status,
            error=_error(record, status, job),
            step=int(step),
            steps=options.steps,
            left=seconds_left(options, rows) if status == "running" else None,
            place=_place(job, jobs),
            stoppable=job is not None,
            stopping=bool(job and job.stopped),
            picture=self.addresses.of(shown),
            content=self.addresses.of(content, SHOWN_EDGE) if content else None,
            width=record.width,
            height=record.height,
            curve=_curve(rows),
            resumable=status == "interrupted" or (status == "failed" and _can_go_on(folder, record)),
            facts=_facts(record),
        )
        return asdict(found)

    def _before_its_record(self, folder: Path, job: QueuedRun, jobs: list[QueuedRun]) -> dict[str, Any]:
        content = self.addresses.of(Path(job.content), SHOWN_EDGE) if job.content else None
        found = Details(
            id=self.token(folder), title=job.title, status=job.state, error=job.error, steps=job.steps,
            place=_place(job, jobs), stopping=job.stopped, content=content,
        )  # fmt: skip
        return asdict(found)


def title(options: RunConfig) -> str:
    """Return the names of content and styles: "cat × swell + dots"."""
    styles = [picture_name(each) for each in (options.style, *blended(options))]
    return plain_text(f"{picture_name(options.content)} × {' + '.join(styles)}".replace("_", " "))


def seconds_left(options: RunConfig, rows: list[dict[str, float]]) -> float | None:
    """Return an estimate of the time until the last step, s; None before the second logged point.

    A step costs as much as its picture has pixels.
    """
    rows = [row for row in rows[-RECENT:] if names.SECONDS in row]
    if len(rows) < 2:
        return None
    first, last = rows[0], rows[-1]
    parts = stages(options)

    def cost(until: float) -> float:
        return sum(max(0.0, min(until, part.last) - part.first) * part.edge**2 for part in parts)

    done = cost(last["step"]) - cost(first["step"])
    if done <= 0:
        return None
    return (cost(options.steps) - cost(last["step"])) * (last[names.SECONDS] - first[names.SECONDS]) / done


def _run_folders(root: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(root):
        if records.FILE in files:
            folders.clear()
            yield Path(path)
        elif clip_record.FILE in files:  # its frames are runs
            folders.clear()


def _status(folder: Path, record: RunRecord, job: QueuedRun | None) -> str:
    """Return waiting | running | finished | interrupted | failed.

    A run whose process is gone is interrupted, or failed where the queue knows that it was killed.
    """
    if job is not None and job.state in ("waiting", "running"):
        return job.state
    if record.status == "running" and not is_locked(folder):
        return "failed" if job is not None else "interrupted"
    return record.status


def _can_go_on(folder: Path, record: RunRecord) -> bool:
    """Return whether a run that failed can be resumed: it was killed, or failed after a checkpoint."""
    return record.status == "running" or any(folder.glob("*.ckpt"))


def _place(job: QueuedRun | None, jobs: list[QueuedRun]) -> int | None:
    """Return the place of a job among those that wait, 1 for the next."""
    if job is None or job.state != "waiting":
        return None
    return 1 + [each.number for each in jobs if each.state == "waiting"].index(job.number)


def _error(record: RunRecord, status: str, job: QueuedRun | None) -> str | None:
    if job is not None and job.state == "failed":
        return job.error
    return plain_text(record.error) if record.error and status == "failed" else None


def _note(record: RunRecord, status: str) -> str:
    if status == "finished":
        size = f"{record.width} × {record.height} px" if record.width and record.height else ""
        return f"{size}, {record.step} steps".lstrip(", ")
    words = {"interrupted": f"stopped at step {record.step}", "failed": f"failed at step {record.step}"}
    return words.get(status, {"running": "at work"}.get(status, status))


def _facts(record: RunRecord) -> list[tuple[str, str]]:
    found = []
    if record.width and record.height:
        found.append(("size", f"{record.width} × {record.height} px"))
    if record.ssim is not None:
        found.append(("SSIM to the content", f"{record.ssim:.3f}"))
    if record.it_per_s:
        found.append(("speed", f"{record.it_per_s:.2f} it/s"))
    if record.started:
        with suppress(ValueError):
            found.append(("started", datetime.fromisoformat(record.started).astimezone().strftime("%d %b %Y, %H:%M")))
    return found


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


@lru_cache(maxsize=4096)
def _found(kind: str, source: tuple[str | None, ...], mirror: str | None, version: str | None) -> Path | None:
    path, package, url, sha256 = source
    picture = Picture(path=path, package=package, url=url, sha256=sha256)
    try:
        return find_picture(kind, picture, mirror, download=False).path
    except (InputError, OSError):
        if version is None:  # it may be downloaded yet: what is raised is not cached
            raise
        return None


def _source(kind: str, picture: Picture, sha256: str | None, mirror: str | None) -> Path | None:
    """Return the file of a run's picture; None where it is gone or another one by now."""
    used = replace(picture, sha256=sha256 or picture.sha256)
    try:
        version = version_of(expanded(used.path)) if used.path else None
        return _found(kind, (used.path, used.package, used.url, used.sha256), mirror, version)
    except (InputError, OSError):  # gone, or of a ~user who is
        return None


def _content(record: RunRecord) -> Path | None:
    return _source("content", record.options.content, record.content_sha256, record.options.mirror)


def _logged(path: Path) -> list[dict[str, float]]:
    """Return the logged points of a run."""
    version = version_of(path)
    return [] if version is None else _rows(path, version)


@lru_cache(maxsize=16)
def _rows(path: Path, version: str) -> list[dict[str, float]]:
    try:
        rows = [numbers(line) for line in read_lines(path)]
    except (OSError, ValueError, csv.Error):
        return []
    return [row for row in rows if {"step", names.TOTAL} <= row.keys()]


def _curve(rows: list[dict[str, float]]) -> dict[str, list[float | None]] | None:
    """Return the losses at `MOST_POINTS` steps at most, the last among them."""
    if len(rows) < 2:
        return None
    every = math.ceil(len(rows) / MOST_POINTS)
    rows = [*rows[:-1:every], rows[-1]]
    columns = {"step": "step", "total": names.TOTAL, "content": names.CONTENT, "style": names.STYLE}
    return {key: [float(f"{row[name]:.5g}") if name in row else None for row in rows] for key, name in columns.items()}
