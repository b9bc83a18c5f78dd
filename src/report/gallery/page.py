"""`index.html`: the parts of the page put into its template, with everything from outside escaped."""

import base64
import hashlib
import html
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.common.tables import Table

HERE = Path(__file__).resolve().parent
SCRIPTS = ("words.js", "curve.js", "detail.js", "gallery.js")


@dataclass(frozen=True)
class Figure:
    """A figure of the report: its file beside the page, heading, caption, and the PNG or JPEG itself."""

    file: str
    head: str
    caption: str
    data: bytes


@dataclass(frozen=True)
class Published:
    """The comparison with the published record: a warning, tables, and corrections of the record."""

    warning: str
    tables: Sequence[Table]
    corrections: Sequence[str]


def page(
    title: str,
    summary: str,
    data: Mapping[str, Any],
    figures: Sequence[Figure],
    results: Sequence[Table],
    tables: Sequence[Table],
    files: Sequence[str],
    published: Published | None,
) -> str:
    """Return the page. Names are only ever text, and only the page's own scripts may run.

    Args:
        title: what was swept.
        summary: where the runs come from, how many they are, and the values swept.
        data: what the scripts show, as `run_data.page_data` returns it.
        figures: in their order.
        results: tables of what was swept, shown before the figures.
        tables: further tables, folded.
        files: names of the files beside the page to link to.
        published: the comparison, if there is one.
    """
    style = "\n" + (HERE / "style.css").read_text()
    scripts = ["\n" + (HERE / name).read_text() for name in SCRIPTS]
    allowed = " ".join(map(_digest, scripts))
    parts = {
        "policy": f"default-src 'none'; img-src 'self' file:; style-src {_digest(style)}; script-src {allowed}",
        "title": html.escape(title),
        "summary": html.escape(summary),
        "style": style,
        "data": embedded(data),
        "figures": "\n".join(map(_figure, figures)),
        "results": _section("results", "Results", results) if results else "",
        "results_link": '<a href="#results">Results</a>' if results else "",
        "tables": "\n".join(_folded(table) for table in tables),
        "files": " · ".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>' for name in files),
        "published_link": '<a href="#published">Published record</a>' if published else "",
        "published": _published(published) if published else "",
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # in a single pass, so that {{...}} inside a part stays text
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], (HERE / "page.html").read_text())


def embedded(data: Mapping[str, Any]) -> str:
    """Return data as JSON without any character that HTML gives a meaning."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _digest(text: str) -> str:
    """Return the source expression by which a content security policy allows this very text."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _figure(figure: Figure) -> str:
    file, head, caption = (html.escape(each) for each in (figure.file, figure.head, figure.caption))
    width, height = _image_size(figure.data)
    # with its size, an image that loads late moves nothing, and links to sections land where they should
    return (
        f'<figure><h3>{head}</h3><a href="{file}"><img src="{file}" width="{width}" height="{height}" '
        f'alt="{head}: {caption}" loading="lazy"></a><figcaption>{caption}</figcaption></figure>'
    )


def _image_size(data: bytes) -> tuple[int, int]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        return image.size


def _published(published: Published) -> str:
    warning = f'<p class="warning">{html.escape(published.warning)}</p>' if published.warning else ""
    corrections = "".join(f"<li>{html.escape(each)}</li>" for each in published.corrections)
    rest = f'<h3>What the published record holds</h3><ul class="prose">{corrections}</ul>'
    return _section("published", "Comparison with the published record", published.tables, warning, rest)


def _section(name: str, head: str, tables: Sequence[Table], before: str = "", after: str = "") -> str:
    parts = [f'<h2 id="{name}-head">{head}</h2>', before]
    parts += [f"<h3>{html.escape(table.head)}</h3>{_table(table)}" for table in tables]
    return f'<section id="{name}" aria-labelledby="{name}-head">{"".join(parts)}{after}</section>'


def _folded(table: Table) -> str:
    return f"<details><summary>{html.escape(table.head)}</summary>{_table(table)}</details>"


def _table(table: Table) -> str:
    name, note = html.escape(table.head), html.escape(table.note)
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row.values())}</tr>" for row in table.rows
    )
    return (
        f'<p class="soft">{note}</p><div class="scroll" tabindex="0" role="region" aria-label="{name}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
