"""The results as Markdown, and their place in the README: what stands there is what the JSON says, and nothing else."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from src.bench.curves import summary
from src.bench.plan import KINDS, PROGRAM
from src.bench.results import Results, Row, Session
from src.common.errors import InputError
from src.common.files import write_atomically
from src.common.tables import cell, number, to_markdown
from src.tracking.names import EVALUATIONS, SECONDS

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
MISSING = "not measured"
FORMATS = {"32": "float32", "bf16": "bfloat16"}
Line = dict[str, str]
# The study: its network and size, its pairs, and the steps of each.
STUDY, STUDY_PAIRS, STUDY_STEPS = ("vgg19", 356), 126, 6000
NOTES = """\
Medians; cases that are compared take turns in one process. A step is one evaluation and one update of the published \
recipe (five style layers, content at conv5_1, max pooling, Adam) on a square picture; VGG-19's weights are random, as \
speed does not depend on them. The roof is a 3 x 3 convolution of 256 channels and a matrix product of as many \
operations by PyTorch's own kernels, timed between the steps. The share counts the convolutions of a step as computed \
directly, forward and back to the image: a way that needs fewer multiplications may pass 100 %. The published program \
is its loop in plain PyTorch, in float32, gradients of the weights included, as it computes them."""


def render(results: Results) -> str:
    """Return the whole section, without its markers."""
    parts = [_session(each, results) for each in results.sessions]
    for device in results.devices:
        parts.append(f"**{cell(device)}**")
        for name, (title, part) in PARTS.items():
            rows = results.section(name, device)
            parts.append(f"{title}:\n\n{to_markdown(part(rows))}" if rows else f"{title}: {MISSING}.")
    for kind in ("cpu", "GPU"):
        if not any(device.startswith("cpu") == (kind == "cpu") for device in results.devices):
            parts.append(f"**{kind}** (`make bench` on a machine that has one adds its rows)")
            parts.append(to_markdown([{kind: title, "": MISSING} for title, _ in PARTS.values()]))
    return "\n\n".join([*parts, NOTES])


def _session(session: Session, results: Results) -> str:
    came = (session.started, session.device)
    sections = dict.fromkeys(row.section for row in results.rows if (row.started, row.device) == came)
    shown = ", ".join(f"{name} {session.versions[name]}" for name in ("python", "torch") if name in session.versions)
    machine = f"{session.cores} cores, {session.memory_gib:.0f} GiB"
    commit = session.commit or ""
    at = f", commit {commit[:12]}{'-dirty' if commit.endswith('-dirty') else ''}" if commit else ""
    return f"{session.started[:10]}, {cell(session.device)}, {machine}, {shown}{at}: {', '.join(sections)}."


def _figure(row: Row | None, name: str, scale: float = 1.0, digits: int = 3, silent: bool = False) -> str:
    if row is not None and name in row.values:
        return number(row.values[name] * scale, digits)
    if silent:
        return "–"
    return f"{MISSING}: {cell(row.note)}" if row is not None and row.note else MISSING


def _percent(row: Row | None, name: str) -> str:
    return "–" if row is None or name not in row.values else f"{100 * row.values[name]:.0f} %"


def _distinct(rows: Iterable[Row], name: str) -> list[str | int]:
    return list(dict.fromkeys(row.case[name] for row in rows))


def _grouped(rows: Iterable[Row], *names: str) -> list[tuple[tuple[str | int, ...], list[Row]]]:
    """Return the rows that are alike in these parts of their case, and what they share."""
    groups: dict[tuple[str | int, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.case[name] for name in names), []).append(row)
    return list(groups.items())


def _find(rows: Iterable[Row], **case: str | int) -> Row | None:
    return next((row for row in rows if case.items() <= row.case.items()), None)


def _mode(rows: Sequence[Row], mode: str | int) -> Line:
    """Return the column that tells how a step was evaluated, where there is more than one way."""
    return {"evaluation": str(mode)} if len(_distinct(rows, "mode")) > 1 else {}


def _speed(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for (backbone, edge, mode), cases in _grouped(rows, "backbone", "edge", "mode"):
        line = {"network": str(backbone), "px": str(edge), **_mode(rows, mode)}
        for precision, name in FORMATS.items():
            row = _find(cases, precision=precision)
            line[f"{name}: it/s"] = _figure(row, "it_per_s")
            line[f"{name}: Mpx·it/s"] = _figure(row, "mpx_it_per_s", silent=True)
            shares = [_percent(row, f"share_of_{kind}") for kind in KINDS]
            line[f"{name}: share of {', '.join(KINDS)}"] = ", ".join(shares)
            if _mode(rows, mode):
                line[f"{name}: first step, s"] = _figure(row, "first", silent=True)
        lines.append(line)
    return lines


def _roof(rows: Sequence[Row]) -> list[Line]:
    return [
        {"": FORMATS[str(row.case["precision"])], **{f"{kind}, GFLOP/s": _figure(row, kind) for kind in KINDS}}
        for row in rows
    ]


def _race(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for (backbone, edge, mode), cases in _grouped(rows, "backbone", "edge", "mode"):
        line = {"it/s": f"{backbone}, {edge} px", **_mode(rows, mode)}
        line["published program"] = _figure(cases[0], "program_it_per_s")
        for precision, name in FORMATS.items():
            row = _find(cases, precision=precision)
            line[f"ours, {name}"] = _figure(row, "it_per_s")
            line[f"{name}: times faster"] = _figure(row, "ratio", silent=True)
        lines.append(line)
    return lines


def _lightning(rows: Sequence[Row]) -> list[Line]:
    return [
        {
            "ms a step": f"{row.case['backbone']}, {row.case['edge']} px",
            "bare": _figure(row, "bare_seconds", 1000),
            "in the loop": _figure(row, "loop_seconds", 1000),
            "the loop's share": f"{100 * row.values['share']:.1f} %" if row.values else "–",
        }
        for row in rows
    ]


def _batch(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for (backbone, edge, precision, mode), cases in _grouped(rows, "backbone", "edge", "precision", "mode"):
        what = f"{backbone}, {edge} px, {FORMATS[str(precision)]}"
        totals = [row.values.get("pairs_it_per_s", 0.0) for row in cases]
        for row, total in zip(cases, totals, strict=True):
            line = {"network": what, **_mode(rows, mode), "pairs": str(row.case["pairs"])}
            line["it/s of each"] = _figure(row, "it_per_s")
            line["of all"] = _figure(row, "pairs_it_per_s", silent=True)
            line["against one by one"] = _figure(row, "ratio", silent=True)
            line["share of convolution"] = _percent(row, "share_of_convolution")
            if not row.device.startswith("cpu"):  # the whole study, at the rate of the best number of pairs
                best = (backbone, edge) == STUDY and 0 < total == max(totals)
                minutes = number(STUDY_PAIRS * STUDY_STEPS / total / 60) if best else "–"
                line[f"{STUDY_PAIRS} pairs, {STUDY_STEPS} steps: min"] = minutes
            lines.append(line)
    return lines


def _memory(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for (backbone, precision, mode), cases in _grouped(rows, "backbone", "precision", "mode"):
        name = FORMATS[str(precision)]
        who = "published program" if mode == PROGRAM else f"ours, {name}{f', {mode}' * (mode != 'eager')}"
        line = {"MiB": f"{backbone}, {who}"}
        for edge in _distinct(rows, "edge"):
            row = _find(cases, edge=edge)
            expected, seconds = (
                _figure(row, "estimate_mib", digits=4, silent=True),
                _figure(row, "seconds", silent=True),
            )
            beside = f" ({expected}; {seconds} s)" if row and "seconds" in row.values else ""
            line[f"{edge} px"] = _figure(row, "peak_mib", digits=4) + beside
        lines.append(line)
    return lines


def _target(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for (pair,), cases in _grouped(rows, "pair"):
        line = {"pair": cell(pair)}
        for name in _distinct(rows, "optimizer"):
            row = _find(cases, optimizer=name)
            reached = row is not None and row.values and not row.note
            line[f"{cell(name)}: evaluations"] = f"{row.values['evaluations']:.0f}" if row and row.values else "–"
            line[f"{cell(name)}: s"] = _figure(row, "seconds") if reached or row is None else row.note
            line[f"{cell(name)}: times faster"] = number(1 / row.values["ratio"]) if reached and row else "–"
        lines.append(line)
    return lines


def _curves(rows: Sequence[Row]) -> list[Line]:
    lines = []
    for way in _distinct(rows, "optimizer"):
        found = summary(rows, str(way))
        line = {"": cell(way), "pairs that reach it": f"{found['reached']:.0f} of {found['pairs']:.0f}"}
        for name, key in (("evaluations", EVALUATIONS), ("s", SECONDS)):
            line[name] = number(found[f"{key}_to_target"]) if f"{key}_to_target" in found else "–"
        lines.append({**line, "loss at the end / it": number(found["end"])})
    return lines


def _precision(rows: Sequence[Row]) -> list[Line]:
    return [
        {
            "final loss": cell(row.case["pair"]),
            **{name: _figure(row, precision, digits=4) for precision, name in FORMATS.items()},
            "apart": f"{100 * row.values['apart']:+.2f} %" if row.values else "–",
        }
        for row in rows
    ]


def _startup(rows: Sequence[Row]) -> list[Line]:
    return [
        {"": cell(row.case["command"]), "s": _figure(row, "seconds"), "of the imports": _figure(row, "ratio")}
        for row in rows
    ]


PARTS: dict[str, tuple[str, Callable[[Sequence[Row]], list[Line]]]] = {
    "race": ("Against the published program", _race),
    "speed": ("By size, with the share of the machine's own rates", _speed),
    "roof": ("The machine's own rates", _roof),
    "target": ("Time to the loss that the published recipe ends with, against 6000 steps of its program", _target),
    "batch": ("Many pairs at once", _batch),
    "curves": ("Time to the loss that 1000 steps of Adam at 0.02 reach by the default objective, medians", _curves),
    "precision": ("Final loss of the defaults in both precisions", _precision),
    "memory": ("Peak memory, in brackets what was expected and the time of a step", _memory),
    "lightning": ("The share of Lightning and the rest of the loop", _lightning),
    "startup": ("Start-up, against importing torch, torchvision, torchmetrics and pytorch_lightning alone", _startup),
}


def replaced(text: str, results: Results) -> str:
    """Return a document with the results between its markers.

    Raises:
        InputError: it has no such markers, once each, in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise InputError(f"the document needs {BEGIN} and {END}, once each and in this order")
    return f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}"


def write_readme(path: Path, results: Results) -> None:
    """Write the results into a document; raises as `replaced` does."""
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    write_atomically(path, replaced(text, results).encode())
