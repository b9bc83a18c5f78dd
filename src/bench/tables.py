"""Results as Markdown tables, and their place in docs/performance.md between two markers."""

from collections.abc import Callable, Iterable
from pathlib import Path

from src.bench.plan import PROGRAM
from src.bench.results import OUT_OF_MEMORY, Results, Row
from src.common.errors import InputError
from src.common.files import write_atomically
from src.common.tables import cell, number, to_markdown

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
TITLES = {"backbone": "network", "edge": "px", "mode": "evaluation", "optimizer": "optimiser"}
NAMES: dict[tuple[str, str | int], str | int] = {
    ("precision", "32"): "float32",
    ("precision", "bf16"): "bfloat16",
    ("mode", PROGRAM): "published program",
}
STUDY, STUDY_PAIRS, STUDY_STEPS = ("vgg19", 356), 126, 6000  # the published study
NOTES = f"""\
All figures are medians; cases that are compared take turns in one process. A step is one evaluation and one update of
the published recipe (five style layers, content at conv5_1, max pooling, Adam) on a square image. VGG-19's weights are
random, since speed does not depend on them. The published program is its own loop in plain PyTorch and float32, with
the gradients of the weights that it computes. Peak rates are those of a 3 x 3 convolution of 256 channels and of a
matrix product of as many operations, by PyTorch's own kernels, timed in turn with the steps. The shares, in % of the
peak rate of convolution and of product, count the convolutions of a step as computed directly, forward and back to the
image, so minimal filtering may exceed 100 %. With CUDA there is no share of the product, which PyTorch computes in full
float32, while convolutions use TF32. Mpx·it/s is steps a second times megapixels. "evaluation" says how the
objective is computed: eager, compiled, or by the published program. The study is {STUDY_PAIRS} pairs of
{STUDY_STEPS} steps."""
Figure = Callable[[Row], str]


def _value(name: str, digits: int = 3) -> Figure:
    return lambda row: number(row.values[name], digits) if name in row.values else ""


def _count(name: str) -> Figure:
    return lambda row: f"{row.values[name]:g}" if name in row.values else ""


def _percent(name: str, form: str = ".0f") -> Figure:
    return lambda row: f"{100 * row.values[name]:{form}} %" if name in row.values else ""


def _study_minutes(row: Row) -> str:
    if (row.case["backbone"], row.case["edge"]) != STUDY or row.device.startswith("cpu"):
        return ""
    return number(STUDY_PAIRS * STUDY_STEPS / row.values["pairs_it_per_s"] / 60)


def _share_of_product(row: Row) -> str:
    return _percent("share_of_product")(row) if row.device.startswith("cpu") else ""


SHARES: dict[str, Figure] = {"% of convolution": _percent("share_of_convolution"), "% of product": _share_of_product}
# For each section the title of its table, and the columns after those that identify the case.
TABLES: dict[str, tuple[str, dict[str, Figure]]] = {
    "race": (
        "Against the published program",
        {
            "program, it/s": _value("program_it_per_s"),
            "ours, it/s": _value("it_per_s"),
            "ours / program": _value("ratio"),
        },
    ),
    "speed": (
        "Steps per second by size, and share of the peak rates",
        {"it/s": _value("it_per_s"), "Mpx·it/s": _value("mpx_it_per_s"), **SHARES, "first step, s": _value("first")},
    ),
    "peak_rate": ("Peak rates, GFLOP/s", {kind: _value(kind) for kind in ("convolution", "product")}),
    "target": (
        "Time to the loss that the published recipe ends with, against 6000 steps of its program",
        {
            "evaluations": _count("evaluations"),
            "s": _value("seconds"),
            "program's time / ours": lambda row: "" if row.note else number(1 / row.values["ratio"]),
            "remark": lambda row: cell(row.note),
        },
    ),
    "batch": (
        "Several pairs in a batch",
        {
            "it/s of each": _value("it_per_s"),
            "it/s of all": _value("pairs_it_per_s"),
            "relative to one by one": _value("ratio"),
            **SHARES,
            "the study, min": _study_minutes,
        },
    ),
    "precision": (
        "Final loss of the defaults by precision",
        {"float32": _value("32", 4), "bfloat16": _value("bf16", 4), "difference": _percent("apart", "+.2f")},
    ),
    "one_pass": (
        "Networks in one pass, square pictures",
        {"ms": lambda row: number(1000 * row.values["seconds"]), "pictures/s": _value("it_per_s")},
    ),
    "memory": (
        "Peak memory of a step",
        {
            "peak, MiB": lambda row: row.note if row.note == OUT_OF_MEMORY else _value("peak_mib", 4)(row),
            "estimate, MiB": _value("estimate_mib", 4),
            "a step, s": _value("seconds"),
        },
    ),
    "lightning": (
        "Overhead of Lightning and the rest of the loop",
        {
            "bare step, s": _value("bare_seconds"),
            "in the loop, s": _value("loop_seconds"),
            "overhead": _percent("share", ".1f"),
        },
    ),
    "startup": (
        "Start-up, against importing torch, torchvision, torchmetrics and pytorch_lightning",
        {"s": _value("seconds"), "times the imports": _value("ratio")},
    ),
}


def lines_of(rows: Iterable[Row], columns: dict[str, Figure]) -> list[dict[str, str]]:
    """Return the cells of a table by column title; columns in which nothing was measured are left out."""
    lines = []
    for row in rows:
        case = {TITLES.get(name, name): cell(NAMES.get((name, value), value)) for name, value in row.case.items()}
        lines.append(case | {title: figure(row) for title, figure in columns.items()})
    filled = [title for title in lines[0] if any(line[title] for line in lines)]
    return [{title: line[title] or "–" for title in filled} for line in lines]


def render(results: Results) -> str:
    """Return the tables of everything that was measured, each with its machine, date, commit and command."""
    parts = []
    for device in results.devices:
        for name, (title, columns) in TABLES.items():
            if rows := [row for row in results.section(name, device) if row.values or row.note == OUT_OF_MEMORY]:
                sources = [f"{cell(each.described())}." for each in results.sources(rows)]
                lines = lines_of(rows, columns)
                parts += [f"**{title}**. {' '.join(sources)}", to_markdown(lines)]
    return "\n\n".join([NOTES, *parts])


def insert(text: str, results: Results) -> str:
    """Return a document with the tables between its markers.

    Raises:
        InputError: the markers are missing, repeated, or in the wrong order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise InputError(f"the document needs {BEGIN} and {END}, once each and in this order")
    return f"{before}{BEGIN}\n\n{render(results)}\n\n{END}{after}"


def update_document(path: Path, results: Results, write: bool = True) -> None:
    """Write the tables into a document, or only check that this is possible.

    Raises:
        InputError: it cannot be read, or as `insert`.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    updated = insert(text, results)
    if write:
        write_atomically(path, updated.encode())
