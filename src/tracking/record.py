"""`record.json`: the configuration of a run, what was measured of it, and how it ended."""

import dataclasses
import json
import logging
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from src.common.errors import InputError
from src.common.files import is_locked, write_atomically
from src.config.schema import RunConfig, typed

log = logging.getLogger(__name__)

SCHEMA = 2
FILE = "record.json"
UNFINISHED = ("running", "interrupted")
FOUND: tuple[str, ...] = ("device", "threads", "compiled", "batch", "width", "height")
FOUND += ("content_sha256", "style_sha256", "further_sha256", "weights_sha256", "continued_from", "continued_step")
SUMMARY = (
    *("status", "error", "stopped", "warning", "initial_loss", "loss_decay"),
    *("ssim", "ssim_published", "it_per_s", "mpx_it_per_s"),
    *("gradient_ssim", "patch_distance", "gram_distance", "judge", "score"),
    *("peak_mib", "memory", "seconds", "evaluations"),
)


@dataclass
class Capture:
    """The image at one step, and what was measured of it.

    Attributes:
        step: optimiser steps taken.
        losses: by the names of the objective's terms, without the prefix `loss/`: `total` is weighted; `content`,
            `style`, `style/relu1_1`, ... are not. A loss that is not finite is left out of the file.
        file: the image, relative to the run folder.
        ssim: SSIM to the content image; of the clamped image, data range 1.
        seconds: wall time of the loop up to this step.
    """

    step: int
    losses: dict[str, float]
    file: str
    ssim: float | None = None
    seconds: float | None = None


@dataclass(kw_only=True)
class RunRecord:
    """The configuration of a run and what was measured of it: a report reads nothing else of a run but its curves.

    Attributes:
        config: the resolved configuration as plain dicts and lists; `options` is the same, typed.
        precision: the precision used, 32 | 64 | bf16 (the option may say auto).
        kernels: whether the compiled CPU kernels were used.
        step, evaluations: optimiser steps; forward and backward passes. Both over all resumes.
        width, height: of the result, px.
        ssim: of the clamped image, data range 1; `ssim_published` follows the published program's convention.
        loss_decay: initial_loss / final loss; None where a loss is zero, or grows with size in a pyramid.
        gram_distance: measured by the network that `judge` names.
        warning: a loss that ended above its start, or jumped.
        it_per_s, mpx_it_per_s: evaluations per second, and megapixels times evaluations per second, averaged over all
            sizes; in a batch the rates of each pair: multiply by `batch` for all.
        seconds: wall time of the loop over all resumes.
        versions, commit: of the process that ended the run; `command` is the one that began it.
        peak_mib: allocated memory on a GPU, resident memory of the process on a CPU.
        compiled: whether the objective was compiled, to the end of the run.
        memory: by edge, px: the checkpointing strategy of each stage and its estimated peak.
        batch: number of pairs in the run's batch.
        further_sha256: of image files beside content, style and init, by the option that names them.
        continued_from, continued_step: the folder and step of the run that this one continues beyond its end.
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
    warning: str | None = None
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
    further_sha256: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    command: str | None = None
    continued_from: str | None = None
    continued_step: int = -1
    started: str | None = None
    ended: str | None = None

    @cached_property
    def options(self) -> RunConfig:
        """Return the typed configuration; options that this version does not know are left out of it.

        Raises:
            ValueError: a value has another type than its option.
        """
        return parse(RunConfig, self.config, "config")

    def checksum(self, kind: str) -> str | None:
        """Return the sha256 of an image file by the option that names it; None if it has not been read."""
        found: str | None = getattr(self, f"{kind}_sha256", None) or self.further_sha256.get(kind)
        return found

    def keep_checksum(self, kind: str, sha256: str) -> None:
        """Keep the sha256 of an image file by the option that names it."""
        if kind in ("content", "style", "init"):
            setattr(self, f"{kind}_sha256", sha256)
        else:
            self.further_sha256[kind] = sha256

    def options_to_repeat(self, folder: Path) -> RunConfig:
        """Return the typed configuration for the run of `folder` to go on, or to be compared with another.

        Raises:
            InputError: it has an option or a value that this version does not have.
        """
        try:
            return typed(self.config)
        except InputError as error:
            reason = str(error).partition(";")[0]
            raise InputError(
                f"{folder} holds a run of another version, which this one cannot repeat ({reason}); start a new run "
                "in another folder"
            ) from error

    def write(self, folder: Path) -> None:
        """Write `folder/record.json`."""
        write_json(folder / FILE, dataclasses.asdict(self))

    def found(self) -> dict[str, Any]:
        """Return what is known once a run is set up, for the trackers."""
        # a W&B sweep over layers=... replaces the `layers` of W&B's configuration by the bare name
        used = {"layer_set": self.options.layers.name, "precision_used": self.precision, "kernels_used": self.kernels}
        return used | {key: getattr(self, key) for key in FOUND}

    def summary(self) -> dict[str, Any]:
        """Return the results of the run, for the trackers; the losses are those of the last capture."""
        values = {key: getattr(self, key) for key in SUMMARY}
        if self.captures:
            values |= {f"loss/{name}": value for name, value in self.captures[-1].losses.items()}
        return values

    def add_capture(self, capture: Capture) -> None:
        """Add a capture; it replaces an earlier one of the same step."""
        kept = [other for other in self.captures if other.step != capture.step]
        self.captures = sorted([*kept, capture], key=lambda each: each.step)

    def forget_after(self, step: int, scheduled: Sequence[int]) -> list[Capture]:
        """Drop the captures after `step`, where the run resumes, and those that an interruption made off schedule.

        Returns the dropped ones.
        """
        before = self.captures
        self.captures = [each for each in before if each.step <= step and each.step in scheduled]
        return [each for each in before if each not in self.captures]


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a dict as JSON, atomically. NaN and infinity, which JSON has no words for, become null."""
    write_atomically(path, (json.dumps(_finite(value), indent=1, allow_nan=False) + "\n").encode())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read(folder: Path) -> RunRecord | None:
    """Return the record of a run folder, or None if it has none.

    Every field and every option is checked against its type, so that nothing after this needs to.

    Raises:
        InputError: the file is not a run record, or one of another schema.
    """
    path = folder / FILE
    try:
        if not path.exists():
            return None
        data = read_json(path)
        if data["schema"] != SCHEMA:
            raise InputError(f"{path} has schema {data['schema']}; this version reads {SCHEMA}")
        for capture in data.get("captures", []):
            capture["losses"] = {name: loss for name, loss in capture["losses"].items() if loss is not None}
        record: RunRecord = parse(RunRecord, data)
        add_former_defaults(record.config)
        parse(RunConfig, record.config, "config")
        return record
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is not a run record: {_reason(error)}") from None


