"""What the page knows of each run: plain values, ready for JSON."""

import math
import os
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from src.common.errors import InputError
from src.common.files import is_locked
from src.common.tables import plain_text
from src.report.curves import Curve
from src.report.figures import shown
from src.report.gallery.prints import Prints
from src.report.labels import Run, label_of, percent, ratio, varying
from src.report.pictures import find
from src.report.reproduction import command
from src.tracking.csv_logger import METRICS
from src.tracking.record import RunRecord

# Beside pair, layer set and weights, which every page can be filtered by; and what a person sorts and reads.
FILTERS = ("content", "style", "layers", "ratio", "backbone")
NUMBERS = (
    *("ssim", "gram_distance", "patch_distance", "gradient_ssim", "loss_decay", "initial_loss", "it_per_s", "seconds"),
    *("peak_mib", "ssim_published"),
)
FACTS = ("device", "started", "stopped", "commit", "step", "steps", "evaluations", "width", "height")


def compile_all(
    runs: Sequence[Run], curves: Mapping[Path, Curve], out: Path, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Return all that the page shows of runs; their pictures are copied beside it.

    Args:
        runs: in the order of the page.
        curves: by run folder.
        out: the folder of the page.
        warn: told of what cannot be shown.
    """
    prints = Prints(out, warn)
    sources = _Sources(prints, warn)
    names = varying(record for _, record in runs)
    ordered = [
        (sources.of("content", record), sources.of("style", record), _captures(folder, record, prints))
        for folder, record in runs
    ]
    made = prints.make()
    numbers = {source: number for number, source in enumerate(made)}
    configs = _Parts()
    dossiers = []
    for (folder, record), (content, style, paths) in zip(runs, ordered, strict=True):
        captures = [
            {
                "picture": numbers.get(source), "place": percent(capture, record), "step": capture.step,
                "loss": capture.loss_total, "ssim": capture.ssim,
            }
            for source, capture in zip(paths, shown(record), strict=True)
        ]  # fmt: skip
        dossiers.append(
            {
                "name": plain_text(folder.resolve().name),
                **state(folder, record),
                "content": plain_text(record.content),
                "style": plain_text(record.style),
                "settings": {name: plain_text(value) for name, value in filters(record, names).items()},
                "share": None if not record.alpha else record.beta / record.alpha,
                "tells": [label_of(name, getattr(record, name)) for name in names],
                **{name: getattr(record, name) for name in (*NUMBERS, *FACTS)},
                "contentPicture": numbers.get(content) if content else None,
                "stylePicture": numbers.get(style) if style else None,
                "captures": captures,
                "curve": _curve(curves.get(folder)),
                "config": configs.of(record.config),
                "command": _command(record),
                "started_by": record.command,
                "folder": link(folder, out),
                "metrics": link(folder / METRICS, out) if (folder / METRICS).is_file() else None,
                "picture": link(folder / record.captures[-1].file, out) if record.captures else None,
            }
        )
    return {
        "runs": dossiers,
        "pictures": [astuple(copy) for copy in made.values()],
        "parts": configs.values,
        "filters": [*FILTERS, *(name for name in names if name not in (*FILTERS, "alpha", "beta"))],
    }


def filters(record: RunRecord, names: Sequence[str]) -> dict[str, str]:
    """Return what a run is filtered by, in words."""
    found = {"content": record.content, "style": record.style, "layers": record.layers, "ratio": ratio(record)}
    found["backbone"] = record.backbone
    return found | {name: label_of(name, getattr(record, name)) for name in names if name not in found}


def state(folder: Path, record: RunRecord) -> dict[str, str | None]:
    """Return how a run stands and why; one that no process is at work in any more does not run."""
    error = plain_text(record.error) if record.error else None
    if record.status == "running" and not is_locked(folder):
        error = "no process is at work in its folder: it was killed, or runs on another machine"
    return {"status": plain_text(record.status), "error": error}


def link(path: Path, out: Path) -> str:
    """Return the address of a file, relative to the page; nothing in a name can make another address of it."""
    return urllib.parse.quote(os.fsencode(os.path.relpath(path.resolve(), out.resolve())))


def _captures(folder: Path, record: RunRecord, prints: Prints) -> list[Path]:
    paths = [folder / capture.file for capture in shown(record)]
    return [prints.order(path, f"the capture {path}") for path in paths]


class _Sources:
    """Finds content and style images, each once."""

    def __init__(self, prints: Prints, warn: Callable[[str], None]) -> None:
        self.prints, self.warn = prints, warn
        self._found: dict[tuple[str, ...], Path | None] = {}

    def of(self, kind: str, record: RunRecord) -> Path | None:
        key = (kind, repr(record.config.get(kind)), str(getattr(record, f"{kind}_sha256")))
        if key not in self._found:
            what = f"the {kind} image {getattr(record, kind)}"
            try:
                self._found[key] = self.prints.order(find(kind, record), what)
            except (InputError, OSError) as error:
                self.warn(f"{what} is not shown: {error}")
                self._found[key] = None
        return self._found[key]


class _Parts:
    """Keeps each part of the configurations once: runs of a sweep differ in curve."""

    def __init__(self) -> None:
        self.values: dict[str, list[Any]] = {}

    def of(self, config: Mapping[str, Any]) -> dict[str, int]:
        """Return where the parts of a configuration are kept."""
        places = {}
        for name, part in config.items():
            kept = self.values.setdefault(name, [])
            if part not in kept:
                kept.append(part)
            places[name] = kept.index(part)
        return places


def _command(record: RunRecord) -> str | None:
    try:
        return command(record)
    except InputError:  # of another version of this program
        return None


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    return {
        "step": curve.steps,
        "seconds": _short(curve.seconds),
        "total": _short(curve.total),
        "layers": {tap: _short(values) for tap, values in curve.layers.items()},
    }


def _short(values: Sequence[float]) -> list[float | None]:
    """Return what a curve can show of numbers; `metrics.csv` has the rest."""
    return [None if math.isnan(value) else float(f"{value:.5g}") for value in values]
