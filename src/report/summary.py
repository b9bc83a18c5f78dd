"""Tables of a report, and `report.md`, which shows them all."""

import math
import os
import urllib.parse
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from statistics import fmean, median
from typing import Any

from src.common.tables import Table, cell, number, plain_text, sentence, title, to_markdown
from src.report.charts import speed_group
from src.report.gallery.page import Figure
from src.report.options import PAIR, TRIAL, heading, label_of
from src.report.reproduction import command
from src.report.runs import Run, means_by, shared_places, swept, values_of, varying
from src.tracking import names as keys
from src.tracking.record import RunRecord

RESULT = ("ssim", "patch_distance", "gradient_ssim", "ssim_published", "loss_decay", "it_per_s", "seconds", "peak_mib")
MEANS = ("ssim", "patch_distance", "gradient_ssim")
SHARED = ("edge", "steps", "loss.alpha")  # said once, where it is the same in all runs
VALUES = 12  # of an option in a table of means at most
TIE = 0.01  # relative difference up to which two means count as equal
LOSSES_NOTE = (
    "Losses compare only where images, size and every option of the objective agree: each run has its own objective."
)
STYLES_NOTE = "Patch and Gram distances compare only within a style: each style has its own scale."
FINDINGS_NOTE = (
    "Only combinations of pair and other options are included whose runs have finished for every value of the option. "
    f"Means within {TIE:.0%} of each other count as equal. In brackets: the number of pairs for which this also "
    "holds. The Gram distances in the table of means may rank differently."
)
GLOSSARY = {
    "layers": "The layers that the style loss compares; relu2_1 is the first of block 2, after its ReLU.",
    "loss.alpha, loss.beta": "The weights of the content loss and of the style loss in the total loss.",
    "SSIM": "Structural similarity of the last image to the content image (1: equal); a high one alone may mean a weak "
    "style.",
    "SSIM (published convention)": "SSIM as the study's program measured it, without clamping and without data range.",
    "gradient SSIM": "SSIM of the strength of the edges in the luminance of both images.",
    "patch distance": "How far the 7 x 7 patches of the last image are from those of the style image, in standard "
    "deviations of the style's values (0: alike).",
    "Gram distance": "How far the Gram matrices of the last image are from those of the style image (0: equal).",
    "judge": "The network that Gram distances are measured with: one network for all runs; no run was optimised "
    "through it.",
    "loss decay": "The total loss at the start, divided by the one at the end.",
    "it/s": "Evaluations of loss and gradient per second, averaged over all sizes of a run. In a batch it is the rate "
    "of each pair; multiply by the number of pairs for the rate of all.",
    "Mpx · it/s": "Megapixels times evaluations per second, averaged over all sizes of a run.",
}
EXACT_NOTE = "`runs.csv` holds all digits and every option that the result depends on."
SCORE = ("bound", "penalty")  # options of the score, which is in `runs.csv` too


