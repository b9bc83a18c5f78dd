"""Tables of records, for people in Markdown, to the last digit in CSV; and how text and numbers are written."""

import csv
import html
import io
import re
from collections.abc import Sequence
from typing import Any

# Where a column's name is not the record's.
TITLES = {
    "loss": "loss form", "alpha": "α", "beta": "β", "step": "steps taken", "ssim": "SSIM", "it_per_s": "it/s",
    "ssim_published": "SSIM (published convention)", "gradient_ssim": "gradient SSIM",
    "gram_distance": "Gram distance", "peak_mib": "peak MiB", "iterations_per_second": "it/s",
}  # fmt: skip


def plain_text(text: object) -> str:
    """Return text from outside as one line of printable characters."""
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


def to_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows of the same columns, every number to its last digit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)  # floats by repr: what is read back is the number of the record
    return text.getvalue()


def setting(value: object) -> str:
    """Return text or a setting as one line."""
    return "–" if value is None else f"{value:g}" if isinstance(value, float) else plain_text(value)


def cell(value: object) -> str:
    """Return text or a setting for Markdown: shown as it is, whatever it holds."""
    return re.sub(r"([\\`*\[\]|~$])", r"\\\1", html.escape(setting(value), quote=False))


def title(name: str) -> str:
    """Return what a column of the record is called."""
    return TITLES.get(name, name.replace("_", " "))


def exact(rows: Sequence[dict[str, Any]]) -> str:
    """Return the Markdown of what `to_csv` writes: rows of the same columns, every number to its last digit."""
    digits = [{name: repr(value) if isinstance(value, float) else value for name, value in row.items()} for row in rows]
    return (
        to_markdown([{name: "" if each is None else cell(each) for name, each in row.items()} for row in digits]) + "\n"
    )


def to_markdown(rows: Sequence[dict[str, str]]) -> str:
    """Return rows of the same columns, whose cells are Markdown."""
    head = [f"| {' | '.join(rows[0])} |", f"|{' --- |' * len(rows[0])}"]
    return "\n".join([*head, *(f"| {' | '.join(row.values())} |" for row in rows)])
