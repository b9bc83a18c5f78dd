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
from src.report.options import PAIR, RATIO, heading, label_of
from src.report.reproduction import try_command
from src.report.runs import Run, values_of, varying
from src.report.thumbnails import Thumbnail, Thumbnails, shown
from src.tracking.csv_logger import METRICS

# Filters of every page, besides those of what differs; then the measures and facts that the scripts show.
FILTERS = (*PAIR, "layers.name", RATIO, "backbone.name")
NUMBERS: tuple[str, ...] = ("ssim", "patch_distance", "gram_distance", "gradient_ssim", "loss_decay", "initial_loss")
NUMBERS += ("it_per_s", "seconds", "peak_mib", "ssim_published")
FACTS = ("device", "batch", "judge", "started", "command", "step", "width", "height")


def page_data(runs: Sequence[Run], curves: Mapping[Path, Curve], out: Path, images: Thumbnails) -> dict[str, Any]:
    """Return what the page shows.

    Args:
        runs: in the order of the page.
        curves: by run folder.
        out: the folder of the page.
        images: of the runs.
    """
    names = varying(runs)
    filters = list(dict.fromkeys([*FILTERS, *names, *(["status"] if any(not run.finished for run in runs) else [])]))
    pictures = _Numbered()
    configs = _Numbered()
    data = [
        {
            "name": plain_text(run.folder.resolve().name),
            "status": run.state()[0],
            "error": run.state()[1],
            "content": run.content,
            "style": run.style,
            "settings": {name: _setting(name, run) for name in filters},
            "tells": [label_of(name, run.texts[name]) for name in names if name in run.texts] + _front(run),
            "steps": run.record.options.steps,
            **{name: getattr(run.record, name) for name in (*NUMBERS, *FACTS)},
            "contentPicture": _picture(images.source("content", run), pictures),
            "stylePicture": _picture(images.source("style", run), pictures),
            "captures": [
                {
                    "picture": _picture(images.capture(run, each), pictures), "place": run.place(each),
                    "loss": each.losses.get("total"), "ssim": each.ssim,
                }
                for each in shown(run)
            ],
            "curve": _curve(curves.get(run.folder)),
            "config": [configs.of(_yaml({group: part})) for group, part in run.record.config.items()],
            "again": try_command(run.record),
            "folder": link(run.folder, out),
            "metrics": link(run.folder / METRICS, out) if (run.folder / METRICS).is_file() else None,
            "picture": link(run.folder / run.record.captures[-1].file, out) if run.record.captures else None,
        }
        for run in runs
    ]  # fmt: skip
    return {
        "runs": data,
        "pictures": list(pictures.values),
        "configs": list(configs.values),
        "filters": [[name, "status" if name == "status" else heading(name), _values(name, runs)] for name in filters],
        "heads": TITLES,
    }


def _setting(name: str, run: Run) -> str:
    return run.state()[0] if name == "status" else run.value_of(name)


def _values(name: str, runs: Sequence[Run]) -> list[str]:
    return sorted({run.state()[0] for run in runs}) if name == "status" else values_of(name, runs)


def _front(run: Run) -> list[str]:
    return ["on the front"] if run.on_front else []


def link(path: Path, out: Path) -> str:
    """Return the address of a file relative to the page, quoted so that no name can become another address."""
    return urllib.parse.quote(os.fsencode(os.path.relpath(path.resolve(), out.resolve())))


class _Numbered:
    """Values kept once each and referred to by number: the runs of a sweep share most of theirs."""

    def __init__(self) -> None:
        self.values: dict[Any, int] = {}

    def of(self, value: Any) -> int:
        return self.values.setdefault(value, len(self.values))


def _picture(copy: Thumbnail | None, pictures: _Numbered) -> int | None:
    return None if copy is None else pictures.of(astuple(copy))


def _yaml(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=1000)


def _curve(curve: Curve | None) -> dict[str, Any] | None:
    if curve is None:
        return None
    return {
        "step": curve.steps,
        "seconds": _rounded(curve.seconds),
        "total": _rounded(curve.total),
        "terms": {name: _rounded(values) for name, values in curve.terms.items()},
    }


def _rounded(values: Sequence[float]) -> list[float | None]:
    """Return numbers in the five digits that a drawing shows; None for NaN."""
    return [None if math.isnan(value) else float(f"{value:.5g}") for value in values]