def read_json(path: Path) -> Any:
    """Return what a JSON file of a record holds.

    Raises:
        OSError, ValueError: it cannot be read, or is not JSON.
    """
    if not path.is_file():  # a FIFO would block
        raise ValueError("it is not a regular file")
    try:
        return json.loads(path.read_text())
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def add_former_defaults(config: dict[str, Any]) -> None:
    """Add options to a recorded configuration that are newer than it and whose default has an effect."""
    if isinstance(config.get("loss"), dict):
        config["loss"].setdefault("self_similarity", 0.0)


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


@cache
def _types_of(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def parse(kind: Any, value: Any, name: str = "") -> Any:
    """Return a JSON value as a field's type: a dataclass, list, dict, scalar, or one of them or None.

    Keys that a dataclass does not know are dropped.

    Raises:
        ValueError: the value, or one inside it, has another type; `name` says which.
    """
    inner = get_args(kind)
    if kind is Any:
        return value
    if isinstance(kind, UnionType):
        return None if value is None else parse(inner[0], value, name)
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        types = _types_of(kind)  # type: ignore[arg-type]
        known = {key: parse(types[key], value[key], f"{name}.{key}".lstrip(".")) for key in value if key in types}
        return kind(**known)  # type: ignore[operator]
    if get_origin(kind) is list and isinstance(value, list):
        return [parse(inner[0], each, f"{name}[{at}]") for at, each in enumerate(value)]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {key: parse(inner[1], each, f"{name}.{key}") for key, each in value.items()}
    if kind is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if kind in (str, bool, int) and type(value) is kind:
        return value
    raise ValueError(f"{name or 'it'} is {repr(value)[:60]}, not {getattr(kind, '__name__', kind)}")


def scan(
    root: Path, damaged: Callable[[str], object] = log.warning, newest_first: bool = False
) -> Iterator[tuple[Path, RunRecord]]:
    """Yield every run folder below `root`, itself included, with its record, ordered by path or by time.

    A record that cannot be read is left out; `damaged` is called with the reason.
    """
    paths = sorted(root.rglob(FILE))
    if newest_first:
        paths.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in paths:
        try:
            record = read(path.parent)
        except InputError as error:
            damaged(f"left out: {error}")
            continue
        if record:
            yield path.parent, record


def nothing_to_resume(folder: Path) -> str:
    """Return the reason for which a folder without a run cannot be resumed."""
    inside = [each.name for each, _ in scan(folder)]
    if not inside:
        return "there is no run in that folder"
    return (
        f"that folder holds no run itself, but {len(inside)} below it, such as {inside[0]}; to resume a sweep, repeat "
        f"its command with hydra.sweep.dir={folder}"
    )


def newest(root: Path, finished: bool = False) -> Path:
    """Return the run folder with the latest record among the runs that can go on and in which no process is at work.

    These were interrupted or killed, or failed after a checkpoint. Frames of clips go on with their clip.

    Args:
        root: searched with all folders below it.
        finished: include finished runs.

    Raises:
        InputError: there is none.
    """
    from src.tracking.clip_record import clip_of

    for folder, record in scan(root, newest_first=True):
        goes_on = (
            record.status in UNFINISHED
            or (record.status == "failed" and list(folder.glob("*.ckpt")))
            or (finished and record.status == "finished")
        )
        if goes_on and not is_locked(folder) and clip_of(folder) is None:
            return folder
    further = "" if finished else "; add steps=N to extend the newest finished run"
    raise InputError(f"resume=last: no {'run' if finished else 'unfinished run'} below {root}/{further}")
