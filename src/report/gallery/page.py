"""`index.html`: the page's parts put into its template, with everything from outside escaped."""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SCRIPTS = ("words.js", "curve.js", "detail.js", "gallery.js")


@dataclass(frozen=True)
class Figure:
    """A figure of the report: its file beside the page, its head, and what it shows."""

    file: str
    head: str
    caption: str


@dataclass(frozen=True)
class Comparison:
    """The published record beside ours: the tables' heads and rows, and what there is to say."""

    plainly: str
    summary: Sequence[Mapping[str, str]]
    rows: Sequence[Mapping[str, str]]
    corrections: Sequence[str]


def page(
    title: str,
    summary: str,
    data: Mapping[str, Any],
    figures: Sequence[Figure],
    tables: Sequence[str],
    comparison: Comparison | None,
) -> str:
    """Return the page. Nothing in a name can be read as anything but text, and nothing but its own scripts runs.

    Args:
        title: what was run.
        summary: of all runs, a sentence or two.
        data: what the scripts show, as `dossiers.compile_all` returns it.
        figures: in their order.
        tables: files beside the page.
        comparison: where there is anything to compare.
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
        "tables": " · ".join(f'<a href="{html.escape(name)}">{html.escape(name)}</a>' for name in tables),
        "published_link": '<a href="#published">Published record</a>' if comparison else "",
        "published": _published(comparison) if comparison else "",
        "scripts": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # in one go: what is put in is not looked at again
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], (HERE / "page.html").read_text())


def embedded(data: Mapping[str, Any]) -> str:
    """Return data as JSON that no HTML parser sees markup in."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def _digest(text: str) -> str:
    """Return the source expression of a content security policy that allows this text alone."""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _figure(figure: Figure) -> str:
    file, head, caption = (html.escape(each) for each in (figure.file, figure.head, figure.caption))
    return (
        f'<figure><h3>{head}</h3><a href="{file}"><img src="{file}" alt="{head}: {caption}" loading="lazy"></a>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _published(comparison: Comparison) -> str:
    plainly = f'<p class="warning">{html.escape(comparison.plainly)}</p>' if comparison.plainly else ""
    corrections = "".join(f"<li>{html.escape(each)}</li>" for each in comparison.corrections)
    return f"""<section id="published" aria-labelledby="published-head">
<h2 id="published-head">Beside the published record</h2>
{plainly}
{_table(comparison.summary, "Per figure, how far ours is from the published")}
{_table(comparison.rows, "Per pair; in brackets how far ours is from the published")}
<h3>What the record really holds</h3>
<ul class="prose">{corrections}</ul>
</section>"""


def _table(rows: Sequence[Mapping[str, str]], caption: str) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row.values())}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table>'
        f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
