"""The run folder is the database: `record.json` tells what a run was, what came of it, and how it ended."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.errors import InputError
from src.files import is_locked, write_atomically

log = logging.getLogger(__name__)

SCHEMA = 1
FILE = "record.json"
UNFINISHED = ("running", "interrupted")
FOUND = (
    "device",
    "threads",
    "compiled",
    "batch",
    "width",
    "height",
    "content_sha256",
    "style_sha256",
    "weights_sha256",
)
SUMMARY = (
    *("status", "error", "stopped", "initial_loss", "loss_decay", "ssim", "ssim_published", "it_per_s", "mpx_it_per_s"),
    *("gradient_ssim", "patch_distance", "gram_distance", "score", "peak_mib", "memory", "seconds", "evaluations"),
)


@dataclass
class Capture:
    """The picture at one step, and the losses of that very picture (terms not weighted, total weighted)."""

    step: int
    loss_total: float
    loss_content: float | None
    loss_style: float | None
    file: str
    ssim: float | None = None
    seconds: float | None = None
    layers: dict[str, float] = field(default_factory=dict)


@dataclass(kw_only=True)
class RunRecord:
    """Everything about a run that a report needs, offline.

    Losses are of the objective named by `loss`; `ssim` is of the clamped image with data range 1, `ssim_published`
    by the published program's convention; the three after it are those of `quality`, and `score`
    is made of them; `study` and `trial` name the search that the run belongs to; `it_per_s` counts evaluations;
    `seconds` is the loop's wall time over all resumes; `peak_mib` is allocated memory on a GPU, resident memory of
    the process on a CPU; `memory` says by edge, px, how each stage of a run alone was evaluated, and what peak was
    expected. `batch` is the number of pairs in its batch, itself included; `it_per_s`, `seconds` and `peak_mib` are
    then those of the whole batch, in which each pair has as many evaluations as if it were alone.
    """

    schema: int = SCHEMA
    status: str
    error: str | None = None
    content: str
    style: str
    layers: str
    style_layers: list[str]
    content_layer: str
    loss: str
    alpha: float
    beta: float
    tv: float
    backbone: str
    weights: str
    pool: str
    init: str
    optimizer: str
    lr: float
    edge: int
    fit: str
    steps: int
    seed: int
    precision: str
    step: int = 0
    evaluations: int = 0
    width: int | None = None
    height: int | None = None
    initial_loss: float | None = None
    captures: list[Capture] = field(default_factory=list)
    loss_decay: float | None = None
    stopped: str | None = None
    ssim: float | None = None
    ssim_published: float | None = None
    gradient_ssim: float | None = None
    patch_distance: float | None = None
    gram_distance: float | None = None
    score: float | None = None
    it_per_s: float | None = None
    mpx_it_per_s: float | None = None
    seconds: float = 0.0
    peak_mib: float | None = None
    device: str | None = None
    threads: int | None = None
    compiled: bool | None = None
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)
    batch: int = 1
    study: str | None = None
    trial: int | None = None
    wandb_id: str | None = None
    content_sha256: str | None = None
    style_sha256: str | None = None
    weights_sha256: str | None = None
    init_sha256: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    command: str | None = None
    started: str | None = None
    ended: str | None = None
    config: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write `folder/record.json`."""
        write_json(folder / FILE, dataclasses.asdict(self))

    def found(self) -> dict[str, Any]:
        """Return what the preparation found, for the trackers."""
        # a W&B sweep over layers=... puts the bare name in the place of W&B's `layers`
        return {"layer_set": self.layers, **{key: getattr(self, key) for key in FOUND}}

    def summary(self) -> dict[str, Any]:
        """Return what came of the run, for the trackers: the losses are those of the last picture."""
        values = {key: getattr(self, key) for key in SUMMARY}
        if self.captures:
            values |= {key: getattr(self.captures[-1], key) for key in ("loss_total", "loss_content", "loss_style")}
        return values

    def add_capture(self, capture: Capture) -> None:
        """Add a capture in the place of an earlier one of the same step."""
        kept = [other for other in self.captures if other.step != capture.step]
        self.captures = sorted([*kept, capture], key=lambda each: each.step)

    def forget_after(self, step: int, scheduled: Sequence[int]) -> None:
        """Keep the scheduled captures up to a step: the run goes on from there, and makes the others (again).

        What an interruption captured besides is superseded by the run's going on.
        """
        self.captures = [each for each in self.captures if each.step <= step and each.step in scheduled]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a dict as JSON, whole or not at all. NaN and infinity become null: JSON knows neither."""
    write_atomically(path, (json.dumps(_finite(value), indent=1, allow_nan=False) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(folder: Path) -> RunRecord | None:
    """Return the record of a run folder, None where there is none.

    Raises:
        InputError: the file is no record, or of a schema that this version does not know.
    """
    path = folder / FILE
    try:
        data = json.loads(path.read_text())
        if data.get("schema") != SCHEMA:
            raise InputError(f"{path} has schema {data.get('schema')}; this version reads {SCHEMA}")
        names = {each.name for each in dataclasses.fields(RunRecord)}
        captures = [Capture(**capture) for capture in data.pop("captures", [])]
        return RunRecord(**{key: value for key, value in data.items() if key in names}, captures=captures)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no run record: {error}") from None


def scan(root: Path, damaged: Callable[[str], object] = log.warning) -> Iterator[tuple[Path, RunRecord]]:
    """Yield every run folder below `root` (or `root` itself) with its record, in order of their paths.

    A record that cannot be read is left out, and `damaged` is told why.
    """
    for path in sorted(root.rglob(FILE)):
        try:
            record = read(path.parent)
        except InputError as error:
            damaged(f"left out: {error}")
            continue
        if record:
            yield path.parent, record


def newest_unfinished(root: Path) -> Path:
    """Return the run folder whose record changed last among those that can go on.

    These were interrupted or killed, or failed after a checkpoint; no process is at work in them.

    Raises:
        InputError: there is none.
    """
    found = [
        folder
        for folder, record in scan(root)
        if (record.status in UNFINISHED or (record.status == "failed" and list(folder.glob("*.ckpt"))))
        and not is_locked(folder)
    ]
    if not found:
        raise InputError(f"resume=last: no unfinished run below {root}/")
    return max(found, key=lambda folder: (folder / FILE).stat().st_mtime_ns)