def exact_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return a row a run with its options, its record and its captures, unrounded; all rows have the same columns."""
    most = max(len(run.record.captures) for run in runs)
    losses = dict.fromkeys(name for run in runs for each in run.record.captures for name in each.losses)
    options = dict.fromkeys(name for run in runs for name in run.options)
    fields = [name for name in RunRecord.__dataclass_fields__ if name not in ("captures", "versions", "config")]
    rows = []
    for run in runs:
        row = {"content": run.content, "style": run.style, **{name: _flat(run.options.get(name)) for name in options}}
        row |= {f"score.{name}": getattr(run.record.options.score, name) for name in SCORE}
        row |= {name: getattr(run.record, name) for name in fields}
        for at in range(most):
            capture = run.record.captures[at] if at < len(run.record.captures) else None
            row |= {f"capture_{at + 1}_{name}": getattr(capture, name, None) for name in ("step", "ssim")}
            row |= {f"capture_{at + 1}_loss/{name}": capture.losses.get(name) if capture else None for name in losses}
        rows.append({**row, "folder": str(run.folder)})
    return rows


def _flat(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value


def count(runs: Sequence[Run]) -> str:
    """Return the number of runs by status, what was swept, and what all share.

    "8 runs: 8 finished. Swept: layers (a, e). All: 96 px, 60 steps, loss.alpha=1."
    """
    counts = sorted(Counter(run.record.status for run in runs).items(), key=lambda each: (-each[1], each[0]))
    total = f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}"
    names = [f"{heading(name)} ({_listed(values_of(name, runs))})" for name in swept(runs)]
    if not _crossed(runs):
        names = [f"pairs ({_listed(_pairs(runs))})", *names[len(PAIR) :]]
    text = f"{total}: {', '.join(f'{number} {status}' for status, number in counts)}."
    text += f" Swept: {'; '.join(names)}." if names else ""
    same = [label_of(name, runs[0].texts[name]) for name in SHARED if len(values_of(name, runs)) == 1]
    same += [] if "layers.name" in varying(runs) else [f"layers {each}" for each in layer_sets(runs)]
    return plain_text(f"{text} All: {', '.join(same)}." if same else text)


def layer_sets(runs: Sequence[Run]) -> list[str]:
    """Return what each layer set consists of: "b = relu1_1 relu2_1"."""
    sets = {
        name: [run for run in runs if run.value_of("layers.name") == name] for name in values_of("layers.name", runs)
    }
    return [f"{name} = {' or '.join(values_of('layers.style', some))}" for name, some in sets.items()]


def _sets_note(runs: Sequence[Run], names: Iterable[str]) -> str:
    """Return a sentence on the layer sets of the finished runs for a table of these options."""
    return f" Layers: {'; '.join(layer_sets([run for run in runs if run.finished]))}." if "layers.name" in names else ""


def _listed(values: Sequence[str]) -> str:
    return ", ".join(values) if len(values) <= VALUES else f"{len(values)} values from {values[0]} to {values[-1]}"


def headline(runs: Sequence[Run]) -> str:
    """Return a title: what was swept ("Layers × loss.beta, 2 contents × 3 styles"), or the pair of a single run."""
    images = {kind: values_of(kind, runs) for kind in PAIR}
    pair = [each[0].replace("_", " ") if len(each) == 1 else f"{len(each)} {kind}s" for kind, each in images.items()]
    if not _crossed(runs):
        pair = [f"{len(_pairs(runs))} pairs"]
    options = [heading(name) for name in varying(runs)][:4]
    text = ", ".join(" × ".join(some) for some in (options, pair) if some)
    return plain_text(sentence(text))


def _crossed(runs: Sequence[Run]) -> bool:
    """Return whether every content image was combined with every style image."""
    return len({run.pair for run in runs}) == math.prod(len(values_of(kind, runs)) for kind in PAIR)


def _pairs(runs: Iterable[Run]) -> list[str]:
    return sorted({_pair(run) for run in runs})


def _pair(run: Run) -> str:
    return f"{run.content} in {run.style}"


def gram_columns(runs: Sequence[Run]) -> list[str]:
    """Return the judges of Gram distances: each has a column of its own, since only one judge's compare."""
    return sorted({run.record.judge or "unknown judge" for run in runs if run.record.gram_distance is not None})


def _measures(run: Run, names: Iterable[str], judges: Iterable[str]) -> dict[str, float | None]:
    found = {title(name): getattr(run.record, name) for name in names}
    for judge in judges:
        judged = (run.record.judge or "unknown judge") == judge
        found[f"Gram distance (judge: {judge})"] = run.record.gram_distance if judged else None
    return found


def findings(runs: Sequence[Run]) -> list[Table]:
    """Return which values of each swept option keep the most content, and which take the most style."""
    rows, names = [], [name for name in _compared(runs) if name not in PAIR]
    for name in names:
        if some := _balanced(runs, name):
            row = {"option": heading(name), "runs": str(len(some))}
            row |= {"most content: highest mean SSIM": _extreme(some, name, "ssim", max)}
            row |= {"lowest": _extreme(some, name, "ssim", min)}
            row |= {"most style: lowest mean patch distance": _extreme(some, name, "patch_distance", min)}
            rows.append(row | {"highest": _extreme(some, name, "patch_distance", max)})
    return [Table("What the swept options change", FINDINGS_NOTE + _sets_note(runs, names), rows)] if rows else []


def _balanced(runs: Sequence[Run], name: str) -> list[Run]:
    """Return the finished runs whose pair and other swept options have a finished run of every value of an option."""
    finished = [run for run in runs if run.finished]
    others = [other for other in swept(finished) if other != name]
    groups: dict[tuple[str, ...], list[Run]] = defaultdict(list)
    for run in finished:
        groups[tuple(map(run.value_of, others))].append(run)
    return [run for some in groups.values() if values_of(name, some) == values_of(name, finished) for run in some]


