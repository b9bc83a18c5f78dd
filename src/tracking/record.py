"""The run folder is the database: `record.json` tells what a run was, what came of it, and how it ended."""

import dataclasses
import json
import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.common.files import is_locked, write_atomically
from src.config.schema import RunConfig, typed

log = logging.getLogger(__name__)

SCHEMA = 2
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
    """The picture at one step and what was measured of that very picture.

    Attributes:
        step: optimiser steps taken.
        losses: by the names of the objective's terms without the prefix `loss/`: `total` is weighted, `content`,
            `style`, `style/relu1_1`, ... are not.
        file: the picture, relative to the run folder.
        ssim: to the content, of the clamped picture, data range 1.
        seconds: wall time of the loop up to here.
    """

    step: int
    losses: dict[str, float]
    file: str
    ssim: float | None = None
    seconds: float | None = None


@dataclass(kw_only=True)
class RunRecord:
    """The configuration of a run and what was measured of it: all a report needs, offline.

    Attributes:
        config: the resolved configuration, plain; `options` is the same, typed. No option is copied anywhere else.
        precision: the precision in use, 32 | 64 | bf16 (the option may say auto).
        kernels: whether the compiled CPU kernels were used.
        step, evaluations: optimiser steps taken, forward and backward passes made, over all resumes.
        ssim: of the clamped picture, data range 1; `ssim_published` follows the published program's convention.
        gram_distance: measured by the network that `judge` names.
        it_per_s, mpx_it_per_s: evaluations per second, and megapixels times that; of the whole batch for a run in one.
        seconds: wall time of the loop over all resumes.
        peak_mib: allocated memory on a GPU, resident memory of the process on a CPU.
        memory: by edge, px: the checkpointing strategy of each stage and the peak that was estimated.
        batch: pairs in the run's batch, itself included.
    """

    schema: int = SCHEMA
    status: str
    error: str | None = None
    config: dict[str, Any]
    precision: str = "auto"
    kernels: bool | None = None
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
    judge: str | None = None
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

    @cached_property
    def options(self) -> RunConfig:
        """Return the configuration, typed."""
        return typed(self.config)

    def write(self, folder: Path) -> None:
        """Write `folder/record.json`."""
        write_json(folder / FILE, dataclasses.asdict(self))

    def found(self) -> dict[str, Any]:
        """Return what the preparation found, for the trackers."""
        # a W&B sweep over layers=... puts the bare name in the place of W&B's `layers`
        return {"layer_set": self.options.layers.name, **{key: getattr(self, key) for key in FOUND}}

    def summary(self) -> dict[str, Any]:
        """Return what came of the run, for the trackers: the losses are those of the last picture."""
        values = {key: getattr(self, key) for key in SUMMARY}
        if self.captures:
            values |= {f"loss/{name}": value for name, value in self.captures[-1].losses.items()}
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
