"""The published record of the study, compared with runs of its loss."""

import csv
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from src.common.tables import Table, number, title
from src.config.schema import known_picture, plain
from src.report.options import PAIR, flatten, heading, with_precision
from src.report.runs import Run
from src.tracking import names as keys

PUBLISHED = Path(__file__).resolve().parents[1] / "assets" / "published.csv"
HEAD = "Comparison with the published record"
# Each published number, and the measure of ours that it is compared with.
COMPARED = {name: name for name in ("loss_at_0", "loss_at_2000", "loss_at_4000")}
COMPARED |= {"ssim": "ssim_published", "iterations_per_second": "it_per_s"}


def compare(runs: Iterable[Run]) -> list[dict[str, Any]]:
    """Return the published numbers and ours, unrounded, a row a run of the published loss that has begun.

    Runs are matched by the checksums of their images, whatever their names.
    """
    theirs, pairs = _published(), _pairs()
    rows = []
    for run in runs:
        record = run.record
        pair = pairs.get((record.content_sha256, record.style_sha256))
        if record.options.loss.name != "published" or record.initial_loss is None or pair is None:
            continue
        published = theirs[pair]
        ours: dict[str, Any] = {f"loss_at_{each.step}": each.losses.get(keys.TOTAL_TERM) for each in record.captures}
        ours |= {"loss_at_0": record.initial_loss, "ssim_published": record.ssim_published, "it_per_s": record.it_per_s}
        row: dict[str, Any] = dict(zip(PAIR, pair, strict=True))
        for name, our_name in COMPARED.items():
            value, our_value = float(published[name]), ours.get(our_name)
            row |= {f"published_{name}": value, f"our_{our_name}": our_value}
            row[f"relative_difference_{name}"] = None if our_value is None else (our_value - value) / value
        row |= {"our_ssim": record.ssim, "weights": record.options.backbone.weights}
        rows.append({**row, "not_as_published": _departures(run), "status": record.status, "folder": str(run.folder)})
    return rows


def _departures(run: Run) -> str:
    """Return the options in which a run differs from `experiment=paper`, which is what the published program did."""
    recipe = _recipe()
    differ = [name for name, value in run.options.items() if recipe.get(name) != value and name != "precision"]
    return "; ".join(f"{heading(name)} {run.texts[name]}" for name in differ)


@cache
def _recipe() -> dict[str, Any]:
    from src.config.composition import compose

    return with_precision(flatten(plain(compose(["experiment=paper"]))))


def with_unmatched(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return compared rows, followed by the published rows without a run of ours."""
    ours = {(row["content"], row["style"]) for row in rows}
    rest = []
    for pair, published in _published().items():
        if pair not in ours:
            numbers = {f"published_{name}": float(published[name]) for name in COMPARED}
            rest.append(dict.fromkeys(rows[0]) | {"content": pair[0], "style": pair[1]} | numbers)
    return [*rows, *rest]


def tables(rows: Sequence[dict[str, Any]]) -> list[Table]:
    """Return the differences by published number and by pair, for reading, and what the record holds."""
    by_number = []
    for name, our_name in COMPARED.items():
        known = [row[f"relative_difference_{name}"] for row in rows]
        known = [value for value in known if value is not None]
        spread = (median(known), min(known), max(known)) if known else (None, None, None)
        line = {"published": title(name), "ours": title(our_name), "runs": str(len(known))}
        heads = ("median difference", "from", "to")
        by_number.append(line | {head: _percent(value) for head, value in zip(heads, spread, strict=True)})
    by_pair = []
    for row in rows:
        line = {"content": row["content"], "style": row["style"]}
        for name, our_name in COMPARED.items():
            line[f"published {title(name)}"] = number(row[f"published_{name}"], 4)
            line[f"our {title(our_name)}"] = number(row[f"our_{our_name}"], 4)
            if (difference := row[f"relative_difference_{name}"]) is not None:
                line[f"our {title(our_name)}"] += f" ({_percent(difference)})"
        line |= {"our SSIM": number(row["our_ssim"], 4), "not as published": row["not_as_published"] or "–"}
        by_pair.append(line)
    random = sum(row["weights"] == "random" for row in rows)
    warning = f"Random weights, not ImageNet's, in {random} of {len(rows)} runs: not comparable." if random else ""
    pairs = len({(row["content"], row["style"]) for row in rows})
    note = (
        f"In brackets the relative difference of ours. {pairs} of the {len(_published())} published rows have a run of "
        "ours; published.csv has all, with all digits."
    )
    corrected = [{"where the study's text says otherwise": sentence} for sentence in corrections()]
    return [
        Table(f"{HEAD}, by number", warning, by_number),
        Table(f"{HEAD}, by pair", note, by_pair),
        Table("What the published record holds", "", corrected),
    ]


def corrections() -> list[str]:
    """Return sentences on what the published record holds where the study's text says otherwise."""
    return PUBLISHED.with_suffix(".txt").read_text().splitlines()


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.1f} %"


@cache
def _pairs() -> dict[tuple[str | None, str | None], tuple[str, str]]:
    """Return the published pairs by the checksums of their images, as pinned in conf/."""
    pinned = cache(lambda kind, name: known_picture(kind, name).sha256)
    return {(pinned("content", content), pinned("style", style)): (content, style) for content, style in _published()}


def _published() -> dict[tuple[str, str], dict[str, str]]:
    with PUBLISHED.open(newline="") as file:
        return {(row["content"], row["style"]): row for row in csv.DictReader(file)}
