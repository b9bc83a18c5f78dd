"""Tables as Markdown, rounded for reading, and as CSV, to the last digit; how text and numbers are written."""

import csv
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Headings of measured values; others are written as their names, with spaces.
TITLES = {
    "ssim": "SSIM", "ssim_published": "SSIM (published convention)", "gradient_ssim": "gradient SSIM",
    "gram_distance": "Gram distance", "it_per_s": "it/s", "iterations_per_second": "it/s", "peak_mib": "peak MiB",
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of a report: heading, explanation, and rows of plain text that all have the same columns."""

    head: str
    note: str
    rows: Sequence[dict[str, str]]


def plain_text(text: object) -> str:
    """Return text as one line of printable characters."""
    line = " ".join(str(text).split())
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in line)


def number(value: float | None, digits: int = 3) -> str:
    """Return a measured number rounded for reading: 0.0813, 5.40, 1235, 7.29×10⁷; a dash for None."""
    if value is None:
        return "–"
    if value and not 1e-3 <= abs(value) < 10 ** (digits + 1):
        mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
        return f"{mantissa}×10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"
    return f"{value:#.{digits}g}" if 0 < abs(value) < 10 ** (digits - 1) - 0.5 else f"{value:.0f}"


def title(name: str) -> str:
    """Return the heading of a measured value."""
    return TITLES.get(name, name.replace("_", " "))


def sentence(text: str) -> str:
    """Return text with a capital letter; text that begins with an option's dotted name stays as it is."""
    return text if "." in text.split()[0] else text[0].upper() + text[1:]


def cell(value: object) -> str:
    """Return a value as text for a Markdown table, with HTML and Markdown escaped; a dash for None."""
    text = "–" if value is None else plain_text(value)
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", html.escape(text, quote=False))


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows of the same columns as CSV; floats by repr, so that reading them gives the same numbers."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def to_markdown(rows: Sequence[dict[str, str]]) -> str:
    """Return rows of the same columns, whose cells are Markdown already, as a table."""
    head = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    return "\n".join([*head, *(f"| {' | '.join(row.values())} |" for row in rows)])


def exact_markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows of `to_csv` as a Markdown table, floats by repr, None as an empty cell."""

    def written(value: Any) -> str:
        return "" if value is None else cell(repr(value) if isinstance(value, float) else value)

    return to_markdown([{name: written(value) for name, value in row.items()} for row in rows]) + "\n"