def _extreme(runs: Sequence[Run], name: str, measure: str, best: Callable[..., Any]) -> str:
    """Return the values of an option with the highest or lowest mean, that mean, and of how many pairs this is true.

    Values within `TIE` of the best are named together.
    """
    means = means_by(runs, [name], measure)
    if not means:
        return "–"
    extreme = best(means.values())
    values = [value for (value,), mean in means.items() if _tied(mean, extreme)]
    text = number(extreme, 3 if len(values) == 1 else 2)
    if len(values) == len(means):
        return f"no difference ({text})"
    by_pair: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for (*pair, value), mean in means_by(runs, [*PAIR, name], measure).items():
        by_pair[tuple(pair)][value] = mean
    pairs = [each for each in by_pair.values() if len(each) > 1]
    agree = sum(any(_tied(each[value], best(each.values())) for value in each if value in values) for each in pairs)
    return f"{' and '.join(values)}: {text}" + (f" (in {agree} of {len(pairs)} pairs)" if len(pairs) > 1 else "")


def _tied(mean: float, extreme: float) -> bool:
    return abs(mean - extreme) <= TIE * abs(extreme)


def _compared(runs: Sequence[Run]) -> list[str]:
    """Return what was swept over a few values among the finished runs."""
    finished = [run for run in runs if run.finished]
    return [name for name in swept(finished) if name != TRIAL and 1 < len(values_of(name, finished)) <= VALUES]


def means(runs: Sequence[Run]) -> list[Table]:
    """Return the means of the finished runs by each value of what was swept, and by pairs of swept options."""
    finished, names = [run for run in runs if run.finished], _compared(runs)
    judges = gram_columns(finished)
    groups = [
        (heading(name), value, [run for run in finished if run.value_of(name) == value])
        for name in names
        for value in values_of(name, finished)
        if name not in PAIR or _crossed(finished)
    ]
    if not _crossed(finished) and len(_pairs(finished)) <= VALUES:
        groups = [("pair", pair, [run for run in finished if _pair(run) == pair]) for pair in _pairs(finished)] + groups
    rows = []
    for option, value, some in groups:
        measured = [_measures(run, MEANS, judges) for run in some]
        row = {"option": option, "value": value, "runs": str(len(some))}
        rows.append(row | {head: number(_mean(each[head] for each in measured)) for head in measured[0]})
    unfinished = len(runs) - len(finished)
    note = "Of the finished runs, over all values of the other options. "
    note += "Not all runs have finished, so rows may average over different runs. " if unfinished else ""
    note += STYLES_NOTE if len(values_of("style", finished)) > 1 else ""
    note += _sets_note(finished, names)
    tables = [Table("Means by swept values", note, rows)] if rows else []
    for down, across in list(combinations([name for name in names if name not in PAIR], 2))[:3]:
        for measure in ("ssim", "patch_distance"):
            cells = means_by(finished, (down, across), measure)
            corner = f"{heading(down)} ↓  {heading(across)} →"
            rows = [
                {corner: value} | {head: number(cells.get((value, head))) for head in values_of(across, finished)}
                for value in values_of(down, finished)
            ]
            head = f"Mean {title(measure)}: {heading(down)} against {heading(across)}"
            note = f"Of the finished runs of all pairs{'; not all have finished' if unfinished else ''}."
            note += _sets_note(finished, (down, across))
            tables.append(Table(head, note, rows))
    return tables


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def trials(runs: Sequence[Run]) -> list[Table]:
    """Return the trials of searches with their options, results and commands, those on the front first."""
    found = [run for run in runs if TRIAL in run.options]
    if not found:
        return []
    names = varying(found)
    rows = [
        {"trial": run.texts[TRIAL], "front": "yes" if run.on_front else "", "status": run.record.status}
        | {title(name): number(getattr(run.record, name), 4) for name in ("ssim", "patch_distance", "score")}
        | {heading(name): run.value_of(name) for name in names if name != TRIAL}
        | {"command": command(run.record, names) or "–"}
        for run in sorted(found, key=lambda run: (not run.on_front, run.options[TRIAL]))
    ]
    note = "Front: no other trial of the search has both a higher SSIM and a lower patch distance."
    return [Table("Trials", note, rows)]


def last_losses(runs: Sequence[Run]) -> list[Table]:
    """Return the losses of the last capture of each run, a column a term."""
    captured = [run for run in runs if run.record.captures]
    found = dict.fromkeys(name for run in captured for name in run.record.captures[-1].losses)
    names = sorted(found, key=lambda name: "/" in name)  # terms before layers
    options = varying(captured)
    rows = [
        {"run": ", ".join([" × ".join(run.pair), *run.label(options)])}
        | {name: number(run.record.captures[-1].losses.get(name), 4) for name in names}
        for run in captured
    ]
    note = (
        "At the end: total = alpha · (content + loss.self_similarity · self_similarity) + beta · (style + patches + "
        "loss.palette · palette) + loss.tv · tv + loss.reference · reference, where style and patches contain the "
        "weights of their layers and the share loss.patches. With loss.terms, the terms so named stand for style, each "
        "with its own weight."
    )
    return [Table("Losses by term", note, rows)] if rows else []


