"""`index.html`: the parts of the page put into its template, which escapes everything from outside."""

import base64
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from PIL import Image

HERE = Path(__file__).resolve().parent
SCRIPTS = ("words.js", "curve.js", "detail.js", "gallery.js")


@dataclass(frozen=True)
class Figure:
    """A figure of the report: its file beside the page, heading, caption, and the PNG or JPEG itself."""

    file: str
    head: str
    caption: str
    data: bytes

    @property
    def size(self) -> tuple[int, int]:
        """Return its width and height, px; with them in the page, images that load late move nothing."""
        with Image.open(io.BytesIO(self.data), formats=("PNG", "JPEG")) as image:
            return image.size


def page(data: Mapping[str, Any], **parts: Any) -> str:
    """Return the page. Names are only ever text, and only the page's own scripts may run.

    Args:
        data: what the scripts show, as `run_data.page_data` returns it.
        parts: the other variables of page.html.
    """
    style = (HERE / "style.css").read_text()
    scripts = [(HERE / name).read_text() for name in SCRIPTS]
    allowed = " ".join(map(_digest, scripts))
    files = "'self' file:"
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return templates.get_template("page.html").render(
        policy=Markup(
            f"default-src 'none'; img-src {files}; media-src {files}; style-src {_digest(style)}; script-src {allowed}"
        ),
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        data=embedded(data),
        **parts,
    )


def embedded(data: Mapping[str, Any]) -> Markup:
    """Return data as JSON without any character that HTML gives a meaning."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"))


def _digest(text: str) -> str:
    """Return the source expression by which a content security policy allows this very text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
