"""The data of the page: what its scripts show of each run, as plain values for JSON."""

import math
import os
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import yaml

from src.common.tables import TITLES, plain_text
from src.report.curves import Curve
from src.report.options import PAIR, heading
from src.report.reproduction import command
from src.report.runs import Run, values_of, varying
from src.report.thumbnails import Thumbnail, Thumbnails, shown
from src.tracking import names as keys
from src.tracking.names import METRICS

# Filters of every page, besides the options that differ; then the measures and facts that the scripts show.
FILTERS = (*PAIR, "layers.name", "loss.beta", "backbone.name")
NUMBERS: tuple[str, ...] = ("ssim", "patch_distance", "gram_distance", "gradient_ssim", "loss_decay", "initial_loss")
NUMBERS += ("it_per_s", "seconds", "peak_mib", "ssim_published")
FACTS = ("device", "batch", "judge", "started", "command", "step", "width", "height")


def page_data(runs: Sequence[Run], curves: Mapping[Path, Curve], out: Path, images: Thumbnails) -> dict[str, Any]:
    """Return what the page in the folder `out` shows of runs, with their curves by run folder, and their images."""
    names = varying(runs)
    filters = list(dict.fromkeys([*FILTERS, *names, *(["status"] if any(not run.finished for run in runs) else [])]))
    # kept once each and referred to by number: the runs of a sweep share most of theirs
    copies: dict[Thumbnail, int] = {}
    parts = {repr(item): dict([item]) for run in runs for item in run.record.config.items()}
    numbers = {key: number for number, key in enumerate(parts)}
    data = [
        {
            "name": plain_text(run.folder.resolve().name),
            "status": run.status,
            "error": run.reason(),
            "content": run.content,
            "style": run.style,
            "settings": {name: run.value_of(name) for name in filters},
            "tells": run.label(names, status=False),
            "steps": run.record.options.steps,
            **{name: getattr(run.record, name) for name in (*NUMBERS, *FACTS)},
            "contentPicture": _number(images.source("content", run), copies),
            "stylePicture": _number(images.source("style", run), copies),
            "captures": [
                {
                    "picture": _number(images.capture(run, each), copies), "place": run.place(each),
                    "loss": each.losses.get(keys.TOTAL_TERM), "ssim": each.ssim,
                }
                for each in shown(run)
            ],
            "curve": _curve(curves.get(run.folder)),
            "config": [numbers[repr(item)] for item in run.record.config.items()],
            "again": command(run.record, names),
            "folder": link(run.folder, out),
            "metrics": link(run.folder / METRICS, out) if (run.folder / METRICS).is_file() else None,
            "picture": link(run.folder / run.record.captures[-1].file, out) if run.record.captures else None,
        }
        for run in runs
    ]  # fmt: skip
    return {
        "runs": data,
        "pictures": [astuple(copy) for copy in copies],
        "configs": [yaml.safe_dump(part, sort_keys=False, allow_unicode=True, width=1000) for part in parts.values()],
        "filters": [[name, heading(name), values_of(name, runs)] for name in filters],
        "heads": TITLES,
    }


def link(path: Path, out: Path) -> str:
    """Return the address of a file relative to the page, quoted so that no name can become another address."""
    return urllib.parse.quote(os.fsencode(os.path.relpath(path.resolve(), out.resolve())))


def _number(copy: Thumbnail | None, numbers: dict[Thumbnail, int]) -> int | None:
    """Return the number of a copy, a new one if it has none yet; None for None."""
    return None if copy is None else numbers.setdefault(copy, len(numbers))


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    """Return a curve with the five digits that a drawing shows, and None for NaN."""
    if curve is None:
        return None
    rounded = {
        name: [None if math.isnan(value) else float(f"{value:.5g}") for value in values]
        for name, values in {"seconds": curve.seconds, "total": curve.total, **curve.terms}.items()
    }
    seconds, total = rounded.pop("seconds"), rounded.pop("total")
    return {"step": curve.steps, "seconds": seconds, "total": total, "terms": rounded}