def speeds(runs: Sequence[Run]) -> list[Table]:
    """Return the speeds by size, network, device, precision and batch."""
    found: dict[tuple[int, int, str], list[tuple[float, float]]] = defaultdict(list)
    for run in runs:
        record = run.record
        if record.it_per_s and record.mpx_it_per_s and record.width and record.height:
            speeds = (record.it_per_s, record.mpx_it_per_s)
            found[record.width, record.height, speed_group(run)].append(speeds)
    rows = [
        {
            "size": f"{width} × {height}", "network, device, precision": group, "runs": str(len(values)),
            "it/s, median": number(median(values)), "from": number(min(values)), "to": number(max(values)),
            "Mpx · it/s, median": number(median(by_size)),
        }
        for (width, height, group), pairs in sorted(found.items())
        for values, by_size in [zip(*pairs, strict=True)]
    ]  # fmt: skip
    return [Table("Speeds", "", rows)] if rows else []


def glossary() -> Table:
    """Return the terms of the report with a sentence each."""
    return Table("Glossary", "", [{"term": term, "meaning": meaning} for term, meaning in GLOSSARY.items()])


def _runs_section(runs: Sequence[Run], out: Path) -> str:
    places = shared_places([[run.place(each) for each in run.record.captures] for run in runs])
    names, judges = varying(runs), gram_columns(runs)
    rows = []
    for run in runs:
        record = run.record
        row = {"status": cell(record.status), "content": cell(run.content), "style": cell(run.style)}
        row |= {heading(name): cell(run.value_of(name)) for name in names}
        row |= {"steps taken": str(record.step), "initial loss": number(record.initial_loss, 4)}
        for at, place in enumerate(places):
            capture = record.captures[at] if at < len(record.captures) else None
            where = f" ({run.place(capture)})" if capture and not place else ""
            loss = capture.losses.get(keys.TOTAL_TERM) if capture else None
            row[f"loss, {place or f'capture {at + 1}'}"] = number(loss, 4) + where
        row |= {head: number(value, 4) for head, value in _measures(run, RESULT, judges).items()}
        rows.append({**row, "folder": _link(run.folder, out)})
    same = [name for name in runs[0].texts if _common(name) and len(values_of(name, runs)) == 1]
    told = ", ".join(f"{heading(name)} {runs[0].texts[name]}" for name in same)
    note = LOSSES_NOTE + (f" {STYLES_NOTE}" if len(values_of("style", runs)) > 1 else "")
    return f"## Runs\n\n{to_markdown(rows)}\n\nThe same in all runs: {cell(told)}.\n\n{note} {EXACT_NOTE}"


def _common(name: str) -> bool:
    """Return whether readers ask for an option even where it is the same in all runs."""
    return name.endswith(".name") or name in (*SHARED, "loss.beta", "seed", "precision", "optimizer.lr")


def _link(folder: Path, out: Path) -> str:
    relative = os.path.relpath(folder.resolve(), out.resolve())
    return f"[{cell(folder.resolve().name)}]({urllib.parse.quote(os.fsencode(relative))})"


def markdown(
    title_text: str, runs: Sequence[Run], out: Path, figures: Sequence[Figure], tables: Sequence[Table]
) -> str:
    """Return report.md: `findings`, the runs, figures, and further tables."""
    parts = [f"# {cell(title_text)}", cell(count(runs)), *map(_section, findings(runs)), _runs_section(runs, out)]
    unfinished = [(run, [run.status, run.reason()]) for run in runs if not run.finished]
    if unfinished:
        lines = [f"- {_link(run.folder, out)}: {cell(': '.join(filter(None, why)))}" for run, why in unfinished]
        parts.append("## Not finished\n\n" + "\n".join(lines))
    parts += [f"## {each.head}\n\n![{each.head}]({each.file})\n\n{cell(each.caption)}" for each in figures]
    return "\n\n".join([*parts, *map(_section, tables)]) + "\n"


def _section(table: Table) -> str:
    rows = [{head: cell(value) for head, value in row.items()} for row in table.rows]
    return "\n\n".join(filter(None, (f"## {table.head}", to_markdown(rows), cell(table.note) if table.note else "")))
